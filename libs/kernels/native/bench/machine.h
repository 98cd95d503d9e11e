// What the machine can do at all, and a device without checks: kernels on the pool of threads.
#pragma once
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <utility>

#include "../core/kernels.h"
#include "../core/system.h"
#include "../core/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weft::bench {

constexpr size_t kArenaBytes = size_t{384} << 20;

// On one thread its own time, which other processes hardly touch; on several the clock's.
inline clockid_t clockUsed = CLOCK_MONOTONIC;

inline double now() {
  timespec t;
  clock_gettime(clockUsed, &t);
  return double(t.tv_sec) * 1e9 + double(t.tv_nsec);
}

inline double nanoseconds(const std::function<void()>& work) {
  const double start = now();
  work();
  return now() - start;
}

// Best of runs over about 0.4 s.
inline double best(const std::function<void(int)>& work) {
  double fastest = 1e18, spent = 0;
  for (int i = 0; i < 400 && (i < 5 || spent < 4e8); i++) {
    const double ns = nanoseconds([&] { work(i); });
    fastest = std::min(fastest, ns);
    spent += ns;
  }
  return fastest;
}

inline uint8_t* hugeMemory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  weft::adviseHugePages(memory, bytes);
  return static_cast<uint8_t*>(memory);
}

#if defined(__x86_64__)
// Independent multiply-adds, or dot products of pairs of bf16: what the units do when nothing else is in the way.
template <bool Dots>
__attribute__((target("avx512f,avx512bf16"))) inline float spinAvx512(uint64_t n) {
  __m512 a[24], m = _mm512_set1_ps(1.0000001f), c = _mm512_set1_ps(1e-9f);
  const __m512bh pairs = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int i = 0; i < 24; i++) a[i] = _mm512_set1_ps(float(i));
  for (uint64_t i = 0; i < n; i++) {
#pragma GCC unroll 24
    for (int r = 0; r < 24; r++) a[r] = Dots ? _mm512_dpbf16_ps(a[r], pairs, pairs) : _mm512_fmadd_ps(a[r], m, c);
  }
  float lanes[16], sum = 0;
  for (int i = 0; i < 24; i++) {
    _mm512_storeu_ps(lanes, a[i]);
    sum += lanes[0];
  }
  return sum;
}
__attribute__((target("avx2,fma"))) inline float spinAvx2(uint64_t n) {
  __m256 a[12], m = _mm256_set1_ps(1.0000001f), c = _mm256_set1_ps(1e-9f);
  for (int i = 0; i < 12; i++) a[i] = _mm256_set1_ps(float(i));
  for (uint64_t i = 0; i < n; i++) {
#pragma GCC unroll 12
    for (int r = 0; r < 12; r++) a[r] = _mm256_fmadd_ps(a[r], m, c);
  }
  float lanes[8], sum = 0;
  for (int i = 0; i < 12; i++) {
    _mm256_storeu_ps(lanes, a[i]);
    sum += lanes[0];
  }
  return sum;
}
#endif

struct Machine {
  ThreadPool pool;
  const Kernel* kernels;
  std::string isa;
  double gbs = 0, gflops = 0, gdots = 0;
  uint8_t* arena = hugeMemory(kArenaBytes);

  Machine(uint32_t threads, const Tuning& tuning, const Kernel* kernels, std::string isa) : pool(threads, tuning), kernels(kernels), isa(std::move(isa)) {
    threadTuning = &pool.tuning();
    std::mt19937 random(1);
    auto* words = reinterpret_cast<uint16_t*>(arena);
    // Small finite values in bf16 as well as in f16.
    for (size_t i = 0; i < kArenaBytes / 2; i++) words[i] = uint16_t(0x2c00 | (random() & 0x83ff));
    measureBandwidth();
    measureFlops();
    printf("%s, %u threads: reads %.1f GB/s, multiply-adds %.0f GFLOP/s", this->isa.c_str(), pool.threads(), gbs, gflops);
    printf(gdots ? ", dot products of bf16 %.0f GFLOP/s\n" : "\n", gdots);
  }

  void measureBandwidth() {
    constexpr size_t kSlice = size_t{1} << 20;
    auto read = [](const void* context, uint32_t tile, Scratch&) {
      const auto* p = reinterpret_cast<const uint64_t*>(static_cast<const uint8_t*>(context) + tile * kSlice);
      uint64_t sums[8] = {};
      for (size_t i = 0; i < kSlice / 8; i += 8) for (int l = 0; l < 8; l++) sums[l] += p[i + l];
      volatile uint64_t keep = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
      (void)keep;
    };
    gbs = kArenaBytes / best([&](int) { pool.run(kArenaBytes / kSlice, read, arena); });
  }

  void measureFlops() {
    constexpr uint64_t kTurns = 20000;
#if defined(__x86_64__)
    const bool wide = isa == "amx" || isa.rfind("avx512", 0) == 0, vector = isa != "portable";
    if (!vector) return;
    auto spin = wide ? [](const void*, uint32_t, Scratch&) { volatile float keep = spinAvx512<false>(kTurns); (void)keep; }
                     : [](const void*, uint32_t, Scratch&) { volatile float keep = spinAvx2(kTurns); (void)keep; };
    const double flops = wide ? 24 * 16 * 2.0 * kTurns : 12 * 8 * 2.0 * kTurns;
    const uint32_t tiles = 8 * pool.threads();
    gflops = flops * tiles / best([&](int) { pool.run(tiles, spin, nullptr); });
    if (isa != "avx512bf16") return;
    auto dots = [](const void*, uint32_t, Scratch&) { volatile float keep = spinAvx512<true>(kTurns); (void)keep; };
    gdots = 2 * flops * tiles / best([&](int) { pool.run(tiles, dots, nullptr); });
#endif
  }

  template <class Args>
  void run(uint32_t op, const Args& args) {
    struct Call { const Kernel* kernel; const Args* args; uint32_t threads; } call{kernels + op, &args, pool.threads()};
    pool.run(call.kernel->tiles(&args, call.threads), [](const void* context, uint32_t tile, Scratch& scratch) {
      const Call& c = *static_cast<const Call*>(context);
      c.kernel->run(c.args, tile, c.threads, scratch);
    }, &call);
    if (!call.kernel->merge) return;
    pool.run(call.kernel->mergeTiles(&args, call.threads), [](const void* context, uint32_t tile, Scratch& scratch) {
      const Call& c = *static_cast<const Call*>(context);
      c.kernel->merge(c.args, tile, c.threads, scratch);
    }, &call);
  }

  void report(const char* name, double ns, double bytes, double flops) const {
    printf("%-44s %9.1f us  %6.1f GB/s %3.0f%%  %7.1f GFLOP/s %3.0f%%   bound %3.0f%%\n", name, ns / 1e3, bytes / ns, 100 * bytes / ns / gbs,
           flops / ns, gflops ? 100 * flops / ns / gflops : 0, 100 * std::max(bytes / gbs, gflops ? flops / gflops : 0) / ns);
    fflush(stdout);
  }
};

}  // namespace weft::bench

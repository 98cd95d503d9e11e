// check-cuda-threads: the host's version of CUDA's words against plain loops, in many orders, and that what it has to see ends
// a child process with the message that it should. Exits with 1 when anything is otherwise.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "core/float_formats.h"
#include "cuda/memory.h"
#include "cuda/mma.h"
#include "cuda/reduce.h"

namespace weft {
namespace cuda {

struct Io {
  const void* in;
  void* out;
  uint32_t mode;
};

// Every thread hands its number on through shared memory, round after round.
WEFT_KERNEL(rotate, Io) {
  __shared__ uint32_t values[1024];
  const uint32_t me = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z), n = blockDim.x * blockDim.y * blockDim.z;
  values[me] = me;
  __syncthreads();
  for (uint32_t round = 0; round < 5; round++) {
    const uint32_t next = values[(me + 1) % n];
    if (a.mode != 1) __syncthreads();                    // 1: a round may write what another thread has yet to read
    values[me] = next;
    if (a.mode != 2) __syncthreads();                    // 2: … may read what is not there yet
  }
  const uint64_t block = blockIdx.x + gridDim.x * (blockIdx.y + uint64_t{gridDim.y} * blockIdx.z);
  static_cast<uint32_t*>(a.out)[block * n + me] = values[me] + static_cast<uint32_t>(block) * 10000;
}

// Threads that have exited are not waited for.
WEFT_KERNEL(leave, Io) {
  __shared__ uint32_t counted;
  if (threadIdx.x == 0) counted = 0;
  __syncthreads();
  if (threadIdx.x >= 40) return;
  atomicAdd(&counted, 1u);
  __syncthreads();
  if (threadIdx.x == 7) static_cast<uint32_t*>(a.out)[blockIdx.x] = counted;
}

WEFT_KERNEL(lanes, Io) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint32_t* out = static_cast<uint32_t*>(a.out) + threadIdx.x * 10;
  const uint32_t mine = threadIdx.x * 3 + 1;
  out[0] = __shfl_xor_sync(kAllLanes, mine, 5);
  out[1] = __shfl_down_sync(kAllLanes, mine, 3);
  out[2] = __shfl_sync(kAllLanes, mine, static_cast<int>((lane * 7) % 32));
  out[3] = __shfl_down_sync(kAllLanes, mine, 2, 8);
  out[4] = static_cast<uint32_t>(__shfl_xor_sync(kAllLanes, 1e10 + mine, 16) - 1e10);
  out[5] = __ballot_sync(kAllLanes, lane % 3 == 0);
  out[6] = 0;
  if (lane >= 16) out[6] = __ballot_sync(0xffff0000u, lane & 1);   // half a warp
  __syncwarp();
  out[7] = static_cast<uint32_t>(warpSum(static_cast<float>(mine)));
  out[8] = static_cast<uint32_t>(warpMax(static_cast<float>(mine)));
  __shared__ float sums[32];
  out[9] = static_cast<uint32_t>(blockSum(static_cast<float>(lane), sums));
}

WEFT_KERNEL(atomics, Io) {
  uint32_t* u = static_cast<uint32_t*>(a.out);
  int* i = reinterpret_cast<int*>(u + 1);
  float* f = reinterpret_cast<float*>(u + 2);
  double* d = reinterpret_cast<double*>(u + 4);
  const int me = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(u, 2u);
  atomicMax(i, me - 50);
  atomicAdd(f, 0.5f);
  atomicAdd(d, 0.25);
  atomicMin(i + 5, -me);
  for (uint32_t* lock = u + 7;;) {                       // a lock: others run while one waits
    if (atomicCAS(lock, 0u, 1u) != 0u) continue;
    u[8]++;
    atomicAdd(lock, ~0u);
    break;
  }
}

// A tile is copied by pieces of 16 bytes, two groups, each awaited.
WEFT_KERNEL(copies, Io) {
  WEFT_DYNAMIC_SHARED(tile);
  const uint8_t* in = static_cast<const uint8_t*>(a.in);
  const uint32_t me = threadIdx.x, n = blockDim.x;
  copyAsync(tile + me * 16, in + me * 16);
  commitCopies();
  copyAsync(tile + (n + me) * 16, in + (n + me) * 16, me % 2 == 0);
  commitCopies();
  uint8_t* out = static_cast<uint8_t*>(a.out);
  if (a.mode != 1) awaitCopies<1>();
  if (a.mode != 2) __syncthreads();
  for (uint32_t i = 0; i < 16; i++) out[me * 16 + i] = tile[(n - 1 - me) * 16 + i];
  awaitCopies<0>();
  __syncthreads();
  for (uint32_t i = 0; i < 16; i++) out[(n + me) * 16 + i] = tile[(n + n - 1 - me) * 16 + i];
}

// d[16 × 8] = a[16 × 16] · b, b by columns, and the fragments of a once more by ldmatrix. mode: 0 bf16, 1 f16.
WEFT_KERNEL(multiply, Io) {
  alignas(16) __shared__ uint16_t tile[16 * 16];
  const uint16_t* x = static_cast<const uint16_t*>(a.in);
  const uint16_t* y = x + 256;
  const uint32_t lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (uint32_t i = lane; i < 256; i += kWarp) tile[i] = x[i];
  __syncwarp();
  const auto pair = [](const uint16_t* p) { return p[0] | static_cast<uint32_t>(p[1]) << 16; };
  uint32_t left[4];
  loadMatrices(left, tile + (lane % 16) * 16 + lane / 16 * 8);
  const uint32_t right[2] = {pair(y + g * 16 + 2 * t), pair(y + g * 16 + 2 * t + 8)};
  float d[4] = {1, 2, 3, 4};
  if (a.mode) mmaF16(d, left, right);
  else mmaBf16(d, left, right);
  float* out = static_cast<float*>(a.out);
  out[g * 8 + 2 * t] = d[0] - 1;
  out[g * 8 + 2 * t + 1] = d[1] - 2;
  out[(g + 8) * 8 + 2 * t] = d[2] - 3;
  out[(g + 8) * 8 + 2 * t + 1] = d[3] - 4;
}

// d[16 × 8] = a[16 × 32] · b of bytes.
WEFT_KERNEL(multiplyInt8, Io) {
  const uint8_t* x = static_cast<const uint8_t*>(a.in);
  const uint8_t* y = x + 512;
  const uint32_t g = threadIdx.x / 4, t = threadIdx.x % 4;
  const auto four = [](const uint8_t* p) { uint32_t v; memcpy(&v, p, 4); return v; };
  const uint32_t left[4] = {four(x + g * 32 + 4 * t), four(x + (g + 8) * 32 + 4 * t), four(x + g * 32 + 4 * t + 16),
                            four(x + (g + 8) * 32 + 4 * t + 16)};
  const uint32_t right[2] = {four(y + g * 32 + 4 * t), four(y + g * 32 + 4 * t + 16)};
  int32_t d[4] = {};
  emulatedMmaInt8(d, left, right);
  int32_t* out = static_cast<int32_t*>(a.out);
  for (uint32_t r = 0; r < 4; r++) out[(g + 8 * (r / 2)) * 8 + 2 * t + r % 2] = d[r];
}

// From here on: what must be seen.
WEFT_DEVICE void barrierHere() { __syncthreads(); }

__attribute__((noinline)) void touchDeep(uint32_t value) {
  volatile uint8_t deep[4096];
  deep[0] = static_cast<uint8_t>(value);
  if (value != 1u << 30) touchDeep(value + 1);
  deep[1] = deep[0];
}

WEFT_KERNEL_BOUNDS(wrong, Io, 64, 1) {
  WEFT_DYNAMIC_SHARED(shared);
  alignas(16) __shared__ uint8_t own[64];
  uint32_t r[4];
  const uint32_t me = threadIdx.x, lane = me % kWarp;
  switch (a.mode) {
    case 0: if (me < 32) __syncthreads(); else barrierHere(); break;
    case 1: if (lane < 31) __shfl_xor_sync(kAllLanes, me, 1); break;
    case 2: if (lane < 16) __shfl_xor_sync(0xffffu, me, 16); break;
    case 3: if (lane < 16) __syncwarp(0xfff0u); break;
    case 4: if (lane == 3) __syncthreads(); else __syncwarp(); break;
    case 5: if (me == 9) shared[64] = 1; break;
    case 6: if (me == 9) shared[-1] = 1; break;
    case 7: copyAsync(own + 8, a.in); break;
    case 8: copyAsync(own, static_cast<const uint8_t*>(a.in) + 4); break;
    case 9: copyAsync(a.out, a.in); break;
    case 10: loadQuad(static_cast<const uint8_t*>(a.in) + 8); break;
    case 11: loadMatrices(r, a.in); break;
    case 12: atomicAdd(reinterpret_cast<float*>(static_cast<uint8_t*>(a.out) + 2), 1.0f); break;
    case 13: __shfl_xor_sync(kAllLanes, me, 1, 12); break;
    case 14: touchDeep(me); break;
    case 15: static_cast<volatile uint8_t*>(a.out)[0] = 1; break;
  }
}

namespace {

int failures = 0;
void expect(bool right, const std::string& what) {
  if (right) return;
  failures++;
  printf("wrong: %s\n", what.c_str());
}

void runKernel(const char* name, Index3 grid, Index3 block, uint32_t shared, Io io) {
  Step step{};
  void* params[] = {&io, &step};
  const emulated::Kernel* kernel = emulated::findKernel(name);
  if (!kernel) emulated::fail("no kernel %s", name);
  emulated::launch(*kernel, grid, block, shared, params);
}

bool rotated(Index3 grid, Index3 block, uint32_t mode) {
  const uint32_t n = block.x * block.y * block.z, blocks = grid.x * grid.y * grid.z;
  std::vector<uint32_t> out(n * blocks);
  runKernel("rotate", grid, block, 0, {nullptr, out.data(), mode});
  for (uint32_t i = 0; i < n * blocks; i++) {
    if (out[i] != (i % n + 5) % n + i / n * 10000) return false;
  }
  return true;
}

void checkLanes() {
  std::vector<uint32_t> out(64 * 10);
  runKernel("lanes", {1, 1, 1}, {64, 1, 1}, 0, {nullptr, out.data(), 0});
  for (uint32_t t = 0; t < 64; t++) {
    const uint32_t lane = t % 32, base = t - lane, *o = &out[t * 10];
    const auto of = [&](uint32_t l) { return (base + l) * 3 + 1; };
    uint32_t sum = 0;
    for (uint32_t l = 0; l < 32; l++) sum += of(l);
    const uint32_t expected[10] = {of(lane ^ 5), of(lane + 3 < 32 ? lane + 3 : lane), of(lane * 7 % 32),
                                   of(lane % 8 + 2 < 8 ? lane + 2 : lane),
                                   of(lane ^ 16), 0x49249249u, lane >= 16 ? 0xaaaa0000u : 0u, sum, of(31), 2 * 31 * 16};
    for (uint32_t i = 0; i < 10; i++) expect(o[i] == expected[i], "lanes " + std::to_string(t) + " operation " + std::to_string(i));
  }
}

void checkAtomics() {
  alignas(8) uint32_t out[10] = {};
  runKernel("atomics", {3, 1, 1}, {100, 1, 1}, 0, {nullptr, out, 0});
  float f;
  double d;
  memcpy(&f, out + 2, 4);
  memcpy(&d, out + 4, 8);
  expect(out[0] == 600 && out[1] == 249 && f == 150 && d == 75 && static_cast<int>(out[6]) == -299 && out[8] == 300, "atomics");
}

bool copied(uint32_t mode) {
  constexpr uint32_t n = 128;
  alignas(16) static uint8_t in[n * 32];
  static uint8_t out[n * 32];
  for (uint32_t i = 0; i < sizeof in; i++) in[i] = static_cast<uint8_t>(i * 7 + i / 256);
  runKernel("copies", {1, 1, 1}, {n, 1, 1}, n * 32, {in, out, mode});
  for (uint32_t i = 0; i < n * 32; i++) {
    const uint32_t half = i / (n * 16), piece = n - 1 - i / 16 % n;
    const uint8_t expected = half && piece % 2 ? 0 : in[half * n * 16 + piece * 16 + i % 16];
    if (out[i] != expected) return false;
  }
  return true;
}

void checkMultiply(std::mt19937& random, bool f16) {
  uint16_t in[256 + 128];
  float out[128];
  for (uint16_t& v : in) {
    const float value = static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 256;
    v = static_cast<uint16_t>(f16 ? toF16(value) : toBf16(value));
  }
  const auto decode = [&](uint16_t v) { return f16 ? f16ToF32(v) : bf16ToF32(v); };
  runKernel("multiply", {1, 1, 1}, {32, 1, 1}, 0, {in, out, f16});
  for (uint32_t i = 0; i < 16; i++) {
    for (uint32_t j = 0; j < 8; j++) {
      double sum = 0;
      for (uint32_t k = 0; k < 16; k++) sum += double{decode(in[i * 16 + k])} * decode(in[256 + j * 16 + k]);
      expect(std::fabs(out[i * 8 + j] - sum) < 1e-4, "mma at " + std::to_string(i) + ", " + std::to_string(j));
    }
  }
  int8_t bytes[512 + 256];
  int32_t sums[128];
  for (int8_t& b : bytes) b = static_cast<int8_t>(random());
  runKernel("multiplyInt8", {1, 1, 1}, {32, 1, 1}, 0, {bytes, sums, 0});
  for (uint32_t i = 0; i < 128; i++) {
    int32_t sum = 0;
    for (uint32_t k = 0; k < 32; k++) sum += bytes[i / 8 * 32 + k] * bytes[512 + i % 8 * 32 + k];
    expect(sum == sums[i], "mma of bytes at " + std::to_string(i));
  }
}

// Every f16 there and back, and the halfway points between neighbours.
void checkF16() {
  for (uint32_t h = 0; h < 0x10000; h++) {
    const float value = emulatedFromF16(static_cast<uint16_t>(h));
    if (std::isnan(value)) expect(std::isnan(emulatedFromF16(static_cast<uint16_t>(emulatedToF16(value)))), "f16 NaN");
    else expect(emulatedToF16(value) == h, "f16 " + std::to_string(h));
    if ((h & 0x7fff) >= 0x7bff) continue;
    const float next = emulatedFromF16(static_cast<uint16_t>(h + 1)), half = (value + next) / 2;
    expect(emulatedToF16(half) == (h & 1 ? h + 1 : h), "f16 halfway above " + std::to_string(h));
    expect(emulatedToF16(std::nextafter(half, value)) == h && emulatedToF16(std::nextafter(half, next)) == h + 1,
           "f16 near " + std::to_string(h));
  }
  expect(emulatedToF16(65519.99f) == 0x7bff && emulatedToF16(65520) == 0x7c00 && emulatedToF16(1e-20f) == 0, "f16 ends");
}

// What the child writes before it dies.
void expectAbort(uint32_t mode, const std::string& message) {
  int ends[2];
  if (pipe(ends)) abort();
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    alignas(16) static uint8_t in[1024], out[1024];
    runKernel("wrong", {2, 1, 1}, {mode == 16 ? 65u : 64u, 1, 1}, 64, {in, mode == 15 ? nullptr : out, mode});
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[512];
  for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  expect(!WIFEXITED(status) && text.find("wrong, block (") != std::string::npos && text.find(message) != std::string::npos,
         "fault " + std::to_string(mode) + " is not told as «" + message + "» but as: " + text);
}

}  // namespace
}  // namespace cuda
}  // namespace weft

int main() {
  using namespace weft::cuda;
  std::mt19937 random(1);
  uint32_t unseen[4] = {};
  for (uint64_t seed = 1; seed <= 40; seed++) {
    emulated::setSeed(seed);
    expect(rotated({3, 2, 2}, {64, 1, 1}, 0) && rotated({2, 1, 1}, {8, 4, 3}, 0), "barriers");
    expect(rotated({1, 1, 1}, {1024, 1, 1}, 0) && rotated({1, 1, 1}, {45, 1, 1}, 0), "barriers of one block");
    unseen[0] += rotated({1, 1, 1}, {64, 1, 1}, 1);
    unseen[1] += rotated({1, 1, 1}, {64, 1, 1}, 2);
    uint32_t counts[4] = {};
    runKernel("leave", {4, 1, 1}, {64, 1, 1}, 0, {nullptr, counts, 0});
    for (const uint32_t n : counts) expect(n == 40, "threads that have exited");
    checkLanes();
    checkAtomics();
    expect(copied(0), "copies");
    unseen[2] += copied(1);
    unseen[3] += copied(2);
    checkMultiply(random, seed % 2);
  }
  checkF16();
  const char* const mistakes[] = {"a barrier before a write", "a barrier before a read", "a wait for copies", "a barrier behind copies"};
  for (int i = 0; i < 4; i++) expect(unseen[i] == 0, std::to_string(unseen[i]) + " of 40 orders do not show the lack of " + mistakes[i]);
  const char* const messages[] = {
      "nobody can go on", " exited", "not in the mask", "the lane is not in its mask", "nobody can go on", "a write behind the 64 bytes",
      "a write before the dynamic", "not 16-byte aligned", "not 16-byte aligned", "not in shared memory", "not 16-byte aligned",
      "not in shared memory", "not 4-byte aligned", "width 12", "its stack", "may not", "at most 64"};
  for (uint32_t mode = 0; mode < sizeof messages / sizeof *messages; mode++) {
#if defined(__SANITIZE_ADDRESS__)
    if (mode == 9 || mode == 11) continue;               // static shared memory is not known apart
#endif
    expectAbort(mode, messages[mode]);
  }
  printf("%s\n", failures ? "failed" : "all as expected");
  return failures != 0;
}

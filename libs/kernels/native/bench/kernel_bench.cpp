// Times kernels beside what this machine can do at all: bytes it reads per second, multiply-adds it makes.
//
//   kernel-bench [isa] [threads] [filter] [field=value…]
//                                                isa: portable, avx2, avx512, avx512bf16, amx, neon
//                                                filter: linear, model, bf12, bf12-model, int8, int8-model, experts, attention, lora, sample, rows; machine: ceilings alone;
//                                                neighbours: beside a busy process; tune: see benchTuning
//                                                fields: of core/tuning.h; x=bf16: linear maps read bf16
//
// Each line: the op and its shape, time (the best of repeated runs, so that a busy machine disturbs least), and
// achieved GB/s and GFLOP/s with their share of the ceilings, which are measured in the same run. Weights are drawn
// from a buffer larger than the caches, so that every run reads them from memory, as a step of a model does.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "../core/bf12.h"
#include "../core/error.h"
#include "../core/int8_format.h"
#include "machine.h"

namespace {

using namespace weft;
using namespace weft::bench;

std::vector<float> values(size_t n) {
  static std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& x : v) x = normal(random);
  return v;
}

// What linear maps read.
uint32_t rowType = kDTypeF32;

// `values` as rows of that type.
std::vector<float> rowValues(size_t n) {
  std::vector<float> v = values(n);
  if (rowType != kDTypeBf16) return v;
  for (size_t i = 0; i < n; i++) memcpy(reinterpret_cast<uint8_t*>(v.data()) + 2 * i, reinterpret_cast<const uint8_t*>(&v[i]) + 2, 2);
  return v;
}

uint8_t* raw(std::vector<float>& v) { return reinterpret_cast<uint8_t*>(v.data()); }

// Panels of bf12 as trained weights give them, normally distributed, with their exceptions.
void fillBf12(uint8_t* panels, uint32_t count, uint32_t k) {
  constexpr uint32_t kDistinct = 8;
  for (uint32_t p = 0; p < std::min(count, kDistinct); p++) {
    std::vector<uint16_t> pairs;
    for (float value : values(size_t{(k + 1) / 2} * 64)) {
      uint32_t bits;
      memcpy(&bits, &value, 4);
      pairs.push_back(uint16_t(bits >> 16));
    }
    if (!encodeBf12(pairs.data(), k, panels + p * bf12PanelBytes(k))) std::abort();
  }
  for (uint32_t p = kDistinct; p < count; p++) memcpy(panels + p * bf12PanelBytes(k), panels + p % kDistinct * bf12PanelBytes(k), bf12PanelBytes(k));
}

// A linear map of one stored format, int8 with the quantization of its input.
struct Linear {
  uint32_t dtype, n, k;
  uint32_t panels() const { return (n + 31) / 32; }
  size_t bytes() const { return panels() * (dtype == kDTypeInt8 ? int8PanelBytes(k) : dtype == kDTypeBf12 ? bf12PanelBytes(k) : size_t{64} * k); }
  // Any bytes are weights of the other formats.
  void fill(uint8_t* w) const { if (dtype == kDTypeBf12) fillBf12(w, panels(), k); }
  void run(Machine& m, uint8_t* x, float* q, const uint8_t* w, float* y, uint32_t rows) const {
    auto* weights = const_cast<uint8_t*>(w);
    if (dtype != kDTypeInt8) {
      LinearArgs a{x, weights, nullptr, y, rows, 0, rows, n, k, k, n, dtype, 0, rowType, 0};
      return m.run(kOpLinear, a);
    }
    const auto words = uint32_t(int8RowWords(k));
    QuantizeRowsArgs quantize{x, q, rows, 0, rows, k, words, k, words, rowType};
    m.run(kOpQuantizeRows, quantize);
    LinearInt8Args a{q, weights, nullptr, y, rows, 0, rows, n, k, words, words, n, dtype, 0};
    m.run(kOpLinearInt8, a);
  }
};

const char* dtypeName(uint32_t dtype) { return dtype == kDTypeInt8 ? "int8" : dtype == kDTypeBf12 ? "bf12" : "bf16"; }

void benchLinear(Machine& m, uint32_t dtype, uint32_t rows, uint32_t n, uint32_t k) {
  const Linear linear{dtype, n, k};
  auto x = rowValues(size_t{rows} * k), q = values(rows * int8RowWords(k)), y = values(size_t{rows} * n);
  const size_t bytes = linear.bytes(), copies = kArenaBytes / bytes;
  for (size_t i = 0; i < copies; i++) linear.fill(m.arena + i * bytes);
  const double ns = best([&](int i) { linear.run(m, raw(x), q.data(), m.arena + (i % copies) * bytes, y.data(), rows); });
  char name[64];
  snprintf(name, sizeof name, "linear %u x [%u, %u] %s", rows, n, k, dtypeName(dtype));
  m.report(name, ns, double(bytes), 2.0 * rows * n * k);
}

struct Shape { uint32_t n, k; };
struct ModelShape {
  const char* name;
  uint32_t layers, hidden, qkv, inner, vocab;
};
constexpr ModelShape kSmolLM2 = {"SmolLM2-135M", 30, 576, 960, 1536, 49152};

// All linear ops of a model, one after another, as one list: what a step of `rows` tokens takes without attention and norms.
class ModelStep {
 public:
  ModelStep(Machine& m, const ModelShape& model, uint32_t dtype, uint32_t rows, uint32_t logits)
      : m_(m), model_(model), dtype_(dtype), rows_(rows), logits_(logits), x_(rowValues(size_t{rows} * std::max(model.hidden, model.inner))),
        q_(values(rows * int8RowWords(std::max(model.hidden, model.inner)))), y_(values(size_t{rows} * std::max({2 * model.inner, model.qkv, logits ? model.vocab : 0}))) {}
  double bytes = 0, flops = 0;

  void run() {
    const ThreadPool::List list(m_.pool);
    at_ = 0;
    bytes = flops = 0;
    const auto [name, layers, hidden, qkv, inner, vocab] = model_;
    for (uint32_t l = 0; l < layers; l++) for (Shape s : {Shape{qkv, hidden}, {hidden, hidden}, {2 * inner, hidden}, {hidden, inner}}) linear(rows_, s);
    if (logits_) linear(logits_, {vocab, hidden});
    turn_++;
  }

 private:
  void linear(uint32_t count, Shape s) {
    const Linear map{dtype_, s.n, s.k};
    const size_t size = map.bytes();
    if (at_ + size > kArenaBytes) at_ = 0;
    if (turn_ == 0) map.fill(m_.arena + at_);
    map.run(m_, raw(x_), q_.data(), m_.arena + at_, y_.data(), count);
    at_ += size;
    bytes += double(size);
    flops += 2.0 * count * s.n * s.k;
  }

  Machine& m_;
  const ModelShape model_;
  uint32_t dtype_, rows_, logits_;
  std::vector<float> x_, q_, y_;
  size_t at_ = 0, turn_ = 0;
};

double benchModel(Machine& m, const ModelShape& model, uint32_t dtype, uint32_t rows, uint32_t logits) {
  ModelStep step(m, model, dtype, rows, logits);
  const double ns = best([&](int) { step.run(); });
  char name[64];
  snprintf(name, sizeof name, "%s %s, %u rows: %.0f tok/s", model.name, dtypeName(dtype), rows, rows * 1e9 / ns);
  m.report(name, ns, step.bytes, step.flops);
  return ns;
}

// The mean step beside processes that never rest, over the mean step alone. Fair: what is left when all busy threads get
// equal shares of the processors.
void benchNeighbours(Machine& m, uint32_t rows, int neighbours) {
  ModelStep step(m, kSmolLM2, kDTypeBf16, rows, rows);
  auto mean = [&] {
    double spent = 0;
    int steps = 0;
    for (step.run(); spent < 2e9; steps++) spent += nanoseconds([&] { step.run(); });
    return spent / steps;
  };
  const double alone = mean();
  std::vector<pid_t> children;
  for (int i = 0; i < neighbours; i++) {
    const pid_t child = fork();
    if (child == 0) for (;;) {}
    children.push_back(child);
  }
  const double beside = mean();
  for (pid_t child : children) kill(child, SIGKILL), waitpid(child, nullptr, 0);
  const double cpus = std::thread::hardware_concurrency(), fair = std::max(1.0, (m.pool.threads() + neighbours) / cpus);
  printf("%u rows beside %d busy: %.1f ms, alone %.1f ms: %.2f x; fair share %.2f x, over it %.2f x\n", rows, neighbours, beside / 1e6,
         alone / 1e6, beside / alone, fair, beside / alone / fair);
}

void benchAttention(Machine& m, uint32_t segments, uint32_t rows, uint32_t context, uint32_t heads, uint32_t kvHeads, uint32_t dim, int runs, uint32_t kvType = kDTypeF16) {
  const uint32_t width = heads * dim, total = segments * rows, blocks = (context + 15) / 16;
  const bool int8 = kvType == kDTypeInt8;
  const uint32_t headStride = (int8 ? 16 : 32) * dim, planeStride = kvHeads * (headStride + (int8 ? 32 : 0)), pageBytes = (2 * planeStride + 4095) / 4096 * 4096;
  const uint32_t nPages = kArenaBytes / pageBytes;
  auto q = values(size_t{total} * width), out = q;
  const uint32_t ldPartials = (dim + 15) / 16 * 16 + 16, nPartials = 4 * heads * ((context + kAttentionSpan - 1) / kAttentionSpan);
  std::vector<float> partials(size_t{nPartials} * ldPartials);
  std::vector<int32_t> positions, table(segments * kSegmentWords), pages;
  for (uint32_t s = 0; s < segments; s++) {
    int32_t* t = table.data() + s * kSegmentWords;
    t[kSegmentSlot] = int(s);
    t[kSegmentRowStart] = int(s * rows);
    t[kSegmentRowCount] = int(rows);
    t[kSegmentPageOffset] = int(pages.size());
    t[kSegmentPageCount] = int(blocks);
    for (uint32_t b = 0; b < blocks; b++) pages.push_back(0);
    for (uint32_t r = 0; r < rows; r++) positions.push_back(int(context - rows + r));
  }
  std::mt19937 random(3);
  const double ns = best([&](int i) {
    if (i % runs == 0) for (int32_t& page : pages) page = int(random() % nPages);
    AttentionArgs a{q.data(), raw(out), positions.data(), table.data(), pages.data(), m.arena, partials.data(), total, total, segments, heads, kvHeads, dim,
                    width, width, width, segments, uint32_t(pages.size()), nPages, pageBytes, 0, planeStride, headStride, 0, kvType, 0, 0.125f, 0, kDTypeF32, nPartials, ldPartials};
    m.run(kOpAttention, a);
  });
  char name[64];
  snprintf(name, sizeof name, "attention %u x %u rows at %u, %u/%u heads of %u%s", segments, rows, context, heads, kvHeads, dim, int8 ? ", int8" : kvType == kDTypeBf16 ? ", bf16" : "");
  double flops = 0;
  for (int32_t p : positions) flops += 4.0 * (p + 1) * width;
  m.report(name, ns, double(segments) * context * 2 * planeStride / kBlockTokens, flops);
}

// What an adapter of SmolLM2-135M acts on in a layer.
struct LoraSite {
  uint32_t dIn;
  std::vector<uint32_t> outs;
};
const LoraSite kLoraSites[] = {{576, {576, 192, 192}}, {576, {576}}, {576, {1536, 1536}}, {1536, {576}}};

// Groups of `rows` rows each, every group its own adapter, over the sites of one op. Returns the time of both halves.
double benchLora(Machine& m, uint32_t groups, uint32_t rows, std::vector<uint32_t> ranks, uint32_t dIn, std::vector<uint32_t> outs) {
  const uint32_t parts = uint32_t(outs.size()), total = groups * rows, pageBytes = 1 << 16;
  uint32_t dOut = 0, maxRank = 0;
  for (uint32_t o : outs) dOut += o;
  for (uint32_t r : ranks) maxRank = std::max(maxRank, r);
  const uint32_t slotWords = parts * 2 * kRunWords + 4096, ldu = parts * maxRank;
  std::vector<int32_t> tables(size_t{groups} * slotWords), groupTable, groupRows;
  double bytesA = 0, bytesB = 0, flopsA = 0, flopsB = 0;
  size_t at = 0;
  auto place = [&](int32_t* run, int32_t* table, uint32_t& seg, uint32_t rank, uint32_t unitBytes, uint32_t units) {
    const float scale = 2;
    run[kRunDtype] = kDTypeBf16;
    run[kRunRank] = int(rank);
    memcpy(run + kRunScale, &scale, 4);
    run[kRunUnitBytes] = int(unitBytes);
    run[kRunUnits] = int(units);
    run[kRunFirstSeg] = int(seg);
    for (uint32_t unit = 0; unit < units;) {
      if (at % pageBytes + unitBytes > pageBytes) at = (at / pageBytes + 1) * pageBytes;
      if (at + pageBytes > kArenaBytes) at = 0;
      const uint32_t fit = std::min<uint32_t>(units - unit, uint32_t((pageBytes - at % pageBytes) / unitBytes));
      table[seg + kSegAt] = int(at / 128);
      table[seg + kSegFirstUnit] = int(unit);
      table[seg + kSegUnits] = int(fit);
      run[kRunSegs]++;
      seg += kSegWords;
      unit += fit;
      at += size_t{fit} * unitBytes;
    }
  };
  auto bind = [&] {
    std::fill(tables.begin(), tables.end(), 0);
    bytesA = bytesB = flopsA = flopsB = 0;
    for (uint32_t g = 0; g < groups; g++) {
      int32_t* table = tables.data() + size_t{g} * slotWords;
      uint32_t seg = parts * 2 * kRunWords;
      const uint32_t rank = ranks[g % ranks.size()];
      for (uint32_t p = 0; p < parts; p++) {
        place(table + (2 * p) * kRunWords, table, seg, rank, (dIn + 63) / 64 * 128, rank);
        place(table + (2 * p + 1) * kRunWords, table, seg, rank, 128 * rank, (outs[p] + 63) / 64);
        bytesA += 2.0 * rank * dIn;
        bytesB += 2.0 * rank * outs[p];
        flopsA += 2.0 * rank * dIn * rows;
        flopsB += 2.0 * rank * outs[p] * rows;
      }
    }
  };
  for (uint32_t g = 0; g < groups; g++) {
    const float weight = 1;
    int32_t word;
    memcpy(&word, &weight, 4);
    groupTable.insert(groupTable.end(), {int(g), int(g * rows), int(rows), word});
    for (uint32_t r = 0; r < rows; r++) groupRows.push_back(int(g * rows + r));
  }
  auto x = values(size_t{total} * dIn), u = values(size_t{total} * ldu), y = values(size_t{total} * dOut);
  auto out = [&](uint32_t p) { return p < parts ? outs[p] : 0; };
  auto shrink = [&](int) {
    bind();
    LoraShrinkArgs a{raw(x), u.data(), groupTable.data(), groupRows.data(), tables.data(), m.arena, groups, total, total, dIn, dIn, ldu,
                     maxRank, groups, total, groups, slotWords, uint32_t(kArenaBytes / pageBytes), pageBytes, 0, parts, 0, parts, kDTypeF32};
    return nanoseconds([&] { m.run(kOpLoraShrink, a); });
  };
  auto expand = [&](int) {
    bind();
    LoraExpandArgs a{u.data(), y.data(), groupTable.data(), groupRows.data(), tables.data(), m.arena, groups, total, total, dOut, dOut, ldu,
                     maxRank, groups, total, groups, slotWords, uint32_t(kArenaBytes / pageBytes), pageBytes, 0, parts, 0, parts,
                     0, out(0), out(0), out(1), out(0) + out(1), out(2)};
    return nanoseconds([&] { m.run(kOpLoraExpand, a); });
  };
  char name[64];
  auto time = [&](const char* half, const std::function<double(int)>& once, double& bytes, double& flops) -> double {
    double fastest = 1e18;
    for (int i = 0; i < 200; i++) fastest = std::min(fastest, once(i));
    snprintf(name, sizeof name, "%s %u x %u rows, %u ranks to %u, %u>%u", half, groups, rows, uint32_t(ranks.size()), maxRank, dIn, dOut);
    m.report(name, fastest, bytes, flops);
    return fastest;
  };
  const double shrinkNs = time("loraShrink", shrink, bytesA, flopsA);
  return shrinkNs + time("loraExpand", expand, bytesB, flopsB);
}

void benchSample(Machine& m, uint32_t rows, uint32_t vocab, float temperature, float topP, float spread) {
  auto logits = values(size_t{rows} * vocab);
  for (float& l : logits) l *= spread;
  std::vector<int32_t> records(rows * kSampleWords), slots(rows * kSlotWords), history(rows * 4096), results(rows * kResultWords), bias(2);
  auto put = [](int32_t& word, float f) { memcpy(&word, &f, 4); };
  for (uint32_t r = 0; r < rows; r++) {
    int32_t* record = records.data() + r * kSampleWords;
    record[kSampleSlot] = int(r);
    record[kSampleTarget] = -1;
    put(record[kSampleTemperature], temperature);
    put(record[kSampleTopP], topP);
    put(record[kSampleRepetition], 1);
    record[kSampleMaskRow] = -1;
  }
  const double ns = best([&](int) {
    for (uint32_t r = 0; r < rows; r++) slots[r * kSlotWords] = 8;
    SampleArgs a{logits.data(), records.data(), bias.data(), nullptr, slots.data(), history.data(), results.data(), rows, 0, rows, vocab, vocab,
                 rows, 2, 0, (vocab + 31) / 32, rows, 4096};
    m.run(kOpSample, a);
  });
  char name[64];
  snprintf(name, sizeof name, "sample %u x %u, T %.1f top-p %.2f spread %.1f", rows, vocab, temperature, topP, spread);
  m.report(name, ns, double(rows) * vocab * 4, 0);
}

void benchRows(Machine& m, uint32_t rows, uint32_t dim) {
  auto r = values(size_t{rows} * dim * 2), add = values(size_t{rows} * dim), w = values(dim), y = values(size_t{rows} * dim);
  for (float& x : add) x *= 1e-6f;
  char name[64];
  double ns = best([&](int) {
    RmsNormArgs a{r.data(), add.data(), w.data(), raw(y), nullptr, rows, rows, rows, dim, dim, dim, dim, 1e-5f, 0, kDTypeF32};
    m.run(kOpRmsNorm, a);
  });
  snprintf(name, sizeof name, "rmsNorm %u x %u", rows, dim);
  m.report(name, ns, 20.0 * rows * dim, 0);
  ns = best([&](int) {
    GatedActArgs a{r.data(), raw(y), rows, rows, dim, 2 * dim, 2 * dim, dim, kActivationSilu, kDTypeF32};
    m.run(kOpGatedAct, a);
  });
  snprintf(name, sizeof name, "gatedAct silu %u x %u", rows, dim);
  m.report(name, ns, 12.0 * rows * dim, 0);
  auto cosSin = values(4096 * 64);
  std::vector<int32_t> positions(rows, 77);
  ns = best([&](int) {
    RopeArgs a{y.data(), positions.data(), cosSin.data(), rows, rows, dim / 64, 64, dim, dim, 64, 0, 4096};
    m.run(kOpRope, a);
  });
  snprintf(name, sizeof name, "rope %u x %u", rows, dim);
  m.report(name, ns, 8.0 * rows * dim, 0);
}

#if defined(__linux__)
// Experts of an adapter, [gate; up] of DeepSeek-V2-Lite's, in three places: side by side as the base's are, in pages of the arena in any
// order, and those pages mapped side by side into a reserved range (ExpertWeave's virtual expert tensor, on a processor).
void benchExperts(Machine& m, uint32_t rowsOfKey) {
  constexpr uint32_t kKeys = 24, n = 2816, k = 2048, kPageBytes = 512 << 10, kSlotPages = n / 32 * (k / 64) * 4096 / kPageBytes;
  constexpr size_t kExpertBytes = size_t{kSlotPages} * kPageBytes;
  static_assert(kExpertBytes == size_t{n} * k * 2);
  constexpr uint32_t kPages = kKeys * kSlotPages;
  const int file = memfd_create("arena", 0);
  if (file < 0 || ftruncate(file, kKeys * kExpertBytes) != 0) std::abort();
  auto* arena = static_cast<uint8_t*>(mmap(nullptr, kKeys * kExpertBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  auto* range = static_cast<uint8_t*>(mmap(nullptr, kKeys * kExpertBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  uint8_t* anonymous = hugeMemory(kKeys * kExpertBytes);
  if (arena == MAP_FAILED || range == MAP_FAILED) std::abort();
  for (size_t at = 0; at < kKeys * kExpertBytes; at += kArenaBytes) {
    const size_t bytes = std::min(kArenaBytes, kKeys * kExpertBytes - at);
    memcpy(arena + at, m.arena, bytes);
    memcpy(anonymous + at, m.arena, bytes);
  }
  std::vector<int32_t> pages(kPages), types(kKeys, kDTypeBf16);
  for (uint32_t i = 0; i < kPages; i++) pages[i] = int32_t(i);
  std::shuffle(pages.begin(), pages.end(), std::mt19937(3));
  const double mapped = nanoseconds([&] {
    for (uint32_t i = 0; i < kPages; i++) {
      if (mmap(range + size_t{i} * kPageBytes, kPageBytes, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file, off_t(pages[i]) * kPageBytes) == MAP_FAILED) std::abort();
    }
  });
  const uint32_t rows = kKeys * rowsOfKey;
  auto x = values(size_t{rows} * k), y = values(size_t{rows} * n);
  std::vector<int32_t> spans;
  struct Place { const char* name; uint8_t* base; uint8_t* paged; };
  for (const Place& place : {Place{"side by side", anonymous, nullptr}, Place{"pages, memfd", nullptr, arena}, Place{"pages, huge", nullptr, anonymous}, Place{"mapped", range, nullptr}}) {
    spans.clear();
    for (uint32_t key = 0; key < kKeys; key++) for (uint32_t word : {key + (place.paged ? 1 : 0), key * rowsOfKey, rowsOfKey, 0u}) spans.push_back(int32_t(word));
    const double ns = best([&](int) {
      ExpertLinearArgs a = {};
      a.x = raw(x), a.base = place.base ? place.base : anonymous, a.spans = spans.data(), a.types = types.data(), a.pages = pages.data(), a.arena = place.paged, a.y = y.data();
      a.count = a.pairs = a.xRows = rows, a.topK = 1, a.experts = place.paged ? 1 : kKeys, a.n = n, a.k = k, a.ldx = k, a.ldy = n, a.dtype = kDTypeBf16, a.xType = kDTypeF32;
      a.maxSpans = kKeys, a.expertSlots = kKeys, a.slotPages = kSlotPages, a.nPages = kPages, a.pageBytes = kPageBytes;
      m.run(kOpExpertLinear, a);
    });
    char name[96];
    snprintf(name, sizeof name, "experts %u x %u rows, %s", kKeys, rowsOfKey, place.name);
    m.report(name, ns, double(kKeys) * kExpertBytes, 2.0 * rows * n * k);
  }
  printf("  mapping a page of %u KiB takes %.1f us\n", kPageBytes >> 10, mapped / kPages / 1000);
  munmap(arena, kKeys * kExpertBytes);
  munmap(range, kKeys * kExpertBytes);
  munmap(anonymous, kKeys * kExpertBytes);
  close(file);
}
#endif

// What `bench -- tune` reads: the fields that it may change, and how long a model's steps take with those that it gave.
void benchTuning(Machine& m) {
  for (const TuningField& field : kTuningFields) {
    if (field.tunable) printf("field %s %u %u %u\n", field.name, m.pool.tuning().*field.value, field.min, field.max);
  }
  auto time = [](const char* work, double ns) { printf("time %s %.0f\n", work, ns); };
  for (uint32_t rows : {1u, 8u, 32u}) time((std::to_string(rows) + "-rows").c_str(), benchModel(m, kSmolLM2, kDTypeBf16, rows, rows));
  time("512-rows", benchModel(m, kSmolLM2, kDTypeBf16, 512, 0));
  double lora = 0;
  for (const LoraSite& site : kLoraSites) lora += benchLora(m, 32, 1, {8, 16, 32, 64}, site.dIn, site.outs);
  time("32-adapters", kSmolLM2.layers * lora);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string isa = argc > 1 ? argv[1] : "portable", filter = argc > 3 ? argv[3] : "";
  const uint32_t threads = argc > 2 ? uint32_t(atoi(argv[2])) : 2;
  if (threads == 1) clockUsed = CLOCK_THREAD_CPUTIME_ID;
  const Kernel* kernels = kKernelsPortable;
#if defined(__x86_64__)
  if (isa == "avx2") kernels = kKernelsAvx2;
  if (isa == "avx512") kernels = kKernelsAvx512;
  if (isa == "avx512bf16") kernels = kKernelsAvx512Bf16;
  if (isa == "amx") kernels = kKernelsAmx;
#elif defined(__aarch64__)
  if (isa == "neon") kernels = kKernelsNeon;
  if (isa == "neondot") kernels = kKernelsNeonDot;
  if (isa == "neonbf16") kernels = kKernelsNeonBf16;
#endif
  Tuning tuning = defaultTuning(isaByName(isa));
  for (int i = 4; i < argc; i++) {
    const std::string field = argv[i];
    if (field == "x=bf16") {
      rowType = kDTypeBf16;
      continue;
    }
    const size_t equals = field.find('=');
    setTuning(tuning, field.substr(0, equals), equals == std::string::npos ? NAN : atof(field.c_str() + equals + 1));
  }
  Machine m(threads, tuning, kernels, isa);
  auto wanted = [&](const char* name) { return filter.empty() || filter == name; };
  for (const auto& [dtype, linear, model] : {std::tuple{kDTypeBf16, "linear", "model"}, std::tuple{kDTypeBf12, "bf12", "bf12-model"}, std::tuple{kDTypeInt8, "int8", "int8-model"}}) {
    if (wanted(linear)) {
      for (uint32_t rows : {1u, 4u, 8u, 12u, 32u, 64u, 512u}) {
        benchLinear(m, dtype, rows, 960, 576);
        benchLinear(m, dtype, rows, 576, 1536);
      }
      benchLinear(m, dtype, 1, 49152, 576);
      benchLinear(m, dtype, 32, 49152, 576);
      benchLinear(m, dtype, 512, 4096, 4096);
    }
    if (wanted(model)) {
      for (uint32_t rows : {1u, 8u, 32u, 64u}) benchModel(m, kSmolLM2, dtype, rows, rows);
      benchModel(m, kSmolLM2, dtype, 512, 0);
    }
  }
#if defined(__linux__)
  if (wanted("experts")) for (uint32_t rows : {1u, 4u, 16u}) benchExperts(m, rows);
#endif
  if (wanted("attention")) {
    benchAttention(m, 1, 1, 512, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 32, 8, 128, 1);
    benchAttention(m, 32, 1, 96, 9, 3, 64, 1);
    benchAttention(m, 32, 1, 512, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 9, 3, 64, 1, kDTypeInt8);
    benchAttention(m, 32, 1, 512, 9, 3, 64, 1, kDTypeInt8);
    benchAttention(m, 1, 1, 8192, 9, 3, 64, 1, kDTypeBf16);
    benchAttention(m, 32, 1, 512, 9, 3, 64, 1, kDTypeBf16);
    benchAttention(m, 8, 1, 2048, 32, 8, 128, 1);
    benchAttention(m, 1, 512, 512, 9, 3, 64, 400);
    benchAttention(m, 1, 512, 4096, 9, 3, 64, 400);
    benchAttention(m, 1, 512, 512, 9, 3, 64, 400, kDTypeBf16);
    benchAttention(m, 1, 512, 4096, 9, 3, 64, 400, kDTypeBf16);
    benchAttention(m, 1, 512, 512, 32, 8, 128, 400);
  }
  if (wanted("lora")) {
    struct Mix { uint32_t groups, rows; std::vector<uint32_t> ranks; };
    const Mix mixes[] = {{32, 1, {8, 16, 32, 64}}, {8, 1, {8, 16, 32, 64}}, {4, 8, {8, 16, 32, 64}}, {1, 32, {8}}, {1, 32, {64}}, {1, 512, {16}}, {1, 512, {64}}};
    for (const Mix& mix : mixes) for (const LoraSite& site : kLoraSites) benchLora(m, mix.groups, mix.rows, mix.ranks, site.dIn, site.outs);
    benchLora(m, 32, 1, {16}, 4096, {4096});
  }
  if (wanted("sample")) {
    benchSample(m, 1, 49152, 0, 1, 4);
    benchSample(m, 32, 49152, 0, 1, 4);
    benchSample(m, 1, 131072, 1, 1, 2);
    benchSample(m, 1, 131072, 1, 0.95f, 2);
    benchSample(m, 1, 131072, 1, 0.95f, 0.01f);
  }
  if (wanted("rows")) {
    benchRows(m, 1, 576);
    benchRows(m, 32, 576);
    benchRows(m, 512, 1536);
  }
  if (filter == "tune") benchTuning(m);
  if (filter == "neighbours") for (uint32_t rows : {1u, 8u, 32u}) benchNeighbours(m, rows, 1);
  return 0;
} catch (const weft::Error& error) {
  fprintf(stderr, "kernel-bench: %s\n", error.what());
  return 2;
}

// Times kernels beside what this machine can do at all: bytes it reads per second, multiply-adds it makes.
//
//   kernel-bench [isa] [threads] [filter]        isa: portable, avx2, avx512, avx512bf16, amx, neon
//                                                filter: linear, model, int8, int8-model, attention, lora, sample, rows; machine: ceilings alone
//
// Each line: the op and its shape, time (the best of repeated runs, so that a busy machine disturbs least), and
// achieved GB/s and GFLOP/s with their share of the ceilings, which are measured in the same run. Weights are drawn
// from a buffer larger than the caches, so that every run reads them from memory, as a step of a model does.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

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

uint8_t* raw(std::vector<float>& v) { return reinterpret_cast<uint8_t*>(v.data()); }

// A linear map of one stored format, int8 with the quantization of its input.
struct Linear {
  uint32_t dtype, n, k;
  size_t bytes() const { return dtype == kDTypeInt8 ? size_t{(n + 31) / 32} * int8PanelBytes(k) : size_t{(n + 31) / 32} * 32 * k * 2; }
  void run(Machine& m, uint8_t* x, float* q, const uint8_t* w, float* y, uint32_t rows) const {
    auto* weights = const_cast<uint8_t*>(w);
    if (dtype != kDTypeInt8) {
      LinearArgs a{x, weights, nullptr, y, rows, 0, rows, n, k, k, n, dtype, 0, kDTypeF32};
      return m.run(kOpLinear, a);
    }
    const auto words = uint32_t(int8RowWords(k));
    QuantizeRowsArgs quantize{x, q, rows, 0, rows, k, words, k, words, kDTypeF32};
    m.run(kOpQuantizeRows, quantize);
    LinearInt8Args a{q, weights, nullptr, y, rows, 0, rows, n, k, words, words, n, dtype, 0};
    m.run(kOpLinearInt8, a);
  }
};

const char* dtypeName(uint32_t dtype) { return dtype == kDTypeInt8 ? "int8" : "bf16"; }

void benchLinear(Machine& m, uint32_t dtype, uint32_t rows, uint32_t n, uint32_t k) {
  const Linear linear{dtype, n, k};
  auto x = values(size_t{rows} * k), q = values(rows * int8RowWords(k)), y = values(size_t{rows} * n);
  const size_t bytes = linear.bytes(), copies = kArenaBytes / bytes;
  const double ns = best([&](int i) { linear.run(m, raw(x), q.data(), m.arena + (i % copies) * bytes, y.data(), rows); });
  char name[64];
  snprintf(name, sizeof name, "linear %u x [%u, %u] %s", rows, n, k, dtypeName(dtype));
  m.report(name, ns, double(bytes), 2.0 * rows * n * k);
}

// All linear ops of a model, one after another: what a step of `rows` tokens takes without attention and norms.
void benchModel(Machine& m, const char* model, uint32_t dtype, uint32_t rows, uint32_t layers, uint32_t hidden, uint32_t qkv, uint32_t inner, uint32_t vocab, uint32_t logits) {
  struct Shape { uint32_t n, k; };
  const Shape shapes[] = {{qkv, hidden}, {hidden, hidden}, {2 * inner, hidden}, {hidden, inner}};
  auto x = values(size_t{rows} * std::max(hidden, inner)), q = values(rows * int8RowWords(std::max(hidden, inner)));
  auto y = values(size_t{std::max(rows, logits)} * std::max({2 * inner, qkv, logits ? vocab : 0}));
  double bytes = 0, flops = 0;
  const double ns = best([&](int) {
    size_t at = 0;
    bytes = flops = 0;
    auto linear = [&](uint32_t count, Shape s) {
      const Linear map{dtype, s.n, s.k};
      const size_t size = map.bytes();
      if (at + size > kArenaBytes) at = 0;
      map.run(m, raw(x), q.data(), m.arena + at, y.data(), count);
      at += size;
      bytes += double(size);
      flops += 2.0 * count * s.n * s.k;
    };
    for (uint32_t l = 0; l < layers; l++) for (const Shape& s : shapes) linear(rows, s);
    if (logits) linear(logits, {vocab, hidden});
  });
  char name[64];
  snprintf(name, sizeof name, "%s %s, %u rows: %.0f tok/s", model, dtypeName(dtype), rows, rows * 1e9 / ns);
  m.report(name, ns, bytes, flops);
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
  snprintf(name, sizeof name, "attention %u x %u rows at %u, %u/%u heads of %u%s", segments, rows, context, heads, kvHeads, dim, int8 ? ", int8" : "");
  double flops = 0;
  for (int32_t p : positions) flops += 4.0 * (p + 1) * width;
  m.report(name, ns, double(segments) * context * 2 * planeStride / kBlockTokens, flops);
}

// Groups of `rows` rows each, every group its own adapter, over the sites of one op.
void benchLora(Machine& m, uint32_t groups, uint32_t rows, std::vector<uint32_t> ranks, uint32_t dIn, std::vector<uint32_t> outs) {
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
  auto time = [&](const char* half, const std::function<double(int)>& once, double& bytes, double& flops) {
    double fastest = 1e18;
    for (int i = 0; i < 200; i++) fastest = std::min(fastest, once(i));
    snprintf(name, sizeof name, "%s %u x %u rows, %u ranks to %u, %u>%u", half, groups, rows, uint32_t(ranks.size()), maxRank, dIn, dOut);
    m.report(name, fastest, bytes, flops);
  };
  time("loraShrink", shrink, bytesA, flopsA);
  time("loraExpand", expand, bytesB, flopsB);
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

}  // namespace

int main(int argc, char** argv) {
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
#endif
  Machine m(threads, kernels, isa);
  auto wanted = [&](const char* name) { return filter.empty() || filter == name; };
  for (const auto& [dtype, linear, model] : {std::tuple{kDTypeBf16, "linear", "model"}, std::tuple{kDTypeInt8, "int8", "int8-model"}}) {
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
      for (uint32_t rows : {1u, 8u, 32u, 64u}) benchModel(m, "SmolLM2-135M", dtype, rows, 30, 576, 960, 1536, 49152, rows);
      benchModel(m, "SmolLM2-135M", dtype, 512, 30, 576, 960, 1536, 49152, 0);
    }
  }
  if (wanted("attention")) {
    benchAttention(m, 1, 1, 512, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 32, 8, 128, 1);
    benchAttention(m, 32, 1, 512, 9, 3, 64, 1);
    benchAttention(m, 1, 1, 8192, 9, 3, 64, 1, kDTypeInt8);
    benchAttention(m, 32, 1, 512, 9, 3, 64, 1, kDTypeInt8);
    benchAttention(m, 8, 1, 2048, 32, 8, 128, 1);
    benchAttention(m, 1, 512, 512, 9, 3, 64, 400);
    benchAttention(m, 1, 512, 4096, 9, 3, 64, 400);
    benchAttention(m, 1, 512, 512, 32, 8, 128, 400);
  }
  if (wanted("lora")) {
    struct Mix { uint32_t groups, rows; std::vector<uint32_t> ranks; };
    struct Site { uint32_t dIn; std::vector<uint32_t> outs; };
    const Mix mixes[] = {{32, 1, {8, 16, 32, 64}}, {8, 1, {8, 16, 32, 64}}, {4, 8, {8, 16, 32, 64}}, {1, 32, {8}}, {1, 32, {64}}, {1, 512, {16}}, {1, 512, {64}}};
    const Site sites[] = {{576, {576, 192, 192}}, {576, {576}}, {576, {1536, 1536}}, {1536, {576}}};
    for (const Mix& mix : mixes) for (const Site& site : sites) benchLora(m, mix.groups, mix.rows, mix.ranks, site.dIn, site.outs);
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
  return 0;
}

// y[t] = W x[t] + b for int8 weights and 16-bit activations, both scaled by groups of 64 of K.
//
// A lane is an output; one instruction multiplies two of K and adds them in int32, which is exact, so only the groups'
// order counts: ascending, one fused multiply-add each into one f32 accumulator per output.
//
// few rows    bound by memory: n·k·1.03 bytes once.
// many rows   bound by multiply-adds, two in the place of one f32: a register tile of kRowTile rows takes one widening
//             load for kLanes outputs of two K, one broadcast a row, one multiply and one addition for both. Dot products
//             of bytes take four K of an activation's high bytes, and of its low ones.
#pragma once

namespace weft {
namespace WEFT_ISA {

#ifdef WEFT_DOT_INT8
constexpr int kInt8Sums = 2;                             // for an output of a row: of high and of low bytes
#else
constexpr int kInt8Sums = 1;
#endif

// How many of a panel's vectors a register tile of `rows` takes.
constexpr int int8VectorsFor(int rows) {
  int vectors = kVectors;
  while (vectors > 1 && rows * vectors * kInt8Sums > kAccumulators) vectors /= 2;
  return vectors;
}

// What one pass over a panel asks of memory (see linear.h): the first a little ahead of itself, the others the next panel,
// a part each.
class Int8Ahead {
 public:
  Int8Ahead(const uint8_t* panel, const uint8_t* next, size_t lines, uint32_t passes)
      : panel_(panel), next_(next), step_(passes > 1 ? kInt8Line / (passes - 1) : 0), bytes_(lines * step_) {}
  void begin() {
    const uint32_t pass = done_++;
    const bool own = pass == 0 || !next_;
    at_ = own ? panel_ + (pass == 0 ? kDistance : 0) : next_ + (pass - 1) * bytes_;
    stride_ = own ? kInt8Line : step_;
  }
  void line() {
    __builtin_prefetch(at_);
    at_ += stride_;
  }

 private:
  static constexpr size_t kDistance = 4096;
  const uint8_t *panel_, *next_, *at_ = nullptr;         // next_: null where another tile begins
  size_t step_, bytes_, stride_ = 0;
  uint32_t done_ = 0;
};

#ifdef WEFT_DOT_INT8

// Sums of one group of `pairs` pairs: R rows, V vectors of outputs. A function of its own, so that they all stay in registers.
// Behind an odd pair lies the line of scales: it meets activations of zero, whose parts cancel for any weight.
template <int R, int V>
static __attribute__((noinline)) void int8Group(const uint8_t* w, const float* q, size_t ldx, uint32_t pairs, Int8Ahead& ahead, Ints (*sums)[V]) {
  static_assert(V % 2 == 0, "weights come for eight outputs");
  alignas(16) int8_t high[R][kInt8Group], low[R][kInt8Group];
  for (int r = 0; r < R; r++)
    for (uint32_t i = 0; i < kInt8Group; i += 16) splitBytes(reinterpret_cast<const int16_t*>(q + r * ldx) + i, high[r] + i, low[r] + i);
  Ints highs[R][V], lows[R][V], all[V];
#pragma GCC unroll 8
  for (int v = 0; v < V; v++) {
    all[v] = noInts();
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) highs[r][v] = lows[r][v] = noInts();
  }
  for (uint32_t i = 0; i < pairs; i += 2) {
    if (R > 3) {
      ahead.line();
      if (i + 1 < pairs) ahead.line();
    }
    Quads weights[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v += 2) loadQuads(reinterpret_cast<const int8_t*>(w) + 2 * kLanes * v, kInt8Line, weights[v], weights[v + 1]);
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) all[v] = addProducts(all[v], weights[v], onesQuads());
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const Quads h = splatQuad(high[r] + 2 * i), l = splatQuad(low[r] + 2 * i);
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) {
        highs[r][v] = addProducts(highs[r][v], weights[v], h);
        lows[r][v] = addProducts(lows[r][v], weights[v], l);
      }
    }
    w += 2 * kInt8Line;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sums[r][v] = joinBytes(highs[r][v], lows[r][v], all[v]);
}

#else

// Sums of one group of `pairs` pairs: R rows, V vectors of outputs. A function of its own, so that they all stay in registers.
template <int R, int V>
static __attribute__((noinline)) void int8Group(const uint8_t* w, const float* q, size_t ldx, uint32_t pairs, Int8Ahead& ahead, Ints (*sums)[V]) {
  Ints acc[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) acc[r][v] = noInts();
  for (uint32_t i = 0; i < pairs; i++) {
    if (R > 3) ahead.line();
    Pairs weights[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) weights[v] = widenPairs(reinterpret_cast<const int8_t*>(w) + 2 * kLanes * v);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const Pairs value = splatPair(q + r * ldx);
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) acc[r][v] = addProducts(acc[r][v], weights[v], value);
    }
    w += kInt8Line;
    q++;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sums[r][v] = acc[r][v];
}

#endif

template <int R, int V>
static void int8Tile(const LinearInt8Args& a, size_t row, size_t panel, int vector, Int8Ahead ahead) {
  const uint32_t pairs = int8Pairs(a.k), groups = int8Groups(a.k);
  const uint8_t* w = a.w + panel * int8PanelBytes(a.k);
  const float* x = a.x + row * a.ldx;
  const int lane = vector * kLanes;

  F sum[R][V];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sum[r][v] = zero();
  for (uint32_t g = 0; g < groups; g++) {
    const uint32_t left = pairs - g * kInt8Pairs;
    const uint32_t n = left < kInt8Pairs ? left : kInt8Pairs;
    Ints sums[R][V];
    int8Group<R, V>(w + 2 * lane, x + g * kInt8Pairs, a.ldx, n, ahead, sums);
    w += n * kInt8Line;
    if (R > 3) ahead.line();
    F scale[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) scale[v] = loadBf16(reinterpret_cast<const uint16_t*>(w) + lane + v * kLanes);
    w += kInt8Line;
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F own = splat(x[r * a.ldx + groups * kInt8Pairs + g]);
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) sum[r][v] = fma(floats(sums[r][v]), mul(scale[v], own), sum[r][v]);
    }
  }

#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
      const size_t out = panel * kOuts + lane + v * kLanes;
      if (out < a.n) linearStore(a, row + r, out, sum[r][v]);
    }
}

template <int R = kRowTile>
static void int8Dispatch(const LinearInt8Args& a, size_t row, uint32_t rows, size_t panel, Int8Ahead& ahead) {
  if constexpr (R > 0) {
    if (rows != (uint32_t)R) return int8Dispatch<R - 1>(a, row, rows, panel, ahead);
    constexpr int V = int8VectorsFor(R);
    for (int vector = 0; vector < kVectors; vector += V) {
      ahead.begin();
      int8Tile<R, V>(a, row, panel, vector, ahead);
    }
  }
}

// Tiles: chunks of rows × runs of panels; tiles that follow one another share weights.
struct Int8Plan {
  uint32_t chunks;
  Split panels;
  Int8Plan(const LinearInt8Args& a, uint32_t threads)
      : chunks(rowChunks(a.count)), panels(ceilDiv(a.n, kOuts), panelNs(a), threads) {}
  double panelNs(const LinearInt8Args& a) const {
    const double flops = kOuts * a.k * ceilDiv(a.count, chunks) / kFlopsPerNs, bytes = int8PanelBytes(a.k) / kBytesPerNs;
    return flops > bytes ? flops : bytes;
  }
};

static uint32_t linearInt8Tiles(const void* p, uint32_t threads) {
  const LinearInt8Args& a = *static_cast<const LinearInt8Args*>(p);
  if (a.count == 0) return 0;
  Int8Plan plan(a, threads);
  return plan.chunks * plan.panels.tiles();
}

static void linearInt8Run(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const LinearInt8Args& a = *static_cast<const LinearInt8Args*>(p);
  Int8Plan plan(a, threads);
  const uint32_t chunk = tile % plan.chunks, run = tile / plan.chunks;
  const uint32_t begin = evenBegin(a.count, plan.chunks, chunk), rows = evenBegin(a.count, plan.chunks, chunk + 1) - begin;
  const uint32_t parts = ceilDiv(rows, kRowTile);
  const uint32_t passes = passesOf(rows, int8VectorsFor);
  const size_t panelBytes = int8PanelBytes(a.k);
  const uint32_t end = plan.panels.end(run);
  for (uint32_t panel = plan.panels.begin(run); panel < end; panel++) {
    const uint8_t* bytes = a.w + panel * panelBytes;
    Int8Ahead ahead(bytes, panel + 1 < end ? bytes + panelBytes : nullptr, panelBytes / kInt8Line, passes);
    for (uint32_t i = 0; i < parts; i++) {
      const uint32_t from = evenBegin(rows, parts, i), to = evenBegin(rows, parts, i + 1);
      int8Dispatch(a, begin + from, to - from, panel, ahead);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

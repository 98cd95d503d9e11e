// y[t] = W x[t] + b, or y[t] += W x[t] + b.
//
// W lies in panels of 32 outputs, [ceil(k/depth)][32][depth]: outputs in lanes, K sequential, one fused multiply-add per
// weight and row into one accumulator per output. Whatever shares out rows and blocks, an output is the same chain of
// additions.
//
// few rows    bound by memory: n·k·size bytes once. All rows of a tile pass over a block while it is in L1/L2; with one
//             to three rows several blocks side by side keep enough additions in flight.
// many rows   bound by flops: 2·rows·n·k. A register tile of kRowTile rows (AVX-512: 12 × 32 outputs in 24 accumulators,
//             AVX2: 6 × 16 in 12) takes one load and one integer op a vector of weights and one broadcast a row.
//
// bf16 rows   are widened to the f32 that they are, unless the set multiplies bf16: AVX-512 and NEON with BF16 add a pair of
//             k at once (NEON with many rows two pairs: linear_bfmmla.h), AMX (linear_amx.h) 32. There too the order of
//             additions is K's alone.
#pragma once
#include <type_traits>

namespace weft {
namespace WEFT_ISA {

constexpr int kOuts = 32;
constexpr int kVectors = kOuts / kLanes;                 // in a block

// How much of a block a register tile of `rows` takes: whole blocks side by side, or some of the vectors of one.
constexpr int vectorsFor(int rows) {
  int vectors = kVectors;
  while (vectors > 2 && rows * vectors > kAccumulators) vectors /= 2;
  return vectors;
}
constexpr int blocksFor(int rows) {
  int blocks = 1;
  while (blocks < 4 && rows * 2 * blocks * kVectors <= kAccumulators) blocks *= 2;
  return blocks;
}

// What to ask of memory during one pass over a block. Additions of a pass with many rows are slower than memory, and
// leave the processor's own prefetchers asleep. The first pass asks a little ahead in its own block; the others share
// the next block, so that memory is busy all the time.
struct Ahead {
  const uint8_t* at;
  size_t step;                                           // bytes per row of the panel
};

class Passes {
 public:
  // resident: the block is in the cache already. next: null where another tile begins.
  Passes(const uint8_t* block, const uint8_t* next, size_t steps, size_t rowBytes, uint32_t total, bool resident = false)
      : block_(block), next_(next), steps_(steps), rowBytes_(rowBytes), total_(total), first_(resident ? 0 : 1) {}
  Ahead take() {
    const uint32_t pass = done_++;
    if (pass < first_) return {block_ + kDistance, rowBytes_};
    if (!next_) return {block_, rowBytes_};
    const size_t step = rowBytes_ / (total_ - first_);
    return {next_ + (pass - first_) * steps_ * step, step};
  }

 private:
  static constexpr size_t kDistance = 8192;              // twice the latency of memory at 12 rows
  const uint8_t *block_, *next_;
  size_t steps_, rowBytes_;
  uint32_t total_, first_, done_ = 0;
};

template <class W>
constexpr size_t panelSteps(size_t k) { return (k + W::kDepth - 1) / W::kDepth; }

// How one row of a panel, or its first Depth k, is added for R rows × B blocks × V vectors of outputs.

// f32 rows: one multiply-add for each k.
template <class Format>
struct MultiplyAdd {
  using Weights = Format;
  using Rows = F32;
  template <int Depth, int R, int B, int V>
  WEFT_INLINE void step(const typename Weights::Stored* w, size_t blockStride, const float* x, size_t ldx, F (&acc)[R][B][V]) {
    auto one = [&](auto depth) __attribute__((always_inline)) {
      F weights[B][V];
#pragma GCC unroll 4
      for (int b = 0; b < B; b++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) weights[b][v] = Weights::template weight<decltype(depth)::value>(w + b * blockStride + v * kLanes * Weights::kDepth);
#pragma GCC unroll 12
      for (int r = 0; r < R; r++) {
        const F value = splat(x[r * ldx]);
#pragma GCC unroll 4
        for (int b = 0; b < B; b++)
#pragma GCC unroll 8
          for (int v = 0; v < V; v++) accumulate(acc[r][b][v], value, weights[b][v]);
      }
    };
    one(std::integral_constant<int, 0>());
    if constexpr (Depth > 1) {
      // Both seem new to the compiler: pairs kept in registers would push accumulators out, and so would more addresses.
      x++;
      __asm__("" : "+r"(w), "+r"(x));
      one(std::integral_constant<int, 1>());
    }
  }
  // The same for weights of bf16 that are in registers, pair by pair.
  template <int Depth, int R, int B, int V>
  WEFT_INLINE void pairs(const F (&weights)[B][V], const float* x, size_t ldx, F (&acc)[R][B][V]) {
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F first = splat(x[r * ldx]), second = splat(Depth == 2 ? x[r * ldx + 1] : 0);
#pragma GCC unroll 4
      for (int b = 0; b < B; b++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
          accumulate(acc[r][b][v], first, lowHalf(weights[b][v]));
          if (Depth == 2) accumulate(acc[r][b][v], second, highHalf(weights[b][v]));
        }
    }
  }
};

#ifdef WEFT_DOT_BF16
// bf16 rows and weights: one dot product of two k.
struct DotBf16 {
  using Weights = Bf16;
  using Rows = Bf16;
  template <int Depth, int R, int B, int V>
  WEFT_INLINE void step(const uint16_t* w, size_t blockStride, const uint16_t* x, size_t ldx, F (&acc)[R][B][V]) {
    I weights[B][V];
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) weights[b][v] = loadPairs(w + b * blockStride + v * kLanes * 2);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      uint32_t pair = x[r * ldx];                        // nothing is read beyond k
      if (Depth == 2) memcpy(&pair, x + r * ldx, sizeof pair);
      const I value = splatPair(pair);
#pragma GCC unroll 4
      for (int b = 0; b < B; b++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) acc[r][b][v] = dotPairs(acc[r][b][v], weights[b][v], value);
    }
  }
  template <int Depth, int R, int B, int V>
  WEFT_INLINE void pairs(const F (&weights)[B][V], const uint16_t* x, size_t ldx, F (&acc)[R][B][V]) {
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      uint32_t pair = x[r * ldx];
      if (Depth == 2) memcpy(&pair, x + r * ldx, sizeof pair);
      const I value = splatPair(pair);
#pragma GCC unroll 4
      for (int b = 0; b < B; b++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) acc[r][b][v] = dotPairs(acc[r][b][v], pairsOf(weights[b][v]), value);
    }
  }
};
#endif

// y = sum of `n` outputs from `out` on, with what the op adds to it.
template <class Args>
WEFT_INLINE void linearStore(const Args& a, size_t row, size_t out, F sum) {
  const int n = a.n - out < (size_t)kLanes ? (int)(a.n - out) : kLanes;
  float* y = a.y + row * a.ldy + out;
  if (a.b) sum = add(sum, loadN(a.b + out, n));
  if (a.accumulate) sum = add(loadN(y, n), sum);
  storeN(y, sum, n);
}

template <int R, int B, int V>
WEFT_INLINE void clear(F (&acc)[R][B][V]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) acc[r][b][v] = zero();
}

// apart: blocks from one to the next.
template <int R, int B, int V>
WEFT_INLINE void storeTile(const LinearArgs& a, size_t row, size_t block, int vector, F (&acc)[R][B][V], size_t apart = 1) {
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 8
      for (int v = 0; v < V; v++) {
        const size_t out = (block + b * apart) * kOuts + (vector + v) * kLanes;
        if (out < a.n) linearStore(a, row + r, out, acc[r][b][v]);
      }
}

}  // namespace WEFT_ISA
}  // namespace weft

#ifdef WEFT_MATRIX_BF16
#include "linear_bfmmla.h"
#endif

namespace weft {
namespace WEFT_ISA {

template <class M, int R, int B, int V>
static void linearTile(const LinearArgs& a, size_t row, size_t block, int vector, Ahead ahead) {
  using W = typename M::Weights;
  constexpr int kDepth = W::kDepth, kLines = kOuts * kDepth * sizeof(typename W::Stored) / 64;
  const size_t rowValues = kOuts * kDepth, blockStride = panelSteps<W>(a.k) * rowValues, ldx = a.ldx;
  const auto* w = reinterpret_cast<const typename W::Stored*>(a.w) + block * blockStride + vector * kLanes * kDepth;
  const auto* x = rowOf<typename M::Rows>(a.x, row, ldx);

  F acc[R][B][V];
  clear(acc);
  size_t i = 0;
#ifdef WEFT_MATRIX_BF16
  if constexpr (std::is_same<M, DotBf16>() && R > 3 && B == 1) {
    i = bfmmlaPairs(w, x, ldx, a.k, ahead, acc);
    w += i * rowValues;
    x += i * kDepth;
  }
#endif
  for (; i < a.k / kDepth; i++) {
    if (R > 3)
      for (int b = 0; b < B; b++)
        for (int line = 0; line < kLines; line++)
          __builtin_prefetch(ahead.at + b * blockStride * sizeof *w + i * ahead.step + line * ahead.step / kLines);
    M::template step<kDepth>(w, blockStride, x, ldx, acc);
    w += rowValues;
    x += kDepth;
  }
  if (a.k % kDepth) M::template step<1>(w, blockStride, x, ldx, acc);
  storeTile(a, row, block, vector, acc);
}

// One register tile of R rows over `blocks` blocks (at most blocksFor(R)).
template <class M, int R>
static void linearRows(const LinearArgs& a, size_t row, size_t block, uint32_t blocks, Passes& passes) {
  constexpr int V = vectorsFor(R), B = blocksFor(R);
  if (blocks == (uint32_t)B) {
    for (int v = 0; v < kVectors; v += V) linearTile<M, R, B, V>(a, row, block, v, passes.take());
  } else {
    for (uint32_t b = 0; b < blocks; b++)
      for (int v = 0; v < kVectors; v += V) linearTile<M, R, 1, V>(a, row, block + b, v, passes.take());
  }
}

template <class M, int R = kRowTile>
static void linearDispatch(const LinearArgs& a, size_t row, uint32_t rows, size_t block, uint32_t blocks, Passes& passes) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) linearRows<M, R>(a, row, block, blocks, passes);
    else linearDispatch<M, R - 1>(a, row, rows, block, blocks, passes);
  }
}

// Passes that rows make over a block: register tiles × the parts of a block that each takes, which vectorsOf tells.
template <class VectorsOf>
WEFT_INLINE uint32_t passesOf(uint32_t rows, VectorsOf vectorsOf) {
  const uint32_t parts = ceilDiv(rows, kRowTile);
  uint32_t passes = 0;
  for (uint32_t i = 0; i < parts; i++) passes += kVectors / vectorsOf((int)(evenBegin(rows, parts, i + 1) - evenBegin(rows, parts, i)));
  return passes;
}

// All rows of `a` over `blocks` blocks.
template <class M>
static void linearPanels(const LinearArgs& a, size_t block, uint32_t blocks, Passes& passes) {
  const uint32_t parts = ceilDiv(a.count, kRowTile);
  for (uint32_t i = 0; i < parts; i++) {
    const uint32_t from = evenBegin(a.count, parts, i), to = evenBegin(a.count, parts, i + 1);
    linearDispatch<M>(a, from, to - from, block, blocks, passes);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

#include "linear_bf12.h"

namespace weft {
namespace WEFT_ISA {

// Chunks of rows whose activations stay in L2 beside a block of weights.
constexpr uint32_t kRowChunk = 48;
constexpr uint32_t rowChunks(uint32_t rows, uint32_t chunk = kRowChunk) { return rows <= chunk + chunk / 2 ? 1 : ceilDiv(rows, chunk); }

// Tiles: chunks of rows × runs of blocks; tiles that follow one another share weights.
struct LinearPlan {
  uint32_t chunks;
  Split blocks;
  LinearPlan(const LinearArgs& a, uint32_t threads)
      : chunks(rowChunks(a.count, chunkOf(a))), blocks(ceilDiv(a.n, kOuts), blockNs(a), threads) {
    // Whole register tiles of several blocks.
    const uint32_t step = a.count <= (uint32_t)kRowTile ? blocksFor((int)a.count) : 1;
    if (blocks.step > step) blocks.step -= blocks.step % step;
  }
  // Where a block in 12 bits is decoded once for each chunk, chunks are larger.
  static uint32_t chunkOf(const LinearArgs& a) {
    if (a.dtype != kDTypeBf12) return kRowChunk;
    const uint32_t size = a.xType == kDTypeBf16 && kDotPairs ? 2 : 4, fit = tuning().rowBytes / (a.k * size), most = 512 / size;
    return fit < kRowChunk ? kRowChunk : fit > most ? most : fit;
  }
  static double bytesOf(uint32_t dtype) { return dtype == kDTypeF32 ? 4 : dtype == kDTypeBf12 ? 1.5 : 2; }
  double blockNs(const LinearArgs& a) const {
    double flops = 2.0 * kOuts * a.k * ceilDiv(a.count, chunks) / kFlopsPerNs;
    double bytes = (double)kOuts * a.k * bytesOf(a.dtype) / kBytesPerNs;
    return flops > bytes ? flops : bytes;
  }
};

constexpr size_t wideStride(uint32_t k) { return (k + 15) / 16 * 16; }

// The op for rows [begin, begin + rows) alone, which are M's: where they are not, bf16 is widened into `wide`, once for all
// blocks of a tile.
template <class M>
static LinearArgs linearChunk(LinearArgs a, size_t begin, uint32_t rows, float* wide) {
  using Rows = typename M::Rows;
  a.y += begin * a.ldy;
  a.count = rows;
  if (!wide) {
    a.x = reinterpret_cast<uint8_t*>(rowOf<Rows>(a.x, begin, a.ldx));
    return a;
  }
  const size_t ld = wideStride(a.k);
  for (uint32_t r = 0; r < rows; r++) widenRow(rowOf<Bf16>(a.x, begin + r, a.ldx), wide + r * ld, a.k);
  a.x = reinterpret_cast<uint8_t*>(wide);
  a.ldx = (uint32_t)ld;
  return a;
}

// Blocks [block, end) for all rows of `a`. panel: room for one in bf16, where they are bf12.
template <class M>
static void linearBlocks(const LinearArgs& a, uint32_t block, uint32_t end, uint16_t* panel) {
  using W = typename M::Weights;
  if constexpr (std::is_same<W, Bf16>()) {
    if (a.dtype == kDTypeBf12) return bf12Panels<M>(a, block, end, panel);
  }
  const uint32_t passCount = passesOf(a.count, vectorsFor), step = a.count <= (uint32_t)kRowTile ? blocksFor((int)a.count) : 1;
  const size_t rowBytes = kOuts * W::kDepth * sizeof(typename W::Stored), steps = panelSteps<W>(a.k), blockBytes = steps * rowBytes;
  for (; block < end; block += step) {
    const uint8_t* bytes = a.w + block * blockBytes;
    Passes passes(bytes, block + step < end ? bytes + blockBytes : nullptr, steps, rowBytes, passCount);
    linearPanels<M>(a, block, end - block < step ? end - block : step, passes);
  }
}

template <class M>
static void linearRunAs(const LinearArgs& whole, uint32_t tile, uint32_t threads, Scratch& scratch) {
  LinearPlan plan(whole, threads);
  const uint32_t chunk = tile % plan.chunks, run = tile / plan.chunks;
  const uint32_t begin = evenBegin(whole.count, plan.chunks, chunk), rows = evenBegin(whole.count, plan.chunks, chunk + 1) - begin;
  const bool widened = whole.xType == kDTypeBf16 && std::is_same<typename M::Rows, F32>();
  const size_t panelBytes = whole.dtype == kDTypeBf12 ? bf12Room(whole.k, rows) : 0, wideBytes = widened ? rows * wideStride(whole.k) * sizeof(float) : 0;
  uint8_t* room = panelBytes + wideBytes ? static_cast<uint8_t*>(scratch.take(panelBytes + wideBytes)) : nullptr;
  const LinearArgs a = linearChunk<M>(whole, begin, rows, widened ? reinterpret_cast<float*>(room + panelBytes) : nullptr);
  linearBlocks<M>(a, plan.blocks.begin(run), plan.blocks.end(run), reinterpret_cast<uint16_t*>(room));
}

}  // namespace WEFT_ISA
}  // namespace weft

#ifdef WEFT_AMX
#include "linear_amx.h"
#endif

namespace weft {
namespace WEFT_ISA {

static uint32_t linearTiles(const void* p, uint32_t threads) {
  const LinearArgs& a = *static_cast<const LinearArgs*>(p);
  if (a.count == 0) return 0;
#ifdef WEFT_AMX
  if (AmxPlan::takes(a)) return AmxPlan(a, threads).tiles();
#endif
  LinearPlan plan(a, threads);
  return plan.chunks * plan.blocks.tiles();
}

static void linearRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LinearArgs& a = *static_cast<const LinearArgs*>(p);
#ifdef WEFT_AMX
  if (AmxPlan::takes(a)) return amxRun(a, tile, threads);
#endif
#ifdef WEFT_DOT_BF16
  if (a.xType == kDTypeBf16 && (a.dtype == kDTypeBf16 || a.dtype == kDTypeBf12)) return linearRunAs<DotBf16>(a, tile, threads, scratch);
#endif
  withFormat(a.dtype, [&](auto format) { linearRunAs<MultiplyAdd<decltype(format)>>(a, tile, threads, scratch); });
}

}  // namespace WEFT_ISA
}  // namespace weft

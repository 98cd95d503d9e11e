// y[t] = W x[t] + b, or y[t] += W x[t] + b.
//
// W lies as [blocks][k][32]: outputs in lanes, K sequential, one fused multiply-add per weight and row into one
// accumulator per output. Whatever shares out rows and blocks, an output is the same chain of additions.
//
// few rows    bound by memory: n·k·size bytes once. All rows of a tile pass over a block while it is in L1/L2; with one
//             to three rows several blocks side by side keep enough additions in flight.
// many rows   bound by flops: 2·rows·n·k. A register tile of kRowTile rows × 32 outputs (AVX-512: 24 accumulators)
//             takes one load and two integer ops for 32 weights and one broadcast a row, for 24 multiply-adds.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr int kOuts = 32;
constexpr int kPairs = kOuts / (2 * kLanes);             // pairs of vectors in a block

// How much of a block a register tile of `rows` takes: whole blocks side by side, or some of the pairs of one.
constexpr int pairsFor(int rows) {
  int pairs = kPairs;
  while (pairs > 1 && rows * pairs * 2 > kAccumulators) pairs /= 2;
  return pairs;
}
constexpr int blocksFor(int rows) {
  int blocks = 1;
  while (blocks < 4 && rows * 2 * blocks * kPairs * 2 <= kAccumulators) blocks *= 2;
  return blocks;
}

// What to ask of memory during one pass over a block. Additions of a pass with many rows are slower than memory, and
// leave the processor's own prefetchers asleep. The first pass asks a little ahead in its own block; the others share
// the next block, so that memory is busy all the time.
struct Ahead {
  const uint8_t* at;
  size_t step;                                           // bytes per k
};

class Passes {
 public:
  Passes(const uint8_t* block, const uint8_t* next, size_t k, size_t rowBytes, uint32_t total)
      : block_(block), next_(next), k_(k), rowBytes_(rowBytes), total_(total) {}
  Ahead take() {
    const uint32_t pass = done_++;
    if (pass == 0 || !next_) return {block_ + (pass == 0 ? kDistance : 0), rowBytes_};
    const size_t step = rowBytes_ / (total_ - 1);
    return {next_ + (pass - 1) * k_ * step, step};
  }

 private:
  static constexpr size_t kDistance = 8192;              // twice the latency of memory at 12 rows
  const uint8_t *block_, *next_;                         // next_: null where another tile begins
  size_t k_, rowBytes_;
  uint32_t total_, done_ = 0;
};

template <class W, int R, int B, int P>
static void linearTile(const LinearArgs& a, size_t row, size_t block, int pair, Ahead ahead) {
  using Stored = typename W::Stored;
  const size_t k = a.k, blockStride = k * kOuts;
  const Stored* w = reinterpret_cast<const Stored*>(a.w) + block * blockStride + pair * 2 * kLanes;
  const float* x = rowOf<F32>(a.x, row, a.ldx);
  const size_t ldx = a.ldx;

  F acc[R][B][P][2];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) acc[r][b][p][0] = acc[r][b][p][1] = zero();

  for (size_t i = 0; i < k; i++) {
    if (R > 3) for (int b = 0; b < B; b++) __builtin_prefetch(ahead.at + b * blockStride * sizeof(Stored) + i * ahead.step);
    F weights[B][P][2];
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) W::pair(w + b * blockStride + p * 2 * kLanes, weights[b][p][0], weights[b][p][1]);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F value = splat(x[r * ldx]);
#pragma GCC unroll 4
      for (int b = 0; b < B; b++)
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) {
          acc[r][b][p][0] = fma(value, weights[b][p][0], acc[r][b][p][0]);
          acc[r][b][p][1] = fma(value, weights[b][p][1], acc[r][b][p][1]);
        }
    }
    w += kOuts;
    x++;
  }

#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int b = 0; b < B; b++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        W::order(acc[r][b][p][0], acc[r][b][p][1]);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          const size_t out = (block + b) * kOuts + (pair + p) * 2 * kLanes + h * kLanes;
          if (out >= a.n) continue;
          const int n = a.n - out < (size_t)kLanes ? (int)(a.n - out) : kLanes;
          float* y = a.y + (row + r) * a.ldy + out;
          F sum = acc[r][b][p][h];
          if (a.b) sum = add(sum, loadN(a.b + out, n));
          if (a.accumulate) sum = add(loadN(y, n), sum);
          storeN(y, sum, n);
        }
      }
}

// One register tile of R rows over `blocks` blocks (at most blocksFor(R)).
template <class W, int R>
static void linearRows(const LinearArgs& a, size_t row, size_t block, uint32_t blocks, Passes& passes) {
  constexpr int P = pairsFor(R), B = blocksFor(R);
  if (blocks == (uint32_t)B) {
    for (int pair = 0; pair < kPairs; pair += P) linearTile<W, R, B, P>(a, row, block, pair, passes.take());
  } else {
    for (uint32_t b = 0; b < blocks; b++)
      for (int pair = 0; pair < kPairs; pair += P) linearTile<W, R, 1, P>(a, row, block + b, pair, passes.take());
  }
}

template <class W, int R = kRowTile>
static void linearDispatch(const LinearArgs& a, size_t row, uint32_t rows, size_t block, uint32_t blocks, Passes& passes) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) linearRows<W, R>(a, row, block, blocks, passes);
    else linearDispatch<W, R - 1>(a, row, rows, block, blocks, passes);
  }
}

constexpr uint32_t kRowChunk = 48;                       // rows whose activations stay in L2 beside a block of weights

// Tiles: chunks of rows × runs of blocks; tiles that follow one another share weights.
struct LinearPlan {
  uint32_t chunks;
  Split blocks;
  LinearPlan(const LinearArgs& a, uint32_t threads)
      : chunks(a.count <= kRowChunk + kRowChunk / 2 ? 1 : ceilDiv(a.count, kRowChunk)), blocks(ceilDiv(a.n, kOuts), blockNs(a), threads) {
    // Whole register tiles of several blocks.
    const uint32_t step = a.count <= (uint32_t)kRowTile ? blocksFor((int)a.count) : 1;
    if (blocks.step > step) blocks.step -= blocks.step % step;
  }
  double blockNs(const LinearArgs& a) const {
    double flops = 2.0 * kOuts * a.k * ceilDiv(a.count, chunks) / kFlopsPerNs;
    double bytes = (double)kOuts * a.k * (a.dtype == kDTypeF32 ? 4 : 2) / kBytesPerNs;
    return flops > bytes ? flops : bytes;
  }
};

static uint32_t linearTiles(const void* p, uint32_t threads) {
  const LinearArgs& a = *static_cast<const LinearArgs*>(p);
  if (a.count == 0) return 0;
  LinearPlan plan(a, threads);
  return plan.chunks * plan.blocks.tiles();
}

// The op for rows [begin, begin + rows) alone, with x in f32: bf16 is widened once for all blocks of a tile.
static LinearArgs linearChunk(LinearArgs a, size_t begin, uint32_t rows, Scratch& scratch) {
  a.y += begin * a.ldy;
  a.count = rows;
  if (a.xType == kDTypeF32) {
    a.x = reinterpret_cast<uint8_t*>(rowOf<F32>(a.x, begin, a.ldx));
    return a;
  }
  const size_t ld = (a.k + 15) / 16 * 16;
  float* wide = static_cast<float*>(scratch.take(rows * ld * sizeof(float)));
  for (uint32_t r = 0; r < rows; r++) widenRow(rowOf<Bf16>(a.x, begin + r, a.ldx), wide + r * ld, a.k);
  a.x = reinterpret_cast<uint8_t*>(wide);
  a.ldx = (uint32_t)ld;
  return a;
}

static void linearRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LinearArgs& whole = *static_cast<const LinearArgs*>(p);
  LinearPlan plan(whole, threads);
  const uint32_t chunk = tile % plan.chunks, run = tile / plan.chunks;
  const uint32_t begin = evenBegin(whole.count, plan.chunks, chunk), rows = evenBegin(whole.count, plan.chunks, chunk + 1) - begin;
  const LinearArgs a = linearChunk(whole, begin, rows, scratch);
  const uint32_t parts = ceilDiv(rows, kRowTile), step = parts == 1 ? blocksFor((int)rows) : 1;
  uint32_t passCount = 0;
  for (uint32_t i = 0; i < parts; i++) passCount += kPairs / pairsFor((int)(evenBegin(rows, parts, i + 1) - evenBegin(rows, parts, i)));
  withFormat(a.dtype, [&](auto format) {
    using W = decltype(format);
    const size_t rowBytes = kOuts * sizeof(typename W::Stored), blockBytes = a.k * rowBytes;
    const uint32_t end = plan.blocks.end(run);
    for (uint32_t block = plan.blocks.begin(run); block < end; block += step) {
      const uint32_t blocks = end - block < step ? end - block : step;
      const uint8_t* bytes = a.w + block * blockBytes;
      Passes passes(bytes, block + step < end ? bytes + blockBytes : nullptr, a.k, rowBytes, passCount);
      for (uint32_t i = 0; i < parts; i++) {
        const uint32_t from = evenBegin(rows, parts, i), to = evenBegin(rows, parts, i + 1);
        linearDispatch<W>(a, from, to - from, block, blocks, passes);
      }
    }
  });
}

}  // namespace WEFT_ISA
}  // namespace weft

// int8 weights and 16-bit activations, both scaled by groups of 64 of K: quantizeRows and linearInt8. Sums of a group are exact
// in int32 (int8_fragments.h), groups are added ascending by one fused multiply-add each, so every shape of block gives the same
// bits.
//
// few rows    bound by memory: n·k·1.03 bytes once. A block takes a panel; its warps take a group each and put their sums into
//             shared memory, where they are added up. 2 KiB a warp are on their way while it multiplies.
// many rows   bound by tensor cores, 2 · rows·n·k of their byte products: a warp takes a panel and 64 rows, whose
//             values the block shares.
#pragma once
#include "cuda/bounds.h"
#include "cuda/int8_shape.h"
#include "cuda/kernels/int8_fragments.h"
#include "cuda/kernels/rows.h"

namespace weft {
namespace cuda {

constexpr float kLeastInt16Scale = 1.17549435e-38f;      // the least normal f32: below it the reciprocal could overflow

// A warp takes a group: two values a lane.   bound by memory: 4 bytes read and 2 written a value
WEFT_KERNEL(quantizeRows, QuantizeRowsArgs) {
  const uint32_t row = blockIdx.x, groups = int8GroupsOf(a.k), lane = laneIndex();
  if (row >= countedFrom(step, a.count, a.rows, a.countFrom)) return;
  float* q = a.q + static_cast<uint64_t>(row) * a.ldq;
  for (uint32_t group = blockIdx.y * kQuantizeWarps + warpIndex(); group < groups; group += gridDim.y * kQuantizeWarps) {
    const uint32_t i = group * kInt8Group + 2 * lane;
    const uint64_t at = static_cast<uint64_t>(row) * a.ldx + i;
    const float first = i < a.k ? loadTyped(a.x, at, a.xType) : 0.0f, second = i + 1 < a.k ? loadTyped(a.x, at + 1, a.xType) : 0.0f;
    const float most = warpMax(fmaxf(fabsf(first), fabsf(second)));
    float scale = most / 32767.0f + warpSum(product(first, 0.0f) + product(second, 0.0f));   // NaN from a NaN or infinity
    uint32_t both = 0;
    if (scale >= kLeastInt16Scale) {
      const float reciprocal = 1.0f / scale;
      auto rounded = [&](float value) { return static_cast<uint32_t>(static_cast<int32_t>(rintf(product(value, reciprocal)))); };
      both = (rounded(first) & 0xffffu) | rounded(second) << 16;
    } else if (scale == scale) {
      scale = 0;
    }
    reinterpret_cast<uint32_t*>(q)[group * kInt8Pairs + lane] = both;
    if (lane == 0) q[groups * kInt8Pairs + group] = scale;
  }
}

WEFT_DEVICE void storeInt8(const LinearInt8Args& a, uint32_t row, uint32_t out, float sum) {
  if (out >= a.n) return;
  float* y = a.y + static_cast<uint64_t>(row) * a.ldy + out;
  if (a.b) sum += a.b[out];
  *y = a.accumulate ? *y + sum : sum;
}

struct alignas(16) Int8Four { int32_t v[4]; };

template <uint32_t TILES>
WEFT_DEVICE void int8FewRows(const LinearInt8Args& a, const Step& step) {
  constexpr uint32_t kRows = TILES * kInt8TileRows, kStride = kInt8Outs + 4;   // shifted by 4 banks a row: no conflicts
  __shared__ Int8Four sums[kInt8Warps][kRows][kStride / 4];
  __shared__ float outScales[kInt8Warps][kInt8Outs], rowScales[kInt8Warps][kRows];
  const uint32_t rows = countedFrom(step, a.count, a.rows, a.countFrom), rowTiles = (a.rows + kRows - 1) / kRows;
  const uint32_t begin = blockIdx.x % rowTiles * kRows, panel = blockIdx.x / rowTiles;
  if (begin >= rows) return;
  const uint32_t groups = int8GroupsOf(a.k), lane = laneIndex(), warp = warpIndex(), left = rows - begin;
  const float* x = a.x + static_cast<uint64_t>(begin) * a.ldx;

  float added[TILES] = {};                               // of output `lane` and rows warp + 8·t
  Int8Weights w;
  if (warp < groups) loadInt8Weights(w, int8GroupOf(a.w, panel, warp, a.k), int8LinesOf(warp, a.k));
  for (uint32_t from = 0; from < groups; from += kInt8Warps) {
    const uint32_t group = from + warp, next = group + kInt8Warps;
    if (group < groups) {
      const uint8_t* scales = int8GroupOf(a.w, panel, group, a.k) + int8LinesOf(group, a.k) * kInt8Line;
      outScales[warp][lane] = lowBf16(reinterpret_cast<const uint16_t*>(scales)[lane]);
      if (lane < kRows) rowScales[warp][lane] = lane < left ? x[static_cast<uint64_t>(lane) * a.ldx + groups * kInt8Pairs + group] : 0.0f;
      int32_t own[TILES][2][4];
      sumInt8Group<TILES>(own, w, [&](uint32_t tile, Int8Values& values) {
        const uint32_t row = tile * kInt8TileRows + lane / 4;
        const float* values16 = x + static_cast<uint64_t>(row) * a.ldx + group * kInt8Pairs;
        const uint32_t* pairs = reinterpret_cast<const uint32_t*>(values16) + lane % 4 * 4;
        WEFT_UNROLL for (uint32_t i = 0; i < 8; i++) values[i] = row < left ? pairs[i / 4 * 16 + i % 4] : 0;
      });
      if (next < groups) loadInt8Weights(w, int8GroupOf(a.w, panel, next, a.k), int8LinesOf(next, a.k));
      WEFT_UNROLL for (uint32_t t = 0; t < TILES; t++) {
        WEFT_UNROLL for (uint32_t r = 0; r < 2; r++) {
          sums[warp][t * kInt8TileRows + lane % 4 * 2 + r][lane / 4] = {{own[t][0][r], own[t][0][2 + r], own[t][1][r], own[t][1][2 + r]}};
        }
      }
    }
    __syncthreads();
    const uint32_t here = groups - from < kInt8Warps ? groups - from : kInt8Warps;
    for (uint32_t g = 0; g < here; g++) {
      WEFT_UNROLL for (uint32_t t = 0; t < TILES; t++) {
        const uint32_t row = t * kInt8TileRows + warp;
        const float sum = static_cast<float>(sums[g][row][lane / 4].v[lane % 4]);
        added[t] = fmaf(sum, outScales[g][lane] * rowScales[g][row], added[t]);
      }
    }
    __syncthreads();
  }
  WEFT_UNROLL for (uint32_t t = 0; t < TILES; t++) {
    const uint32_t row = t * kInt8TileRows + warp;
    if (row < left) storeInt8(a, begin + row, panel * kInt8Outs + lane, added[t]);
  }
}

WEFT_KERNEL_BOUNDS(linearInt8Rows8, LinearInt8Args, kInt8Warps * kWarp, 2) { int8FewRows<1>(a, step); }
WEFT_KERNEL_BOUNDS(linearInt8Rows16, LinearInt8Args, kInt8Warps * kWarp, 2) { int8FewRows<2>(a, step); }
WEFT_KERNEL_BOUNDS(linearInt8Rows32, LinearInt8Args, kInt8Warps * kWarp, 2) { int8FewRows<4>(a, step); }

WEFT_KERNEL_BOUNDS(linearInt8Many, LinearInt8Args, kInt8ManyPanels * kWarp, 2) {
  constexpr uint32_t kTiles = kInt8ManyRows / kInt8TileRows, kThreads = kInt8ManyPanels * kWarp;
  constexpr uint32_t kStride = 48;                       // words: eight lanes' 16 bytes lie in different banks
  constexpr uint32_t kLoads = kInt8ManyRows * kInt8Pairs / kThreads;
  static_assert(kInt8ManyRows <= kThreads, "a thread loads a row's scale");
  alignas(16) __shared__ uint32_t values[2][kInt8ManyRows][kStride];
  __shared__ float rowScales[2][kInt8ManyRows];
  const uint32_t rows = countedFrom(step, a.count, a.rows, a.countFrom), rowTiles = (a.rows + kInt8ManyRows - 1) / kInt8ManyRows;
  const uint32_t begin = blockIdx.x % rowTiles * kInt8ManyRows, panel = blockIdx.x / rowTiles * kInt8ManyPanels + warpIndex();
  if (begin >= rows) return;
  const uint32_t groups = int8GroupsOf(a.k), lane = laneIndex(), left = rows - begin;
  const bool mine = panel * kInt8Outs < a.n;
  const float* x = a.x + static_cast<uint64_t>(begin) * a.ldx;

  uint32_t words[kLoads] = {};
  float scale = 0;
  auto loadValues = [&](uint32_t group) {                // a warp's load is one row's group
    WEFT_UNROLL for (uint32_t i = 0; i < kLoads; i++) {
      const uint32_t row = i * kInt8ManyPanels + warpIndex();
      words[i] = row < left ? reinterpret_cast<const uint32_t*>(x + static_cast<uint64_t>(row) * a.ldx)[group * kInt8Pairs + lane] : 0;
    }
    const uint64_t scaleAt = static_cast<uint64_t>(threadIdx.x) * a.ldx + groups * kInt8Pairs + group;
    scale = threadIdx.x < kInt8ManyRows && threadIdx.x < left ? x[scaleAt] : 0.0f;
  };
  auto keepValues = [&](uint32_t stage) {
    WEFT_UNROLL for (uint32_t i = 0; i < kLoads; i++) values[stage][i * kInt8ManyPanels + warpIndex()][lane] = words[i];
    if (threadIdx.x < kInt8ManyRows) rowScales[stage][threadIdx.x] = scale;
  };

  float added[kTiles][2][4] = {};
  Int8Weights w = {};
  loadValues(0);
  if (mine) loadInt8Weights(w, int8GroupOf(a.w, panel, 0, a.k), int8LinesOf(0, a.k));
  for (uint32_t group = 0; group < groups; group++) {
    const uint32_t stage = group % 2;
    keepValues(stage);
    __syncthreads();
    if (group + 1 < groups) loadValues(group + 1);
    if (!mine) continue;                                 // a whole warp, which meets the others at the next barrier
    const uint8_t* scales = int8GroupOf(a.w, panel, group, a.k) + int8LinesOf(group, a.k) * kInt8Line;
    const Half outs = reinterpret_cast<const Half*>(scales)[lane / 4];
    const float outScales[4] = {lowBf16(outs.x), highBf16(outs.x), lowBf16(outs.y), highBf16(outs.y)};
    int32_t own[kTiles][2][4];
    sumInt8Group<kTiles>(own, w, [&](uint32_t tile, Int8Values& v) {
      const uint32_t* pairs = values[stage][tile * kInt8TileRows + lane / 4] + lane % 4 * 4;
      const Quad first = *reinterpret_cast<const Quad*>(pairs), second = *reinterpret_cast<const Quad*>(pairs + 16);
      v[0] = first.x, v[1] = first.y, v[2] = first.z, v[3] = first.w;
      v[4] = second.x, v[5] = second.y, v[6] = second.z, v[7] = second.w;
    });
    if (group + 1 < groups) loadInt8Weights(w, int8GroupOf(a.w, panel, group + 1, a.k), int8LinesOf(group + 1, a.k));
    WEFT_UNROLL for (uint32_t t = 0; t < kTiles; t++) {
      WEFT_UNROLL for (uint32_t r = 0; r < 4; r++) {
        const float rowScale = rowScales[stage][t * kInt8TileRows + lane % 4 * 2 + r % 2];
        WEFT_UNROLL for (uint32_t m = 0; m < 2; m++) {
          added[t][m][r] = fmaf(static_cast<float>(own[t][m][r]), outScales[2 * m + r / 2] * rowScale, added[t][m][r]);
        }
      }
    }
  }
  if (!mine) return;
  WEFT_UNROLL for (uint32_t t = 0; t < kTiles; t++) {
    WEFT_UNROLL for (uint32_t r = 0; r < 4; r++) {
      const uint32_t row = t * kInt8TileRows + lane % 4 * 2 + r % 2;
      if (row >= left) continue;
      const uint32_t out = panel * kInt8Outs + lane / 4 * 4 + r / 2;
      WEFT_UNROLL for (uint32_t m = 0; m < 2; m++) storeInt8(a, begin + row, out + 2 * m, added[t][m][r]);
    }
  }
}

}  // namespace cuda
}  // namespace weft

// Latent attention: keys in pages, linear maps of heads, attention over keys that heads share, what adapters add to the maps.
#pragma once
#include "cuda/kernels/adapter.h"
#include "cuda/kernels/expert_linear.h"
#include "cuda/kernels/pages.h"
#include "cuda/latent_shape.h"

namespace weft {
namespace cuda {

// Values `first` and `second` of x, turned.
WEFT_DEVICE void turnPair(const float* x, const float* cosSin, uint32_t rotary, bool interleaved, uint32_t i, uint32_t& first, uint32_t& second, float& a, float& b) {
  const uint32_t half = rotary / 2;
  first = interleaved ? 2 * i : i;
  second = interleaved ? 2 * i + 1 : i + half;
  const float c = cosSin[i], s = cosSin[half + i];
  a = product(x[first], c) - product(x[second], s);
  b = product(x[second], c) + product(x[first], s);
}

// A block takes a row.
WEFT_KERNEL(latentKv, LatentKvArgs) {
  __shared__ float sums[kLatentThreads / kWarp];
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const int32_t position = a.positions[row];
  if (!within(step, Bound::kPosition, row, position, a.maxPos)) return;
  uint8_t* page = pageOfRow(a, step, row, position);
  if (!page) return;
  const float *kv = a.kv + static_cast<uint64_t>(row) * a.ldkv, *cosSin = a.cosSin + static_cast<uint64_t>(position) * a.rope;
  uint16_t* key = reinterpret_cast<uint16_t*>(page) + static_cast<uint32_t>(position) % kBlockTokens;
  float squares = 0;
  for (uint32_t i = threadIdx.x; i < a.latent; i += kLatentThreads) squares = fmaf(kv[i], kv[i], squares);
  const float factor = 1.0f / sqrtf(blockSum(squares, sums) / static_cast<float>(a.latent) + a.eps);
  for (uint32_t i = threadIdx.x; i < a.latent; i += kLatentThreads) key[i * kBlockTokens] = static_cast<uint16_t>(toF16(product(a.w[i], product(kv[i], factor))));
  uint32_t first, second;
  float x, y;
  for (uint32_t i = threadIdx.x; i < a.rope / 2; i += kLatentThreads) {
    turnPair(kv + a.latent, cosSin, a.rope, a.interleaved, i, first, second, x, y);
    key[(a.latent + first) * kBlockTokens] = static_cast<uint16_t>(toF16(x));
    key[(a.latent + second) * kBlockTokens] = static_cast<uint16_t>(toF16(y));
  }
  for (uint32_t i = threadIdx.x; i < a.heads * (a.rope / 2); i += kLatentThreads) {
    const uint32_t head = i / (a.rope / 2);
    turnPair(a.q + static_cast<uint64_t>(row) * a.ldq + static_cast<uint64_t>(head + 1) * a.qDim - a.rope, cosSin, a.rope, a.interleaved, i % (a.rope / 2), first, second, x, y);
    float* to = a.query + static_cast<uint64_t>(row) * a.ldQuery + static_cast<uint64_t>(head) * a.dim + a.latent;
    to[first] = x;
    to[second] = y;
  }
}

// A warp takes a panel of a head for kHeadRows rows: outputs in lanes, k sequential. The first row that reads weights brings them
// into the cache, where those behind it find them.
template <uint32_t TYPE>
WEFT_DEVICE void headPanel(const HeadLinearArgs& a, uint32_t head, uint32_t panel, uint32_t first, uint32_t rows) {
  const uint32_t panels = (a.n + kPanelOuts - 1) / kPanelOuts, lane = threadIdx.x % kWarp;
  const uint64_t values = static_cast<uint64_t>(TYPE == kDTypeBf16 ? (a.k + 1) / 2 * 2 : a.k) * kPanelOuts;
  const uint8_t* w = a.w + (static_cast<uint64_t>(head) * panels + panel) * values * (TYPE == kDTypeF32 ? 4 : 2);
  const float* x = a.x + static_cast<uint64_t>(first) * a.ldx + static_cast<uint64_t>(head) * a.xStride;
  float sums[kHeadRows] = {};
  for (uint32_t k = 0; k < a.k; k += 2) {
    float weights[2];
    weightsAt<TYPE>(w, k, a.k, lane, weights[0], weights[1]);
    WEFT_UNROLL
    for (uint32_t r = 0; r < kHeadRows; r++) {
      if (r >= rows) continue;
      sums[r] = fmaf(x[static_cast<uint64_t>(r) * a.ldx + k], weights[0], sums[r]);
      if (k + 1 < a.k) sums[r] = fmaf(x[static_cast<uint64_t>(r) * a.ldx + k + 1], weights[1], sums[r]);
    }
  }
  const uint32_t out = panel * kPanelOuts + lane;
  if (out >= a.n) return;
  WEFT_UNROLL
  for (uint32_t r = 0; r < kHeadRows; r++) {
    if (r < rows) a.y[static_cast<uint64_t>(first + r) * a.ldy + static_cast<uint64_t>(head) * a.yStride + out] = sums[r];
  }
}

WEFT_KERNEL(headLinear, HeadLinearArgs) {
  const uint32_t rows = counted(step, a.count, a.rows), panels = (a.n + kPanelOuts - 1) / kPanelOuts;
  const uint32_t panel = blockIdx.x * kHeadLinearWarps + threadIdx.x / kWarp;
  if (panel >= a.heads * panels) return;
  for (uint32_t first = blockIdx.y * kHeadRows; first < rows; first += gridDim.y * kHeadRows) {
    const uint32_t left = rows - first < kHeadRows ? rows - first : kHeadRows, head = panel / panels;
    if (a.dtype == kDTypeBf16) headPanel<kDTypeBf16>(a, head, panel % panels, first, left);
    else if (a.dtype == kDTypeF16) headPanel<kDTypeF16>(a, head, panel % panels, first, left);
    else headPanel<kDTypeF32>(a, head, panel % panels, first, left);
  }
}

// The segment of a row, or -1: segments have their rows one after another.
WEFT_DEVICE int32_t segmentOf(const LatentAttentionArgs& a, const Step& step, uint32_t segments, uint32_t rows, uint32_t row) {
  for (uint32_t s = 0; s < segments; s++) {
    const int32_t* words = a.segments + static_cast<uint64_t>(s) * kSegmentWords;
    const int32_t start = words[kSegmentRowStart], count = words[kSegmentRowCount];
    if (start < 0 || count < 0 || static_cast<uint32_t>(start) + static_cast<uint32_t>(count) > rows) {
      report(step, Bound::kRows, s, start, rows + 1);
      return -1;
    }
    if (row >= static_cast<uint32_t>(start) && row < static_cast<uint32_t>(start) + static_cast<uint32_t>(count)) return static_cast<int32_t>(s);
  }
  return -1;
}

// A block takes some heads of a row: they share what it reads. Span by span a thread has a position for scores, then values of
// the latent, to which positions are added in ascending order; spans are merged in ascending order.
WEFT_KERNEL(latentAttention, LatentAttentionArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  __shared__ float reduced[kLatentThreads / kWarp];
  __shared__ uint64_t blocks[kAttentionSpan / kBlockTokens];             // of a span: where their keys begin, or ~0
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments), row = blockIdx.x;
  if (row >= rows) return;
  const int32_t segment = segmentOf(a, step, segments, rows, row);
  if (segment < 0) return;
  const int32_t position = a.positions[row];
  if (!within(step, Bound::kPosition, row, position, 0x7fffffff)) return;
  const int32_t* group = a.segments + static_cast<uint64_t>(segment) * kSegmentWords + kSegmentFirstBlock + 3 * a.kvGroup;
  if (group[0] < 0 || group[1] < 0 || group[2] < 0 || static_cast<uint32_t>(group[1]) + static_cast<uint32_t>(group[2]) > a.tableSize) {
    report(step, Bound::kPageTable, static_cast<uint32_t>(segment), group[1], a.tableSize);
    return;
  }
  const uint32_t dim = a.latent + a.rope, together = latentHeads(a.latent, a.rope), last = static_cast<uint32_t>(position);
  float *query = reinterpret_cast<float*>(shared), *acc = query + together * dim, *weights = acc + together * a.latent;
  for (uint32_t head = blockIdx.y * together; head < a.heads; head += gridDim.y * together) {
    const uint32_t heads = a.heads - head < together ? a.heads - head : together;
    const float* q = a.query + static_cast<uint64_t>(row) * a.ldq + static_cast<uint64_t>(head) * dim;
    for (uint32_t i = threadIdx.x; i < heads * dim; i += kLatentThreads) query[i] = product(q[i], a.scale);
    for (uint32_t i = threadIdx.x; i < heads * a.latent; i += kLatentThreads) acc[i] = 0;
    float top[kLatentHeadsMax], sum[kLatentHeadsMax];
    for (uint32_t h = 0; h < kLatentHeadsMax; h++) top[h] = -3.402823466e38f, sum[h] = 0;
    for (uint32_t span = 0; span * kAttentionSpan <= last; span++) {
      const uint32_t base = span * kAttentionSpan, seen = last - base + 1 < kAttentionSpan ? last - base + 1 : kAttentionSpan;
      __syncthreads();
      if (threadIdx.x < kAttentionSpan / kBlockTokens) {
        uint64_t at = ~uint64_t{0};
        if (threadIdx.x * kBlockTokens < seen) {
          const int32_t block = static_cast<int32_t>(base / kBlockTokens + threadIdx.x) - group[0];
          if (within(step, Bound::kBlock, row, block, static_cast<uint32_t>(group[2])) && within(step, Bound::kPage, row, a.pages[group[1] + block], a.nPages)) {
            at = static_cast<uint64_t>(a.pages[group[1] + block]) * a.pageBytes + a.layerOffset;
          }
        }
        blocks[threadIdx.x] = at;
      }
      __syncthreads();
      const uint64_t at = blocks[threadIdx.x / kBlockTokens];
      const bool visible = threadIdx.x < seen && at != ~uint64_t{0};
      const uint16_t* key = reinterpret_cast<const uint16_t*>(a.arena + (visible ? at : 0)) + threadIdx.x % kBlockTokens;
      float scores[kLatentHeadsMax] = {};
      for (uint32_t d = 0; visible && d < dim; d++) {
        const float value = fromF16(key[d * kBlockTokens]);
        WEFT_UNROLL
        for (uint32_t h = 0; h < kLatentHeadsMax; h++) if (h < heads) scores[h] = fmaf(query[h * dim + d], value, scores[h]);
      }
      float before[kLatentHeadsMax], after[kLatentHeadsMax];
      for (uint32_t h = 0; h < heads; h++) {
        float high = warpMax(visible ? scores[h] : -3.402823466e38f);
        __syncthreads();
        if (threadIdx.x % kWarp == 0) reduced[threadIdx.x / kWarp] = high;
        __syncthreads();
        for (uint32_t i = 0; i < kLatentThreads / kWarp; i++) high = fmaxf(high, reduced[i]);
        // expOf gives 0 for a NaN: a score that is one must stay one.
        const float weight = visible ? (scores[h] == scores[h] ? expOf(scores[h] - high) : scores[h]) : 0.0f;
        weights[h * kAttentionSpan + threadIdx.x] = weight;
        __syncthreads();
        const float spanSum = blockSum(weight, reduced), highest = fmaxf(top[h], high);
        before[h] = expOf(top[h] - highest);
        after[h] = expOf(high - highest);
        sum[h] = span == 0 ? spanSum : product(sum[h], before[h]) + product(spanSum, after[h]);
        top[h] = highest;
      }
      __syncthreads();
      for (uint32_t d = threadIdx.x; d < a.latent; d += kLatentThreads) {
        float sums[kLatentHeadsMax] = {};
        for (uint32_t t = 0; t < seen; t++) {
          const uint64_t where = blocks[t / kBlockTokens];
          if (where == ~uint64_t{0}) continue;
          const float value = fromF16(reinterpret_cast<const uint16_t*>(a.arena + where)[d * kBlockTokens + t % kBlockTokens]);
          WEFT_UNROLL
          for (uint32_t h = 0; h < kLatentHeadsMax; h++) if (h < heads) sums[h] = fmaf(weights[h * kAttentionSpan + t], value, sums[h]);
        }
        for (uint32_t h = 0; h < heads; h++) {
          float& total = acc[h * a.latent + d];
          total = span == 0 ? sums[h] : product(total, before[h]) + product(sums[h], after[h]);
        }
      }
    }
    float* out = a.out + static_cast<uint64_t>(row) * a.ldo + static_cast<uint64_t>(head) * a.latent;
    for (uint32_t h = 0; h < heads; h++) {
      for (uint32_t d = threadIdx.x; d < a.latent; d += kLatentThreads) out[static_cast<uint64_t>(h) * a.latent + d] = acc[h * a.latent + d] / sum[h];
    }
    __syncthreads();
  }
}

WEFT_DEVICE float halfOf(const uint8_t* values, uint32_t i, uint32_t dtype) {
  const uint16_t half = reinterpret_cast<const uint16_t*>(values)[i];
  return dtype == kDTypeBf16 ? lowBf16(half) : fromF16(half);
}

// A block takes a head of a row: that of the first entry that names it, which then takes in all groups with this row, in their order.
WEFT_KERNEL(latentLora, LatentLoraArgs) {
  constexpr uint32_t kUnitOuts = 64, kRankMax = 256, kUnitsMax = 1024 / kUnitOuts + 2;          // held by check_shapes.cpp
  __shared__ const uint8_t* ranks[kRankMax];
  __shared__ const uint8_t* units[kUnitsMax];
  __shared__ float u[kRankMax];
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows), entry = blockIdx.x;
  if (entry >= groupRows || !within(step, Bound::kGroupRow, entry, a.groupRows[entry], a.rows)) return;
  const int32_t row = a.groupRows[entry];
  for (uint32_t i = 0; i < entry; i++) if (a.groupRows[i] == row) return;
  const uint32_t xDim = a.transposed ? a.outs : a.latent, yDim = a.transposed ? a.latent : a.outs;
  for (uint32_t head = blockIdx.y; head < a.heads; head += gridDim.y) {
    const float* x = a.x + static_cast<uint64_t>(row) * a.ldx + static_cast<uint64_t>(head) * a.xStride;
    float* y = a.y + static_cast<uint64_t>(row) * a.ldy + static_cast<uint64_t>(head) * a.yStride;
    const uint32_t from = head * a.headOuts + a.firstOut, firstUnit = from / kUnitOuts, lastUnit = (from + a.outs - 1) / kUnitOuts;
    for (uint32_t g = 0; g < groups; g++) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      for (uint32_t i = 0; i < group.rows; i++) {
        if (a.groupRows[group.first + i] != row) continue;
        const Run runA = runOf(a, step, group, 0, 0, 0, (static_cast<uint64_t>(a.latent) + 63) / 64 * 128);
        const Run runB = runOf(a, step, group, 0, 1, (a.heads * a.headOuts + kUnitOuts - 1) / kUnitOuts, 0);
        if (runA.units == 0 || runB.units == 0) continue;
        if (runA.rank != runB.rank || runB.tail != 0) {
          report(step, Bound::kRun, static_cast<uint32_t>(runWords(a, group, 0, 1) - a.tables), static_cast<int32_t>(runB.rank), runA.rank);
          continue;
        }
        __syncthreads();
        for (uint32_t j = threadIdx.x; j < runA.rank; j += kLatentThreads) ranks[j] = unitAt(a, step, runA, j);
        for (uint32_t unit = firstUnit + threadIdx.x; unit <= lastUnit; unit += kLatentThreads) units[unit - firstUnit] = unitAt(a, step, runB, unit);
        __syncthreads();
        // Value k of rank row j, of A or of the head's part of B.
        const auto ofA = [&](uint32_t j, uint32_t k) { return ranks[j] ? halfOf(ranks[j], k, runA.dtype) : 0.0f; };
        const auto ofB = [&](uint32_t j, uint32_t k) {
          const uint8_t* unit = units[(from + k) / kUnitOuts - firstUnit];
          return unit ? halfOf(unit, j * kUnitOuts + (from + k) % kUnitOuts, runB.dtype) : 0.0f;
        };
        for (uint32_t j = threadIdx.x / kWarp; j < runA.rank; j += kLatentThreads / kWarp) {
          float sum = 0;
          for (uint32_t k = threadIdx.x % kWarp; k < xDim; k += kWarp) sum = fmaf(a.transposed ? ofB(j, k) : ofA(j, k), x[k], sum);
          sum = warpSum(sum);
          if (threadIdx.x % kWarp == 0) u[j] = sum;
        }
        __syncthreads();
        const float factor = product(runB.scale, group.weight);
        for (uint32_t k = threadIdx.x; k < yDim; k += kLatentThreads) {
          float sum = 0;
          for (uint32_t j = 0; j < runA.rank; j++) sum = fmaf(u[j], a.transposed ? ofA(j, k) : ofB(j, k), sum);
          y[k] = fmaf(factor, sum, y[k]);
        }
      }
    }
  }
}

}  // namespace cuda
}  // namespace weft

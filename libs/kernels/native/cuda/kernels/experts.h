// Mixture of experts: where rows go, rows of one expert together, and back. Few bytes and flops beside the experts' own weights.
#pragma once
#include "cuda/bounds.h"
#include "cuda/experts_shape.h"
#include "cuda/fours.h"
#include "cuda/kernels/heads.h"
#include "cuda/numbers.h"
#include "cuda/reduce.h"

namespace weft {
namespace cuda {

// The largest of n values, which is then taken: it becomes kTaken. Ties, and NaN among NaN: the lower one. All lanes of a warp call it.
constexpr float kTaken = -2, kNotANumber = -1;
WEFT_DEVICE uint32_t takeLargest(float* values, uint32_t n) {
  float best = kTaken;
  uint32_t at = n - 1;
  for (uint32_t i = laneIndex(); i < n; i += kWarp) {
    const float value = values[i] == values[i] ? values[i] : kNotANumber;
    if (value > best) best = value, at = i;
  }
  for (uint32_t step = kWarp / 2; step > 0; step /= 2) {
    const float value = __shfl_xor_sync(kAllLanes, best, step);
    const uint32_t other = __shfl_xor_sync(kAllLanes, at, step);
    if (value > best || (value == best && other < at)) best = value, at = other;
  }
  __syncwarp();
  if (laneIndex() == 0) values[at] = kTaken;
  __syncwarp();
  return at;
}

// Where the map of a row's adapter sends an expert.
WEFT_DEVICE int32_t keyOf(const RouteExpertsArgs& a, const Step& step, uint32_t row, uint32_t expert) {
  const int32_t adapter = a.map ? a.rowAdapters[row] : -1;
  if (adapter == -1 || !within(step, Bound::kAdapterSlot, row, adapter, a.adapterSlots)) return static_cast<int32_t>(expert);
  const int32_t slot = a.map[static_cast<uint64_t>(adapter) * a.experts + expert];
  if (slot == -1 || !within(step, Bound::kExpert, expert, slot, a.expertSlots)) return static_cast<int32_t>(expert);
  return static_cast<int32_t>(a.experts) + slot;
}

// A warp takes a row. Shared: its probabilities, those of its groups, and the probabilities that are left.
WEFT_KERNEL(routeExperts, RouteExpertsArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  const uint32_t row = blockIdx.x * kRouteWarps + warpIndex(), lane = laneIndex();
  if (row >= counted(step, a.count, a.rows)) return;
  float* p = reinterpret_cast<float*>(shared) + warpIndex() * (2 * a.experts + a.nGroups);
  float *left = p + a.experts, *groups = left + a.experts;
  const float* x = a.logits + static_cast<uint64_t>(row) * a.ldl;
  float most = x[0];
  for (uint32_t e = lane; e < a.experts; e += kWarp) most = fmaxf(most, x[e]);
  most = warpMax(most);
  float sum = 0;
  for (uint32_t e = lane; e < a.experts; e += kWarp) {
    const float v = x[e] - most;
    p[e] = expOf(v) + (v - v);                           // NaN for what is not finite
    sum += p[e];
  }
  sum = warpSum(sum);
  for (uint32_t e = lane; e < a.experts; e += kWarp) left[e] = p[e] = p[e] / sum;
  __syncwarp();
  if (a.nGroups > 1) {
    const uint32_t size = a.experts / a.nGroups;
    for (uint32_t g = lane; g < a.nGroups; g += kWarp) {
      float best = p[g * size];
      for (uint32_t i = 1; i < size; i++) best = fmaxf(best, p[g * size + i]);
      groups[g] = best;
    }
    __syncwarp();
    for (uint32_t i = 0; i < a.topGroups; i++) takeLargest(groups, a.nGroups);
    for (uint32_t e = lane; e < a.experts; e += kWarp) if (groups[e / size] != kTaken) left[e] = kTaken;
    __syncwarp();
  }
  float chosen = 0;
  for (uint32_t c = 0; c < a.topK; c++) {
    const uint32_t expert = takeLargest(left, a.experts);
    chosen += p[expert];
    if (lane > 0) continue;
    a.keys[static_cast<uint64_t>(row) * a.topK + c] = keyOf(a, step, row, expert);
    a.weights[static_cast<uint64_t>(row) * a.topK + c] = p[expert];
  }
  __syncwarp();
  for (uint32_t c = 0; lane == 0 && c < a.topK; c++) {
    float& weight = a.weights[static_cast<uint64_t>(row) * a.topK + c];
    weight = product(a.normalize ? weight / chosen : weight, a.scale);
  }
}

// One block: counts by key, then where each key begins, then one warp puts pairs in their places, in their order.
WEFT_KERNEL_BOUNDS(groupExperts, GroupExpertsArgs, kGroupThreads, 1) {
  __shared__ uint32_t warpRows[kGroupThreads / kWarp], warpSpans[kGroupThreads / kWarp];
  auto* next = reinterpret_cast<uint32_t*>(step.scratch);
  const uint32_t pairs = counted(step, a.count, a.pairs), lane = laneIndex(), warp = warpIndex();
  for (uint32_t key = threadIdx.x; key < a.nKeys; key += kGroupThreads) next[key] = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < pairs; i += kGroupThreads) {
    if (within(step, Bound::kExpert, i, a.keys[i], a.nKeys)) atomicAdd(&next[a.keys[i]], 1u);
  }
  __syncthreads();
  uint32_t rowsBefore = 0, spansBefore = 0;
  for (uint32_t first = 0; first < a.nKeys; first += kGroupThreads) {
    const uint32_t key = first + threadIdx.x, rows = key < a.nKeys ? next[key] : 0;
    uint32_t rowSum = rows, spanSum = rows ? 1 : 0;
    for (uint32_t d = 1; d < kWarp; d *= 2) {
      const uint32_t lowerRows = __shfl_sync(kAllLanes, rowSum, lane >= d ? lane - d : lane);
      const uint32_t lowerSpans = __shfl_sync(kAllLanes, spanSum, lane >= d ? lane - d : lane);
      if (lane >= d) rowSum += lowerRows, spanSum += lowerSpans;
    }
    if (lane == kWarp - 1) warpRows[warp] = rowSum, warpSpans[warp] = spanSum;
    __syncthreads();
    uint32_t allRows = 0, allSpans = 0;
    for (uint32_t w = 0; w < kGroupThreads / kWarp; w++) {
      if (w == warp) rowSum += allRows, spanSum += allSpans;
      allRows += warpRows[w], allSpans += warpSpans[w];
    }
    const uint32_t start = rowsBefore + rowSum - rows;
    if (key < a.nKeys) next[key] = start;
    if (rows) {
      int32_t* span = a.spans + static_cast<uint64_t>(spansBefore + spanSum - 1) * kSpanWords;
      span[kSpanKey] = static_cast<int32_t>(key), span[kSpanStart] = static_cast<int32_t>(start), span[kSpanCount] = static_cast<int32_t>(rows);
      span[3] = 0;
    }
    rowsBefore += allRows, spansBefore += allSpans;
    __syncthreads();                                     // nobody reads the warps' sums any more
  }
  for (uint32_t i = spansBefore * kSpanWords + threadIdx.x; i < a.maxSpans * kSpanWords; i += kGroupThreads) a.spans[i] = 0;
  if (warp > 0) return;
  for (uint32_t first = 0; first < pairs; first += kWarp) {
    const uint32_t i = first + lane;
    const bool there = i < pairs && a.keys[i] >= 0 && static_cast<uint32_t>(a.keys[i]) < a.nKeys;
    const int32_t key = there ? a.keys[i] : -1;
    uint32_t before = 0, same = 0;                       // pairs of this key among the 32, those before this one
    for (uint32_t l = 0; l < kWarp; l++) {
      const int32_t other = __shfl_sync(kAllLanes, key, l);
      before += l < lane && other == key ? 1 : 0;
      same += other == key ? 1 : 0;
    }
    const uint32_t place = there ? next[key] + before : 0;
    __syncwarp();
    if (there && before + 1 == same) next[key] = place + 1;
    __syncwarp();
    if (!there) continue;
    a.order[place] = static_cast<int32_t>(i);
    a.inverse[i] = static_cast<int32_t>(place);
  }
}

WEFT_KERNEL(combineExperts, CombineExpertsArgs) {
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  float* out = a.out + static_cast<uint64_t>(row) * a.ldo;
  const float kept = a.gate ? 1.0f / (1.0f + expOf(-a.gate[static_cast<uint64_t>(row) * a.ldg])) : 1.0f;
  for (uint64_t i = 4 * (uint64_t{blockIdx.y} * blockDim.x + threadIdx.x); i < a.dim; i += 4 * uint64_t{gridDim.y} * blockDim.x) {
    const uint32_t n = fourOf(static_cast<uint32_t>(i), a.dim);
    Four sum = {};
    if (a.accumulate) {
      sum = loadFour(out, i, n);
      for (float& value : sum.v) value = product(kept, value);
    }
    for (uint32_t c = 0; c < a.topK; c++) {
      const uint64_t pair = static_cast<uint64_t>(row) * a.topK + c;
      const int32_t place = a.inverse[pair];
      if (!within(step, Bound::kIndex, static_cast<uint32_t>(pair), place, a.pairs)) continue;
      const Four y = loadFour(a.y + static_cast<uint64_t>(place) * a.ldy, i, n);
      for (uint32_t j = 0; j < 4; j++) sum.v[j] = fmaf(a.weights[pair], y.v[j], sum.v[j]);
    }
    storeFour(out, i, sum, n);
  }
}

}  // namespace cuda
}  // namespace weft

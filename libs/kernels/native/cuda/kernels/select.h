// What sampling asks of one row, by a whole block: extremes, sums, a radix descent to the greatest, and the place where a sum
// is reached. Sums are whole numbers: the order of additions doesn't show, so atomic additions may make them.
//
// bound by memory: a pass reads 4 bytes a token, mostly out of L2, which gives one multiprocessor about 64 bytes a clock
#pragma once
#include "cuda/fours.h"
#include "cuda/reduce.h"
#include "cuda/sample_shape.h"

namespace weft {
namespace cuda {

constexpr uint32_t kSampleWarps = kSampleThreads / kWarp, kSampleBins = 1u << kSampleBinBits;
constexpr uint32_t kNobody = 0xffffffffu;

struct SelectShared {
  uint64_t sums[kSampleWarps];
  float values[kSampleWarps];
  uint32_t ids[kSampleWarps];
  uint32_t low[kSampleBins], high[kSampleBins];          // of a bin's measure
  uint64_t above, equal;
  uint32_t bin;
};

struct AddUp { template <typename T> WEFT_DEVICE T operator()(T a, T b) const { return a + b; } };
struct Least { template <typename T> WEFT_DEVICE T operator()(T a, T b) const { return a < b ? a : b; } };

// Every thread gets the combination over the block. All of the block's threads call it.
template <typename T, typename Combine>
WEFT_DEVICE T overBlock(T value, T* shared, Combine combine) {
  for (uint32_t by = kWarp / 2; by > 0; by /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, by));
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = shared[threadIdx.x % kWarp];
  static_assert(kSampleWarps == kWarp, "a lane for each warp");
  for (uint32_t by = kWarp / 2; by > 0; by /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, by));
  __syncthreads();
  return value;
}

// use(id, value) for every value of a row; a thread's ids ascend. 32 bytes a thread are on their way at once.
template <typename Use>
WEFT_DEVICE void eachOf(const float* x, uint32_t n, Use use) {
  const uint32_t fours = aligned(x, 16) ? n / 4 : 0, whole = fours / (2 * kSampleThreads) * (2 * kSampleThreads);
  const Four* at = reinterpret_cast<const Four*>(x);
  for (uint32_t i = threadIdx.x; i < whole; i += 2 * kSampleThreads) {
    const Four one = at[i], two = at[i + kSampleThreads];
    WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) use(4 * i + j, one.v[j]);
    WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) use(4 * (i + kSampleThreads) + j, two.v[j]);
  }
  for (uint32_t id = 4 * whole + threadIdx.x; id < n; id += kSampleThreads) use(id, x[id]);
}

// Unsigned keys in the order of floats; zeros of both signs are one.
WEFT_DEVICE uint32_t orderOf(float value) {
  const uint32_t bits = value == 0 ? 0 : floatToBits(value);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

struct RowStats {
  float max;
  uint32_t first;        // the first id of max
  uint32_t count;        // values above -inf
  float least;           // at least as many values as there are warps are not below it; -inf: not known
  bool fit;              // no NaN, no +inf, something above -inf
};

WEFT_DEVICE RowStats statsOf(const float* x, uint32_t n, SelectShared& shared) {
  float best = -INFINITY;
  uint32_t first = kNobody, count = 0, bad = 0;
  eachOf(x, n, [&](uint32_t id, float value) {
    if (value > best) {
      best = value;
      first = id;
    }
    count += value > -INFINITY;
    bad += !(value < INFINITY);
  });
  float max = best;
  for (uint32_t by = kWarp / 2; by > 0; by /= 2) max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, by));
  if (threadIdx.x % kWarp == 0) shared.values[threadIdx.x / kWarp] = max;
  __syncthreads();
  const float ofWarp = shared.values[threadIdx.x % kWarp];
  RowStats stats;
  stats.max = warpMax(ofWarp);
  stats.least = -warpMax(-ofWarp);
  stats.first = overBlock(best == stats.max ? first : kNobody, shared.ids, Least());
  const uint64_t counts = overBlock(uint64_t{bad} << 32 | count, shared.sums, AddUp());
  stats.count = static_cast<uint32_t>(counts);
  stats.fit = counts >> 32 == 0 && stats.max > -INFINITY;
  return stats;
}

// The key of the item at which measures, from the greatest key on, add up to `wanted`.
struct Edge {
  uint32_t key;
  uint64_t above, equal; // measures of all items with greater keys, and of those with this one
};

// items(use) calls use(key, measure) for this thread's items; keys of all that count lie in [lowest, highest], and their
// measures add up to at least `wanted` > 0. Every pass cuts the range to the 2^-kSampleBinBits-th part that has the edge.
template <typename Items>
WEFT_DEVICE Edge edgeOf(uint32_t lowest, uint32_t highest, uint64_t wanted, SelectShared& shared, Items items) {
  Edge edge = {lowest, 0, 0};
  for (;;) {
    const uint32_t bits = 32 - static_cast<uint32_t>(__clz(static_cast<int>(highest - lowest)));
    const uint32_t shift = bits > kSampleBinBits ? bits - kSampleBinBits : 0;
    shared.low[threadIdx.x] = 0;
    shared.high[threadIdx.x] = 0;
    if (threadIdx.x == 0) {
      shared.bin = 0;
      shared.above = edge.above;
      shared.equal = 0;
    }
    __syncthreads();
    items([&](uint32_t key, uint64_t measure) {
      if (key < lowest || key > highest || measure == 0) return;
      const uint32_t bin = (key - lowest) >> shift, low = static_cast<uint32_t>(measure);
      const uint32_t before = atomicAdd(&shared.low[bin], low);
      const uint32_t high = static_cast<uint32_t>(measure >> 32) + (before + low < before);
      if (high) atomicAdd(&shared.high[bin], high);
    });
    __syncthreads();
    // Sums from the greatest bin down; the thread whose bin reaches what is wanted tells.
    const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const uint64_t own = uint64_t{shared.high[threadIdx.x]} << 32 | shared.low[threadIdx.x];
    uint64_t sum = own;
    for (uint32_t by = 1; by < kWarp; by *= 2) {
      const uint64_t more = __shfl_down_sync(kAllLanes, sum, by);
      if (lane + by < kWarp) sum += more;
    }
    if (lane == 0) shared.sums[warp] = sum;
    __syncthreads();
    sum += edge.above;
    for (uint32_t w = warp + 1; w < kSampleWarps; w++) sum += shared.sums[w];
    if (sum >= wanted && sum - own < wanted) {
      shared.bin = threadIdx.x;
      shared.above = sum - own;
      shared.equal = own;
    }
    __syncthreads();
    lowest += shared.bin << shift;
    const uint32_t width = (1u << shift) - 1;
    highest = highest - lowest < width ? highest : lowest + width;
    edge = {lowest, shared.above, shared.equal};
    __syncthreads();
    if (shift == 0) return edge;
  }
}

// The first id, ascending, at which the sum of measureOf(value) exceeds `target`, which all of them together do.
// Warps sum up parts of the range, and the part where it happens becomes the range.
template <typename MeasureOf>
WEFT_DEVICE uint32_t firstBeyond(const float* x, uint32_t n, uint64_t target, SelectShared& shared, MeasureOf measureOf) {
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  uint32_t begin = 0, length = n;
  while (length > 1) {
    const uint32_t part = (length + kSampleWarps - 1) / kSampleWarps, from = warp * part, to = from + part < length ? from + part : length;
    uint64_t sum = 0;
    for (uint32_t i = from + lane; i < to; i += kWarp) sum += measureOf(x[begin + i]);
    for (uint32_t by = kWarp / 2; by > 0; by /= 2) sum += __shfl_xor_sync(kAllLanes, sum, by);
    if (lane == 0) shared.sums[warp] = sum;
    __syncthreads();
    uint32_t w = 0;
    for (; w + 1 < kSampleWarps && target >= shared.sums[w]; w++) target -= shared.sums[w];
    __syncthreads();
    if (w * part >= length) return begin + length - 1;   // only where the sum is not reached
    begin += w * part;
    length = length - w * part < part ? length - w * part : part;
  }
  return begin;
}

}  // namespace cuda
}  // namespace weft

// Work that is counted on the device. Entries (segments, parts of groups, …) have items, and blocks take items in turn: grids
// follow from the device and from capacities, and what a block finds out about all entries, it finds out once.
#pragma once
#include "cuda/platform.h"

namespace weft {
namespace cuda {

constexpr uint32_t kWorkThreads = 128;                   // of a block, at most

// What an entry counts for: its items, and something else that is summed over the entries before one. Sums stay below 2^32.
WEFT_DEVICE uint64_t entryOf(uint32_t items, uint32_t other = 0) { return static_cast<uint64_t>(other) << 32 | items; }

// Calls run(entry, item, the other of all entries before) for every gridDim.x-th item. All threads of the block call this, and
// run is called by all of them; one thread asks count(entry), which returns an entryOf().
template <class Count, class Run>
WEFT_DEVICE void shareWork(uint32_t entries, Count count, Run run) {
  __shared__ uint64_t ends[kWorkThreads], warpSums[kWorkThreads / kWarp];
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  uint64_t before = 0, next = blockIdx.x;
  for (uint32_t first = 0; first < entries; first += blockDim.x) {
    uint64_t sum = first + threadIdx.x < entries ? count(first + threadIdx.x) : 0;
    for (uint32_t step = 1; step < kWarp; step *= 2) {
      const uint64_t lower = __shfl_sync(kAllLanes, sum, lane >= step ? lane - step : lane);
      if (lane >= step) sum += lower;
    }
    if (lane == kWarp - 1) warpSums[warp] = sum;
    __syncthreads();
    sum += before;
    for (uint32_t i = 0; i < warp; i++) sum += warpSums[i];
    ends[threadIdx.x] = sum;
    __syncthreads();
    const uint64_t all = ends[blockDim.x - 1];
    for (; next < static_cast<uint32_t>(all); next += gridDim.x) {
      uint32_t low = 0, high = blockDim.x - 1;           // the first entry that ends behind `next`
      while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (static_cast<uint32_t>(ends[middle]) > next) high = middle;
        else low = middle + 1;
      }
      const uint64_t begin = low ? ends[low - 1] : before;
      run(first + low, static_cast<uint32_t>(next) - static_cast<uint32_t>(begin), static_cast<uint32_t>(begin >> 32));
    }
    before = all;
    __syncthreads();                                     // nobody reads ends any more
  }
}

}  // namespace cuda
}  // namespace weft

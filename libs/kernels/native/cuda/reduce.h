// Sums and maxima over the threads of a warp or a block, in an order that the number of threads alone fixes.
#pragma once
#include "cuda/platform.h"

namespace weft {
namespace cuda {

WEFT_DEVICE float warpSum(float value) {
  for (uint32_t step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
WEFT_DEVICE float warpMax(float value) {
  for (uint32_t step = kWarp / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// Every thread gets the sum. All threads of the block call it; blockDim.x is a multiple of kWarp, at most 1,024.
// shared: one float for each warp, free again after the next barrier.
WEFT_DEVICE float blockSum(float value, float* shared) {
  value = warpSum(value);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = value;
  __syncthreads();
  const uint32_t warps = blockDim.x / kWarp, lane = threadIdx.x % kWarp;
  return warpSum(lane < warps ? shared[lane] : 0.0f);
}

}  // namespace cuda
}  // namespace weft

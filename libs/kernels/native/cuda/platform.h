// What kernels are written in: CUDA, or, for tests on machines without a GPU, the same words run by the host
// (emulation/cuda/threads.h): every thread of a block a fiber, so that barriers, shuffles and tensor core fragments mean
// what they mean on a device.
//
// Kernels use nothing of CUDA but: threadIdx, blockIdx, blockDim, gridDim, __shared__, __syncthreads, __syncwarp,
// __shfl_sync, __shfl_xor_sync, __shfl_down_sync, __ballot_sync, atomicAdd, atomicCAS, atomicMax, atomicOr, __clz, float math
// by its C names, the functions of memory.h and mma.h, and the macros below.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)

#define WEFT_DEVICE __device__ __forceinline__
// A kernel. Every one takes the op's Args, whose pointers are device addresses and whose counts are still header words, and the step.
#define WEFT_KERNEL(NAME, ARGS) extern "C" __global__ void NAME(const __grid_constant__ ARGS a, const __grid_constant__ ::weft::cuda::Step step)
// The same for a kernel whose blocks have at most THREADS threads and want BLOCKS of them on a multiprocessor.
#define WEFT_KERNEL_BOUNDS(NAME, ARGS, THREADS, BLOCKS) \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) NAME(const __grid_constant__ ARGS a, const __grid_constant__ ::weft::cuda::Step step)
// Shared memory whose size the launch gives, 16-byte aligned. One name for all kernels.
#define WEFT_DYNAMIC_SHARED(NAME) extern __shared__ __align__(16) uint8_t NAME[]
// Before a loop whose arrays are to stay in registers.
#define WEFT_UNROLL _Pragma("unroll")

#else
#include "emulation/cuda/threads.h"
#define WEFT_UNROLL
#endif

namespace weft {
namespace cuda {

constexpr uint32_t kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace cuda
}  // namespace weft

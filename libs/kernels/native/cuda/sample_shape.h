// Blocks and scratch of sample, for kernel and launch.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

constexpr uint32_t kSampleThreads = 1024;                // of a logit row, and bins of a radix descent
constexpr uint32_t kSampleBinBits = 10;

#if defined(__CUDACC__)
__host__ __device__
#endif
// Words of a row's altered logits, then weights; as many follow for a count of each token.
constexpr uint64_t sampleStride(uint32_t vocab) { return (uint64_t{vocab} + 3) / 4 * 4; }
constexpr uint64_t sampleScratchBytes(uint32_t tileRows, uint32_t vocab) { return tileRows * sampleStride(vocab) * 2 * 4; }

}  // namespace cuda
}  // namespace weft

// Shapes of linear's kernels (kernels/linear.h), known to those who launch them and to the kernels.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

// linearFew: all threads of a block share the k of kFewOuts outputs.
constexpr uint32_t kFewRows = 8, kFewOuts = 4, kFewThreads = 128;

// linearFma: a block takes OUTS outputs × ROWS rows, a thread 4·QUADS × PER_ROWS of them, kFmaDepth of k at a time.
constexpr uint32_t kFmaDepth = 16;
template <uint32_t OUTS, uint32_t ROWS, uint32_t QUADS, uint32_t PER_ROWS>
struct FmaShape {
  static constexpr uint32_t kOuts = OUTS, kRows = ROWS, kQuads = QUADS, kPerRows = PER_ROWS;
  static constexpr uint32_t kThreads = OUTS / (4 * QUADS) * (ROWS / PER_ROWS), kSharedBytes = 0;
};
using Fma64x64 = FmaShape<64, 64, 2, 4>;
using Fma64x16 = FmaShape<64, 16, 1, 2>;

// linearMma: a block takes OUTS outputs × ROWS rows, shared out over WARPS_OUTS × WARPS_ROWS warps, kMmaDepth of k at a time;
// STAGES such pieces of k are in shared memory or on their way to it.
constexpr uint32_t kMmaDepth = 64, kMmaRowBytes = kMmaDepth * 2;
template <uint32_t OUTS, uint32_t ROWS, uint32_t WARPS_OUTS, uint32_t WARPS_ROWS, uint32_t STAGES>
struct MmaShape {
  static constexpr uint32_t kOuts = OUTS, kRows = ROWS, kWarpsOuts = WARPS_OUTS, kWarpsRows = WARPS_ROWS, kStages = STAGES;
  static constexpr uint32_t kThreads = WARPS_OUTS * WARPS_ROWS * 32, kStageBytes = (OUTS + ROWS) * kMmaRowBytes;
  static constexpr uint32_t kSharedBytes = STAGES * kStageBytes;
};
using Mma128x128 = MmaShape<128, 128, 2, 4, 3>;
using Mma64x64 = MmaShape<64, 64, 2, 2, 3>;
using Mma32x32 = MmaShape<32, 32, 2, 1, 6>;

}  // namespace cuda
}  // namespace weft

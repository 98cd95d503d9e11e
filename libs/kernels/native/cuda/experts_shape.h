// Shapes of the kernels of experts (kernels/experts.h, kernels/expert_linear.h), known to those who launch them and to the kernels.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

// routeExperts: a warp for each row.
constexpr uint32_t kRouteWarps = 4;
constexpr uint32_t kGroupThreads = 256;

// expertLinear: a block takes kExpertWarps panels of 32 outputs, a warp each, for kFewExpertRows rows of a span; on tensor cores for
// kManyExpertRows. x stands in shared memory, kExpertDepth of k at a time.
constexpr uint32_t kExpertWarps = 4, kExpertThreads = kExpertWarps * 32, kFewExpertRows = 8, kManyExpertRows = 32, kExpertDepth = 128;

}  // namespace cuda
}  // namespace weft

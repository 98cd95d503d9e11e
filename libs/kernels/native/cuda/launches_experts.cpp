// Mixture of experts.
#include <algorithm>

#include "core/error.h"
#include "cuda/experts_shape.h"
#include "cuda/launches.h"
#include "cuda/lora_shape.h"
#include "cuda/rows_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr uint32_t kBlocks = 8;                          // of a multiprocessor

}  // namespace

void launch(const RouteExpertsArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"routeExperts", {ceilDiv(a.rows, kRouteWarps)}, kRouteWarps * 32, kRouteWarps * (2 * a.experts + a.nGroups) * 4});
}

void launch(const GroupExpertsArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"groupExperts", {1}, kGroupThreads});
  out.scratchBytes = uint64_t{a.nKeys} * 4;
}

void launch(const ExpertLinearArgs& a, const LaunchLimits& limits, Launches& out) {
  if (a.dtype == kDTypeBf12) throw Error("device_error", "expertLinear: base is bf12, which CUDA devices don't read.");
  if (a.arena && reinterpret_cast<uintptr_t>(a.arena) % 4) throw Error("device_error", "expertLinear: arena is not 4-byte aligned.");
  const uint64_t quads = ceilDiv(ceilDiv(a.n, kWOuts), kExpertWarps), tiles = std::min<uint64_t>(a.pairs, a.pairs / kFewExpertRows + a.maxSpans);
  const uint32_t blocks = static_cast<uint32_t>(std::min<uint64_t>(quads * tiles, uint64_t{limits.multiprocessors} * kBlocks));
  if (blocks) out.steps.push_back({"expertLinear", {blocks, 1, 1}, kExpertThreads});
}

void launch(const CombineExpertsArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"combineExperts", {a.rows, std::min(ceilDiv(a.dim, 4 * kSliceThreads), kMaxGridY)}, kSliceThreads});
}

void launch(const ExpertShrinkArgs& a, const LaunchLimits& limits, Launches& out) {
  const uint64_t choices = uint64_t{a.maxGroupRows} * a.topK;
  const uint32_t blocks = static_cast<uint32_t>(std::min<uint64_t>(choices, uint64_t{limits.multiprocessors} * kBlocks));
  if (blocks) out.steps.push_back({"expertShrink", {blocks, 1, 1}, kLoraThreads});
}

void launch(const ExpertExpandArgs& a, const LaunchLimits&, Launches& out) {
  if (a.rows) out.steps.push_back({"expertExpand", {a.rows, 1, 1}, kLoraThreads});
}

}  // namespace cuda
}  // namespace weft

// How each op is launched: one function an op, in launches_*.cpp. Grids cover capacities; kernels count.
#pragma once
#include "core/error.h"
#include "core/ops.gen.h"
#include "cuda/launch.h"

namespace weft {
namespace cuda {

// Pairs of bf16 are for processors.
inline void refuseBf16Kv(const char* op, uint32_t kvType) {
  if (kvType == kDTypeBf16) throw Error("device_error", format("%s: kvType is bf16, which CUDA devices don't read.", op));
}

inline uint32_t ceilDiv(uint64_t a, uint32_t b) { return static_cast<uint32_t>((a + b - 1) / b); }

// launches_rows.cpp: ops on rows of activations.
void launch(const ResolveArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const EmbedArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const RmsNormArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const HeadNormArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const RopeArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const KvWriteArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const RopeKvArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const GatedActArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const SoftcapArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const CopyRowsArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const CopyPagesArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const AllReduceArgs& a, const LaunchLimits& limits, Launches& out);
// launches_linear.cpp
void launch(const LinearArgs& a, const LaunchLimits& limits, Launches& out);
// launches_int8.cpp
void launch(const QuantizeRowsArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const LinearInt8Args& a, const LaunchLimits& limits, Launches& out);
// launches_attention.cpp
void launch(const AttentionArgs& a, const LaunchLimits& limits, Launches& out);
// launches_lora.cpp
void launch(const LoraShrinkArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const LoraExpandArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const EmbedShrinkArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const EmbedReplaceArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const HeadReplaceArgs& a, const LaunchLimits& limits, Launches& out);
// launches_experts.cpp
void launch(const RouteExpertsArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const GroupExpertsArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const ExpertLinearArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const CombineExpertsArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const ExpertShrinkArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const ExpertExpandArgs& a, const LaunchLimits& limits, Launches& out);
// launches_latent.cpp
void launch(const LatentKvArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const HeadLinearArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const LatentAttentionArgs& a, const LaunchLimits& limits, Launches& out);
void launch(const LatentLoraArgs& a, const LaunchLimits& limits, Launches& out);
// launches_sample.cpp
void launch(const SampleArgs& a, const LaunchLimits& limits, Launches& out);

}  // namespace cuda
}  // namespace weft

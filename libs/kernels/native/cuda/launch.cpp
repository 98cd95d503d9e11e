#include "cuda/launches.h"

namespace weft {
namespace cuda {
namespace {

using LaunchOf = void (*)(const void* args, const LaunchLimits& limits, Launches& out);

template <typename Args>
void as(const void* args, const LaunchLimits& limits, Launches& out) { launch(*static_cast<const Args*>(args), limits, out); }

LaunchOf launcherOf(uint32_t code) {
  switch (code) {
    case kOpResolve: return as<ResolveArgs>;
    case kOpEmbed: return as<EmbedArgs>;
    case kOpRmsNorm: return as<RmsNormArgs>;
    case kOpHeadNorm: return as<HeadNormArgs>;
    case kOpLinear: return as<LinearArgs>;
    case kOpRope: return as<RopeArgs>;
    case kOpKvWrite: return as<KvWriteArgs>;
    case kOpAttention: return as<AttentionArgs>;
    case kOpGatedAct: return as<GatedActArgs>;
    case kOpLoraShrink: return as<LoraShrinkArgs>;
    case kOpLoraExpand: return as<LoraExpandArgs>;
    case kOpSample: return as<SampleArgs>;
    case kOpCopyRows: return as<CopyRowsArgs>;
    case kOpCopyPages: return as<CopyPagesArgs>;
    case kOpAllReduce: return as<AllReduceArgs>;
    case kOpQuantizeRows: return as<QuantizeRowsArgs>;
    case kOpLinearInt8: return as<LinearInt8Args>;
    case kOpRopeKv: return as<RopeKvArgs>;
    case kOpSoftcap: return as<SoftcapArgs>;
    case kOpRouteExperts: return as<RouteExpertsArgs>;
    case kOpGroupExperts: return as<GroupExpertsArgs>;
    case kOpExpertLinear: return as<ExpertLinearArgs>;
    case kOpCombineExperts: return as<CombineExpertsArgs>;
    case kOpExpertShrink: return as<ExpertShrinkArgs>;
    case kOpExpertExpand: return as<ExpertExpandArgs>;
    case kOpEmbedShrink: return as<EmbedShrinkArgs>;
    case kOpEmbedReplace: return as<EmbedReplaceArgs>;
    case kOpHeadReplace: return as<HeadReplaceArgs>;
    case kOpLatentKv: return as<LatentKvArgs>;
    case kOpHeadLinear: return as<HeadLinearArgs>;
    case kOpLatentAttention: return as<LatentAttentionArgs>;
    case kOpLatentLora: return as<LatentLoraArgs>;
    default: return nullptr;
  }
}

}  // namespace

Launches launchesOf(uint32_t code, const void* args, const LaunchLimits& limits) {
  Launches out;
  launcherOf(code)(args, limits, out);   // Program knows no other codes
  return out;
}

}  // namespace cuda
}  // namespace weft

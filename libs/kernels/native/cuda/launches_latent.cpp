// Latent attention.
#include <algorithm>

#include "core/error.h"
#include "cuda/latent_shape.h"
#include "cuda/launches.h"
#include "cuda/rows_shape.h"

namespace weft {
namespace cuda {

void launch(const LatentKvArgs& a, const LaunchLimits&, Launches& out) { out.steps.push_back({"latentKv", {a.rows}, kLatentThreads}); }

void launch(const HeadLinearArgs& a, const LaunchLimits&, Launches& out) {
  if (a.dtype == kDTypeBf12) throw Error("device_error", "headLinear: w is bf12, which CUDA devices don't read.");
  const uint32_t panels = a.heads * ceilDiv(a.n, kPanelOuts);
  out.steps.push_back({"headLinear", {ceilDiv(panels, kHeadLinearWarps), std::min(ceilDiv(a.rows, kHeadRows), kMaxGridY)}, kHeadLinearWarps * 32});
}

void launch(const LatentAttentionArgs& a, const LaunchLimits& limits, Launches& out) {
  if (a.rows == 0 || a.nSegments == 0) return;
  const uint32_t heads = latentHeads(a.latent, a.rope), bytes = heads * latentHeadValues(a.latent, a.rope) * 4;
  if (bytes > limits.sharedBytes) {
    throw Error("device_error", format("latentAttention: latents of %u values take %u bytes of shared memory, this device has %u for a block.", a.latent, bytes, limits.sharedBytes));
  }
  out.steps.push_back({"latentAttention", {a.rows, std::min(ceilDiv(a.heads, heads), kMaxGridY)}, kLatentThreads, bytes});
}

void launch(const LatentLoraArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"latentLora", {a.maxGroupRows, std::min(a.heads, kMaxGridY)}, kLatentThreads});
}

}  // namespace cuda
}  // namespace weft

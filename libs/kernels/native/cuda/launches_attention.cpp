// Attention: who cuts a segment by rows and who by spans the kernels see for themselves (kernels/attention.h).
#include <algorithm>

#include "core/error.h"
#include "cuda/attention_shape.h"
#include "cuda/launches.h"

namespace weft {
namespace cuda {
namespace {

// As many blocks as run side by side, or fewer where there can't be so many items.
Dim3 gridOf(const LaunchLimits& limits, uint32_t perMultiprocessor, uint64_t items) {
  const uint64_t blocks = std::min<uint64_t>(uint64_t{limits.multiprocessors} * perMultiprocessor, items);
  return {static_cast<uint32_t>(std::max<uint64_t>(blocks, 1)), 1, 1};
}

void requireShared(const AttentionArgs& a, uint32_t bytes, const LaunchLimits& limits) {
  if (bytes <= limits.sharedBytes) return;
  throw Error("device_error", format("attention: heads of %u values take %u bytes of shared memory, this device has %u for a block.",
                                     a.dim, bytes, limits.sharedBytes));
}

}  // namespace

void launch(const AttentionArgs& a, const LaunchLimits& limits, Launches& out) {
  refuseBf16Kv("attention", a.kvType);
  if (a.rows == 0 || a.nSegments == 0) return;
  const AttentionShape spans = spansShape(a);
  requireShared(a, spans.bytes, limits);
  const uint64_t pairs = uint64_t{a.rows} * groupOf(a), states = stateCapacity(a);
  const uint64_t tiles = std::min<uint64_t>(pairs, pairs / kTilePairs + a.nSegments) * a.kvHeads * spans.valueSlices;
  const char* kernel = spans.valueSlice <= 128 ? "attentionSpans128" : "attentionSpans256";
  out.steps.push_back({kernel, gridOf(limits, 4, tiles + states), kAttentionThreads, spans.bytes});
  out.scratchBytes = states * stateValues(a) * sizeof(float);

  const uint64_t merges = uint64_t{a.rows} * a.heads;
  if (!takesRows(a)) {
    if (a.tableSize > 1) out.steps.push_back({"attentionMerge", gridOf(limits, 4, merges), kAttentionThreads});
    return;
  }
  uint32_t warps = kAttentionWarps;
  while (warps > 1 && rowsShape(a, warps).bytes > limits.sharedBytes) warps /= 2;
  kernel = a.dim <= 64 ? "attentionRows64" : "attentionRows128";
  out.steps.push_back({kernel, gridOf(limits, 3, std::max(merges, tiles)), warps * 32, rowsShape(a, warps).bytes});
}

}  // namespace cuda
}  // namespace weft

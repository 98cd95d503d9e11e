// Adapters: as many blocks as run side by side, or fewer where there can't be so many items.
#include <algorithm>

#include "core/error.h"
#include "cuda/launches.h"
#include "cuda/lora_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr uint32_t kBlocks = 8;                          // of a multiprocessor

template <class Args>
void requireAligned(const Args& a) {
  if (reinterpret_cast<uintptr_t>(a.arena) % 16 == 0) return;
  throw Error("device_error", "an adapter's op: arena is not 16-byte aligned, units are read by 16 bytes.");
}

template <class Args>
void pushItems(const char* kernel, const Args& a, uint64_t items, const LaunchLimits& limits, Launches& out) {
  requireAligned(a);
  if (items == 0) return;
  const uint32_t blocks = static_cast<uint32_t>(std::min<uint64_t>(items, uint64_t{limits.multiprocessors} * kBlocks));
  out.steps.push_back({kernel, {blocks, 1, 1}, kLoraThreads});
}

template <class Args>
void push(const char* kernel, const Args& a, uint64_t itemsOfRows, const LaunchLimits& limits, Launches& out) {
  const uint64_t rowTiles = std::min<uint64_t>(a.maxGroupRows, uint64_t{a.maxGroupRows} / kLoraRows + a.maxGroups);
  pushItems(kernel, a, rowTiles * itemsOfRows, limits, out);
}

}  // namespace

void launch(const LoraShrinkArgs& a, const LaunchLimits& limits, Launches& out) {
  push("loraShrink", a, uint64_t{a.parts} * ceilDiv(a.partStride, kShrinkRanks), limits, out);
}

void launch(const LoraExpandArgs& a, const LaunchLimits& limits, Launches& out) {
  const uint32_t dOut[] = {a.dOut0, a.dOut1, a.dOut2};
  uint64_t items = 0;
  for (uint32_t part = 0; part < a.parts; part++) items += ceilDiv(dOut[part], kUnitOuts * kExpandUnits);
  push("loraExpand", a, items, limits, out);
}

void launch(const EmbedShrinkArgs& a, const LaunchLimits& limits, Launches& out) { pushItems("embedShrink", a, a.maxGroupRows, limits, out); }
void launch(const EmbedReplaceArgs& a, const LaunchLimits& limits, Launches& out) { pushItems("embedReplace", a, a.maxGroupRows, limits, out); }

void launch(const HeadReplaceArgs& a, const LaunchLimits& limits, Launches& out) {
  push("headReplace", a, ceilDiv(a.dOut, kShrinkRanks), limits, out);
}

}  // namespace cuda
}  // namespace weft

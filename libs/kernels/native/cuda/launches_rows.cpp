// Ops on rows and pages.
#include <algorithm>

#include "core/error.h"
#include "cuda/launches.h"
#include "cuda/rows_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr uint32_t kWarpThreads = 32;

// A block for each row, its threads four values each.
void wholeRows(const char* kernel, uint32_t rows, uint32_t dim, Launches& out) {
  const uint32_t fours = ceilDiv(dim, 4), threads = ceilDiv(std::min(fours, 1024u), kWarpThreads) * kWarpThreads;
  out.steps.push_back({kernel, {rows}, threads});
}

// The same with several blocks for a row.
void slicedRows(const char* kernel, uint32_t rows, uint32_t dim, Launches& out) {
  out.steps.push_back({kernel, {rows, std::min(ceilDiv(dim, 4 * kSliceThreads), kMaxGridY)}, kSliceThreads});
}

// A warp for each head of a row.
void heads(const char* kernel, uint32_t rows, uint64_t heads, uint32_t dim, Launches& out) {
  const uint32_t blocks = static_cast<uint32_t>(std::min<uint64_t>((heads + kHeadWarps - 1) / kHeadWarps, kMaxGridY));
  const uint32_t headBytes = ceilDiv(dim, 4) * 16;
  out.steps.push_back({kernel, {rows, blocks}, kHeadWarps * kWarpThreads, kHeadWarps * headBytes});
}

}  // namespace

void launch(const ResolveArgs&, const LaunchLimits&, Launches& out) { out.steps.push_back({"resolve", {1}, kResolveRows}); }

void launch(const EmbedArgs& a, const LaunchLimits&, Launches& out) {
  if (a.dtype == kDTypeBf12) throw Error("device_error", "embed: table is bf12, which CUDA devices don't read.");
  if (a.layout == 0 && a.dtype != kDTypeInt8) {
    throw Error("device_error", "embed: table has panels, CUDA devices read plain rows (layout 1).");
  }
  wholeRows("embed", a.rows, a.dim, out);
}

void launch(const RmsNormArgs& a, const LaunchLimits&, Launches& out) { wholeRows("rmsNorm", a.rows, a.dim, out); }
void launch(const HeadNormArgs& a, const LaunchLimits&, Launches& out) { heads("headNorm", a.rows, a.heads, a.dim, out); }
void launch(const RopeArgs& a, const LaunchLimits&, Launches& out) { heads("rope", a.rows, a.heads, a.dim, out); }
void launch(const KvWriteArgs& a, const LaunchLimits&, Launches& out) {
  refuseBf16Kv("kvWrite", a.kvType);
  heads("kvWrite", a.rows, 2 * uint64_t{a.kvHeads}, a.dim, out);
}
void launch(const RopeKvArgs& a, const LaunchLimits&, Launches& out) {
  refuseBf16Kv("ropeKv", a.kvType);
  heads("ropeKv", a.rows, uint64_t{a.heads} + 2 * uint64_t{a.kvHeads}, a.dim, out);
}
void launch(const GatedActArgs& a, const LaunchLimits&, Launches& out) { slicedRows("gatedAct", a.rows, a.dim, out); }
void launch(const SoftcapArgs& a, const LaunchLimits&, Launches& out) { slicedRows("softcap", a.rows, a.dim, out); }
void launch(const CopyRowsArgs& a, const LaunchLimits&, Launches& out) { slicedRows("copyRows", a.rows, a.dim, out); }
void launch(const CopyPagesArgs& a, const LaunchLimits&, Launches& out) {
  out.steps.push_back({"copyPages", {ceilDiv(a.pageBytes, 16 * kSliceThreads)}, kSliceThreads});
}

// The sum over one rank is what is there already.
void launch(const AllReduceArgs& a, const LaunchLimits&, Launches&) {
  if (a.size != 1) throw Error("device_error", "allReduce: this device is alone.");
}

}  // namespace cuda
}  // namespace weft

// Quantized activations and the linear maps that read them.
#include <algorithm>

#include "core/error.h"
#include "core/int8_format.h"
#include "cuda/int8_shape.h"
#include "cuda/launches.h"
#include "cuda/rows_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr uint32_t kWarpThreads = 32;

void tiles(const char* kernel, uint32_t threads, uint64_t rowTiles, uint64_t panelTiles, Launches& out) {
  if (rowTiles * panelTiles > INT32_MAX) throw Error("device_error", "linearInt8: y has more tiles than one launch takes.");
  out.steps.push_back({kernel, {static_cast<uint32_t>(rowTiles * panelTiles)}, threads});
}

}  // namespace

void launch(const QuantizeRowsArgs& a, const LaunchLimits&, Launches& out) {
  const uint32_t blocks = ceilDiv(int8Groups(a.k), kQuantizeWarps);
  out.steps.push_back({"quantizeRows", {a.rows, std::min(blocks, kMaxGridY)}, kQuantizeWarps * kWarpThreads});
}

void launch(const LinearInt8Args& a, const LaunchLimits& limits, Launches& out) {
  if (reinterpret_cast<uintptr_t>(a.w) % 8) throw Error("device_error", "linearInt8: w does not begin at a multiple of 8 bytes.");
  const uint32_t panels = ceilDiv(a.n, kInt8Outs);
  // Many rows are worth it where their blocks keep all multiprocessors busy.
  const uint64_t manyBlocks = uint64_t{ceilDiv(a.rows, kInt8ManyRows)} * ceilDiv(panels, kInt8ManyPanels);
  if (a.rows > 32 && manyBlocks >= limits.multiprocessors) {
    return tiles("linearInt8Many", kInt8ManyPanels * kWarpThreads, ceilDiv(a.rows, kInt8ManyRows), ceilDiv(panels, kInt8ManyPanels), out);
  }
  const uint32_t rows = a.rows <= 8 ? 8 : a.rows <= 16 ? 16 : 32;
  const char* kernel = rows == 8 ? "linearInt8Rows8" : rows == 16 ? "linearInt8Rows16" : "linearInt8Rows32";
  tiles(kernel, kInt8Warps * kWarpThreads, ceilDiv(a.rows, rows), panels, out);
}

}  // namespace cuda
}  // namespace weft

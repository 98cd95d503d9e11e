// Blocks of the int8 kernels, for kernels and launches.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

constexpr uint32_t kQuantizeWarps = 8;                   // groups of a block

constexpr uint32_t kInt8TileRows = 8;                    // rows of a fragment (m16n8k32)
constexpr uint32_t kInt8Warps = 8;                       // groups of one panel that a block works on side by side

constexpr uint32_t kInt8ManyPanels = 4;                  // a warp each
constexpr uint32_t kInt8ManyRows = 64;

}  // namespace cuda
}  // namespace weft

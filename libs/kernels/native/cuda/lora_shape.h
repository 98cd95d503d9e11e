// Shapes of the kernels of adapters (kernels/lora.h), known to those who launch them and to the kernels.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

constexpr uint32_t kLoraThreads = 128;
// Rows of a group that share what is read of an adapter.
constexpr uint32_t kLoraRows = 8;
// loraShrink: a block takes so many rank rows.
constexpr uint32_t kShrinkRanks = 4;
// loraExpand: a block takes so many units of kUnitOuts outputs, a thread kThreadOuts of those.
constexpr uint32_t kUnitOuts = 64, kThreadOuts = 8, kExpandUnits = kLoraThreads * kThreadOuts / kUnitOuts;

}  // namespace cuda
}  // namespace weft

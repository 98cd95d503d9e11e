// Panels of int8 weights on the device: core/int8_format.h tells how they lie.
#pragma once
#include "core/int8_format.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

WEFT_DEVICE uint32_t int8GroupsOf(uint32_t k) { return (k + kInt8Group - 1) / kInt8Group; }
// Lines of a group: of whole groups kInt8Pairs, of the last as many as it needs. Its scales are the line behind them.
WEFT_DEVICE uint32_t int8LinesOf(uint32_t group, uint32_t k) {
  const uint32_t left = (k + 1) / 2 - group * kInt8Pairs;
  return left < kInt8Pairs ? left : kInt8Pairs;
}
WEFT_DEVICE const uint8_t* int8GroupOf(const uint8_t* w, uint32_t panel, uint32_t group, uint32_t k) {
  const uint64_t lines = uint64_t{panel} * ((k + 1) / 2 + int8GroupsOf(k)) + uint64_t{group} * (kInt8Pairs + 1);
  return w + lines * kInt8Line;
}

}  // namespace cuda
}  // namespace weft

// How int8 weights and the activations that meet them lie in memory: see DType and `quantizeRows` in src/ops.ts.
// Static: a kernel's unit must not lend its code to one of another instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ops.gen.h"

namespace weft {

constexpr uint32_t kInt8Outs = 32;                       // outputs of a panel
constexpr uint32_t kInt8Pairs = kInt8Group / 2;          // pairs of k in a whole group
constexpr uint32_t kInt8Line = 2 * kInt8Outs;            // bytes of a pair's weights, and of a group's scales

static inline constexpr uint64_t int8Pairs(uint64_t k) { return (k + 1) / 2; }
static inline constexpr uint64_t int8Groups(uint64_t k) { return (k + kInt8Group - 1) / kInt8Group; }
static inline constexpr uint64_t int8PanelBytes(uint64_t k) { return (int8Pairs(k) + int8Groups(k)) * kInt8Line; }
// Where group g of a panel begins, and where its scales do.
static inline constexpr uint64_t int8GroupAt(uint64_t g) { return g * (kInt8Pairs + 1) * kInt8Line; }
static inline constexpr uint64_t int8ScalesAt(uint64_t g, uint64_t k) {
  const uint64_t pairs = int8Pairs(k) - g * kInt8Pairs;
  return int8GroupAt(g) + (pairs < kInt8Pairs ? pairs : kInt8Pairs) * kInt8Line;
}

// 32-bit words of a row of quantized activations.
static inline constexpr uint64_t int8RowWords(uint64_t k) { return int8Groups(k) * (kInt8Pairs + 1); }

}  // namespace weft

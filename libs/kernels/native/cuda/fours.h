// Rows of values by fours: consecutive threads take consecutive fours, each in one instruction where memory is aligned for it.
#pragma once
#include "core/ops.gen.h"
#include "cuda/memory.h"

namespace weft {
namespace cuda {

struct alignas(16) Four { float v[4]; };
struct alignas(8) Half { uint32_t x, y; };               // 8 bytes: a four of 16-bit values

WEFT_DEVICE bool aligned(const void* p, uint32_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

WEFT_DEVICE float decoded(uint32_t bits, uint32_t dtype) { return dtype == kDTypeF16 ? fromF16(bits) : lowBf16(bits); }

// Values [at, at + n) of what is stored as f32, bf16 or f16, n at most 4; zeros behind them.
WEFT_DEVICE Four loadFour(const uint8_t* values, uint64_t at, uint32_t dtype, uint32_t n) {
  Four four = {};
  if (dtype == kDTypeF32) {
    const float* p = reinterpret_cast<const float*>(values) + at;
    if (n == 4 && aligned(p, 16)) return *reinterpret_cast<const Four*>(p);
    WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) if (j < n) four.v[j] = p[j];
    return four;
  }
  const uint16_t* p = reinterpret_cast<const uint16_t*>(values) + at;
  if (n == 4 && aligned(p, 8)) {
    const Half words = *reinterpret_cast<const Half*>(p);
    return {{decoded(words.x & 0xffffu, dtype), decoded(words.x >> 16, dtype), decoded(words.y & 0xffffu, dtype),
             decoded(words.y >> 16, dtype)}};
  }
  WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) if (j < n) four.v[j] = decoded(p[j], dtype);
  return four;
}
WEFT_DEVICE Four loadFour(const float* values, uint64_t at, uint32_t n) {
  return loadFour(reinterpret_cast<const uint8_t*>(values), at, kDTypeF32, n);
}

// Stores the first n as f32 or bf16.
WEFT_DEVICE void storeFour(uint8_t* values, uint64_t at, uint32_t dtype, const Four& four, uint32_t n) {
  if (dtype == kDTypeBf16) {
    uint16_t* p = reinterpret_cast<uint16_t*>(values) + at;
    if (n == 4 && aligned(p, 8)) {
      *reinterpret_cast<Half*>(p) = {toBf16(four.v[0]) | toBf16(four.v[1]) << 16, toBf16(four.v[2]) | toBf16(four.v[3]) << 16};
      return;
    }
    WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) if (j < n) p[j] = static_cast<uint16_t>(toBf16(four.v[j]));
    return;
  }
  float* p = reinterpret_cast<float*>(values) + at;
  if (n == 4 && aligned(p, 16)) {
    *reinterpret_cast<Four*>(p) = four;
    return;
  }
  WEFT_UNROLL for (uint32_t j = 0; j < 4; j++) if (j < n) p[j] = four.v[j];
}
WEFT_DEVICE void storeFour(float* values, uint64_t at, const Four& four, uint32_t n) {
  storeFour(reinterpret_cast<uint8_t*>(values), at, kDTypeF32, four, n);
}

// How many values of a row of `dim` the four that begins at `at` has.
WEFT_DEVICE uint32_t fourOf(uint32_t at, uint32_t dim) { return dim - at < 4 ? dim - at : 4; }

}  // namespace cuda
}  // namespace weft

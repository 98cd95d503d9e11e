// Conversions of single stored values, for packing and comparing; kernels have vector forms of their own.
#pragma once
#include <cstdint>
#include <cstring>

namespace weft {

inline uint32_t bitsOf(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

inline float floatOf(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

inline float bf16ToF32(uint16_t value) { return floatOf(uint32_t{value} << 16); }

inline float f16ToF32(uint16_t value) {
  const uint32_t sign = uint32_t{value} >> 15 << 31, exponent = value >> 10 & 31, mantissa = value & 1023;
  if (exponent == 31) return floatOf(sign | 0x7f800000 | mantissa << 13);
  if (exponent) return floatOf(sign | (exponent + 112) << 23 | mantissa << 13);
  return floatOf(sign | bitsOf(static_cast<float>(mantissa) * 0x1p-24f));
}

// Whether a finite value is one of the format, and which. A value that is not leaves `stored` untouched.
inline bool exactBf16(float value, uint16_t& stored) {
  const uint32_t bits = bitsOf(value);
  if (bits & 0xffff) return false;
  stored = static_cast<uint16_t>(bits >> 16);
  return true;
}

inline bool exactF16(float value, uint16_t& stored) {
  const uint32_t bits = bitsOf(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const int exponent = static_cast<int>(bits >> 23 & 255) - 127;
  uint16_t candidate = sign;
  if (exponent >= -14) {
    if (exponent > 15) return false;
    candidate |= static_cast<uint16_t>((exponent + 15) << 10 | (bits >> 13 & 1023));
  } else if (exponent >= -24) {
    candidate |= static_cast<uint16_t>((0x800000 | (bits & 0x7fffff)) >> (-1 - exponent));
  }
  if (bitsOf(f16ToF32(candidate)) != bits) return false;
  stored = candidate;
  return true;
}

}  // namespace weft

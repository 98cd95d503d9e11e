// bf16 in 12 bits, without loss: panels of 32 outputs × k weights.
//
// Trained weights use few exponents: in each panel of SmolLM2-135M all but 0.03% lie within seven pairs of binades. So a
// value's low byte (last exponent bit, mantissa) is stored as it is, and its high byte (sign, upper seven exponent bits) as
// a code of 4 bits, which one byte shuffle turns back. What none of the seven describes is listed with the panel.
// Reading weights is what a step of few rows waits for; a quarter of it goes.     (Idea: DFloat11, arXiv 2504.11651)
//
// A panel, in bytes, aligned to 64:
//
//   [0, 16)          high byte of each code; 7 and 15 stand for an upper exponent of 0
//   [16, 20)         number of exceptions
//   [32, 32 + 4·C)   room for C = exceptionsMax(k) exceptions in ascending order: k << 13 | output << 8 | high byte
//   stream           for each pair of k 64 low bytes, then 32 bytes of codes
//
// The 64 values of a pair of k are counted as the packed form of bf16 has them, [32 outputs][2];
// bf12LowByteOf, bf12CodeByteOf and bf12CodeShiftOf say where value q stands, such that unpacking bytes within 128-bit lanes brings them into order.
#pragma once
#include <cstdint>
#include <cstring>

namespace weft {

constexpr uint32_t kBf12PairBytes = 96, kBf12CodesAt = 64, kBf12ExceptionsAt = 32;
constexpr uint32_t kBf12NoCode = 7;

constexpr uint32_t bf12ExceptionsMax(uint32_t k) { return (k * 32 + 255) / 256; }
constexpr uint32_t bf12StreamAt(uint32_t k) { return (kBf12ExceptionsAt + 4 * bf12ExceptionsMax(k) + 63) / 64 * 64; }
constexpr uint64_t bf12PanelBytes(uint32_t k) { return (bf12StreamAt(k) + uint64_t{(k + 1) / 2} * kBf12PairBytes + 63) / 64 * 64; }

constexpr uint32_t bf12LowByteOf(uint32_t q) { return (q % 32 / 8) * 16 + q / 32 * 8 + q % 8; }
// Byte among the codes, and the shift in it, of the value whose low byte is byte p.
constexpr uint32_t bf12CodeByteOf(uint32_t p) { return p / 32 * 16 + p % 16; }
constexpr uint32_t bf12CodeShiftOf(uint32_t p) { return p / 16 % 2 * 4; }

struct Bf12Exception {
  uint32_t k, output;
  uint8_t high;
  explicit Bf12Exception(uint32_t word) : k(word >> 13), output(word >> 8 & 31), high(uint8_t(word)) {}
};
constexpr uint32_t kBf12KMax = 1 << 19;                   // an exception has 19 bits for k

inline uint32_t bf12ExceptionCount(const uint8_t* panel, uint32_t k) {
  uint32_t count;
  memcpy(&count, panel + 16, 4);
  return count < bf12ExceptionsMax(k) ? count : bf12ExceptionsMax(k);
}
inline const uint32_t* bf12Exceptions(const uint8_t* panel) { return reinterpret_cast<const uint32_t*>(panel + kBf12ExceptionsAt); }

// Codes a panel of pairs [ceil(k/2)][32][2]. False, and nothing usable in `panel`, when there are too many exceptions.
bool encodeBf12(const uint16_t* pairs, uint32_t k, uint8_t* panel);

}  // namespace weft

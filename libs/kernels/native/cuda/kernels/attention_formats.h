// Keys and values in shared memory as tensor core operands: m16n8k16 with pairs (row, head) as m, f16 in, f32 sums.
//
//   scores   [16 pairs × dim] · keys [dim × 16 tokens]       values   [16 pairs × 16 tokens] · values [16 tokens × dim]
//
// Both come transposed out of shared memory (ldmatrix .trans). A lane of int8 gets pairs of neighbours where one of f16 gets
// single values: its two operands are the even and the odd tokens (columns). Hence token() and column(): what value i of a
// lane's row in operand j stands for. int8 becomes f16 without loss: 1024 + 128 + q, less 1152.
//
// Chunks of 16 bytes are exchanged so that the eight rows of a matrix lie in different banks.
// Source: PTX ISA, «ldmatrix», «Matrix fragments for mma.m16n8k16».
#pragma once
#include "cuda/memory.h"
#include "cuda/mma.h"

namespace weft {
namespace cuda {

// Four 8 × 8 matrices as loadMatrices gets them, transposed: a lane gets values l / 4 of rows 2·(l % 4) and + 1.
WEFT_DEVICE void loadTransposed(uint32_t (&r)[4], const void* row) {
#if defined(__CUDACC__)
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
#else
  emulatedLoadMatrices(r, row, /* transposed */ true);
#endif
}

WEFT_DEVICE uint32_t packHalves(float low, float high) {
#if defined(__CUDACC__)
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  return toF16(low) | toF16(high) << 16;
#endif
}
WEFT_DEVICE uint32_t subtractHalves(uint32_t a, uint32_t b) {
#if defined(__CUDACC__)
  uint32_t word;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(word) : "r"(a), "r"(b));
  return word;
#else
  return packHalves(lowF16(a) - lowF16(b), highF16(a) - highF16(b));
#endif
}
// What a word of two f16 leaves of two values, as f16 again: both words together have 22 bits of a value.
WEFT_DEVICE uint32_t restOfHalves(uint32_t word, float low, float high) { return packHalves(low - lowF16(word), high - highF16(word)); }

// keys(): operands [step of 16 dims][tokens j][half of the dims] of 32 dims from d on, of a block's keys.
// values(): operands [block][columns j][half of the tokens] of 16 columns, of two blocks' values.
struct KvHalves {
  static constexpr uint32_t kBytes = 2;
  static constexpr bool kScaled = false;
  static constexpr uint32_t kKeyChunks = 2;              // of 16 bytes, of a dim
  static WEFT_DEVICE uint32_t keyAt(uint32_t d, uint32_t chunk) { return (d * 2 + (chunk ^ (d >> 2 & 1))) * 16; }
  static WEFT_DEVICE uint32_t valueAt(uint32_t token, uint32_t chunk, uint32_t pitch) { return token * pitch + (chunk ^ token % 8) * 16; }
  static WEFT_DEVICE uint32_t token(uint32_t j, uint32_t i) { return 8 * j + 2 * (threadIdx.x % 4) + i; }
  static WEFT_DEVICE uint32_t column(uint32_t j, uint32_t i) { return token(j, i); }

  static WEFT_DEVICE void keys(uint32_t (&b)[2][2][2], const uint8_t* block, uint32_t d) {
    const uint32_t lane = threadIdx.x % kWarp, matrix = lane / 8;
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      uint32_t r[4];
      loadTransposed(r, block + keyAt(d + s * 16 + matrix % 2 * 8 + lane % 8, matrix / 2));
      b[s][0][0] = r[0], b[s][0][1] = r[1], b[s][1][0] = r[2], b[s][1][1] = r[3];
    }
  }
  static WEFT_DEVICE void values(uint32_t (&b)[2][2][2], const uint8_t* tokens, uint32_t pitch, uint32_t group) {
    const uint32_t lane = threadIdx.x % kWarp, matrix = lane / 8;
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      uint32_t r[4];
      loadTransposed(r, tokens + valueAt(s * 16 + matrix % 2 * 8 + lane % 8, group * 2 + matrix / 2, pitch));
      b[s][0][0] = r[0], b[s][0][1] = r[1], b[s][1][0] = r[2], b[s][1][1] = r[3];
    }
  }
};

struct KvBytes {
  static constexpr uint32_t kBytes = 1;
  static constexpr bool kScaled = true;
  static constexpr uint32_t kKeyChunks = 1;
  static WEFT_DEVICE uint32_t keyAt(uint32_t d, uint32_t) { return d * 16; }
  static WEFT_DEVICE uint32_t valueAt(uint32_t token, uint32_t chunk, uint32_t pitch) {
    return token * pitch + (chunk ^ token / 2 % 8) * 16;
  }
  static WEFT_DEVICE uint32_t token(uint32_t j, uint32_t i) { return 4 * (threadIdx.x % 4) + 2 * i + j; }
  static WEFT_DEVICE uint32_t column(uint32_t j, uint32_t i) { return token(j, i); }

  static WEFT_DEVICE void widen(uint32_t bytes, uint32_t& even, uint32_t& odd) {
    const uint32_t shifted = bytes ^ 0x80808080u;        // q + 128
    even = subtractHalves((shifted & 0x00ff00ffu) | 0x64006400u, 0x64806480u);
    odd = subtractHalves((shifted >> 8 & 0x00ff00ffu) | 0x64006400u, 0x64806480u);
  }
  static WEFT_DEVICE void keys(uint32_t (&b)[2][2][2], const uint8_t* block, uint32_t d) {
    uint32_t r[4];
    loadTransposed(r, block + keyAt(d + threadIdx.x % kWarp, 0));
    WEFT_UNROLL
    for (uint32_t m = 0; m < 4; m++) widen(r[m], b[m / 2][0][m % 2], b[m / 2][1][m % 2]);
  }
  static WEFT_DEVICE void values(uint32_t (&b)[2][2][2], const uint8_t* tokens, uint32_t pitch, uint32_t group) {
    const uint32_t lane = threadIdx.x % kWarp, matrix = lane / 8;
    uint32_t r[4];
    loadTransposed(r, tokens + valueAt(matrix / 2 * 16 + lane % 8 * 2 + matrix % 2, group, pitch));
    WEFT_UNROLL
    for (uint32_t m = 0; m < 4; m++) widen(r[m], b[m / 2][0][m % 2], b[m / 2][1][m % 2]);
  }
};

}  // namespace cuda
}  // namespace weft

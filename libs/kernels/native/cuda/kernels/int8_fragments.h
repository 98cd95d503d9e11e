// Exact products of a group of int8 weights with 16-bit activations by tensor cores of bytes: a value is 256 · high + low with a
// signed high and an unsigned low byte, so two passes give sum(high · w) · 256 + sum(low · w). Panels are read as they lie, each
// lane its own part of a fragment: which of a group's lines stand for which columns of the fragments is free, as long as both
// operands agree.
#pragma once
#include "cuda/fours.h"
#include "cuda/int8_panel.h"
#include "cuda/kernels/heads.h"

namespace weft {
namespace cuda {

// Bytes of (b, a) that the digits of `selector` name, the lowest first (prmt).
WEFT_DEVICE uint32_t bytesOf(uint32_t a, uint32_t b, uint32_t selector) {
#if defined(__CUDACC__)
  return __byte_perm(a, b, selector);
#else
  const uint64_t both = uint64_t{b} << 32 | a;
  uint32_t out = 0;
  for (uint32_t i = 0; i < 4; i++) out |= static_cast<uint32_t>(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return out;
#endif
}

// d[16 × 8] += a[16 × 32] · b[32 × 8], bytes, a signed, b signed or not (PTX ISA, «Matrix fragments for mma.m16n8k32»).
template <bool UNSIGNED>
WEFT_DEVICE void mmaBytes(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  if (UNSIGNED) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.u8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  if (!UNSIGNED) return emulatedMmaInt8(d, a, b);
  const uint32_t rest[2] = {b[0] & 0x7f7f7f7fu, b[1] & 0x7f7f7f7fu}, top[2] = {b[0] >> 7 & 0x01010101u, b[1] >> 7 & 0x01010101u};
  int32_t tops[4] = {0, 0, 0, 0};
  emulatedMmaInt8(tops, a, top);
  emulatedMmaInt8(d, a, rest);
  for (int i = 0; i < 4; i++) d[i] += tops[i] * 128;
#endif
}

// A lane's part of a group of weights: outputs 4·(lane/4) … + 3 of lines 16·s + 4·(lane%4) + i at [4·s + i].
using Int8Weights = Half[8];

WEFT_DEVICE void loadInt8Weights(Int8Weights& w, const uint8_t* group, uint32_t lines) {
  WEFT_UNROLL for (uint32_t i = 0; i < 8; i++) {
    const uint32_t line = i / 4 * 16 + laneIndex() % 4 * 4 + i % 4;
    w[i] = line < lines ? *reinterpret_cast<const Half*>(group + line * kInt8Line + laneIndex() / 4 * 8) : Half{0, 0};
  }
}

// Pairs of one row of activations, the same lines.
using Int8Values = uint32_t[8];

// sums[m][r] += the group's products for outputs 4·(lane/4) + 2m + r/2 and rows 2·(lane%4) + r%2. Called for high bytes, then,
// when all sums were shifted, for low ones.
template <bool LOW>
WEFT_DEVICE void multiplyInt8Group(int32_t (&sums)[2][4], const uint32_t (&w)[2][2][4], const Int8Values& x) {
  WEFT_UNROLL for (uint32_t s = 0; s < 2; s++) {
    constexpr uint32_t kSelector = LOW ? 0x6420 : 0x7531;
    const uint32_t bytes[2] = {bytesOf(x[4 * s], x[4 * s + 1], kSelector), bytesOf(x[4 * s + 2], x[4 * s + 3], kSelector)};
    WEFT_UNROLL for (uint32_t m = 0; m < 2; m++) mmaBytes<LOW>(sums[m], w[m][s], bytes);
  }
}

// Sums of one group for TILES times 8 rows; valuesOf(tile, x) brings their values.
template <uint32_t TILES, typename ValuesOf>
WEFT_DEVICE void sumInt8Group(int32_t (&sums)[TILES][2][4], const Int8Weights& w, ValuesOf valuesOf) {
  uint32_t fragments[2][2][4];                           // of outputs 4g + 2m and + 1, for 32 of k each
  WEFT_UNROLL for (uint32_t s = 0; s < 2; s++) {
    WEFT_UNROLL for (uint32_t i = 0; i < 2; i++) {
      const Half &one = w[4 * s + 2 * i], &two = w[4 * s + 2 * i + 1];
      fragments[0][s][2 * i] = bytesOf(one.x, two.x, 0x5410);
      fragments[0][s][2 * i + 1] = bytesOf(one.x, two.x, 0x7632);
      fragments[1][s][2 * i] = bytesOf(one.y, two.y, 0x5410);
      fragments[1][s][2 * i + 1] = bytesOf(one.y, two.y, 0x7632);
    }
  }
  WEFT_UNROLL for (uint32_t t = 0; t < TILES; t++) {
    Int8Values x;
    valuesOf(t, x);
    WEFT_UNROLL for (uint32_t m = 0; m < 2; m++)
      WEFT_UNROLL for (uint32_t r = 0; r < 4; r++) sums[t][m][r] = 0;
    multiplyInt8Group<false>(sums[t], fragments, x);
    WEFT_UNROLL for (uint32_t m = 0; m < 2; m++)
      WEFT_UNROLL for (uint32_t r = 0; r < 4; r++) sums[t][m][r] *= 256;
    multiplyInt8Group<true>(sums[t], fragments, x);
  }
}

}  // namespace cuda
}  // namespace weft

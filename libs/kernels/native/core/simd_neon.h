// The vector vocabulary (see simd_portable.h) with NEON on arm64: 4 lanes, 32 registers. Never timed on a real arm64 processor.
#pragma once
#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define WEFT_INLINE static inline __attribute__((always_inline))

namespace weft {
namespace WEFT_ISA {

constexpr int kLanes = 4;
constexpr int kAccumulators = 24;
constexpr int kRowTile = 6;
constexpr double kFlopsPerNs = 40;

using F = float32x4_t;

WEFT_INLINE F splat(float a) { return vdupq_n_f32(a); }
WEFT_INLINE F zero() { return vdupq_n_f32(0); }
WEFT_INLINE F load(const float* p) { return vld1q_f32(p); }
WEFT_INLINE F inRegister(F a) { return a; }
WEFT_INLINE void store(float* p, F a) { vst1q_f32(p, a); }
WEFT_INLINE F loadN(const float* p, int n) { float v[4] = {}; for (int i = 0; i < n; i++) v[i] = p[i]; return load(v); }
WEFT_INLINE void storeN(float* p, F a, int n) { float v[4]; store(v, a); for (int i = 0; i < n; i++) p[i] = v[i]; }

WEFT_INLINE F add(F a, F b) { return vaddq_f32(a, b); }
WEFT_INLINE F sub(F a, F b) { return vsubq_f32(a, b); }
WEFT_INLINE F mul(F a, F b) { return vmulq_f32(a, b); }
WEFT_INLINE F divide(F a, F b) { return vdivq_f32(a, b); }
WEFT_INLINE F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
WEFT_INLINE void accumulate(F& c, F a, F b) { c = fma(a, b, c); }
WEFT_INLINE F ifLess(F a, F b, F x, F y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
WEFT_INLINE F maxOf(F a, F b) { return vmaxq_f32(a, b); }
WEFT_INLINE F minOf(F a, F b) { return vminq_f32(a, b); }
WEFT_INLINE bool anyGreater(F a, F b) { return vmaxvq_u32(vcgtq_f32(a, b)) != 0; }
WEFT_INLINE F magnitude(F a) { return vabsq_f32(a); }
WEFT_INLINE F copySign(F a, F sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
WEFT_INLINE float sumOf(F a) {
  float32x2_t b = vadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(b, 0) + vget_lane_f32(b, 1);
}
WEFT_INLINE float maxOver(F a) { return vmaxvq_f32(a); }
WEFT_INLINE F nearest(F a) { return vrndnq_f32(a); }
WEFT_INLINE F scaleByPower(F a, F n) {
  int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
  F first = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  F second = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(whole, half), bias), 23));
  return vmulq_f32(vmulq_f32(a, first), second);
}

WEFT_INLINE F scaleNormal(F a, F n) { return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), vshlq_n_s32(vcvtq_s32_f32(n), 23))); }

WEFT_INLINE uint16x4_t load16N(const uint16_t* p, int n) {
  uint16_t v[4] = {};
  for (int i = 0; i < n; i++) v[i] = p[i];
  return vld1_u16(v);
}
WEFT_INLINE F loadBf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
WEFT_INLINE F loadBf16N(const uint16_t* p, int n) { return vreinterpretq_f32_u32(vshll_n_u16(load16N(p, n), 16)); }
WEFT_INLINE F loadF16(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
WEFT_INLINE F loadF16N(const uint16_t* p, int n) { return vcvt_f32_f16(vreinterpret_f16_u16(load16N(p, n))); }
WEFT_INLINE F loadInt8(const int8_t* p) {
  int8_t v[8] = {};
  memcpy(v, p, 4);
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(v)))));
}

WEFT_INLINE F bf16Low(const uint16_t* p) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_u16(vld1q_u16(p)), 16)); }
WEFT_INLINE F bf16High(const uint16_t* p) {
  return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_u16(vld1q_u16(p)), vdupq_n_u32(0xffff0000u)));
}
WEFT_INLINE void inOrder(F& even, F& odd) {
  F low = vzip1q_f32(even, odd);
  odd = vzip2q_f32(even, odd);
  even = low;
}

WEFT_INLINE void storeBf16(uint16_t* p, F a) {
  const uint32x4_t u = vreinterpretq_u32_f32(a), high = vshrq_n_u32(u, 16);
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(u, vaddq_u32(vdupq_n_u32(0x7fff), vandq_u32(high, vdupq_n_u32(1)))), 16);
  vst1_u16(p, vmovn_u32(vbslq_u32(vceqq_f32(a, a), rounded, vorrq_u32(high, vdupq_n_u32(0x40)))));
}
WEFT_INLINE void storeBf16N(uint16_t* p, F a, int n) {
  uint16_t v[4];
  storeBf16(v, a);
  for (int i = 0; i < n; i++) p[i] = v[i];
}
WEFT_INLINE void storeBf16Normal(uint16_t* p, F a) { storeBf16(p, a); }
WEFT_INLINE void storeF16(uint16_t* p, F a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }

#ifdef WEFT_DOT_PAIRS
// c[i] += pair a[i] · pair b[i]: BFDOT.
using I = bfloat16x8_t;
WEFT_INLINE I loadPairs(const uint16_t* p) { return vreinterpretq_bf16_u16(vld1q_u16(p)); }
WEFT_INLINE I pairsOf(F a) { return vreinterpretq_bf16_f32(a); }
WEFT_INLINE I splatPair(uint32_t pair) { return vreinterpretq_bf16_u32(vdupq_n_u32(pair)); }
WEFT_INLINE F dotPairs(F c, I a, I b) { return vbfdotq_f32(c, a, b); }
#endif
#ifdef WEFT_MATRIX_BF16
// BFMMLA. a: four k of each of two rows, b: of each of two outputs; c: [row][output].
WEFT_INLINE F multiplyQuads(F c, I a, I b) { return vbfmmlaq_f32(c, a, b); }
// Four k of two rows.
WEFT_INLINE I quadsOf(const uint16_t* row, const uint16_t* next) { return vreinterpretq_bf16_u16(vcombine_u16(vld1_u16(row), vld1_u16(next))); }
// Two pairs of k of four outputs, one after the other → four k of the first two outputs, and of the other two.
WEFT_INLINE I quadsOfFirst(I pairs, I next) { return vreinterpretq_bf16_f32(vzip1q_f32(vreinterpretq_f32_bf16(pairs), vreinterpretq_f32_bf16(next))); }
WEFT_INLINE I quadsOfSecond(I pairs, I next) { return vreinterpretq_bf16_f32(vzip2q_f32(vreinterpretq_f32_bf16(pairs), vreinterpretq_f32_bf16(next))); }
// [row][output] of the first two outputs and of the other two → four outputs of a row.
WEFT_INLINE F firstRow(F first, F second) { return vcombine_f32(vget_low_f32(first), vget_low_f32(second)); }
WEFT_INLINE F secondRow(F first, F second) { return vcombine_f32(vget_high_f32(first), vget_high_f32(second)); }
#endif

// A unit of a bf12 stream, [32 outputs][2] values of bf16 as they lie (bf12.h); the halves of pairs as floats.
using HighBytes = uint8x16_t;
WEFT_INLINE HighBytes highBytes(const uint8_t* table) { return vld1q_u8(table); }
WEFT_INLINE void decodeBf12(const uint8_t* unit, HighBytes table, F (&pairs)[8]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const uint8x16_t low = vld1q_u8(unit + 16 * i), both = vld1q_u8(unit + 64 + 16 * (i / 2));
    const uint8x16_t high = vqtbl1q_u8(table, i % 2 ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15)));
    pairs[i] = vreinterpretq_f32_u8(vzip1q_u8(low, high));
    pairs[i + 4] = vreinterpretq_f32_u8(vzip2q_u8(low, high));
  }
}
WEFT_INLINE F lowHalf(F pairs) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(pairs), 16)); }
WEFT_INLINE F highHalf(F pairs) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(pairs), vdupq_n_u32(0xffff0000))); }
WEFT_INLINE F orBits(F a, uint32_t bits) { return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(bits))); }

using Ints = int32x4_t;
using Pairs = int16x8_t;

WEFT_INLINE Ints noInts() { return vdupq_n_s32(0); }
WEFT_INLINE F floats(Ints a) { return vcvtq_f32_s32(a); }
WEFT_INLINE Pairs widenPairs(const int8_t* p) { return vmovl_s8(vld1_s8(p)); }
WEFT_INLINE Pairs splatPair(const float* p) { return vreinterpretq_s16_f32(vld1q_dup_f32(p)); }
WEFT_INLINE Ints addProducts(Ints sum, Pairs a, Pairs b) {
  return vaddq_s32(sum, vpaddq_s32(vmull_s16(vget_low_s16(a), vget_low_s16(b)), vmull_high_s16(a, b)));
}
#ifdef WEFT_DOT_INT8
// SDOT: sum[i] += four k of a · four k of b.
using Quads = int8x16_t;
WEFT_INLINE Ints addProducts(Ints sum, Quads a, Quads b) { return vdotq_s32(sum, a, b); }
WEFT_INLINE Quads onesQuads() { return vdupq_n_s8(1); }
WEFT_INLINE Quads splatQuad(const int8_t* p) { return vreinterpretq_s8_s32(vld1q_dup_s32(reinterpret_cast<const int32_t*>(p))); }
// Two pairs of k of eight outputs, a line apart → four k of the first four and of the others.
WEFT_INLINE void loadQuads(const int8_t* p, size_t line, Quads& first, Quads& second) {
  const int16x8_t pairs = vreinterpretq_s16_s8(vld1q_s8(p)), next = vreinterpretq_s16_s8(vld1q_s8(p + line));
  first = vreinterpretq_s8_s16(vzip1q_s16(pairs, next));
  second = vreinterpretq_s8_s16(vzip2q_s16(pairs, next));
}
// Sixteen numbers q as 256·high + low + 128.
WEFT_INLINE void splitBytes(const int16_t* q, int8_t* high, int8_t* low) {
  const int8x16_t a = vreinterpretq_s8_s16(vld1q_s16(q)), b = vreinterpretq_s8_s16(vld1q_s16(q + 8));
  vst1q_s8(high, vuzp2q_s8(a, b));
  vst1q_s8(low, veorq_s8(vuzp1q_s8(a, b), vdupq_n_s8(-128)));
}
// high · 256 + low + weights · 128
WEFT_INLINE Ints joinBytes(Ints high, Ints low, Ints weights) { return vaddq_s32(vaddq_s32(vshlq_n_s32(high, 8), low), vshlq_n_s32(weights, 7)); }
#endif
WEFT_INLINE void storeInt16(int16_t* p, F a) { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(a))); }

}  // namespace WEFT_ISA
}  // namespace weft

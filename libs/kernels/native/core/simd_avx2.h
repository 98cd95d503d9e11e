// The vector vocabulary (see simd_portable.h) with AVX2, FMA and F16C: 8 lanes, 16 registers.
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define WEFT_INLINE static inline __attribute__((always_inline))

namespace weft {
namespace WEFT_ISA {

constexpr int kLanes = 8;
constexpr int kAccumulators = 12;
constexpr int kRowTile = 6;
constexpr double kFlopsPerNs = 60;

using F = __m256;

WEFT_INLINE F splat(float a) { return _mm256_set1_ps(a); }
WEFT_INLINE F zero() { return _mm256_setzero_ps(); }
WEFT_INLINE __m256i firstLanes(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
WEFT_INLINE F load(const float* p) { return _mm256_loadu_ps(p); }
// For a value that is used more than once: GCC would rather read it again each time.
WEFT_INLINE F inRegister(F a) {
  __asm__("" : "+x"(a));
  return a;
}
WEFT_INLINE void store(float* p, F a) { _mm256_storeu_ps(p, a); }
// Masked stores take a dozen cycles and more on some processors: only where there is a tail.
WEFT_INLINE F loadN(const float* p, int n) { return n == kLanes ? load(p) : _mm256_maskload_ps(p, firstLanes(n)); }
WEFT_INLINE void storeN(float* p, F a, int n) {
  if (n == kLanes) store(p, a);
  else _mm256_maskstore_ps(p, firstLanes(n), a);
}

WEFT_INLINE F add(F a, F b) { return _mm256_add_ps(a, b); }
WEFT_INLINE F sub(F a, F b) { return _mm256_sub_ps(a, b); }
WEFT_INLINE F mul(F a, F b) { return _mm256_mul_ps(a, b); }
WEFT_INLINE F divide(F a, F b) { return _mm256_div_ps(a, b); }
WEFT_INLINE F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
// c += a·b, in place: GCC likes to overwrite a factor instead, and spills accumulators where they fill the registers.
WEFT_INLINE void accumulate(F& c, F a, F b) { __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
WEFT_INLINE F ifLess(F a, F b, F x, F y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
WEFT_INLINE F maxOf(F a, F b) { return _mm256_max_ps(a, b); }
WEFT_INLINE F minOf(F a, F b) { return _mm256_min_ps(a, b); }
WEFT_INLINE bool anyGreater(F a, F b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0; }
WEFT_INLINE F magnitude(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
WEFT_INLINE F copySign(F a, F sign) { return _mm256_or_ps(magnitude(a), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f))); }
WEFT_INLINE float sumOf(F a) {
  __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  c = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
WEFT_INLINE float maxOver(F a) {
  __m128 c = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  c = _mm_max_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
WEFT_INLINE F nearest(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
WEFT_INLINE F scaleByPower(F a, F n) {
  __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  F first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  F second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23));
  return mul(mul(a, first), second);
}

WEFT_INLINE F scaleNormal(F a, F n) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23))); }

WEFT_INLINE __m128i load16(const uint16_t* p) { return _mm_loadu_si128((const __m128i*)p); }
WEFT_INLINE __m128i load16N(const uint16_t* p, int n) {
  uint16_t values[8] = {};
  for (int i = 0; i < n; i++) values[i] = p[i];
  return load16(values);
}
WEFT_INLINE F bf16Bits(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
WEFT_INLINE F loadBf16(const uint16_t* p) { return bf16Bits(load16(p)); }
WEFT_INLINE F loadBf16N(const uint16_t* p, int n) { return bf16Bits(load16N(p, n)); }
WEFT_INLINE F loadF16(const uint16_t* p) { return _mm256_cvtph_ps(load16(p)); }
WEFT_INLINE F loadF16N(const uint16_t* p, int n) { return _mm256_cvtph_ps(load16N(p, n)); }
WEFT_INLINE F loadInt8(const int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p))); }

// The first and the second value of kLanes pairs: a shift and a mask.
WEFT_INLINE F bf16Low(const uint16_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256((const __m256i*)p), 16)); }
WEFT_INLINE F bf16High(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256((const __m256i*)p), _mm256_set1_epi32((int)0xffff0000)));
}
WEFT_INLINE void inOrder(F& even, F& odd) {
  F low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
  even = _mm256_permute2f128_ps(low, high, 0x20);
  odd = _mm256_permute2f128_ps(low, high, 0x31);
}

WEFT_INLINE void storeBf16(uint16_t* p, F a) {
  const __m256i u = _mm256_castps_si256(a), high = _mm256_srli_epi32(u, 16);
  const __m256i bias = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(high, _mm256_set1_epi32(1)));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, bias), 16), quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
  const __m256i half = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
  _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}
WEFT_INLINE void storeBf16N(uint16_t* p, F a, int n) {
  uint16_t values[8];
  storeBf16(values, a);
  for (int i = 0; i < n; i++) p[i] = values[i];
}
WEFT_INLINE void storeBf16Normal(uint16_t* p, F a) { storeBf16(p, a); }
WEFT_INLINE void storeF16(uint16_t* p, F a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// A unit of a bf12 stream, [32 outputs][2] values of bf16 as they lie (bf12.h); the halves of pairs as floats.
using HighBytes = __m256i;
WEFT_INLINE HighBytes highBytes(const uint8_t* table) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)table)); }
WEFT_INLINE void decodeBf12(const uint8_t* unit, HighBytes table, F (&pairs)[4]) {
  const __m256i shifts = _mm256_set_epi64x(4, 4, 0, 0), mask = _mm256_set1_epi8(15);
#pragma GCC unroll 2
  for (int h = 0; h < 2; h++) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)(unit + 32 * h));
    const __m256i codes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)(unit + 64 + 16 * h)));
    const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srlv_epi64(codes, shifts), mask));
    pairs[h] = _mm256_castsi256_ps(_mm256_unpacklo_epi8(low, high));
    pairs[h + 2] = _mm256_castsi256_ps(_mm256_unpackhi_epi8(low, high));
  }
}
WEFT_INLINE F lowHalf(F pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16)); }
WEFT_INLINE F highHalf(F pairs) { return _mm256_and_ps(pairs, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000))); }
WEFT_INLINE F orBits(F a, uint32_t bits) { return _mm256_or_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32((int)bits))); }

using Ints = __m256i;
using Pairs = __m256i;

WEFT_INLINE Ints noInts() { return _mm256_setzero_si256(); }
WEFT_INLINE F floats(Ints a) { return _mm256_cvtepi32_ps(a); }
WEFT_INLINE Pairs widenPairs(const int8_t* p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p)); }
WEFT_INLINE Pairs splatPair(const float* p) { return _mm256_castps_si256(_mm256_broadcast_ss(p)); }
WEFT_INLINE Ints addProducts(Ints sum, Pairs a, Pairs b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
WEFT_INLINE void storeInt16(int16_t* p, F a) {
  const __m256i whole = _mm256_cvtps_epi32(a);
  _mm_storeu_si128((__m128i*)p, _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}

}  // namespace WEFT_ISA
}  // namespace weft

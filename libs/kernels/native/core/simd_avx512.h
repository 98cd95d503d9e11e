// The vector vocabulary (see simd_portable.h) with AVX-512 F, BW, VL, DQ: 16 lanes, 32 registers, masked tails.
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define WEFT_INLINE static inline __attribute__((always_inline))

namespace weft {
namespace WEFT_ISA {

constexpr int kLanes = 16;
constexpr int kAccumulators = 24;
constexpr int kRowTile = 12;
constexpr double kFlopsPerNs = 100;

using F = __m512;

WEFT_INLINE F splat(float a) { return _mm512_set1_ps(a); }
WEFT_INLINE F zero() { return _mm512_setzero_ps(); }
WEFT_INLINE __mmask16 firstLanes(int n) { return (__mmask16)((1u << n) - 1); }
WEFT_INLINE F load(const float* p) { return _mm512_loadu_ps(p); }
WEFT_INLINE F inRegister(F a) { return a; }
WEFT_INLINE void store(float* p, F a) { _mm512_storeu_ps(p, a); }
WEFT_INLINE F loadN(const float* p, int n) { return _mm512_maskz_loadu_ps(firstLanes(n), p); }
WEFT_INLINE void storeN(float* p, F a, int n) { _mm512_mask_storeu_ps(p, firstLanes(n), a); }

WEFT_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
WEFT_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
WEFT_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
WEFT_INLINE F divide(F a, F b) { return _mm512_div_ps(a, b); }
WEFT_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
WEFT_INLINE void accumulate(F& c, F a, F b) { c = fma(a, b, c); }
WEFT_INLINE F ifLess(F a, F b, F x, F y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
WEFT_INLINE F maxOf(F a, F b) { return _mm512_max_ps(a, b); }
WEFT_INLINE F minOf(F a, F b) { return _mm512_min_ps(a, b); }
WEFT_INLINE bool anyGreater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
WEFT_INLINE F magnitude(F a) { return _mm512_abs_ps(a); }
WEFT_INLINE F copySign(F a, F sign) { return _mm512_or_ps(_mm512_abs_ps(a), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f))); }
WEFT_INLINE float sumOf(F a) {
  __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  c = _mm_add_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
WEFT_INLINE float maxOver(F a) {
  __m256 b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  __m128 c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
  c = _mm_max_ps(c, _mm_movehl_ps(c, c));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
WEFT_INLINE F nearest(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
WEFT_INLINE F scaleByPower(F a, F n) { return _mm512_scalef_ps(a, n); }
WEFT_INLINE F scaleNormal(F a, F n) { return _mm512_scalef_ps(a, n); }

WEFT_INLINE F bf16Bits(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
WEFT_INLINE __m256i load16(const uint16_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
WEFT_INLINE __m256i load16N(const uint16_t* p, int n) { return _mm256_maskz_loadu_epi16(firstLanes(n), p); }
WEFT_INLINE F loadBf16(const uint16_t* p) { return bf16Bits(load16(p)); }
WEFT_INLINE F loadBf16N(const uint16_t* p, int n) { return bf16Bits(load16N(p, n)); }
WEFT_INLINE F loadF16(const uint16_t* p) { return _mm512_cvtph_ps(load16(p)); }
WEFT_INLINE F loadF16N(const uint16_t* p, int n) { return _mm512_cvtph_ps(load16N(p, n)); }
WEFT_INLINE F loadInt8(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p))); }

// The first and the second value of kLanes pairs: a shift and a mask.
WEFT_INLINE F bf16Low(const uint16_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }
WEFT_INLINE F bf16High(const uint16_t* p) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32((int)0xffff0000)));
}
WEFT_INLINE void inOrder(F& even, F& odd) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  F a = _mm512_permutex2var_ps(even, low, odd);
  odd = _mm512_permutex2var_ps(even, high, odd);
  even = a;
}

WEFT_INLINE __m256i bf16Of(F a) {
  const __m512i u = _mm512_castps_si512(a), high = _mm512_srli_epi32(u, 16);
  const __m512i bias = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), _mm512_and_si512(high, _mm512_set1_epi32(1)));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, bias), 16), quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), rounded, quiet));
}
WEFT_INLINE void storeBf16(uint16_t* p, F a) { _mm256_storeu_si256((__m256i*)p, bf16Of(a)); }
WEFT_INLINE void storeBf16N(uint16_t* p, F a, int n) { _mm256_mask_storeu_epi16(p, firstLanes(n), bf16Of(a)); }
#ifdef WEFT_DOT_PAIRS
// c[i] += pair a[i] · pair b[i]: VDPBF16PS, the second product first, each sum rounded to nearest even, subnormals as zero.
using I = __m512i;
WEFT_INLINE I loadPairs(const uint16_t* p) { return _mm512_loadu_si512(p); }
WEFT_INLINE I pairsOf(F a) { return _mm512_castps_si512(a); }
WEFT_INLINE I splatPair(uint32_t pair) { return _mm512_set1_epi32((int)pair); }
WEFT_INLINE F dotPairs(F c, I a, I b) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
WEFT_INLINE void storeBf16Normal(uint16_t* p, F a) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(a)); }
#else
WEFT_INLINE void storeBf16Normal(uint16_t* p, F a) { storeBf16(p, a); }
#endif

WEFT_INLINE void storeF16(uint16_t* p, F a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// A unit of a bf12 stream, [32 outputs][2] values of bf16 as they lie (bf12.h); the halves of pairs as floats.
using HighBytes = __m512i;
WEFT_INLINE HighBytes highBytes(const uint8_t* table) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)table)); }
WEFT_INLINE void decodeBf12(const uint8_t* unit, HighBytes table, F (&pairs)[2]) {
  const __m512i twice = _mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), shifts = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
  const __m512i codes = _mm512_permutexvar_epi64(twice, _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)(unit + 64))));
  const __m512i high = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srlv_epi64(codes, shifts), _mm512_set1_epi8(15)));
  const __m512i low = _mm512_loadu_si512(unit);
  pairs[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi8(low, high));
  pairs[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi8(low, high));
}
WEFT_INLINE F lowHalf(F pairs) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16)); }
WEFT_INLINE F highHalf(F pairs) { return _mm512_and_ps(pairs, _mm512_castsi512_ps(_mm512_set1_epi32((int)0xffff0000))); }
WEFT_INLINE F orBits(F a, uint32_t bits) { return _mm512_or_ps(a, _mm512_castsi512_ps(_mm512_set1_epi32((int)bits))); }

using Ints = __m512i;
using Pairs = __m512i;

WEFT_INLINE Ints noInts() { return _mm512_setzero_si512(); }
WEFT_INLINE F floats(Ints a) { return _mm512_cvtepi32_ps(a); }
WEFT_INLINE Pairs widenPairs(const int8_t* p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p)); }
WEFT_INLINE Pairs splatPair(const float* p) { return _mm512_castps_si512(_mm512_set1_ps(*p)); }
WEFT_INLINE Ints addProducts(Ints sum, Pairs a, Pairs b) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
WEFT_INLINE void storeInt16(int16_t* p, F a) { _mm256_storeu_si256((__m256i*)p, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(a))); }

}  // namespace WEFT_ISA
}  // namespace weft

// Every emulated intrinsic once: CASE(feature, name, code). `in` gives operands, `out` takes what comes out.
// No include guard: compiled once with the emulation's meaning of the names and once with the compiler's.

#define A _mm512_loadu_ps(in.a)
#define B _mm512_loadu_ps(in.b)
#define C _mm512_loadu_ps(in.c)
#define AI _mm512_loadu_si512(in.a)
#define BI _mm512_loadu_si512(in.b)
#define CI _mm512_loadu_si512(in.c)
#define HALF _mm256_loadu_si256((const __m256i*)in.a)
#define NEAREST (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)
#define FLOATS(value) _mm512_storeu_ps(out.bytes, value)
#define INTS(value) _mm512_storeu_si512(out.bytes, value)
#define HALF_OUT(value) _mm256_storeu_si256((__m256i*)out.bytes, (__m256i)(value))
#define MASK(value) { const __mmask16 mask = value; memcpy(out.bytes, &mask, 2); }

CASE(kAvx512, maskz_loadu_ps, FLOATS(_mm512_maskz_loadu_ps((__mmask16)((1u << in.n) - 1), in.end - 4 * in.n)))
CASE(kAvx512, mask_storeu_ps, _mm512_mask_storeu_ps(out.bytes, in.k, A))
CASE(kAvx512, maskz_loadu_epi16, HALF_OUT(_mm256_maskz_loadu_epi16((__mmask16)((1u << in.n) - 1), in.end - 2 * in.n)))
CASE(kAvx512, mask_storeu_epi16, _mm256_mask_storeu_epi16(out.bytes, in.k, HALF))

CASE(kAvx512, setzero_ps, FLOATS(_mm512_setzero_ps()))
CASE(kAvx512, setzero_si512, INTS(_mm512_setzero_si512()))
CASE(kAvx512, set1_ps, FLOATS(_mm512_set1_ps(in.a[3])))
CASE(kAvx512, set1_epi32, INTS(_mm512_set1_epi32((int)in.k * 77777)))
CASE(kAvx512, set1_epi8, INTS(_mm512_set1_epi8((char)in.k)))
CASE(kAvx512, setr_epi32, INTS(_mm512_setr_epi32(0, -1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)))
CASE(kAvx512, setr_epi64, INTS(_mm512_setr_epi64(0, -1, 2, 3, 4, 5, 6, 7)))
CASE(kAvx512, castsi512_ps, FLOATS(_mm512_castsi512_ps(AI)))
CASE(kAvx512, castps_si512, INTS(_mm512_castps_si512(A)))
CASE(kAvx512, castps512_ps256, _mm256_storeu_ps((float*)out.bytes, _mm512_castps512_ps256(A)))
CASE(kAvx512, castsi256_si512, { INTS(_mm512_castsi256_si512(HALF)); memset(out.bytes + 32, 0, 32); })
CASE(kAvx512, extractf32x8_ps, _mm256_storeu_ps((float*)out.bytes, _mm512_extractf32x8_ps(A, 1)))
CASE(kAvx512, broadcast_i32x4, INTS(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)in.a))))
CASE(kAvx512, mask_blend_ps, FLOATS(_mm512_mask_blend_ps(in.k, A, B)))
CASE(kAvx512, mask_blend_epi32, INTS(_mm512_mask_blend_epi32(in.k, AI, BI)))
CASE(kAvx512, permutex2var_ps, FLOATS(_mm512_permutex2var_ps(A, CI, B)))
CASE(kAvx512, permutexvar_epi64, INTS(_mm512_permutexvar_epi64(BI, AI)))
CASE(kAvx512, shuffle_epi8, INTS(_mm512_shuffle_epi8(AI, BI)))
CASE(kAvx512, unpacklo_epi8, INTS(_mm512_unpacklo_epi8(AI, BI)))
CASE(kAvx512, unpackhi_epi8, INTS(_mm512_unpackhi_epi8(AI, BI)))

CASE(kAvx512, add_ps, FLOATS(_mm512_add_ps(A, B)))
CASE(kAvx512, sub_ps, FLOATS(_mm512_sub_ps(A, B)))
CASE(kAvx512, mul_ps, FLOATS(_mm512_mul_ps(A, B)))
CASE(kAvx512, div_ps, FLOATS(_mm512_div_ps(A, B)))
CASE(kAvx512, fmadd_ps, FLOATS(_mm512_fmadd_ps(A, B, C)))
CASE(kAvx512, max_ps, FLOATS(_mm512_max_ps(A, B)))
CASE(kAvx512, min_ps, FLOATS(_mm512_min_ps(A, B)))
CASE(kAvx512, and_ps, FLOATS(_mm512_and_ps(A, B)))
CASE(kAvx512, or_ps, FLOATS(_mm512_or_ps(A, B)))
CASE(kAvx512, abs_ps, FLOATS(_mm512_abs_ps(A)))
CASE(kAvx512, cmp_lt, MASK(_mm512_cmp_ps_mask(A, B, _CMP_LT_OQ)))
CASE(kAvx512, cmp_gt, MASK(_mm512_cmp_ps_mask(A, B, _CMP_GT_OQ)))
CASE(kAvx512, cmp_unord, MASK(_mm512_cmp_ps_mask(A, B, _CMP_UNORD_Q)))
CASE(kAvx512, roundscale_ps, FLOATS(_mm512_roundscale_ps(A, NEAREST)))
CASE(kAvx512, scalef_ps, FLOATS(_mm512_scalef_ps(A, B)))

CASE(kAvx512, add_epi32, INTS(_mm512_add_epi32(AI, BI)))
CASE(kAvx512, and_si512, INTS(_mm512_and_si512(AI, BI)))
CASE(kAvx512, or_si512, INTS(_mm512_or_si512(AI, BI)))
CASE(kAvx512, slli_epi32, INTS(_mm512_slli_epi32(AI, 16)))
CASE(kAvx512, srli_epi32, INTS(_mm512_srli_epi32(AI, 16)))
CASE(kAvx512, srlv_epi64, INTS(_mm512_srlv_epi64(AI, _mm512_and_si512(BI, _mm512_setr_epi64(127, 127, 127, 127, 127, 63, 63, -1)))))
CASE(kAvx512, madd_epi16, INTS(_mm512_madd_epi16(AI, BI)))
CASE(kVnni, dpwssd_epi32, INTS(_mm512_dpwssd_epi32(CI, AI, BI)))

CASE(kAvx512, cvtepu16_epi32, INTS(_mm512_cvtepu16_epi32(HALF)))
CASE(kAvx512, cvtepi8_epi16, INTS(_mm512_cvtepi8_epi16(HALF)))
CASE(kAvx512, cvtepi8_epi32, INTS(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(HALF))))
CASE(kAvx512, cvtepi32_epi16, HALF_OUT(_mm512_cvtepi32_epi16(AI)))
CASE(kAvx512, cvtsepi32_epi16, HALF_OUT(_mm512_cvtsepi32_epi16(AI)))
CASE(kAvx512, cvtepi32_ps, FLOATS(_mm512_cvtepi32_ps(AI)))
CASE(kAvx512, cvtps_epi32, INTS(_mm512_cvtps_epi32(A)))
CASE(kAvx512, cvtph_ps, FLOATS(_mm512_cvtph_ps(HALF)))
CASE(kAvx512, cvtps_ph, HALF_OUT(_mm512_cvtps_ph(A, NEAREST)))

CASE(kBf16, dpbf16_ps, FLOATS(_mm512_dpbf16_ps(C, (__m512bh)AI, (__m512bh)BI)))

// C += A · B of tiles with in.n + 1 rows, in.pairs pairs of k and in.n2 outputs; the store leaves what lies beyond alone.
CASE(kAmx, tiles, {
  alignas(64) uint8_t config[64] = {1};
  const uint16_t rowBytes[3] = {(uint16_t)(4 * in.n2), (uint16_t)(4 * in.pairs), (uint16_t)(4 * in.n2)};
  memcpy(config + 16, rowBytes, 6);
  config[48] = (uint8_t)(in.n + 1), config[49] = (uint8_t)(in.n + 1), config[50] = (uint8_t)in.pairs;
  __asm__ volatile("" : : "r"(config) : "memory");       // GCC's _tile_loadconfig claims to read eight bytes only
  _tile_loadconfig(config);
  if (in.k & 1) _tile_zero(0); else _tile_loadd(0, in.sums, 64);
  _tile_loadd(1, in.left, 64);
  _tile_loadd(2, in.right, 64);
  _tile_dpbf16ps(0, 1, 2);
  _tile_stored(0, out.bytes, 64);
  _tile_release();
})

#undef A
#undef B
#undef C
#undef AI
#undef BI
#undef CI
#undef HALF
#undef NEAREST
#undef FLOATS
#undef INTS
#undef HALF_OUT
#undef MASK

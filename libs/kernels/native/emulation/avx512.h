// AVX-512 (F, BW, VL, DQ), VNNI, BF16 and AMX intrinsics in C++ that an AVX2 processor runs: how kernels for processors
// that we lack are verified. An emulated build puts this header in front of their files (scripts/lib/native.mjs): inside
// namespace weft these names hide the compiler's. Nothing here is fast, and nothing of it is in a build that serves.
//
// Semantics are those of the Intel SDM, vol. 2, «Operation» of each instruction, under the default MXCSR; which of several
// NaNs comes out is not. What AVX2 has in half the width does the work where the SDM defines both alike. An operand that
// the processor would refuse (#UD, #GP) ends the process; so does an immediate that no kernel uses.
#pragma once
#include <float.h>
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WEFT_EMULATE_VNNI                                 // after <immintrin.h>, which would take it for the compiler's
#define __AVX512VNNI__ 1
#endif

#define WEFT_EMULATED static inline __attribute__((always_inline))

namespace weft {

using F32x16 = float __attribute__((vector_size(64)));
using I64x8 = int64_t __attribute__((vector_size(64)));
using U64x8 = uint64_t __attribute__((vector_size(64)));
using I32x16 = int32_t __attribute__((vector_size(64)));
using U32x16 = uint32_t __attribute__((vector_size(64)));
using I16x32 = int16_t __attribute__((vector_size(64)));
using U16x32 = uint16_t __attribute__((vector_size(64)));
using I8x64 = int8_t __attribute__((vector_size(64)));
using U8x64 = uint8_t __attribute__((vector_size(64)));
using I16x16 = int16_t __attribute__((vector_size(32)));
using U16x16 = uint16_t __attribute__((vector_size(32)));
using I8x32 = int8_t __attribute__((vector_size(32)));

struct __m512 { F32x16 f; };
struct __m512i { I32x16 i; };
struct __m512bh {
  U16x32 h;
  __m512bh() = default;
  explicit __m512bh(const __m512i& a) : h((U16x32)a.i) {}
};

[[noreturn]] inline void refuseEmulated(const char* what) {
  fprintf(stderr, "emulated %s\n", what);
  abort();
}

WEFT_EMULATED uint32_t bitsOfEmulated(float a) {
  uint32_t bits;
  memcpy(&bits, &a, 4);
  return bits;
}
WEFT_EMULATED float floatOfEmulated(uint32_t bits) {
  float a;
  memcpy(&a, &bits, 4);
  return a;
}
WEFT_EMULATED __m256 lowHalf(F32x16 a) { __m256 h; memcpy(&h, &a, 32); return h; }
WEFT_EMULATED __m256 highHalf(F32x16 a) { __m256 h; memcpy(&h, (const char*)&a + 32, 32); return h; }
template <class Half> WEFT_EMULATED void joinHalves(void* to, Half low, Half high) {
  memcpy(to, &low, 32);
  memcpy((char*)to + 32, &high, 32);
}

// --- Memory. Only lanes of the mask are touched.

WEFT_EMULATED __m512 _mm512_loadu_ps(const void* p) { __m512 a; memcpy(&a, p, 64); return a; }
WEFT_EMULATED void _mm512_storeu_ps(void* p, __m512 a) { memcpy(p, &a, 64); }
WEFT_EMULATED __m512i _mm512_loadu_si512(const void* p) { __m512i a; memcpy(&a, p, 64); return a; }
WEFT_EMULATED void _mm512_storeu_si512(void* p, __m512i a) { memcpy(p, &a, 64); }
WEFT_EMULATED __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void* p) {
  __m512 a = {F32x16{}};
  for (int i = 0; i < 16; i++) if (k >> i & 1) a.f[i] = ((const float*)p)[i];
  return a;
}
WEFT_EMULATED void _mm512_mask_storeu_ps(void* p, __mmask16 k, __m512 a) {
  for (int i = 0; i < 16; i++) if (k >> i & 1) ((float*)p)[i] = a.f[i];
}
WEFT_EMULATED __m256i _mm256_maskz_loadu_epi16(__mmask16 k, const void* p) {
  U16x16 a = {};
  for (int i = 0; i < 16; i++) if (k >> i & 1) a[i] = ((const uint16_t*)p)[i];
  return (__m256i)a;
}
WEFT_EMULATED void _mm256_mask_storeu_epi16(void* p, __mmask16 k, __m256i a) {
  for (int i = 0; i < 16; i++) if (k >> i & 1) ((uint16_t*)p)[i] = ((U16x16)a)[i];
}

// --- Making vectors, halves, types, lanes.

WEFT_EMULATED __m512 _mm512_setzero_ps() { return {F32x16{}}; }
WEFT_EMULATED __m512i _mm512_setzero_si512() { return {I32x16{}}; }
WEFT_EMULATED __m512 _mm512_set1_ps(float a) { return {a - F32x16{}}; }
WEFT_EMULATED __m512i _mm512_set1_epi32(int a) { return {a - I32x16{}}; }
WEFT_EMULATED __m512i _mm512_set1_epi8(char a) { return {(I32x16)((int8_t)a - I8x64{})}; }
WEFT_EMULATED __m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m,
                                        int n, int o, int p) {
  return {I32x16{a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p}};
}
WEFT_EMULATED __m512i _mm512_setr_epi64(long long a, long long b, long long c, long long d, long long e, long long f, long long g,
                                        long long h) {
  return {(I32x16)I64x8{a, b, c, d, e, f, g, h}};
}
WEFT_EMULATED __m512 _mm512_castsi512_ps(__m512i a) { return {(F32x16)a.i}; }
WEFT_EMULATED __m512i _mm512_castps_si512(__m512 a) { return {(I32x16)a.f}; }
WEFT_EMULATED __m256 _mm512_castps512_ps256(__m512 a) { return lowHalf(a.f); }
WEFT_EMULATED __m512i _mm512_castsi256_si512(__m256i a) {  // the upper half is undefined: what nobody may build on
  __m512i b;
  joinHalves(&b, a, _mm256_set1_epi32(0x5a5a5a5a));
  return b;
}
WEFT_EMULATED __m256 _mm512_extractf32x8_ps(__m512 a, int half) { return half & 1 ? highHalf(a.f) : lowHalf(a.f); }
WEFT_EMULATED __m512i _mm512_broadcast_i32x4(__m128i a) {
  __m512i b;
  for (int i = 0; i < 4; i++) memcpy((char*)&b + 16 * i, &a, 16);
  return b;
}
WEFT_EMULATED __m512 _mm512_mask_blend_ps(__mmask16 k, __m512 a, __m512 b) {
  for (int i = 0; i < 16; i++) a.f[i] = k >> i & 1 ? b.f[i] : a.f[i];
  return a;
}
WEFT_EMULATED __m512i _mm512_mask_blend_epi32(__mmask16 k, __m512i a, __m512i b) {
  for (int i = 0; i < 16; i++) a.i[i] = k >> i & 1 ? b.i[i] : a.i[i];
  return a;
}
WEFT_EMULATED __m512 _mm512_permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  __m512 c;
  for (int i = 0; i < 16; i++) c.f[i] = index.i[i] & 16 ? b.f[index.i[i] & 15] : a.f[index.i[i] & 15];
  return c;
}
WEFT_EMULATED __m512i _mm512_permutexvar_epi64(__m512i index, __m512i a) {
  I64x8 c;
  for (int i = 0; i < 8; i++) c[i] = ((I64x8)a.i)[((I64x8)index.i)[i] & 7];
  return {(I32x16)c};
}
WEFT_EMULATED __m512i _mm512_shuffle_epi8(__m512i a, __m512i control) {  // within each 16 bytes
  I8x64 c;
  for (int i = 0; i < 64; i++) {
    const int8_t at = ((I8x64)control.i)[i];
    c[i] = at < 0 ? 0 : ((I8x64)a.i)[(i & ~15) + (at & 15)];
  }
  return {(I32x16)c};
}
WEFT_EMULATED __m512i unpackEmulated(__m512i a, __m512i b, int from) {
  I8x64 c;
  for (int i = 0; i < 64; i++) c[i] = ((I8x64)(i & 1 ? b : a).i)[(i & ~15) + from + (i & 15) / 2];
  return {(I32x16)c};
}
WEFT_EMULATED __m512i _mm512_unpacklo_epi8(__m512i a, __m512i b) { return unpackEmulated(a, b, 0); }
WEFT_EMULATED __m512i _mm512_unpackhi_epi8(__m512i a, __m512i b) { return unpackEmulated(a, b, 8); }

// --- f32.

WEFT_EMULATED __m512 _mm512_add_ps(__m512 a, __m512 b) { return {a.f + b.f}; }
WEFT_EMULATED __m512 _mm512_sub_ps(__m512 a, __m512 b) { return {a.f - b.f}; }
WEFT_EMULATED __m512 _mm512_mul_ps(__m512 a, __m512 b) { return {a.f * b.f}; }
WEFT_EMULATED __m512 _mm512_div_ps(__m512 a, __m512 b) { return {a.f / b.f}; }
WEFT_EMULATED __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  __m512 d;
  joinHalves(&d, _mm256_fmadd_ps(lowHalf(a.f), lowHalf(b.f), lowHalf(c.f)), _mm256_fmadd_ps(highHalf(a.f), highHalf(b.f), highHalf(c.f)));
  return d;
}
WEFT_EMULATED __m512 _mm512_max_ps(__m512 a, __m512 b) { return {a.f > b.f ? a.f : b.f}; }   // NaN or two zeros: b
WEFT_EMULATED __m512 _mm512_min_ps(__m512 a, __m512 b) { return {a.f < b.f ? a.f : b.f}; }
WEFT_EMULATED __m512 _mm512_and_ps(__m512 a, __m512 b) { return {(F32x16)((I32x16)a.f & (I32x16)b.f)}; }
WEFT_EMULATED __m512 _mm512_or_ps(__m512 a, __m512 b) { return {(F32x16)((I32x16)a.f | (I32x16)b.f)}; }
WEFT_EMULATED __m512 _mm512_abs_ps(__m512 a) { return {(F32x16)((I32x16)a.f & 0x7fffffff)}; }
WEFT_EMULATED __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate) {
  I32x16 yes = {};
  switch (predicate) {
    case _CMP_LT_OQ: yes = a.f < b.f; break;
    case _CMP_GT_OQ: yes = a.f > b.f; break;
    case _CMP_UNORD_Q: yes = a.f != a.f || b.f != b.f; break;
    default: refuseEmulated("_mm512_cmp_ps_mask: predicate");
  }
  unsigned k = 0;
  for (int i = 0; i < 16; i++) k |= (unsigned)(yes[i] & 1) << i;
  return (__mmask16)k;
}
WEFT_EMULATED __m512 _mm512_roundscale_ps(__m512 a, int how) {
  if (how != (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)) refuseEmulated("_mm512_roundscale_ps: immediate");
  __m512 b;
  joinHalves(&b, _mm256_round_ps(lowHalf(a.f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
             _mm256_round_ps(highHalf(a.f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  return b;
}
// a · 2^floor(n), rounded once.
WEFT_EMULATED float scalefEmulated(float a, float n) {
  uint32_t bits;
  memcpy(&bits, &a, sizeof bits);
  if (isnan(a) && isinf(n) && (bits >> 22 & 1)) return n > 0 ? INFINITY : 0;      // a quiet one gives way
  if (isnan(a) || isnan(n)) return a + n;
  if (isinf(n)) {
    if (n > 0) return a == 0 ? NAN : copysignf(INFINITY, a);
    return isinf(a) ? NAN : copysignf(0, a);
  }
  const float whole = floorf(n);
  if (whole >= -126 && whole <= 127) return a * floatOfEmulated((uint32_t)((int)whole + 127) << 23);
  return ldexpf(a, whole < -1000 ? -1000 : whole > 1000 ? 1000 : (int)whole);
}
WEFT_EMULATED __m512 _mm512_scalef_ps(__m512 a, __m512 n) {
  for (int i = 0; i < 16; i++) a.f[i] = scalefEmulated(a.f[i], n.f[i]);
  return a;
}

// --- Integers.

WEFT_EMULATED __m512i _mm512_add_epi32(__m512i a, __m512i b) { return {(I32x16)((U32x16)a.i + (U32x16)b.i)}; }
WEFT_EMULATED __m512i _mm512_and_si512(__m512i a, __m512i b) { return {a.i & b.i}; }
WEFT_EMULATED __m512i _mm512_or_si512(__m512i a, __m512i b) { return {a.i | b.i}; }
WEFT_EMULATED __m512i _mm512_slli_epi32(__m512i a, unsigned n) { return {n > 31 ? I32x16{} : (I32x16)((U32x16)a.i << n)}; }
WEFT_EMULATED __m512i _mm512_srli_epi32(__m512i a, unsigned n) { return {n > 31 ? I32x16{} : (I32x16)((U32x16)a.i >> n)}; }
WEFT_EMULATED __m512i _mm512_srlv_epi64(__m512i a, __m512i n) {
  U64x8 c;
  for (int i = 0; i < 8; i++) c[i] = ((U64x8)n.i)[i] > 63 ? 0 : ((U64x8)a.i)[i] >> ((U64x8)n.i)[i];
  return {(I32x16)c};
}
// Sums of two products of neighbours. Only four times −2^15 wraps.
WEFT_EMULATED __m512i _mm512_madd_epi16(__m512i a, __m512i b) {
  const I16x32 x = (I16x32)a.i, y = (I16x32)b.i;
  I32x16 c;
  for (int i = 0; i < 16; i++) c[i] = (int32_t)((uint32_t)(x[2 * i] * y[2 * i]) + (uint32_t)(x[2 * i + 1] * y[2 * i + 1]));
  return {c};
}
WEFT_EMULATED __m512i _mm512_dpwssd_epi32(__m512i c, __m512i a, __m512i b) { return _mm512_add_epi32(c, _mm512_madd_epi16(a, b)); }

// --- Conversions.

WEFT_EMULATED __m512i _mm512_cvtepu16_epi32(__m256i a) {
  I32x16 b;
  for (int i = 0; i < 16; i++) b[i] = ((U16x16)a)[i];
  return {b};
}
WEFT_EMULATED __m512i _mm512_cvtepi8_epi16(__m256i a) {
  I16x32 b;
  for (int i = 0; i < 32; i++) b[i] = ((I8x32)a)[i];
  return {(I32x16)b};
}
WEFT_EMULATED __m512i _mm512_cvtepi8_epi32(__m128i a) {
  int8_t bytes[16];
  memcpy(bytes, &a, 16);
  I32x16 b;
  for (int i = 0; i < 16; i++) b[i] = bytes[i];
  return {b};
}
WEFT_EMULATED __m256i _mm512_cvtepi32_epi16(__m512i a) {
  I16x16 b;
  for (int i = 0; i < 16; i++) b[i] = (int16_t)a.i[i];
  return (__m256i)b;
}
WEFT_EMULATED __m256i _mm512_cvtsepi32_epi16(__m512i a) {
  I16x16 b;
  for (int i = 0; i < 16; i++) b[i] = (int16_t)(a.i[i] > 32767 ? 32767 : a.i[i] < -32768 ? -32768 : a.i[i]);
  return (__m256i)b;
}
WEFT_EMULATED __m512 _mm512_cvtepi32_ps(__m512i a) { return {__builtin_convertvector(a.i, F32x16)}; }
WEFT_EMULATED __m512i _mm512_cvtps_epi32(__m512 a) {
  __m512i b;
  joinHalves(&b, _mm256_cvtps_epi32(lowHalf(a.f)), _mm256_cvtps_epi32(highHalf(a.f)));
  return b;
}
WEFT_EMULATED __m512 _mm512_cvtph_ps(__m256i a) {
  __m512 b;
  joinHalves(&b, _mm256_cvtph_ps(_mm256_castsi256_si128(a)), _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
  return b;
}
WEFT_EMULATED __m256i _mm512_cvtps_ph(__m512 a, int how) {
  if (how != (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)) refuseEmulated("_mm512_cvtps_ph: immediate");
  return _mm256_set_m128i(_mm256_cvtps_ph(highHalf(a.f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                          _mm256_cvtps_ph(lowHalf(a.f), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

// --- bf16. Denormals are zeros, going in and coming out; nearest even, whatever MXCSR says.

WEFT_EMULATED float flushed(float a) { return fabsf(a) < FLT_MIN ? copysignf(0, a) : a; }
// a·b + c, rounded once. Tiny is what is so after rounding to 24 bits with an exponent without bounds (SDM vol. 1,
// 4.9.1.5): just below FLT_MIN, where f32 itself has 23 bits, the sum decides; there it is exact in f64.
WEFT_EMULATED float fmaFlushed(float a, float b, float c) {
  a = flushed(a), b = flushed(b), c = flushed(c);
  const float sum = fmaf(a, b, c);
  if (fabsf(sum) == FLT_MIN && fabs((double)a * b + c) < (double)FLT_MIN * (1 - 0x1p-25)) return copysignf(0, sum);
  return flushed(sum);
}
WEFT_EMULATED float ofBf16(uint16_t a) { return floatOfEmulated((uint32_t)a << 16); }
// The upper product of a pair first.
WEFT_EMULATED __m512 _mm512_dpbf16_ps(__m512 c, const __m512bh& a, const __m512bh& b) {
  for (int i = 0; i < 16; i++) {
    c.f[i] = fmaFlushed(ofBf16(a.h[2 * i + 1]), ofBf16(b.h[2 * i + 1]), c.f[i]);
    c.f[i] = fmaFlushed(ofBf16(a.h[2 * i]), ofBf16(b.h[2 * i]), c.f[i]);
  }
  return c;
}

WEFT_EMULATED __m256i _mm512_cvtneps_pbh(__m512 a) {
  U16x16 h;
  for (int i = 0; i < 16; i++) {
    const uint32_t bits = bitsOfEmulated(flushed(a.f[i]));
    h[i] = (uint16_t)(a.f[i] != a.f[i] ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
  return (__m256i)h;
}

// --- AMX: eight tiles of each thread.

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps

struct EmulatedTile {
  int rows = 0, bytes = 0;                               // of a row; 0: not configured
  uint8_t data[16][64] = {};
};
inline EmulatedTile& emulatedTile(int index) {
  static thread_local EmulatedTile tiles[8];
  return tiles[index];
}
inline EmulatedTile& validTile(int index) {
  if (index < 0 || index > 7 || !emulatedTile(index).rows) refuseEmulated("tile: not configured (#UD)");
  return emulatedTile(index);
}

inline void _tile_release() {
  for (int t = 0; t < 8; t++) emulatedTile(t) = EmulatedTile();
}
inline void _tile_loadconfig(const void* p) {
  const uint8_t* config = (const uint8_t*)p;             // palette, start row, 14 reserved, 16 × u16 bytes, 16 × u8 rows
  _tile_release();
  if (config[0] == 0) return;
  if (config[0] != 1) refuseEmulated("_tile_loadconfig: palette (#GP)");
  if (config[1] != 0) refuseEmulated("_tile_loadconfig: start row");
  for (int i = 2; i < 64; i++) {
    const bool used = (i >= 16 && i < 32) || (i >= 48 && i < 56);
    if (!used && config[i]) refuseEmulated("_tile_loadconfig: reserved (#GP)");
  }
  for (int t = 0; t < 8; t++) {
    const int bytes = config[16 + 2 * t] | config[17 + 2 * t] << 8, rows = config[48 + t];
    if (bytes > 64 || rows > 16 || !bytes != !rows) refuseEmulated("_tile_loadconfig: shape (#GP)");
    emulatedTile(t).rows = rows;
    emulatedTile(t).bytes = bytes;
  }
}
inline void _tile_zero(int index) { memset(validTile(index).data, 0, sizeof(EmulatedTile::data)); }
inline void _tile_loadd(int index, const void* base, long stride) {
  EmulatedTile& t = validTile(index);
  if (t.bytes % 4) refuseEmulated("_tile_loadd: bytes of a row (#UD)");
  memset(t.data, 0, sizeof t.data);
  for (int r = 0; r < t.rows; r++) memcpy(t.data[r], (const char*)base + r * stride, (size_t)t.bytes);
}
inline void _tile_stored(int index, void* base, long stride) {
  const EmulatedTile& t = validTile(index);
  if (t.bytes % 4) refuseEmulated("_tile_stored: bytes of a row (#UD)");
  for (int r = 0; r < t.rows; r++) memcpy((char*)base + r * stride, t.data[r], (size_t)t.bytes);
}
// Even and odd products gather in two sums from zero; both together are added to the tile.
inline void _tile_dpbf16ps(int to, int left, int right) {
  EmulatedTile &c = validTile(to), &a = validTile(left), &b = validTile(right);
  if (to == left || to == right || left == right) refuseEmulated("_tile_dpbf16ps: one tile twice (#UD)");
  if (a.bytes % 4 || c.bytes % 4) refuseEmulated("_tile_dpbf16ps: bytes of a row (#UD)");
  if (c.bytes != b.bytes || c.rows != a.rows || a.bytes / 4 != b.rows) refuseEmulated("_tile_dpbf16ps: shapes (#UD)");
  for (int m = 0; m < c.rows; m++) {
    const uint16_t* x = (const uint16_t*)a.data[m];
    float even[16] = {}, odd[16] = {};
    for (int k = 0; k < b.rows; k++) {
      const uint16_t* y = (const uint16_t*)b.data[k];
      for (int n = 0; n < c.bytes / 4; n++) {
        even[n] = fmaFlushed(ofBf16(x[2 * k]), ofBf16(y[2 * n]), even[n]);
        odd[n] = fmaFlushed(ofBf16(x[2 * k + 1]), ofBf16(y[2 * n + 1]), odd[n]);
      }
    }
    float* sums = (float*)c.data[m];
    for (int n = 0; n < c.bytes / 4; n++) sums[n] = flushed(flushed(sums[n]) + flushed(even[n] + odd[n]));
    memset(c.data[m] + c.bytes, 0, (size_t)(64 - c.bytes));
  }
}

}  // namespace weft

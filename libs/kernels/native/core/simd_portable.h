// The vector vocabulary of the kernels, in plain C++ with vector extensions: 4 lanes, for any processor.
//
// Every simd_*.h declares the same names in the namespace of its instruction set, WEFT_ISA; kernels under kernels/ are
// written once against them. Each translation unit has a namespace of its own, so that no symbol of a unit compiled for
// AVX-512 can stand in for one of the portable unit at link time.
//
//   F                    kLanes floats            fma(a, b, c)         a·b + c (rounded once where the set has FMA)
//   maxOf, minOf         the second operand where either is NaN (as x86 does); arm64 returns NaN
//   ifLess(a, b, x, y)   a < b ? x : y            anyGreater(a, b)     some lane of a above b
//   sumOf(a), maxOver(a) over lanes, in a fixed tree
//   loadN, storeN, …     the first n lanes only: what lies behind is neither read nor written (lanes read as 0)
//   storeBf16            rounds to nearest, ties to even; NaN stays NaN. storeBf16Normal may store a subnormal as zero
//   bf16Low, bf16High    the first, the second value of each of kLanes pairs of bf16; of values that are no pairs those of
//                        even and of odd place, which inOrder puts right
//   Ints, Pairs          kLanes int32; twice as many int16, (k, k + 1) of each lane. addProducts: sum + both products, exact
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>


#define WEFT_INLINE static inline __attribute__((always_inline))

namespace weft {
namespace WEFT_ISA {

constexpr int kLanes = 4;
constexpr int kAccumulators = 8;       // of 16 registers: without FMA each product needs one more
constexpr int kRowTile = 4;            // most rows in a register tile
constexpr double kFlopsPerNs = 12;     // a guess at one core, only for the size of tiles

typedef float F __attribute__((vector_size(16)));
typedef int32_t I __attribute__((vector_size(16)));
typedef uint32_t U __attribute__((vector_size(16)));
typedef uint16_t H __attribute__((vector_size(8)));

WEFT_INLINE F splat(float a) { return F{a, a, a, a}; }
WEFT_INLINE F zero() { return F{0, 0, 0, 0}; }
WEFT_INLINE F load(const float* p) { F a; memcpy(&a, p, sizeof a); return a; }
WEFT_INLINE F inRegister(F a) { return a; }
WEFT_INLINE void store(float* p, F a) { memcpy(p, &a, sizeof a); }
WEFT_INLINE F loadN(const float* p, int n) { F a = zero(); for (int i = 0; i < n; i++) a[i] = p[i]; return a; }
WEFT_INLINE void storeN(float* p, F a, int n) { for (int i = 0; i < n; i++) p[i] = a[i]; }

WEFT_INLINE F add(F a, F b) { return a + b; }
WEFT_INLINE F sub(F a, F b) { return a - b; }
WEFT_INLINE F mul(F a, F b) { return a * b; }
WEFT_INLINE F divide(F a, F b) { return a / b; }
WEFT_INLINE F fma(F a, F b, F c) { return a * b + c; }
WEFT_INLINE void accumulate(F& c, F a, F b) { c = fma(a, b, c); }
WEFT_INLINE F ifLess(F a, F b, F x, F y) { return (F)(((I)x & (a < b)) | ((I)y & ~(a < b))); }
WEFT_INLINE F maxOf(F a, F b) { return (F)(((I)a & (a > b)) | ((I)b & ~(a > b))); }
WEFT_INLINE F minOf(F a, F b) { return ifLess(a, b, a, b); }
WEFT_INLINE bool anyGreater(F a, F b) { I m = a > b; return (m[0] | m[1] | m[2] | m[3]) != 0; }
WEFT_INLINE F magnitude(F a) { return (F)((I)a & 0x7fffffff); }
WEFT_INLINE F copySign(F a, F sign) { return (F)(((I)a & 0x7fffffff) | ((I)sign & ~0x7fffffff)); }
WEFT_INLINE float sumOf(F a) { return (a[0] + a[2]) + (a[1] + a[3]); }
WEFT_INLINE float maxOver(F a) {
  float x = a[0] > a[2] ? a[0] : a[2], y = a[1] > a[3] ? a[1] : a[3];
  return x > y ? x : y;
}
// Nearest integer, |a| < 2^22.
WEFT_INLINE F nearest(F a) { return (a + splat(12582912.0f)) - splat(12582912.0f); }
// a · 2^n for integers n in [-252, 252], in two steps, so that subnormal results come out right.
WEFT_INLINE F scaleByPower(F a, F n) {
  I whole = __builtin_convertvector(n, I), half = whole >> 1;
  return a * (F)((half + 127) << 23) * (F)((whole - half + 127) << 23);
}

// The same where a and the result are normal.
WEFT_INLINE F scaleNormal(F a, F n) { return (F)((U)a + ((U)__builtin_convertvector(n, I) << 23)); }

WEFT_INLINE F bitsAsF(U a) { return (F)a; }
WEFT_INLINE U widen(const uint16_t* p) { H h; memcpy(&h, p, sizeof h); return __builtin_convertvector(h, U); }
WEFT_INLINE U widenN(const uint16_t* p, int n) { U a = {0, 0, 0, 0}; for (int i = 0; i < n; i++) a[i] = p[i]; return a; }
WEFT_INLINE F f16Bits(U h) {
  U magnitudeBits = (h & 0x7fff) << 13;
  F value = (F)magnitudeBits * splat(0x1p112f);                             // exact, subnormals too
  U special = (U)(magnitudeBits >= 0x0f800000u) & 0x7f800000u;              // infinity and NaN keep the top exponent
  return (F)((U)value | special | ((h & 0x8000) << 16));
}
WEFT_INLINE F loadBf16(const uint16_t* p) { return (F)(widen(p) << 16); }
WEFT_INLINE F loadBf16N(const uint16_t* p, int n) { return (F)(widenN(p, n) << 16); }
WEFT_INLINE F loadF16(const uint16_t* p) { return f16Bits(widen(p)); }
WEFT_INLINE F loadF16N(const uint16_t* p, int n) { return f16Bits(widenN(p, n)); }
WEFT_INLINE F loadInt8(const int8_t* p) { F a; for (int i = 0; i < kLanes; i++) a[i] = p[i]; return a; }

WEFT_INLINE U pairsAt(const uint16_t* p) { U w; memcpy(&w, p, sizeof w); return w; }
WEFT_INLINE F bf16Low(const uint16_t* p) { return (F)(pairsAt(p) << 16); }
WEFT_INLINE F bf16High(const uint16_t* p) { return (F)(pairsAt(p) & 0xffff0000u); }
WEFT_INLINE void inOrder(F& even, F& odd) {
  F low = __builtin_shufflevector(even, odd, 0, 4, 1, 5), high = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
  even = low;
  odd = high;
}

// Round to nearest, ties to even; overflow becomes infinity, NaN stays NaN.
WEFT_INLINE uint16_t toF16(float value) {
  uint32_t u;
  memcpy(&u, &value, 4);
  uint32_t sign = (u >> 16) & 0x8000, a = u & 0x7fffffff;
  if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (a >= 0x47800000) return (uint16_t)(sign | 0x7c00);
  if (a < 0x38800000) {                                                     // below 2^-14: let the adder round
    float shifted;
    memcpy(&shifted, &a, 4);
    shifted += 0.5f;                                                        // ulp of 0.5 = 2^-24 = ulp of a subnormal
    memcpy(&a, &shifted, 4);
    return (uint16_t)(sign | (a - 0x3f000000));
  }
  return (uint16_t)(sign | ((a - 0x38000000 + 0xfff + ((a >> 13) & 1)) >> 13));
}
WEFT_INLINE uint16_t toBf16(float value) {
  uint32_t u;
  memcpy(&u, &value, 4);
  return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}
WEFT_INLINE void storeBf16N(uint16_t* p, F a, int n) { for (int i = 0; i < n; i++) p[i] = toBf16(a[i]); }
WEFT_INLINE void storeBf16(uint16_t* p, F a) { storeBf16N(p, a, kLanes); }
WEFT_INLINE void storeBf16Normal(uint16_t* p, F a) { storeBf16(p, a); }
WEFT_INLINE void storeF16(uint16_t* p, F a) { for (int i = 0; i < kLanes; i++) p[i] = toF16(a[i]); }

// A unit of a bf12 stream, [32 outputs][2] values of bf16 as they lie (bf12.h); the halves of pairs as floats.
using HighBytes = const uint8_t*;
WEFT_INLINE HighBytes highBytes(const uint8_t* table) { return table; }
WEFT_INLINE void decodeBf12(const uint8_t* unit, HighBytes table, F (&pairs)[8]) {
  uint16_t values[64];
  for (uint32_t q = 0; q < 64; q++) {
    const uint32_t p = bf12LowByteOf(q);
    values[q] = (uint16_t)(unit[p] | table[unit[kBf12CodesAt + bf12CodeByteOf(p)] >> bf12CodeShiftOf(p) & 15] << 8);
  }
  memcpy(pairs, values, sizeof pairs);
}
WEFT_INLINE F lowHalf(F pairs) { return (F)((U)pairs << 16); }
WEFT_INLINE F highHalf(F pairs) { return (F)((U)pairs & 0xffff0000u); }
WEFT_INLINE F orBits(F a, uint32_t bits) { return (F)((U)a | bits); }

typedef I Ints;
typedef int16_t Pairs __attribute__((vector_size(16)));
typedef int8_t Bytes __attribute__((vector_size(8)));

WEFT_INLINE Ints noInts() { return Ints{0, 0, 0, 0}; }
WEFT_INLINE F floats(Ints a) { return __builtin_convertvector(a, F); }
WEFT_INLINE Pairs widenPairs(const int8_t* p) { Bytes b; memcpy(&b, p, sizeof b); return __builtin_convertvector(b, Pairs); }
WEFT_INLINE Pairs splatPair(const float* p) { int32_t pair; memcpy(&pair, p, sizeof pair); return (Pairs)Ints{pair, pair, pair, pair}; }
WEFT_INLINE Ints addProducts(Ints sum, Pairs a, Pairs b) {
#ifdef __SSE2__
  return sum + (Ints)__builtin_ia32_pmaddwd128(a, b);   // GCC does not find it in the line below
#else
  return sum + ((Ints)a << 16 >> 16) * ((Ints)b << 16 >> 16) + ((Ints)a >> 16) * ((Ints)b >> 16);
#endif
}
WEFT_INLINE void storeInt16(int16_t* p, F a) { for (int i = 0; i < kLanes; i++) p[i] = (int16_t)a[i]; }

}  // namespace WEFT_ISA
}  // namespace weft

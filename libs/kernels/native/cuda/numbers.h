// Arithmetic that must come out as it does on the CPU (core/kernels/vmath.h).
#pragma once
#include "cuda/memory.h"

namespace weft {
namespace cuda {

// a · b, rounded by itself: the compiler makes no fused multiply-add of it.
WEFT_DEVICE float product(float a, float b) {
#if defined(__CUDACC__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// 2^n for n in [-126, 127].
WEFT_DEVICE float powerOf2(int32_t n) { return bitsToFloat(static_cast<uint32_t>(n + 127) << 23); }

// e^x with the bits of the CPU's expOf where it has fused multiply-adds; NaN gives 0.
WEFT_DEVICE float expOf(float x) {
  x = fminf(89.0f, fmaxf(-105.0f, x));
  const float n = rintf(product(x, 1.44269504f));
  float r = fmaf(n, -0.693145752f, x);                   // ln2 in two parts, the first exact in 16 bits
  r = fmaf(n, -1.42860677e-6f, r);
  float q = fmaf(1.3814539e-3f, r, 8.368745e-3f);
  q = fmaf(q, r, 4.166839e-2f);
  q = fmaf(q, r, 0.16666521f);
  q = fmaf(q, r, 0.49999994f);
  const int32_t whole = static_cast<int32_t>(n), half = whole >> 1;
  return product(product(fmaf(product(r, r), q, r) + 1.0f, powerOf2(half)), powerOf2(whole - half));
}

// The high half of a · b.
WEFT_DEVICE uint64_t highProduct(uint64_t a, uint64_t b) {
#if defined(__CUDACC__)
  return __umul64hi(a, b);
#else
  return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b >> 64);
#endif
}

// 64 random bits: words 0 (high) and 1 of Philox4x32-10 (Salmon et al., SC 2011).
WEFT_DEVICE uint64_t philoxBits(uint32_t key0, uint32_t key1, uint32_t c0, uint32_t c1) {
  uint32_t c2 = 0, c3 = 0;
  for (uint32_t round = 0; round < 10; round++) {
    const uint64_t p0 = uint64_t{0xd2511f53u} * c0, p1 = uint64_t{0xcd9e8d57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    key0 += 0x9e3779b9u;
    key1 += 0xbb67ae85u;
  }
  return uint64_t{c0} << 32 | c1;
}

}  // namespace cuda
}  // namespace weft

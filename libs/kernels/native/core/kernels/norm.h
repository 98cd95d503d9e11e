// RMSNorm with residual: r += add;  y = w · r / sqrt(mean(r²) + eps).     bound by memory: 3 reads, 2 writes a value
//
// reference   one row, one loop, double accumulator: what the tests compare with
// here        four vectors of partial sums, folded in a fixed order, so that a row's bits don't depend on the batch
#pragma once

namespace weft {
namespace WEFT_ISA {

// Σ x[i]² over dim values.
WEFT_INLINE float sumOfSquares(const float* x, uint32_t dim) {
  F s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
  uint32_t i = 0;
  for (; i + 4 * kLanes <= dim; i += 4 * kLanes) {
    F a = load(x + i), b = load(x + i + kLanes), c = load(x + i + 2 * kLanes), d = load(x + i + 3 * kLanes);
    s0 = fma(a, a, s0);
    s1 = fma(b, b, s1);
    s2 = fma(c, c, s2);
    s3 = fma(d, d, s3);
  }
  for (; i < dim; i += kLanes) {
    F a = dim - i < (uint32_t)kLanes ? loadN(x + i, dim - i) : load(x + i);
    s0 = fma(a, a, s0);
  }
  return sumOf(add(add(s0, s1), add(s2, s3)));
}

// y = (w + plus) · x · factor, stored as T; y may be x.
template <class T>
WEFT_INLINE void scaleRow(const float* x, const float* w, float plus, float factor, typename T::Stored* y, uint32_t dim) {
  const F f = splat(factor), one = splat(plus);
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) T::put(y + i, mul(add(load(w + i), one), mul(load(x + i), f)));
  if (i < dim) {
    const int n = dim - i;
    T::putN(y + i, mul(add(loadN(w + i, n), one), mul(loadN(x + i, n), f)), n);
  }
}

WEFT_INLINE void addRows(const float* a, const float* b, float* out, uint32_t dim) {
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store(out + i, add(load(a + i), load(b + i)));
  if (i < dim) storeN(out + i, add(loadN(a + i, dim - i), loadN(b + i, dim - i)), dim - i);
}

WEFT_INLINE float normFactor(float squares, uint32_t dim, float eps) { return 1.0f / sqrtf(squares / (float)dim + eps); }

static uint32_t rmsNormTiles(const void* p, uint32_t threads) {
  const RmsNormArgs& a = *static_cast<const RmsNormArgs*>(p);
  return Split(a.count, a.dim * 0.3, threads).tiles();
}

static void rmsNormRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const RmsNormArgs& a = *static_cast<const RmsNormArgs*>(p);
  Split split(a.count, a.dim * 0.3, threads);
  const float plus = a.plusOne ? 1.0f : 0.0f;
  float* aside = a.add && a.index ? static_cast<float*>(scratch.take(a.dim * sizeof(float))) : nullptr;
  withRowType(a.yType, [&](auto type) {
    using T = decltype(type);
    for (size_t t = split.begin(tile); t < split.end(tile); t++) {
      const size_t source = a.index ? (size_t)a.index[t] : t;
      float* r = a.r + source * a.ldr;
      const float* x = r;
      if (a.add) {
        float* sum = a.index ? aside : r;                // with an index r belongs to other readers too
        addRows(r, a.add + source * a.ldAdd, sum, a.dim);
        x = sum;
      }
      scaleRow<T>(x, a.w, plus, normFactor(sumOfSquares(x, a.dim), a.dim, a.eps), rowOf<T>(a.y, t, a.ldy), a.dim);
    }
  });
}

// The same for each head of a row, in place.
static uint32_t headNormTiles(const void* p, uint32_t threads) {
  const HeadNormArgs& a = *static_cast<const HeadNormArgs*>(p);
  return Split(a.count, a.heads * (a.dim * 0.15 + 10), threads).tiles();
}

static void headNormRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const HeadNormArgs& a = *static_cast<const HeadNormArgs*>(p);
  Split split(a.count, a.heads * (a.dim * 0.15 + 10), threads);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    for (uint32_t h = 0; h < a.heads; h++) {
      float* x = a.x + t * a.ldx + h * a.dim;
      scaleRow<F32>(x, a.w, a.plusOne ? 1.0f : 0.0f, normFactor(sumOfSquares(x, a.dim), a.dim, a.eps), x, a.dim);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

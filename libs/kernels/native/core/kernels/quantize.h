// Activations in 16 bits with one scale a group.    bound by memory: 4 bytes read and 2 written a value
#pragma once

namespace weft {
namespace WEFT_ISA {

// The smallest normal f32: below it the reciprocal of a scale could overflow.
constexpr float kLeastScale = 0x1p-126f;

static double quantizeNs(const QuantizeRowsArgs& a) { return a.k * (2.0 / kLanes); }

// n values of T (at most a group's) → q, zero behind them; returns their scale.
template <class T>
WEFT_INLINE float quantizeGroup(const typename T::Stored* x, int n, int16_t* q) {
  F most = zero(), bad = zero();
  for (int i = 0; i < n; i += kLanes) {
    const F v = n - i < kLanes ? T::vectorN(x + i, n - i) : T::vector(x + i);
    most = maxOf(most, magnitude(v));
    bad = fma(v, zero(), bad);                           // NaN from a NaN or infinity, else 0
  }
  const float scale = maxOver(most) / 32767.0f + sumOf(bad);
  if (!(scale >= kLeastScale)) {
    memset(q, 0, kInt8Group * sizeof *q);
    return scale == scale ? 0 : scale;
  }
  const F reciprocal = splat(1.0f / scale);
  for (int i = 0; i < (int)kInt8Group; i += kLanes) {
    const F v = n - i >= kLanes ? T::vector(x + i) : n > i ? T::vectorN(x + i, n - i) : zero();
    storeInt16(q + i, nearest(mul(v, reciprocal)));
  }
  return scale;
}

static uint32_t quantizeRowsTiles(const void* p, uint32_t threads) {
  const QuantizeRowsArgs& a = *static_cast<const QuantizeRowsArgs*>(p);
  return Split(a.count, quantizeNs(a), threads).tiles();
}

static void quantizeRowsRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const QuantizeRowsArgs& a = *static_cast<const QuantizeRowsArgs*>(p);
  Split split(a.count, quantizeNs(a), threads);
  const uint32_t groups = int8Groups(a.k);
  withRowType(a.xType, [&](auto type) {
    using T = decltype(type);
    for (size_t t = split.begin(tile); t < split.end(tile); t++) {
      const auto* x = rowOf<T>(a.x, t, a.ldx);
      float* q = a.q + t * a.ldq;
      for (uint32_t g = 0; g < groups; g++) {
        const uint32_t left = a.k - g * kInt8Group;
        auto* ints = reinterpret_cast<int16_t*>(q + g * kInt8Pairs);
        q[groups * kInt8Pairs + g] = quantizeGroup<T>(x + g * kInt8Group, left < kInt8Group ? left : kInt8Group, ints);
      }
    }
  });
}

}  // namespace WEFT_ISA
}  // namespace weft

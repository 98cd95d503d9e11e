// y = act(gate) · up.      bound by memory: 2 reads, 1 write and one division and exponential a value
#pragma once

namespace weft {
namespace WEFT_ISA {

template <class T, class Act>
WEFT_INLINE void gatedRow(const float* x, typename T::Stored* y, uint32_t dim, Act act) {
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) T::put(y + i, mul(act(load(x + i)), load(x + dim + i)));
  if (i < dim) T::putN(y + i, mul(act(loadN(x + i, dim - i)), loadN(x + dim + i, dim - i)), dim - i);
}

static uint32_t gatedActTiles(const void* p, uint32_t threads) {
  const GatedActArgs& a = *static_cast<const GatedActArgs*>(p);
  return Split(a.count, a.dim * 8.0 / kLanes, threads).tiles();
}

static void gatedActRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const GatedActArgs& a = *static_cast<const GatedActArgs*>(p);
  Split split(a.count, a.dim * 8.0 / kLanes, threads);
  withRowType(a.yType, [&](auto type) {
    using T = decltype(type);
    for (size_t t = split.begin(tile); t < split.end(tile); t++) {
      const float* x = a.x + t * a.ldx;
      auto* y = rowOf<T>(a.y, t, a.ldy);
      if (a.act == kActivationSilu) gatedRow<T>(x, y, a.dim, [](F v) { return siluOf(v); });
      else if (a.act == kActivationGeluTanh) gatedRow<T>(x, y, a.dim, [](F v) { return geluTanhOf(v); });
      else gatedRow<T>(x, y, a.dim, [](F v) { return geluOf(v); });
    }
  });
}

// x = cap · tanh(x / cap), in place. x - x is 0, and NaN for what is not finite.
static uint32_t softcapTiles(const void* p, uint32_t threads) {
  const SoftcapArgs& a = *static_cast<const SoftcapArgs*>(p);
  return Split(a.count, a.dim * 8.0 / kLanes, threads).tiles();
}

static void softcapRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const SoftcapArgs& a = *static_cast<const SoftcapArgs*>(p);
  Split split(a.count, a.dim * 8.0 / kLanes, threads);
  const F cap = splat(a.cap);
  const auto capped = [&](F x) { return add(mul(cap, tanhOf(divide(x, cap))), sub(x, x)); };
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    float* x = a.x + t * a.ldx;
    uint32_t i = 0;
    for (; i + kLanes <= a.dim; i += kLanes) store(x + i, capped(load(x + i)));
    if (i < a.dim) storeN(x + i, capped(loadN(x + i, a.dim - i)), a.dim - i);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

// Formats that weights and adapters are stored in, as types that a kernel is instantiated for.
#pragma once

namespace weft {
namespace WEFT_ISA {

// Whether products of two pairs of bf16 are one step (dotPairs).
#ifdef WEFT_DOT_PAIRS
constexpr bool kDotPairs = true;
#else
constexpr bool kDotPairs = false;
#endif

// A format's panel of 32 outputs is [ceil(k/kDepth)][32][kDepth]: `weight<d>` reads kLanes outputs' values of the d-th of
// kDepth successive k. `pair` reads 2·kLanes consecutive values in whatever order is cheapest; `order` of two results of
// the same lanes restores it, so a kernel that works lane by lane pays for the order once, when it stores. `put` stores what arithmetic made, rounded to nearest even.
struct Bf16 {
  using Stored = uint16_t;
  static constexpr int kDepth = 2;                       // a shift and a mask widen a pair, and VDPBF16PS takes pairs
  template <int D>
  WEFT_INLINE F weight(const Stored* p) { return D == 0 ? bf16Low(p) : bf16High(p); }
  WEFT_INLINE void pair(const Stored* p, F& a, F& b) { a = bf16Low(p); b = bf16High(p); }
  WEFT_INLINE void order(F& a, F& b) { inOrder(a, b); }
  WEFT_INLINE F vector(const Stored* p) { return loadBf16(p); }
  WEFT_INLINE F vectorN(const Stored* p, int n) { return loadBf16N(p, n); }
  WEFT_INLINE void put(Stored* p, F a) { storeBf16(p, a); }
  WEFT_INLINE void putN(Stored* p, F a, int n) { storeBf16N(p, a, n); }
};
struct F16 {
  using Stored = uint16_t;
  static constexpr int kDepth = 1;
  template <int D>
  WEFT_INLINE F weight(const Stored* p) { return loadF16(p); }
  WEFT_INLINE void pair(const Stored* p, F& a, F& b) { a = loadF16(p); b = loadF16(p + kLanes); }
  WEFT_INLINE void order(F&, F&) {}
  WEFT_INLINE F vector(const Stored* p) { return loadF16(p); }
  WEFT_INLINE F vectorN(const Stored* p, int n) { return loadF16N(p, n); }
};
struct F32 {
  using Stored = float;
  static constexpr int kDepth = 1;
  template <int D>
  WEFT_INLINE F weight(const Stored* p) { return load(p); }
  WEFT_INLINE F vector(const Stored* p) { return load(p); }
  WEFT_INLINE F vectorN(const Stored* p, int n) { return loadN(p, n); }
  WEFT_INLINE void put(Stored* p, F a) { store(p, a); }
  WEFT_INLINE void putN(Stored* p, F a, int n) { storeN(p, a, n); }
};

// Whole numbers in [-127, 127]; what they stand for depends on a scale beside them.
struct Int8 {
  using Stored = int8_t;
  WEFT_INLINE F vector(const Stored* p) { return loadInt8(p); }
  WEFT_INLINE F vectorN(const Stored* p, int n) {
    Stored values[kLanes] = {};
    memcpy(values, p, n);
    return loadInt8(values);
  }
};

// Calls use(Format{}) with the format that `dtype` names; bf12 is bf16 once it is decoded.
template <class Use>
WEFT_INLINE void withFormat(uint32_t dtype, Use use) {
  if (dtype == kDTypeBf16 || dtype == kDTypeBf12) use(Bf16{});
  else if (dtype == kDTypeF16) use(F16{});
  else use(F32{});
}

// The same for rows of activations, which are f32 or bf16.
template <class Use>
WEFT_INLINE void withRowType(uint32_t type, Use use) {
  if (type == kDTypeBf16) use(Bf16{});
  else use(F32{});
}

WEFT_INLINE void widenRow(const uint16_t* from, float* to, uint32_t dim) {
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) store(to + i, loadBf16(from + i));
  if (i < dim) storeN(to + i, loadBf16N(from + i, dim - i), dim - i);
}
WEFT_INLINE void roundRow(const float* from, uint16_t* to, uint32_t dim) {
  uint32_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) storeBf16(to + i, load(from + i));
  if (i < dim) storeBf16N(to + i, loadN(from + i, dim - i), dim - i);
}

// Row `row` of rows of T that lie `ld` values apart.
template <class T>
WEFT_INLINE typename T::Stored* rowOf(uint8_t* rows, size_t row, size_t ld) { return reinterpret_cast<typename T::Stored*>(rows) + row * ld; }

}  // namespace WEFT_ISA
}  // namespace weft

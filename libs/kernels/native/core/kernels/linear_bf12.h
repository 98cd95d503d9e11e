// y[t] = W x[t] for a W in bf12 (bf12.h): bf16's own chains of additions, out of three quarters of its bytes.
//
// few rows    bound by memory. Some pairs of k are decoded into L1, exceptions put right there, and multiplied; the
//             accumulators stay in registers. Two panels side by side keep memory busy.
// many rows   a panel is decoded once for all rows of a tile, and is then a panel of bf16.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kBf12Window = 16;                     // pairs of k decoded at a time
constexpr uint32_t kBf12FewRows = 3;

// A panel, read from its first pair of k on.
class Bf12Reader {
 public:
  Bf12Reader() = default;
  Bf12Reader(const uint8_t* panel, uint32_t k)
      : table_(highBytes(panel)), unit_(panel + bf12StreamAt(k)), exception_(bf12Exceptions(panel)), end_(exception_ + bf12ExceptionCount(panel, k)) {}

  // The next `pairs` pairs as bf16, [pairs][32][2].
  void decode(uint32_t pairs, uint16_t* values) {
    for (uint32_t i = 0; i < pairs; i++, unit_ += kBf12PairBytes) decodeBf12(unit_, table_, values + i * 64);
    for (; exception_ != end_; exception_++) {
      const Bf12Exception e(*exception_);
      if (e.k / 2 - pair_ >= pairs) break;
      uint16_t& value = values[(e.k / 2 - pair_) * 64 + 2 * e.output + e.k % 2];
      value = (uint16_t)((value & 0xff) | e.high << 8);
    }
    pair_ += pairs;
  }

 private:
  HighBytes table_;
  const uint8_t* unit_;
  const uint32_t *exception_, *end_;
  uint32_t pair_ = 0;
};

// R rows over B panels from `block` on.
template <class M, int R, int B>
static void bf12Tile(const LinearArgs& a, size_t block) {
  Bf12Reader readers[B];
  for (int b = 0; b < B; b++) readers[b] = Bf12Reader(a.w + (block + b) * bf12PanelBytes(a.k), a.k);
  constexpr size_t kStride = kBf12Window * 64;
  alignas(64) uint16_t values[B * kStride];
  F acc[R][B][kVectors];
  clear(acc);
  const auto* x = rowOf<typename M::Rows>(a.x, 0, a.ldx);
  const uint32_t whole = a.k / 2;
  for (uint32_t from = 0; from < whole; from += kBf12Window) {
    const uint32_t pairs = whole - from < kBf12Window ? whole - from : kBf12Window;
    for (int b = 0; b < B; b++) readers[b].decode(pairs, values + b * kStride);
    for (uint32_t i = 0; i < pairs; i++, x += 2) M::template step<2>(values + i * 64, kStride, x, a.ldx, acc);
  }
  if (a.k % 2) {
    for (int b = 0; b < B; b++) readers[b].decode(1, values + b * kStride);
    M::template step<1>(values, kStride, x, a.ldx, acc);
  }
  storeTile(a, 0, block, 0, acc);
}

template <class M, int B, int R = kBf12FewRows>
static void bf12Dispatch(const LinearArgs& a, size_t block) {
  if constexpr (R > 0) {
    if (a.count == (uint32_t)R) bf12Tile<M, R, B>(a, block);
    else bf12Dispatch<M, B, R - 1>(a, block);
  }
}

// Panels [block, end) for the rows of `a`; panel: room for one as bf16.
template <class M>
static void bf12Panels(const LinearArgs& a, uint32_t block, uint32_t end, uint16_t* panel) {
  if (a.count <= kBf12FewRows) {
    for (; block + 2 <= end; block += 2) bf12Dispatch<M, 2>(a, block);
    for (; block < end; block++) bf12Dispatch<M, 1>(a, block);
    return;
  }
  for (; block < end; block++) {
    const uint8_t *coded = a.w + block * bf12PanelBytes(a.k), *next = block + 1 < end ? coded + bf12PanelBytes(a.k) : nullptr;
    const uint32_t pairs = (a.k + 1) / 2;
    Bf12Reader(coded, a.k).decode(pairs, panel);
    LinearArgs one = a;
    one.w = reinterpret_cast<uint8_t*>(panel);
    one.n = a.n - block * kOuts;
    one.y += block * kOuts;
    if (one.b) one.b += block * kOuts;
    Passes passes(one.w, next, pairs, kBf12PairBytes, passesOf(a.count), true);
    linearPanels<M>(one, 0, 1, passes);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

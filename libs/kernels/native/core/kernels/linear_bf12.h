// y[t] = W x[t] for a W in bf12 (bf12.h): bf16's own chains of additions, out of three quarters of its bytes.
//
// few rows    bound by memory. Values are decoded in registers and multiplied there, two panels side by side. The loop
//             stops where one of them has an exception, which is put right by a select: a detour through memory would wait
//             for all loads before it.
// more rows   A panel is decoded once for all rows of a tile, and is then one of bf16. AVX-512 has registers for twelve rows
//             beside a panel's values: it decodes while the first twelve are multiplied, which hides most of it.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kBf12FewRows = 3;
constexpr bool kBf12ManyInRegisters = kLanes == 16;

// Whether no panel has to be decoded into memory.
constexpr bool bf12InRegisters(uint32_t rows) { return rows <= (kBf12ManyInRegisters ? (uint32_t)kRowTile : kBf12FewRows); }

// A panel, read from its first pair of k on.
class Bf12Reader {
 public:
  Bf12Reader() = default;
  Bf12Reader(const uint8_t* panel, uint32_t k)
      : table_(highBytes(panel)), unit_(panel + bf12StreamAt(k)), exception_(bf12Exceptions(panel)), end_(exception_ + bf12ExceptionCount(panel, k)) {}

  // The pair with the next exception, `none` where there is none before it.
  uint32_t nextException(uint32_t none) const {
    const uint32_t pair = exception_ == end_ ? none : *exception_ >> 14;
    return pair < none ? pair : none;
  }

  // The next pair of k, which has no exception.
  __attribute__((always_inline)) void next(F (&pairs)[kVectors]) {
    decodeBf12(unit_, table_, pairs);
    unit_ += kBf12PairBytes;
  }

  // Pair `pair` is next, and has exceptions: their codes stand for a high byte of only the sign.
  void mend(uint32_t pair, F (&pairs)[kVectors]) {
    next(pairs);
    for (; exception_ != end_ && *exception_ >> 14 == pair; exception_++) {
      const Bf12Exception e(*exception_);
      static const float kOutput[kOuts] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                           16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
      for (int v = 0; v < kVectors; v++) {
        const F away = magnitude(sub(load(kOutput + v * kLanes), splat((float)e.output)));
        pairs[v] = ifLess(away, splat(0.5f), orBits(pairs[v], (uint32_t)e.high << (e.k % 2 ? 24 : 8)), pairs[v]);
      }
    }
  }

 private:
  HighBytes table_;
  const uint8_t* unit_;
  const uint32_t *exception_, *end_;
};

// Reads `pairs` pairs of B panels in turn: use(pair, values of each panel).
template <int B, class Use>
WEFT_INLINE void bf12Pairs(Bf12Reader (&readers)[B], uint32_t pairs, Use use) {
  F values[B][kVectors];
  for (uint32_t pair = 0;; pair++) {
    uint32_t stop = pairs;
    for (int b = 0; b < B; b++) stop = readers[b].nextException(stop);
    for (; pair < stop; pair++) {
#pragma GCC unroll 4
      for (int b = 0; b < B; b++) readers[b].next(values[b]);
      use(pair, values);
    }
    if (pair >= pairs) return;
    for (int b = 0; b < B; b++) readers[b].mend(pair, values[b]);
    use(pair, values);
  }
}

// R rows from `row` on over B panels from `block` on, `apart` from each other. kept: where Keep, the panel as bf16.
template <class M, int R, int B, bool Keep>
static void bf12Tile(const LinearArgs& a, size_t row, size_t block, size_t apart, Ahead ahead, uint16_t* kept) {
  Bf12Reader readers[B];
  for (int b = 0; b < B; b++) readers[b] = Bf12Reader(a.w + (block + b * apart) * bf12PanelBytes(a.k), a.k);
  F acc[R][B][kVectors];
  clear(acc);
  const auto* x = rowOf<typename M::Rows>(a.x, row, a.ldx);
  const uint32_t whole = a.k / 2;
  bf12Pairs(readers, (a.k + 1) / 2, [&](uint32_t pair, F (&values)[B][kVectors]) __attribute__((always_inline)) {
    if (R > (int)kBf12FewRows) {
      __builtin_prefetch(ahead.at + pair * ahead.step);
      __builtin_prefetch(ahead.at + pair * ahead.step + ahead.step / 2);
    }
    if (Keep)
      for (int v = 0; v < kVectors; v++) store(reinterpret_cast<float*>(kept + pair * 64) + v * kLanes, values[0][v]);
    if (pair < whole) M::template pairs<2>(values, x + 2 * pair, a.ldx, acc);
    else M::template pairs<1>(values, x + 2 * pair, a.ldx, acc);
  });
  storeTile(a, row, block, 0, acc, apart);
}

template <class M, int B, int R, bool Keep = false>
static void bf12Dispatch(const LinearArgs& a, size_t row, uint32_t rows, size_t block, size_t apart, Ahead ahead, uint16_t* kept = nullptr) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) bf12Tile<M, R, B, Keep>(a, row, block, apart, ahead, kept);
    else bf12Dispatch<M, B, R - 1, Keep>(a, row, rows, block, apart, ahead, kept);
  }
}

// Room that bf12Panels wants for a panel of k as bf16.
WEFT_INLINE size_t bf12Room(size_t k, uint32_t rows) { return bf12InRegisters(rows) ? 0 : panelSteps<Bf16>(k) * kOuts * 4; }

// The op for outputs from `block` on, whose panel is decoded.
WEFT_INLINE LinearArgs bf12Decoded(LinearArgs a, uint32_t block, uint16_t* panel) {
  a.w = reinterpret_cast<uint8_t*>(panel);
  a.n -= block * kOuts;
  a.y += block * kOuts;
  if (a.b) a.b += block * kOuts;
  return a;
}

// Panels [block, end) for the rows of `a`; panel: bf12Room(a.k, a.count) bytes.
template <class M>
static void bf12Panels(const LinearArgs& a, uint32_t block, uint32_t end, uint16_t* panel) {
  if (a.count <= kBf12FewRows) {
    // Two streams, each from panel to panel: a stretch that goes on is what the processor's prefetcher follows.
    const uint32_t half = (end - block) / 2;
    for (uint32_t i = 0; i < half; i++) bf12Dispatch<M, 2, kBf12FewRows>(a, 0, a.count, block + i, half, {});
    if (block + 2 * half < end) bf12Dispatch<M, 1, kBf12FewRows>(a, 0, a.count, end - 1, 1, {});
    return;
  }
  if constexpr (kBf12ManyInRegisters) {
    const uint32_t parts = ceilDiv(a.count, kRowTile);
    for (; block < end; block++) {
      const uint8_t* stream = a.w + block * bf12PanelBytes(a.k) + bf12StreamAt(a.k);
      Passes passes(stream, block + 1 < end ? stream + bf12PanelBytes(a.k) : nullptr, (a.k + 1) / 2, kBf12PairBytes, parts);
      const uint32_t first = evenBegin(a.count, parts, 1);
      if (parts == 1) {
        bf12Dispatch<M, 1, kRowTile>(a, 0, first, block, 1, passes.take());
        continue;
      }
      bf12Dispatch<M, 1, kRowTile, true>(a, 0, first, block, 1, passes.take(), panel);
      const LinearArgs decoded = bf12Decoded(a, block, panel);
      for (uint32_t i = 1; i < parts; i++) {
        const uint32_t from = evenBegin(a.count, parts, i), rows = evenBegin(a.count, parts, i + 1) - from;
        linearDispatch<M>(decoded, from, rows, 0, 1, passes);
      }
    }
    return;
  }
  for (; block < end; block++) {
    const uint8_t *coded = a.w + block * bf12PanelBytes(a.k), *next = block + 1 < end ? coded + bf12PanelBytes(a.k) : nullptr;
    const uint32_t pairs = (a.k + 1) / 2;
    Bf12Reader reader[1] = {Bf12Reader(coded, a.k)};
    bf12Pairs(reader, pairs, [&](uint32_t pair, F (&values)[1][kVectors]) __attribute__((always_inline)) {
      for (int v = 0; v < kVectors; v++) store(reinterpret_cast<float*>(panel + pair * 64) + v * kLanes, values[0][v]);
    });
    const LinearArgs decoded = bf12Decoded(a, block, panel);
    Passes passes(decoded.w, next, pairs, kBf12PairBytes, passesOf(a.count, vectorsFor), true);
    linearPanels<M>(decoded, 0, 1, passes);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

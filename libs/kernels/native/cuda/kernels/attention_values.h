// Sums of values of a tile, and what becomes of them at the ends of units and spans.
#pragma once
#include "cuda/kernels/attention_tile.h"

namespace weft {
namespace cuda {

// Puts 0 for what is not finite into operands of f16, and 1 for that alone into `wrong`. Returns whether there is any.
WEFT_DEVICE uint32_t takeNotFinite(uint32_t (&b)[2][2][2], uint32_t (&wrong)[2][2][2]) {
  uint32_t any = 0;
  WEFT_UNROLL
  for (uint32_t i = 0; i < 8; i++) {
    uint32_t& word = b[i / 4][i / 2 % 2][i % 2];
    const uint32_t low = (word & 0x7c00u) == 0x7c00u ? 0xffffu : 0, high = (word & 0x7c000000u) == 0x7c000000u ? 0xffff0000u : 0;
    word &= ~(low | high);
    any |= wrong[i / 4][i / 2 % 2][i % 2] = (low | high) & 0x3c003c00u;
  }
  return any;
}

// Which pair sees which token of a block, as an operand of ones.
template <class Kv>
WEFT_DEVICE void seenTokens(const TileView& view, uint32_t block, uint32_t (&words)[4]) {
  WEFT_UNROLL
  for (uint32_t r = 0; r < 4; r++) {
    const int32_t base = static_cast<int32_t>(block * kBlockTokens);
    const Seen& seen = view.pair[r % 2];
    words[r] = (seen.has(base + static_cast<int32_t>(Kv::token(r / 2, 0))) ? 0x3c00u : 0) |
               (seen.has(base + static_cast<int32_t>(Kv::token(r / 2, 1))) ? 0x3c000000u : 0);
  }
}

// Sums of values of GROUPS × 16 columns: of column groups first, first + step, … below `groups`.
template <uint32_t GROUPS>
struct ValueSums {
  float of[GROUPS][2][4];

  WEFT_DEVICE void clear() {
    WEFT_UNROLL
    for (uint32_t g = 0; g < GROUPS; g++) {
      WEFT_UNROLL
      for (uint32_t c = 0; c < 8; c++) of[g][c / 4][c % 4] = 0;
    }
  }
  WEFT_DEVICE void scale(const float (&factor)[2]) {
    WEFT_UNROLL
    for (uint32_t g = 0; g < GROUPS; g++) {
      WEFT_UNROLL
      for (uint32_t c = 0; c < 8; c++) of[g][c / 4][c % 4] = product(of[g][c / 4][c % 4], factor[c % 4 / 2]);
    }
  }

  // += weights · values of two blocks. ragged: some pairs do not see tokens that others do. Theirs have weight 0, which makes
  // NaN of a value that is not finite: such a value becomes 0, and the sums of those who see it NaN.
  template <class Kv>
  WEFT_DEVICE void add(bool exact, const Weights (&weights)[2], const uint8_t* values, uint32_t pitch, uint32_t first, uint32_t step,
                       uint32_t groups, bool ragged, const TileView& view, uint32_t block) {
    WEFT_UNROLL
    for (uint32_t g = 0; g < GROUPS; g++) {
      const uint32_t group = first + g * step;
      if (group >= groups) continue;
      uint32_t b[2][2][2];
      Kv::values(b, values, pitch, group);
      if constexpr (Kv::kScaled) {
        addScaled(g, exact, weights, b);
      } else {
        uint32_t wrong[2][2][2] = {}, any = 0;
        if (ragged) any = takeNotFinite(b, wrong);
        addPlain(g, exact, weights, b);
        if (ragged && __ballot_sync(kAllLanes, any != 0)) spoil<Kv>(g, wrong, view, block);
      }
    }
  }

 private:
  WEFT_DEVICE void addPlain(uint32_t g, bool exact, const Weights (&weights)[2], const uint32_t (&b)[2][2][2]) {
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      WEFT_UNROLL
      for (uint32_t j = 0; j < 2; j++) {
        mmaF16(of[g][j], weights[s].words, b[s][j]);
        if (exact) mmaF16(of[g][j], weights[s].rest, b[s][j]);
      }
    }
  }
  WEFT_DEVICE void addScaled(uint32_t g, bool exact, const Weights (&weights)[2], const uint32_t (&b)[2][2][2]) {
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      WEFT_UNROLL
      for (uint32_t j = 0; j < 2; j++) {
        float part[4] = {};
        mmaF16(part, weights[s].words, b[s][j]);
        if (exact) mmaF16(part, weights[s].rest, b[s][j]);
        WEFT_UNROLL
        for (uint32_t c = 0; c < 4; c++) of[g][j][c] = fmaf(part[c], weights[s].down[c / 2], of[g][j][c]);
      }
    }
  }
  // NaN for pairs that see one of the tokens.
  template <class Kv>
  WEFT_DEVICE void spoil(uint32_t g, const uint32_t (&wrong)[2][2][2], const TileView& view, uint32_t block) {
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      uint32_t seen[4];
      seenTokens<Kv>(view, block + s, seen);
      WEFT_UNROLL
      for (uint32_t j = 0; j < 2; j++) {
        float count[4] = {};
        mmaF16(count, seen, wrong[s][j]);
        WEFT_UNROLL
        for (uint32_t c = 0; c < 4; c++) if (count[c] > 0) of[g][j][c] = bitsToFloat(0x7fc00000u);
      }
    }
  }
};

// The highest score and the sum of weights of each half.
struct Softmax {
  float top[2], sum[2];
  WEFT_DEVICE void clear() { top[0] = top[1] = kLowest, sum[0] = sum[1] = 0; }
};

// Takes in a later span: what a state and its sums are to be multiplied by, and what the span's are.
struct Merge {
  float mine, theirs;
  WEFT_DEVICE Merge(float& top, float& sum, float laterTop, float laterSum) {
    const float high = fmaxf(top, laterTop);
    mine = weightOf(top, high);
    theirs = weightOf(laterTop, high);
    top = high;
    sum = fmaf(sum, mine, product(laterSum, theirs));
  }
  WEFT_DEVICE float of(float value, float later) const { return fmaf(value, mine, product(later, theirs)); }
};

// Spans of a tile one after another: the span at hand, and all before it.
template <uint32_t GROUPS>
struct TileState {
  Softmax span, whole;
  ValueSums<GROUPS> spanValues, values;

  WEFT_DEVICE void begin() {
    whole.clear();
    values.clear();
    beginSpan();
  }
  WEFT_DEVICE void beginSpan() {
    span.clear();
    spanValues.clear();
  }
  WEFT_DEVICE void endSpan() {
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      const Merge merge(whole.top[half], whole.sum[half], span.top[half], span.sum[half]);
      WEFT_UNROLL
      for (uint32_t g = 0; g < GROUPS; g++) {
        WEFT_UNROLL
        for (uint32_t c = 0; c < 4; c++) {
          float& value = values.of[g][c / 2][2 * half + c % 2];
          value = merge.of(value, spanValues.of[g][c / 2][2 * half + c % 2]);
        }
      }
    }
    beginSpan();
  }
  // A unit whose highest scores are `highest`: what the span has is scaled to them.
  WEFT_DEVICE void raise(const float (&highest)[2]) {
    float factor[2];
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      const float top = fmaxf(span.top[half], highest[half]);
      factor[half] = weightOf(span.top[half], top);
      span.top[half] = top;
      span.sum[half] = product(span.sum[half], factor[half]);
    }
    spanValues.scale(factor);
  }
};

// Calls put(half, row of the segment, head) for the lane's pairs that are there.
template <class Put>
WEFT_DEVICE void forPairs(const AttentionArgs& a, uint32_t kvHead, uint32_t firstPair, const TileView& view, Put put) {
  WEFT_UNROLL
  for (uint32_t half = 0; half < 2; half++) {
    const uint32_t pair = firstPair + threadIdx.x % kWarp / 4 + 8 * half;
    if (view.pair[half].any()) put(half, pair / groupOf(a), kvHead * groupOf(a) + pair % groupOf(a));
  }
}

WEFT_DEVICE void storeOut(const AttentionArgs& a, uint64_t row, uint32_t head, uint32_t column, float value) {
  const uint64_t at = row * a.ldo + static_cast<uint64_t>(head) * a.dim + column;
  if (a.outType == kDTypeBf16) reinterpret_cast<uint16_t*>(a.out)[at] = static_cast<uint16_t>(toBf16(value));
  else reinterpret_cast<float*>(a.out)[at] = value;
}

// put(g, j, c, column) for the lane's columns of a half that the head has.
template <class Kv, uint32_t GROUPS, class Put>
WEFT_DEVICE void forColumns(const AttentionArgs& a, uint32_t half, uint32_t firstColumn, uint32_t first, uint32_t step, uint32_t groups,
                            Put put) {
  WEFT_UNROLL
  for (uint32_t g = 0; g < GROUPS; g++) {
    WEFT_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
      const uint32_t group = first + g * step, column = firstColumn + group * 16 + Kv::column(i / 2, i % 2);
      if (group < groups && column < a.dim) put(g, i / 2, 2 * half + i % 2, column);
    }
  }
}

// Whether two blocks have tokens that some pairs of the tile see and others do not.
WEFT_DEVICE bool isRagged(const Past& past, const TileView& view, uint32_t block) {
  const int32_t base = static_cast<int32_t>(block * kBlockTokens), end = base + 2 * static_cast<int32_t>(kBlockTokens) - 1;
  return view.latestFirst > (base > past.oldest ? base : past.oldest) || view.earliestLast < (end < past.newest ? end : past.newest);
}

}  // namespace cuda
}  // namespace weft

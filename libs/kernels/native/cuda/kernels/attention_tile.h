// A tile of attention: 16 pairs (row, query head) of a kv head against blocks of 16 tokens, by one warp. A lane has values of
// two pairs, lane / 4 and lane / 4 + 8; «half» 0 and 1.
//
// f16 operands: what is not f16 (queries, weights) is scaled by a power of two into f16's range and, where the output is f32,
// given as the sum of two f16. Every step here is the same for a pair whatever tile it is in and whoever computes it.
#pragma once
#include "cuda/kernels/attention_pages.h"
#include "cuda/numbers.h"
#include "cuda/reduce.h"

namespace weft {
namespace cuda {

constexpr float kLowest = -3.402823466e38f;              // finite: scores of -inf then get weight 0
constexpr float kLog2e = 1.44269504f;
// The score of a token that a pair does not see: -inf, so that its weight is 0.
WEFT_DEVICE float unseenScore() { return bitsToFloat(0xff800000u); }

// A power of two that brings values up to 2^11, and its inverse. What is 0 or not finite stays.
struct Power {
  float up, down;
  WEFT_DEVICE explicit Power(float highest) {
    const uint32_t bits = floatToBits(highest) & 0x7f800000u, exponent = bits == 0x7f800000u ? 127 + 10 : bits >> 23 < 11 ? 11 : bits >> 23;
    up = bitsToFloat((264 - exponent) << 23);
    down = bitsToFloat((exponent - 10) << 23);
  }
};

WEFT_DEVICE float maxOfFour(float value) {               // over the lanes of a pair
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}
WEFT_DEVICE float sumOfFour(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}

// What the pairs of a tile see.
struct TileView {
  Seen pair[2];                                          // of this lane
  int32_t oldest, newest;                                // that some pair sees
  int32_t latestFirst, earliestLast;                     // all pairs see what is between
  WEFT_DEVICE bool any() const { return newest >= 0; }
  WEFT_DEVICE bool overlaps(int32_t first, int32_t last) const { return first <= newest && last >= oldest; }
};

// All lanes of a warp.
WEFT_DEVICE TileView viewOf(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t firstPair) {
  const uint32_t lane = threadIdx.x % kWarp, pair = firstPair + lane;
  Seen seen;
  if (lane < kTilePairs && pair < segment.pairs) seen = seenBy(a, step, segment, pair / groupOf(a));
  TileView view;
  view.oldest = seen.first;
  view.newest = seen.last;
  view.latestFirst = seen.any() ? seen.first : -1;
  view.earliestLast = seen.any() ? seen.last : 0x7fffffff;
  for (uint32_t bit = 1; bit < kWarp; bit *= 2) {
    const int32_t others[4] = {__shfl_xor_sync(kAllLanes, view.oldest, bit), __shfl_xor_sync(kAllLanes, view.newest, bit),
                               __shfl_xor_sync(kAllLanes, view.latestFirst, bit), __shfl_xor_sync(kAllLanes, view.earliestLast, bit)};
    view.oldest = others[0] < view.oldest ? others[0] : view.oldest;
    view.newest = others[1] > view.newest ? others[1] : view.newest;
    view.latestFirst = others[2] > view.latestFirst ? others[2] : view.latestFirst;
    view.earliestLast = others[3] < view.earliestLast ? others[3] : view.earliestLast;
  }
  WEFT_UNROLL
  for (uint32_t half = 0; half < 2; half++) {
    view.pair[half].first = __shfl_sync(kAllLanes, seen.first, lane / 4 + 8 * half);
    view.pair[half].last = __shfl_sync(kAllLanes, seen.last, lane / 4 + 8 * half);
  }
  return view;
}

// scale · q of PAIRS pairs of a tile, m, m + step, …, as operands in shared memory, [step of 16 dims][lane][4 words], and with
// `exact` what is left of it behind them. down: what scores are to be multiplied by. All lanes of a warp.
template <uint32_t PAIRS>
WEFT_DEVICE void stageQueries(const AttentionArgs& a, const AttentionShape& shape, const AttentionSegment& segment, uint32_t kvHead, uint32_t firstPair,
                              uint32_t m, uint32_t step, uint8_t* tile, float (&down)[PAIRS]) {
  const uint32_t lane = threadIdx.x % kWarp, group = groupOf(a);
  uint32_t* words = reinterpret_cast<uint32_t*>(tile);
  const float* q[PAIRS];
  float highest[PAIRS];
  WEFT_UNROLL
  for (uint32_t i = 0; i < PAIRS; i++) {
    const uint32_t pair = firstPair + m + i * step;
    const uint64_t row = segment.row + pair / group;
    q[i] = pair < segment.pairs ? a.q + row * a.ldq + static_cast<uint64_t>(kvHead * group + pair % group) * a.dim : nullptr;
    highest[i] = 0;
  }
  for (uint32_t d = lane; d < a.dim; d += kWarp) {       // all pairs' loads on their way at once
    WEFT_UNROLL
    for (uint32_t i = 0; i < PAIRS; i++) highest[i] = fmaxf(highest[i], q[i] ? fabsf(product(q[i][d], a.scale)) : 0.0f);
  }
  WEFT_UNROLL
  for (uint32_t i = 0; i < PAIRS; i++) {
    const Power power(warpMax(highest[i]));
    down[i] = power.down;
    for (uint32_t c = lane; c < shape.dims / 2; c += kWarp) {
      const float low = q[i] && 2 * c < a.dim ? product(product(q[i][2 * c], a.scale), power.up) : 0.0f;
      const float high = q[i] && 2 * c + 1 < a.dim ? product(product(q[i][2 * c + 1], a.scale), power.up) : 0.0f;
      const uint32_t pair = m + i * step, word = packHalves(low, high), at = (c / 8 * kWarp + pair % 8 * 4 + c % 4) * 4 + pair / 8 + c % 8 / 4 * 2;
      words[at] = word;
      if (isExact(a)) words[shape.dims / 16 * 128 + at] = restOfHalves(word, low, high);
    }
  }
}

WEFT_DEVICE void loadOperand(uint32_t (&words)[4], const Quad& quad) { words[0] = quad.x, words[1] = quad.y, words[2] = quad.z, words[3] = quad.w; }

// scores += queries · keys of BLOCKS blocks, over `dims` dims. query: operands of the first of those, its rest `restAt` further.
// keys: of the first block. blocks: bits of those that are there.
template <class Kv, uint32_t BLOCKS>
WEFT_DEVICE void addScores(float (&scores)[BLOCKS][2][4], const Quad* query, uint32_t restAt, const uint8_t* keys, uint32_t keyBlock, uint32_t blocks,
                           uint32_t dims) {
  query += threadIdx.x % kWarp;
  for (uint32_t d = 0; d < dims; d += 32, query += 2 * kWarp) {
    uint32_t words[2][4], rest[2][4] = {};
    WEFT_UNROLL
    for (uint32_t s = 0; s < 2; s++) {
      loadOperand(words[s], query[s * kWarp]);
      if (restAt) loadOperand(rest[s], query[restAt + s * kWarp]);
    }
    WEFT_UNROLL
    for (uint32_t i = 0; i < BLOCKS; i++) {
      if (!(blocks >> i & 1)) continue;
      uint32_t b[2][2][2];
      Kv::keys(b, keys + i * keyBlock, d);
      WEFT_UNROLL
      for (uint32_t s = 0; s < 2; s++) {
        WEFT_UNROLL
        for (uint32_t j = 0; j < 2; j++) {
          mmaF16(scores[i][j], words[s], b[s][j]);
          if (restAt) mmaF16(scores[i][j], rest[s], b[s][j]);
        }
      }
    }
  }
}

// Products become scores; those that a pair does not see -inf. highest: of each half, taken along. down: of the queries.
template <class Kv>
WEFT_DEVICE void finishScores(const AttentionArgs& a, float (&scores)[2][4], const float (&down)[2], const uint16_t* keyScales, uint32_t block,
                              const TileView& view, float (&highest)[2]) {
  WEFT_UNROLL
  for (uint32_t j = 0; j < 2; j++) {
    WEFT_UNROLL
    for (uint32_t c = 0; c < 4; c++) {
      const uint32_t token = Kv::token(j, c % 2);
      float score = product(scores[j][c], down[c / 2]);
      if (Kv::kScaled) score = product(score, fromF16(keyScales[token]));
      if (a.softcap > 0) score = product(a.softcap, tanhf(score / a.softcap));
      scores[j][c] = view.pair[c / 2].has(static_cast<int32_t>(block * kBlockTokens + token)) ? score : unseenScore();
      highest[c / 2] = fmaxf(highest[c / 2], scores[j][c]);
    }
  }
}

WEFT_DEVICE float weightOf(float score, float top) { return exp2f(product(score - top, kLog2e)); }

// Weights of a block as operands.
struct Weights {
  uint32_t words[4], rest[4];
  float down[2];                                         // what sums of them are to be multiplied by: int8 only
};

// Scores become weights; sum: of each half's. Of int8 the values' scales go into the weights.
template <class Kv>
WEFT_DEVICE void weigh(bool exact, float (&scores)[2][4], const float (&top)[2], const uint16_t* valueScales, Weights& weights, float (&sum)[2]) {
  float scales[2][4];                                    // 0 where a token is not seen, whatever its scale
  WEFT_UNROLL
  for (uint32_t j = 0; j < 2; j++) {
    WEFT_UNROLL
    for (uint32_t c = 0; c < 4; c++) {
      if (Kv::kScaled) scales[j][c] = scores[j][c] == unseenScore() ? 0.0f : fromF16(valueScales[Kv::token(j, c % 2)]);
      scores[j][c] = weightOf(scores[j][c], top[c / 2]);
    }
  }
  WEFT_UNROLL
  for (uint32_t half = 0; half < 2; half++) {
    float(&low)[4] = scores[0], (&high)[4] = scores[1];
    const uint32_t c = 2 * half;
    sum[half] = sumOfFour((low[c] + low[c + 1]) + (high[c] + high[c + 1]));
    if (Kv::kScaled) {
      WEFT_UNROLL
      for (uint32_t i = 0; i < 2; i++) {
        low[c + i] = product(low[c + i], scales[0][c + i]);
        high[c + i] = product(high[c + i], scales[1][c + i]);
      }
      const Power power(maxOfFour(fmaxf(fmaxf(low[c], low[c + 1]), fmaxf(high[c], high[c + 1]))));
      weights.down[half] = power.down;
      WEFT_UNROLL
      for (uint32_t i = 0; i < 2; i++) {
        low[c + i] = product(low[c + i], power.up);
        high[c + i] = product(high[c + i], power.up);
      }
    }
    weights.words[half] = packHalves(low[c], low[c + 1]);
    weights.words[half + 2] = packHalves(high[c], high[c + 1]);
    if (!exact) continue;
    weights.rest[half] = restOfHalves(weights.words[half], low[c], low[c + 1]);
    weights.rest[half + 2] = restOfHalves(weights.words[half + 2], high[c], high[c + 1]);
  }
}

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
  WEFT_DEVICE void add(bool exact, const Weights (&weights)[2], const uint8_t* values, uint32_t pitch, uint32_t first, uint32_t step, uint32_t groups,
                       bool ragged, const TileView& view, uint32_t block) {
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

}  // namespace cuda
}  // namespace weft

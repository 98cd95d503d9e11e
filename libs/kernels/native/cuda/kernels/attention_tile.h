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
WEFT_DEVICE void stageQueries(const AttentionArgs& a, const AttentionShape& shape, const AttentionSegment& segment, uint32_t kvHead,
                              uint32_t firstPair, uint32_t m, uint32_t step, uint8_t* tile, float (&down)[PAIRS]) {
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
      const uint32_t pair = m + i * step, word = packHalves(low, high);
      const uint32_t at = (c / 8 * kWarp + pair % 8 * 4 + c % 4) * 4 + pair / 8 + c % 8 / 4 * 2;
      words[at] = word;
      if (isExact(a)) words[shape.dims / 16 * 128 + at] = restOfHalves(word, low, high);
    }
  }
}

WEFT_DEVICE void loadOperand(uint32_t (&words)[4], const Quad& quad) {
  words[0] = quad.x, words[1] = quad.y, words[2] = quad.z, words[3] = quad.w;
}

// scores += queries · keys of BLOCKS blocks, over `dims` dims. query: operands of the first of those, its rest `restAt` further.
// keys: of the first block. blocks: bits of those that are there.
template <class Kv, uint32_t BLOCKS>
WEFT_DEVICE void addScores(float (&scores)[BLOCKS][2][4], const Quad* query, uint32_t restAt, const uint8_t* keys, uint32_t keyBlock,
                           uint32_t blocks, uint32_t dims) {
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
WEFT_DEVICE void finishScores(const AttentionArgs& a, float (&scores)[2][4], const float (&down)[2], const uint16_t* keyScales,
                              uint32_t block, const TileView& view, float (&highest)[2]) {
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
WEFT_DEVICE void weigh(bool exact, float (&scores)[2][4], const float (&top)[2], const uint16_t* valueScales, Weights& weights,
                       float (&sum)[2]) {
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

}  // namespace cuda
}  // namespace weft

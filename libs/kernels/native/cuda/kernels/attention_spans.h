// Segments of few pairs: a block takes a tile and a span of it, or all, and a warp one of a unit's four KV blocks, then a part of
// the columns. States of spans go to scratch memory, to be merged.
#pragma once
#include "cuda/kernels/attention_values.h"

namespace weft {
namespace cuda {

// Few pairs, whose spans are computed side by side, if there is room for their states.
struct SpanPlan {
  uint32_t tiles, spans;                                 // spans: 1 where a block takes all of them
  uint32_t states;                                       // 0 where it does
  WEFT_DEVICE SpanPlan(const AttentionArgs& a, const AttentionSegment& segment) {
    tiles = (segment.pairs + kTilePairs - 1) / kTilePairs;
    const uint64_t all = static_cast<uint64_t>(segment.rows) * a.heads * segment.spans;
    const bool fits = segment.spans > 1 && all <= stateCapacity(a);
    spans = fits ? segment.spans : 1;
    states = fits ? static_cast<uint32_t>(all) : 0;
  }
};
WEFT_DEVICE bool isOfRows(const AttentionArgs& a, const AttentionSegment& segment) { return takesRows(a) && segment.pairs > kFewPairs; }

// The state of a span of a row's head. states: how many belong to segments before.
WEFT_DEVICE float* stateAt(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t states, uint32_t row,
                           uint32_t head, uint32_t span) {
  const uint64_t at = states + (static_cast<uint64_t>(row) * a.heads + head) * segment.spans + span - segment.firstSpan;
  return reinterpret_cast<float*>(step.scratch) + at * stateValues(a);
}

// One span of a tile, or all that it sees where `states` is kNoStates.
constexpr uint32_t kNoStates = ~0u;

template <class Kv, uint32_t GROUPS>
WEFT_DEVICE void attendSpans(const AttentionArgs& a, const Step& step, const AttentionShape& shape, const AttentionSegment& segment,
                             uint8_t* shared, uint32_t kvHead, uint32_t tile, uint32_t slice, uint32_t span, uint32_t states) {
  __shared__ float queryDown[kTilePairs], maxima[kUnitBlocks][kTilePairs], sums[kUnitBlocks][kTilePairs];
  __shared__ float weightDown[kUnitBlocks][kTilePairs];
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, firstPair = tile * kTilePairs;
  const bool exact = isExact(a), all = states == kNoStates;
  const TileView view = viewOf(a, step, segment, firstPair);
  if (!view.any()) return;
  Past past{a, step, shape, segment, shared, kvHead, slice, view.oldest, view.newest, 0, 0, alignedPages(a)};
  past.firstUnit = static_cast<uint32_t>(view.oldest) / kUnitTokens;
  past.lastUnit = static_cast<uint32_t>(view.newest) / kUnitTokens;
  if (!all) {
    if (past.firstUnit < span * kSpanUnits) past.firstUnit = span * kSpanUnits;
    if (past.lastUnit > span * kSpanUnits + kSpanUnits - 1) past.lastUnit = span * kSpanUnits + kSpanUnits - 1;
  }
  if (past.firstUnit > past.lastUnit) return;

  __syncthreads();                                       // whoever had the shared memory before is done
  stageKeys<Kv>(past, past.firstUnit, 0);
  commitCopies();
  float staged[kTilePairs / kAttentionWarps];
  stageQueries(a, shape, segment, kvHead, firstPair, warp, kAttentionWarps, shared, staged);
  WEFT_UNROLL
  for (uint32_t i = 0; i < kTilePairs / kAttentionWarps; i++) if (lane == 0) queryDown[warp + i * kAttentionWarps] = staged[i];
  __syncthreads();
  const float down[2] = {queryDown[lane / 4], queryDown[lane / 4 + 8]};
  const Quad* query = reinterpret_cast<const Quad*>(shared);
  Quad* operands = reinterpret_cast<Quad*>(shared + shape.weights);        // [block][lane], with `exact` the rest behind them
  const uint32_t restAt = exact ? shape.dims / 16 * kWarp : 0;
  const uint32_t groups = past.columns() / 16;

  TileState<GROUPS> state;
  state.begin();
  for (uint32_t unit = past.firstUnit; unit <= past.lastUnit; unit++) {
    awaitCopies<0>();
    __syncthreads();                                     // keys are there; nobody reads values and weights any more
    stageValues<Kv>(past, unit);
    commitCopies();
    const uint32_t mine = unit * kUnitBlocks + warp;
    float block[1][2][4] = {}, (&scores)[2][4] = block[0];
    for (uint32_t part = 0; part < shape.keySlices; part++) {
      const uint32_t dim = part * shape.keySlice, dims = shape.dims - dim < shape.keySlice ? shape.dims - dim : shape.keySlice;
      if (part > 0) {
        __syncthreads();
        stageKeys<Kv>(past, unit, part);
        commitCopies();
        awaitCopies<0>();
        __syncthreads();
      }
      addScores<Kv>(block, query + dim / 16 * kWarp, restAt, past.keys(mine), shape.keyBlock, past.sees(mine), dims);
    }
    float highest[2] = {kLowest, kLowest};
    finishScores<Kv>(a, scores, down, past.scales(mine, 0), mine, view, highest);
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      highest[half] = maxOfFour(highest[half]);
      if (lane % 4 == 0) maxima[warp][lane / 4 + 8 * half] = highest[half];
    }
    __syncthreads();                                     // nobody reads keys any more
    if (unit < past.lastUnit) stageKeys<Kv>(past, unit + 1, 0);
    commitCopies();
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      for (uint32_t i = 0; i < kUnitBlocks; i++) highest[half] = fmaxf(highest[half], maxima[i][lane / 4 + 8 * half]);
    }
    state.raise(highest);
    Weights own;
    float sum[2];
    weigh<Kv>(exact, scores, state.span.top, past.scales(mine, 1), own, sum);
    operands[warp * kWarp + lane] = {own.words[0], own.words[1], own.words[2], own.words[3]};
    if (exact) operands[(kUnitBlocks + warp) * kWarp + lane] = {own.rest[0], own.rest[1], own.rest[2], own.rest[3]};
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      if (lane % 4 != 0) continue;
      sums[warp][lane / 4 + 8 * half] = sum[half];
      if (Kv::kScaled) weightDown[warp][lane / 4 + 8 * half] = own.down[half];
    }
    awaitCopies<1>();
    __syncthreads();                                     // values and weights are there
    WEFT_UNROLL
    for (uint32_t half = 0; half < 2; half++) {
      for (uint32_t i = 0; i < kUnitBlocks; i++) state.span.sum[half] += sums[i][lane / 4 + 8 * half];
    }
    for (uint32_t i = 0; i < kUnitBlocks; i += 2) {
      const uint32_t block = unit * kUnitBlocks + i;
      if (!past.seesPair(block)) continue;
      Weights weights[2];
      WEFT_UNROLL
      for (uint32_t s = 0; s < 2; s++) {
        loadOperand(weights[s].words, operands[(i + s) * kWarp + lane]);
        if (exact) loadOperand(weights[s].rest, operands[(kUnitBlocks + i + s) * kWarp + lane]);
        WEFT_UNROLL
        for (uint32_t half = 0; half < 2; half++) weights[s].down[half] = Kv::kScaled ? weightDown[i + s][lane / 4 + 8 * half] : 1.0f;
      }
      const bool ragged = isRagged(past, view, block);
      state.spanValues.template add<Kv>(exact, weights, past.values(block), shape.valuePitch, warp, kAttentionWarps, groups, ragged, view,
                                        block);
    }
    if (all && (unit == past.lastUnit || unit % kSpanUnits == kSpanUnits - 1)) state.endSpan();
  }

  const uint32_t firstColumn = past.firstColumn();
  forPairs(a, kvHead, firstPair, view, [&](uint32_t half, uint32_t row, uint32_t head) {
    if (all) {
      forColumns<Kv, GROUPS>(a, half, firstColumn, warp, kAttentionWarps, groups, [&](uint32_t g, uint32_t j, uint32_t c, uint32_t column) {
        storeOut(a, segment.row + row, head, column, state.values.of[g][j][c] / state.whole.sum[half]);
      });
      return;
    }
    float* to = stateAt(a, step, segment, states, row, head, span);
    forColumns<Kv, GROUPS>(a, half, firstColumn, warp, kAttentionWarps, groups, [&](uint32_t g, uint32_t j, uint32_t c, uint32_t column) {
      to[column] = state.spanValues.of[g][j][c];
    });
    if (slice > 0 || warp > 0 || lane % 4 != 0) return;
    to[roundUp(a.dim, 16)] = state.span.top[half];
    to[roundUp(a.dim, 16) + 1] = state.span.sum[half];
  });
}

// Merges the states of a row's head. All lanes of a warp.
WEFT_DEVICE void mergeStates(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t states, uint32_t row,
                             uint32_t head) {
  constexpr uint32_t kColumns = 8;                       // of a lane at a time
  const Seen seen = seenBy(a, step, segment, row);
  if (!seen.any()) return;
  uint32_t first = static_cast<uint32_t>(seen.first) / kAttentionSpan, last = static_cast<uint32_t>(seen.last) / kAttentionSpan;
  if (first < segment.firstSpan) first = segment.firstSpan;
  if (last > segment.firstSpan + segment.spans - 1) last = segment.firstSpan + segment.spans - 1;
  for (uint32_t begin = threadIdx.x % kWarp; begin < a.dim; begin += kColumns * kWarp) {
    float top = kLowest, sum = 0, values[kColumns] = {};
    for (uint32_t span = first; span <= last; span++) {
      const float* state = stateAt(a, step, segment, states, row, head, span);
      const Merge merge(top, sum, state[roundUp(a.dim, 16)], state[roundUp(a.dim, 16) + 1]);
      WEFT_UNROLL
      for (uint32_t i = 0; i < kColumns; i++) {
        if (begin + i * kWarp < a.dim) values[i] = merge.of(values[i], state[begin + i * kWarp]);
      }
    }
    WEFT_UNROLL
    for (uint32_t i = 0; i < kColumns; i++) {
      if (begin + i * kWarp < a.dim) storeOut(a, segment.row + row, head, begin + i * kWarp, values[i] / sum);
    }
  }
}

// Items of segments whose spans were computed side by side: as many heads of rows as a block has warps.
WEFT_DEVICE uint32_t mergeItems(const AttentionArgs& a, const AttentionSegment& segment) {
  const uint32_t warps = blockDim.x / kWarp;
  return (segment.rows * a.heads + warps - 1) / warps;
}
WEFT_DEVICE void mergeItem(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t item, uint32_t states) {
  if (states + SpanPlan(a, segment).states > stateCapacity(a)) return;
  const uint32_t i = item * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (i < segment.rows * a.heads) mergeStates(a, step, segment, states, i / a.heads, i % a.heads);
}

}  // namespace cuda
}  // namespace weft

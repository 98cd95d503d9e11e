// out[t][h] = softmax(scale · q[t][h]·K) V over the visible positions of the row's own sequence.
//
// Positions are cut into spans of kAttentionSpan and those into units of kUnitTokens. Unit by unit, for a tile of 16 pairs
// (row, query head) that share a kv head: scores, weights against the highest so far, values. Each span begins anew, and spans
// are merged in ascending order. A pair sees exactly these steps for exactly its own tokens, so its bits depend on positions
// alone, not on the kernel that it is in:
//
//   attentionSpans   segments of few pairs (decode rows). A block takes a tile and a span, a warp one of a unit's four KV blocks
//                    and then a part of the columns; states of spans go to scratch memory. Without room for them a block takes
//                    all spans. Bound by memory: 4·dim bytes a token and kv head (int8: 2).
//   attentionRows    segments of many pairs (chunks of prompts). A warp takes a tile and all spans, and the tiles of a block
//                    share what is read. Bound by tensor cores: 4·dim flops a pair and token, 8 where the output is f32.
//                    Also merges the states of attentionSpans, as attentionMerge does where no segment can have many pairs.
//
// Source: FlashAttention-2 §3; Flash-Decoding; FlashInfer §3.2 (tiles of grouped heads).
#pragma once
#include "cuda/kernels/attention_tile.h"
#include "cuda/kernels/work.h"

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
WEFT_DEVICE float* stateAt(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t states, uint32_t row, uint32_t head, uint32_t span) {
  const uint64_t at = states + (static_cast<uint64_t>(row) * a.heads + head) * segment.spans + span - segment.firstSpan;
  return reinterpret_cast<float*>(step.scratch) + at * stateValues(a);
}

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
WEFT_DEVICE void forColumns(const AttentionArgs& a, uint32_t half, uint32_t firstColumn, uint32_t first, uint32_t step, uint32_t groups, Put put) {
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

// One span of a tile, or all that it sees: where `states` is not kNoStates.
constexpr uint32_t kNoStates = ~0u;

template <class Kv, uint32_t GROUPS>
WEFT_DEVICE void attendSpans(const AttentionArgs& a, const Step& step, const AttentionShape& shape, const AttentionSegment& segment, uint8_t* shared,
                             uint32_t kvHead, uint32_t tile, uint32_t slice, uint32_t span, uint32_t states) {
  __shared__ float queryDown[kTilePairs], maxima[kUnitBlocks][kTilePairs], sums[kUnitBlocks][kTilePairs], weightDown[kUnitBlocks][kTilePairs];
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
  const uint32_t firstColumn = slice * shape.slice, groups = (shape.dims - firstColumn < shape.slice ? shape.dims - firstColumn : shape.slice) / 16;

  TileState<GROUPS> state;
  state.begin();
  for (uint32_t unit = past.firstUnit; unit <= past.lastUnit; unit++) {
    awaitCopies<0>();
    __syncthreads();                                     // keys are there; nobody reads values and weights any more
    stageValues<Kv>(past, unit);
    commitCopies();
    const uint32_t mine = unit * kUnitBlocks + warp;
    float block[1][2][4] = {}, (&scores)[2][4] = block[0];
    for (uint32_t part = 0; part < shape.slices; part++) {
      const uint32_t dim = part * shape.slice, dims = shape.dims - dim < shape.slice ? shape.dims - dim : shape.slice;
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
      state.spanValues.template add<Kv>(exact, weights, past.values(block), shape.valuePitch, warp, kAttentionWarps, groups, isRagged(past, view, block), view, block);
    }
    if (all && (unit == past.lastUnit || unit % kSpanUnits == kSpanUnits - 1)) state.endSpan();
  }

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

// A tile a warp, and all spans.
template <class Kv, uint32_t GROUPS>
WEFT_DEVICE void attendRows(const AttentionArgs& a, const Step& step, const AttentionShape& shape, const AttentionSegment& segment, uint8_t* shared,
                            uint32_t kvHead, uint32_t firstTile) {
  __shared__ int32_t bounds[kAttentionWarps][2];
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp, firstPair = (firstTile + warp) * kTilePairs;
  const bool exact = isExact(a);
  const TileView view = viewOf(a, step, segment, firstPair);
  __syncthreads();                                       // whoever had the shared memory before is done
  if (lane == 0) bounds[warp][0] = view.oldest, bounds[warp][1] = view.newest;
  float down[2] = {};
  uint8_t* tile = shared + warp * shape.queryTile;
  for (uint32_t half = 0; half < 2; half++) {
    float staged[8];
    stageQueries(a, shape, segment, kvHead, firstPair, 8 * half, 1, tile, staged);
    WEFT_UNROLL
    for (uint32_t i = 0; i < 8; i++) if (i == lane / 4) (half ? down[1] : down[0]) = staged[i];
  }
  __syncthreads();
  Past past{a, step, shape, segment, shared, kvHead, 0, 0x7fffffff, -1, 0, 0, alignedPages(a)};
  for (uint32_t i = 0; i < warps; i++) {
    past.oldest = bounds[i][0] < past.oldest ? bounds[i][0] : past.oldest;
    past.newest = bounds[i][1] > past.newest ? bounds[i][1] : past.newest;
  }
  if (past.newest < 0) return;
  past.firstUnit = static_cast<uint32_t>(past.oldest) / kUnitTokens;
  past.lastUnit = static_cast<uint32_t>(past.newest) / kUnitTokens;
  stageKeys<Kv>(past, past.firstUnit, 0);
  commitCopies();
  const Quad* query = reinterpret_cast<const Quad*>(tile);
  const uint32_t restAt = exact ? shape.dims / 16 * kWarp : 0, groups = shape.dims / 16;

  TileState<GROUPS> state;
  state.begin();
  for (uint32_t unit = past.firstUnit; unit <= past.lastUnit; unit++) {
    const int32_t firstToken = static_cast<int32_t>(unit * kUnitTokens);
    const bool takesPart = view.any() && view.overlaps(firstToken, firstToken + static_cast<int32_t>(kUnitTokens) - 1);
    const uint32_t firstBlock = unit * kUnitBlocks;
    awaitCopies<0>();
    __syncthreads();                                     // keys are there; nobody reads values any more
    stageValues<Kv>(past, unit);
    commitCopies();
    float scores[kUnitBlocks][2][4] = {}, highest[2] = {kLowest, kLowest};
    if (takesPart) {
      uint32_t blocks = 0;
      for (uint32_t i = 0; i < kUnitBlocks; i++) blocks |= static_cast<uint32_t>(past.sees(firstBlock + i)) << i;
      addScores<Kv>(scores, query, restAt, past.keys(firstBlock), shape.keyBlock, blocks, shape.dims);
      WEFT_UNROLL
      for (uint32_t i = 0; i < kUnitBlocks; i++) {
        finishScores<Kv>(a, scores[i], down, past.scales(firstBlock + i, 0), firstBlock + i, view, highest);
      }
      highest[0] = maxOfFour(highest[0]);
      highest[1] = maxOfFour(highest[1]);
      state.raise(highest);
    }
    __syncthreads();                                     // nobody reads keys any more
    if (unit < past.lastUnit) stageKeys<Kv>(past, unit + 1, 0);
    commitCopies();
    awaitCopies<1>();
    __syncthreads();                                     // values are there
    if (takesPart) {
      WEFT_UNROLL
      for (uint32_t i = 0; i < kUnitBlocks; i += 2) {
        Weights weights[2];
        WEFT_UNROLL
        for (uint32_t s = 0; s < 2; s++) {
          float sum[2];
          weigh<Kv>(exact, scores[i + s], state.span.top, past.scales(firstBlock + i + s, 1), weights[s], sum);
          state.span.sum[0] += sum[0];
          state.span.sum[1] += sum[1];
        }
        if (!past.seesPair(firstBlock + i)) continue;
        state.spanValues.template add<Kv>(exact, weights, past.values(firstBlock + i), shape.valuePitch, 0, 1, groups, isRagged(past, view, firstBlock + i), view,
                                          firstBlock + i);
      }
    }
    if (unit == past.lastUnit || unit % kSpanUnits == kSpanUnits - 1) state.endSpan();
  }
  forPairs(a, kvHead, firstPair, view, [&](uint32_t half, uint32_t row, uint32_t head) {
    forColumns<Kv, GROUPS>(a, half, 0, 0, 1, groups, [&](uint32_t g, uint32_t j, uint32_t c, uint32_t column) {
      storeOut(a, segment.row + row, head, column, state.values.of[g][j][c] / state.whole.sum[half]);
    });
  });
}

// Merges the states of a row's head. All lanes of a warp.
WEFT_DEVICE void mergeStates(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t states, uint32_t row, uint32_t head) {
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

// GROUPS: of 16 columns, of a warp: slices of at most GROUPS · 64 values.
template <uint32_t GROUPS>
WEFT_DEVICE void attentionSpans(const AttentionArgs& a, const Step& step, uint8_t* shared) {
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments);
  const AttentionShape shape(a, 1);
  shareWork(segments,
    [&](uint32_t s) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (segment.rows == 0 || isOfRows(a, segment)) return entryOf(0);
      const SpanPlan plan(a, segment);
      return entryOf(plan.tiles * a.kvHeads * shape.slices * plan.spans, plan.states);
    },
    [&](uint32_t s, uint32_t item, uint32_t states) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      const SpanPlan plan(a, segment);
      const uint32_t span = item % plan.spans, slice = item / plan.spans % shape.slices;
      const uint32_t kvHead = item / plan.spans / shape.slices % a.kvHeads, tile = item / plan.spans / shape.slices / a.kvHeads;
      const bool apart = plan.states > 0 && states + plan.states <= stateCapacity(a);
      if (!apart && span > 0) return;                    // the first item takes all
      const uint32_t at = segment.firstSpan + span, room = apart ? states : kNoStates;
      if (a.kvType == kDTypeInt8) attendSpans<KvBytes, GROUPS>(a, step, shape, segment, shared, kvHead, tile, slice, at, room);
      else attendSpans<KvHalves, GROUPS>(a, step, shape, segment, shared, kvHead, tile, slice, at, room);
    });
}
WEFT_KERNEL_BOUNDS(attentionSpans128, AttentionArgs, kAttentionThreads, 4) {
  WEFT_DYNAMIC_SHARED(shared);
  attentionSpans<2>(a, step, shared);
}
WEFT_KERNEL_BOUNDS(attentionSpans256, AttentionArgs, kAttentionThreads, 3) {
  WEFT_DYNAMIC_SHARED(shared);
  attentionSpans<4>(a, step, shared);
}

WEFT_KERNEL_BOUNDS(attentionMerge, AttentionArgs, kAttentionThreads, 4) {
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments);
  shareWork(segments,
    [&](uint32_t s) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      const uint32_t states = segment.rows ? SpanPlan(a, segment).states : 0;
      return entryOf(states ? mergeItems(a, segment) : 0, states);
    },
    [&](uint32_t s, uint32_t item, uint32_t states) { mergeItem(a, step, segmentAt(a, step, rows, s), item, states); });
}

// GROUPS: heads of at most GROUPS · 16 values.
template <uint32_t GROUPS>
WEFT_DEVICE void attentionRows(const AttentionArgs& a, const Step& step, uint8_t* shared) {
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments), warps = blockDim.x / kWarp;
  const AttentionShape shape(a, warps);
  const auto blocksOf = [&](const AttentionSegment& segment) { return (segment.pairs + warps * kTilePairs - 1) / (warps * kTilePairs); };
  shareWork(segments,
    [&](uint32_t s) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (segment.rows == 0) return entryOf(0);
      if (isOfRows(a, segment)) return entryOf(blocksOf(segment) * a.kvHeads);
      const uint32_t states = SpanPlan(a, segment).states;
      return entryOf(states ? mergeItems(a, segment) : 0, states);
    },
    [&](uint32_t s, uint32_t item, uint32_t states) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (!isOfRows(a, segment)) return mergeItem(a, step, segment, item, states);
      // Later rows see more: they come first.
      const uint32_t block = blocksOf(segment) - 1 - item / a.kvHeads, kvHead = item % a.kvHeads;
      if (a.kvType == kDTypeInt8) attendRows<KvBytes, GROUPS>(a, step, shape, segment, shared, kvHead, block * warps);
      else attendRows<KvHalves, GROUPS>(a, step, shape, segment, shared, kvHead, block * warps);
    });
}
#define WEFT_ATTENTION_ROWS(NAME, GROUPS, BLOCKS)                        \
  WEFT_KERNEL_BOUNDS(NAME, AttentionArgs, kAttentionThreads, BLOCKS) {   \
    WEFT_DYNAMIC_SHARED(shared);                                         \
    attentionRows<GROUPS>(a, step, shared);                              \
  }
WEFT_ATTENTION_ROWS(attentionRows64, 4, 3)
WEFT_ATTENTION_ROWS(attentionRows128, 8, 2)
WEFT_ATTENTION_ROWS(attentionRows256, 16, 2)
#undef WEFT_ATTENTION_ROWS

}  // namespace cuda
}  // namespace weft

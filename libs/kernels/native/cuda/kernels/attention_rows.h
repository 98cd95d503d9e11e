// Segments of many pairs: a warp takes a tile and all its spans, and the tiles of a block share the keys and values that are read.
#pragma once
#include "cuda/kernels/attention_values.h"

namespace weft {
namespace cuda {

// A tile a warp, and all spans.
template <class Kv, uint32_t GROUPS>
WEFT_DEVICE void attendRows(const AttentionArgs& a, const Step& step, const AttentionShape& shape, const AttentionSegment& segment,
                            uint8_t* shared, uint32_t kvHead, uint32_t firstTile, uint32_t slice) {
  __shared__ int32_t bounds[kAttentionWarps][2];
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, warps = blockDim.x / kWarp;
  const uint32_t firstPair = (firstTile + warp) * kTilePairs;
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
  Past past{a, step, shape, segment, shared, kvHead, slice, 0x7fffffff, -1, 0, 0, alignedPages(a)};
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
  const uint32_t restAt = exact ? shape.dims / 16 * kWarp : 0, groups = past.columns() / 16;

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
        const uint32_t block = firstBlock + i;
        if (!past.seesPair(block)) continue;
        const bool ragged = isRagged(past, view, block);
        state.spanValues.template add<Kv>(exact, weights, past.values(block), shape.valuePitch, 0, 1, groups, ragged, view, block);
      }
    }
    if (unit == past.lastUnit || unit % kSpanUnits == kSpanUnits - 1) state.endSpan();
  }
  forPairs(a, kvHead, firstPair, view, [&](uint32_t half, uint32_t row, uint32_t head) {
    forColumns<Kv, GROUPS>(a, half, past.firstColumn(), 0, 1, groups, [&](uint32_t g, uint32_t j, uint32_t c, uint32_t column) {
      storeOut(a, segment.row + row, head, column, state.values.of[g][j][c] / state.whole.sum[half]);
    });
  });
}

}  // namespace cuda
}  // namespace weft

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
// Source: FlashAttention-2 §3.1; Flash-Decoding; FlashInfer (heads of a group as rows of a tile).
#pragma once
#include "cuda/kernels/attention_rows.h"
#include "cuda/kernels/attention_spans.h"
#include "cuda/kernels/work.h"

namespace weft {
namespace cuda {

// GROUPS: of 16 columns, of a warp: slices of at most GROUPS · 64 values.
template <uint32_t GROUPS>
WEFT_DEVICE void attentionSpans(const AttentionArgs& a, const Step& step, uint8_t* shared) {
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments);
  const AttentionShape shape = spansShape(a);
  shareWork(segments,
    [&](uint32_t s) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (segment.rows == 0 || isOfRows(a, segment)) return entryOf(0);
      const SpanPlan plan(a, segment);
      return entryOf(plan.tiles * a.kvHeads * shape.valueSlices * plan.spans, plan.states);
    },
    [&](uint32_t s, uint32_t item, uint32_t states) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      const SpanPlan plan(a, segment);
      const uint32_t span = item % plan.spans, slice = item / plan.spans % shape.valueSlices;
      const uint32_t kvHead = item / plan.spans / shape.valueSlices % a.kvHeads, tile = item / plan.spans / shape.valueSlices / a.kvHeads;
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

// GROUPS: slices of at most GROUPS · 16 values.
template <uint32_t GROUPS>
WEFT_DEVICE void attentionRows(const AttentionArgs& a, const Step& step, uint8_t* shared) {
  const uint32_t rows = counted(step, a.count, a.rows), segments = counted(step, a.segmentCount, a.nSegments), warps = blockDim.x / kWarp;
  const AttentionShape shape = rowsShape(a, warps);
  const auto blocksOf = [&](const AttentionSegment& segment) { return (segment.pairs + warps * kTilePairs - 1) / (warps * kTilePairs); };
  shareWork(segments,
    [&](uint32_t s) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (segment.rows == 0) return entryOf(0);
      if (isOfRows(a, segment)) return entryOf(blocksOf(segment) * a.kvHeads * shape.valueSlices);
      const uint32_t states = SpanPlan(a, segment).states;
      return entryOf(states ? mergeItems(a, segment) : 0, states);
    },
    [&](uint32_t s, uint32_t item, uint32_t states) {
      const AttentionSegment segment = segmentAt(a, step, rows, s);
      if (!isOfRows(a, segment)) return mergeItem(a, step, segment, item, states);
      // Later rows see more: they come first.
      const uint32_t slice = item % shape.valueSlices, kvHead = item / shape.valueSlices % a.kvHeads;
      const uint32_t block = blocksOf(segment) - 1 - item / shape.valueSlices / a.kvHeads;
      if (a.kvType == kDTypeInt8) attendRows<KvBytes, GROUPS>(a, step, shape, segment, shared, kvHead, block * warps, slice);
      else attendRows<KvHalves, GROUPS>(a, step, shape, segment, shared, kvHead, block * warps, slice);
    });
}
#define WEFT_ATTENTION_ROWS(NAME, GROUPS, BLOCKS)                        \
  WEFT_KERNEL_BOUNDS(NAME, AttentionArgs, kAttentionThreads, BLOCKS) {   \
    WEFT_DYNAMIC_SHARED(shared);                                         \
    attentionRows<GROUPS>(a, step, shared);                              \
  }
WEFT_ATTENTION_ROWS(attentionRows64, 4, 3)
WEFT_ATTENTION_ROWS(attentionRows128, 8, 2)
#undef WEFT_ATTENTION_ROWS

}  // namespace cuda
}  // namespace weft

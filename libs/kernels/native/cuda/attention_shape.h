// What attention's kernels and those who launch them agree on.
#pragma once
#include "core/ops.gen.h"
#include "cuda/anywhere.h"

namespace weft {
namespace cuda {

constexpr uint32_t kAttentionThreads = 128, kAttentionWarps = kAttentionThreads / 32;
// Pairs (row, query head) of a tile: rows of a tensor core's operand.
constexpr uint32_t kTilePairs = 16;
// Positions that are scored before their values are added; a unit has four KV blocks and does not cross spans.
constexpr uint32_t kUnitTokens = 64, kUnitBlocks = kUnitTokens / kBlockTokens, kSpanUnits = kAttentionSpan / kUnitTokens;
static_assert(kUnitBlocks == kAttentionWarps && kAttentionSpan % kUnitTokens == 0, "a warp for each block of a unit");
// A segment with at most so many pairs of a kv head is cut by spans (attentionSpans), a larger one by rows (attentionRows).
constexpr uint32_t kFewPairs = 64;
// Heads of more values are taken in slices of kSliceOfLarge.
constexpr uint32_t kSliceMost = 256, kSliceOfLarge = 64;
// attentionRows has so many columns of a tile's values in registers; for more it scores anew.
constexpr uint32_t kRowsColumns = 128;
// Scratch memory for states of spans, at most.
constexpr uint64_t kStateBytesMost = 64u << 20;

WEFT_ANYWHERE inline uint32_t roundUp(uint32_t value, uint32_t to) { return (value + to - 1) / to * to; }

// Whether f16 alone is not enough for queries and weights: they become the sum of two.
WEFT_ANYWHERE inline bool isExact(const AttentionArgs& a) { return a.outType != kDTypeBf16; }
WEFT_ANYWHERE inline uint32_t groupOf(const AttentionArgs& a) { return a.heads / a.kvHeads; }

// Whether attentionRows runs.
WEFT_ANYWHERE inline bool takesRows(const AttentionArgs& a) {
  return a.dim <= kSliceMost && static_cast<uint64_t>(a.rows) * groupOf(a) > kFewPairs;
}

// A state: dim sums of values, padded to 16, then the highest score and the sum of weights.
WEFT_ANYWHERE inline uint32_t stateValues(const AttentionArgs& a) { return roundUp(a.dim, 16) + 4; }
// How many states there is room for. A table that is full of long sequences' blocks makes tableSize / 16 spans, and two that
// are not whole for each segment; few rows may be in one segment.
WEFT_ANYWHERE inline uint32_t stateCapacity(const AttentionArgs& a) {
  const uint64_t spans = a.tableSize / (kAttentionSpan / kBlockTokens) + 2;
  const uint64_t all = 4 * (spans + 2ull * a.nSegments), each = spans * a.rows;
  const uint64_t states = (all < each ? all : each) * a.heads;
  uint64_t most = kStateBytesMost / 4 / stateValues(a);
  if (most > 0xffffffffu / (a.nSegments + 1ull)) most = 0xffffffffu / (a.nSegments + 1ull);   // so that sums fit into 32 bits
  return static_cast<uint32_t>(states < most ? states : most);
}

// Dynamic shared memory of a block, in bytes: `tiles` tiles of queries, keys and values of a unit, weights of a tile.
struct AttentionShape {
  uint32_t dims;                                         // of a head, whole steps of 32
  uint32_t keySlice, keySlices;                          // dims of keys that are in shared memory at a time
  uint32_t valueSlice, valueSlices;                      // columns of values that a block takes
  uint32_t queryTile;                                    // bytes of a tile: operands of all steps of 16 dims, their rest behind them
  uint32_t keyBlock;                                     // bytes of a block's keys
  uint32_t valuePitch;                                   // bytes of a token's values
  uint32_t keys, values, scales, weights, bytes;         // where they begin; all of it

  // columns: of values, at most.
  WEFT_ANYWHERE AttentionShape(const AttentionArgs& a, uint32_t tiles, uint32_t columns) {
    const uint32_t size = a.kvType == kDTypeInt8 ? 1 : 2, parts = isExact(a) ? 2 : 1;
    dims = roundUp(a.dim, 32);
    keySlice = a.dim <= kSliceMost ? dims : kSliceOfLarge;
    keySlices = (dims + keySlice - 1) / keySlice;
    valueSlice = keySlice < columns ? keySlice : columns;
    valueSlices = (dims + valueSlice - 1) / valueSlice;
    queryTile = dims / 16 * 512 * parts;
    keyBlock = keySlice * kBlockTokens * size;
    valuePitch = roundUp(valueSlice * size, 128);        // eight chunks of 16 bytes, which are exchanged (attention_formats.h)
    keys = queryTile * tiles;
    values = keys + keyBlock * kUnitBlocks;
    scales = values + valuePitch * kUnitTokens;
    weights = scales + (size == 1 ? 4 * kUnitTokens * 2 : 0);
    bytes = weights + kUnitBlocks * 512 * parts;
  }
};
WEFT_ANYWHERE inline AttentionShape spansShape(const AttentionArgs& a) { return {a, 1, kSliceMost}; }
WEFT_ANYWHERE inline AttentionShape rowsShape(const AttentionArgs& a, uint32_t warps) { return {a, warps, kRowsColumns}; }

}  // namespace cuda
}  // namespace weft

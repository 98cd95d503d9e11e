// What attention reads of a segment: its rows' positions and its pages, all indices checked, and keys and values on their way
// to shared memory.
#pragma once
#include "cuda/attention_shape.h"
#include "cuda/bounds.h"
#include "cuda/fours.h"
#include "cuda/kernels/attention_formats.h"

namespace weft {
namespace cuda {

// Positions that a row sees: [first, last]. None: of a row that is not there or that is left out.
struct Seen {
  int32_t first = 0x7fffffff, last = -1;
  WEFT_DEVICE bool any() const { return last >= 0; }
  WEFT_DEVICE bool has(int32_t position) const { return position >= first && position <= last; }
};

struct AttentionSegment {
  uint32_t row, rows;                                    // none: nothing to do, or an index is wrong
  uint32_t firstBlock, blocks;
  const int32_t* pages;                                  // of firstBlock, …
  uint32_t firstSpan, spans;                             // that its rows see
  uint32_t pairs;                                        // of a kv head
};

// Row `row` of the segment.
WEFT_DEVICE Seen seenBy(const AttentionArgs& a, const Step& step, const AttentionSegment& segment, uint32_t row) {
  const uint32_t at = segment.row + row;
  const int32_t position = a.positions[at], window = static_cast<int32_t>(a.window);
  if (!within(step, Bound::kPosition, at, position, 0x7fffffff)) return {};
  const int32_t first = window && position >= window ? position - window + 1 : 0, tokens = kBlockTokens;
  const int32_t firstBlock = static_cast<int32_t>(segment.firstBlock);
  if (!within(step, Bound::kBlock, at, first / tokens - firstBlock, segment.blocks)) return {};
  if (!within(step, Bound::kBlock, at, position / tokens - firstBlock, segment.blocks)) return {};
  return {first, position};
}

WEFT_DEVICE AttentionSegment segmentAt(const AttentionArgs& a, const Step& step, uint32_t rows, uint32_t s) {
  const int32_t* words = a.segments + static_cast<uint64_t>(s) * kSegmentWords;
  const int32_t* blocks = words + kSegmentFirstBlock + 3 * a.kvGroup;
  const int32_t row = words[kSegmentRowStart], count = words[kSegmentRowCount];
  const int32_t firstBlock = blocks[0], at = blocks[1], blockCount = blocks[2];
  AttentionSegment segment = {};
  const uint32_t end = static_cast<uint32_t>(row) + static_cast<uint32_t>(count);
  if (row < 0 || count < 0 || end > rows) {
    report(step, Bound::kRows, s, row < 0 || count < 0 ? -1 : static_cast<int32_t>(end), rows + 1);
    return segment;
  }
  if (firstBlock < 0 || at < 0 || blockCount < 0 || static_cast<uint32_t>(at) + static_cast<uint32_t>(blockCount) > a.tableSize) {
    report(step, Bound::kPageTable, s, at, a.tableSize);
    return segment;
  }
  if (count == 0) return segment;
  segment.row = static_cast<uint32_t>(row);
  segment.rows = static_cast<uint32_t>(count);
  segment.firstBlock = static_cast<uint32_t>(firstBlock);
  segment.blocks = static_cast<uint32_t>(blockCount);
  segment.pages = a.pages + at;
  segment.pairs = segment.rows * groupOf(a);
  // Rows stand in ascending order. What one out of order sees beside these spans it does not get.
  const Seen oldest = seenBy(a, step, segment, 0), newest = seenBy(a, step, segment, segment.rows - 1);
  if (!oldest.any() || !newest.any() || newest.last < oldest.first) {
    segment.rows = segment.pairs = 0;
    return segment;
  }
  segment.firstSpan = static_cast<uint32_t>(oldest.first) / kAttentionSpan;
  segment.spans = static_cast<uint32_t>(newest.last) / kAttentionSpan + 1 - segment.firstSpan;
  return segment;
}

// A kv head of a segment, as far as the rows of a block of threads see it.
struct Past {
  const AttentionArgs& a;
  const Step& step;
  const AttentionShape& shape;
  const AttentionSegment& segment;
  uint8_t* shared;
  uint32_t kvHead, slice;                                // slice: of values
  int32_t oldest, newest;                                // positions that some row sees
  uint32_t firstUnit, lastUnit;
  bool aligned;                                          // chunks of 16 bytes are

  WEFT_DEVICE uint32_t firstColumn() const { return slice * shape.valueSlice; }
  WEFT_DEVICE uint32_t columns() const {
    const uint32_t left = shape.dims - firstColumn();
    return left < shape.valueSlice ? left : shape.valueSlice;
  }
  WEFT_DEVICE uint8_t* keys(uint32_t block) const { return shared + shape.keys + block % kUnitBlocks * shape.keyBlock; }
  WEFT_DEVICE uint8_t* values(uint32_t block) const {
    return shared + shape.values + block % kUnitBlocks * kBlockTokens * shape.valuePitch;
  }
  // Of a block's keys (0) or values (1). Those of two units are there at once.
  WEFT_DEVICE uint16_t* scales(uint32_t block, uint32_t plane) const {
    const uint32_t at = (block / kUnitBlocks % 2 * 2 + plane) * kUnitTokens + block % kUnitBlocks * kBlockTokens;
    return reinterpret_cast<uint16_t*>(shared + shape.scales) + at;
  }
  WEFT_DEVICE bool sees(uint32_t block) const {
    return static_cast<int32_t>(block * kBlockTokens) <= newest && static_cast<int32_t>(block * kBlockTokens + kBlockTokens - 1) >= oldest;
  }
  // Blocks whose values are added together.
  WEFT_DEVICE bool seesPair(uint32_t block) const { return sees(block & ~1u) || sees(block | 1u); }
  // The layer in the page of a block that is seen, or nullptr.
  WEFT_DEVICE const uint8_t* page(uint32_t block) const {
    const int32_t* at = segment.pages + (block - segment.firstBlock);
    const int32_t page = *at;
    if (!within(step, Bound::kPage, static_cast<uint32_t>(at - a.pages), page, a.nPages)) return nullptr;
    return a.arena + static_cast<uint64_t>(page) * a.pageBytes + a.layerOffset;
  }
};

WEFT_DEVICE bool alignedPages(const AttentionArgs& a) {
  const uint32_t rowBytes = a.dim * (a.kvType == kDTypeInt8 ? 1 : 2);
  return aligned(a.arena, 16) && (a.pageBytes | a.layerOffset | a.planeStride | a.headStride | rowBytes) % 16 == 0;
}

// A chunk of which only the first `bytes` bytes are there; zeros behind them.
WEFT_DEVICE void stageChunk(uint8_t* to, const uint8_t* from, uint32_t bytes, bool aligned) {
  if (aligned) return copyAsync(to, from, bytes > 0);
  uint32_t words[4] = {};
  WEFT_UNROLL
  for (uint32_t i = 0; i < 16; i++) {
    if (i < bytes) words[i / 4] |= static_cast<uint32_t>(from[i]) << i % 4 * 8;
  }
  *reinterpret_cast<Quad*>(to) = {words[0], words[1], words[2], words[3]};
}

// Keys of a unit, dims [part · keySlice, …), and with part 0 the scales of int8. A warp takes a block. Dims behind the last one
// are zero: a product with them must be, too. What no row sees stays as it is: its scores are replaced.
template <class Kv>
WEFT_DEVICE void stageKeys(const Past& past, uint32_t unit, uint32_t part) {
  const AttentionArgs& a = past.a;
  const uint32_t lane = threadIdx.x % kWarp, firstDim = part * past.shape.keySlice;
  const uint32_t dims = past.shape.dims - firstDim < past.shape.keySlice ? past.shape.dims - firstDim : past.shape.keySlice;
  for (uint32_t i = threadIdx.x / kWarp; i < kUnitBlocks; i += blockDim.x / kWarp) {
    const uint32_t block = unit * kUnitBlocks + i;
    if (!past.sees(block)) continue;
    const uint8_t* page = past.page(block);
    const uint8_t* keys = page ? page + static_cast<uint64_t>(past.kvHead) * a.headStride + firstDim * kBlockTokens * Kv::kBytes : a.arena;
    uint8_t* to = past.keys(block);
    for (uint32_t c = lane; c < dims * Kv::kKeyChunks; c += kWarp) {
      const uint32_t d = c / Kv::kKeyChunks;
      stageChunk(to + Kv::keyAt(d, c % Kv::kKeyChunks), keys + c * 16, page && firstDim + d < a.dim ? 16 : 0, past.aligned);
    }
    if (!Kv::kScaled || part > 0 || lane >= 4) continue;
    const uint32_t plane = lane / 2, chunk = lane % 2 * 8;
    const uint8_t* scales = page ? page + static_cast<uint64_t>(a.kvHeads) * a.headStride + plane * static_cast<uint64_t>(a.planeStride) +
                                       (past.kvHead * kBlockTokens + chunk) * 2 : a.arena;
    stageChunk(reinterpret_cast<uint8_t*>(past.scales(block, plane) + chunk), scales, page ? 16 : 0, past.aligned);
  }
}

// Values of a unit, columns of the slice. Tokens that no row sees are zero, whatever stands in the page: their weight is.
template <class Kv>
WEFT_DEVICE void stageValues(const Past& past, uint32_t unit) {
  const AttentionArgs& a = past.a;
  const uint32_t lane = threadIdx.x % kWarp, firstColumn = past.firstColumn(), columns = past.columns();
  const uint32_t chunks = columns * Kv::kBytes / 16, rowBytes = a.dim * Kv::kBytes;
  const uint32_t stepTokens = kWarp / chunks, stepChunks = kWarp % chunks;
  for (uint32_t i = threadIdx.x / kWarp; i < kUnitBlocks; i += blockDim.x / kWarp) {
    const uint32_t block = unit * kUnitBlocks + i;
    if (!past.seesPair(block)) continue;
    const uint8_t* page = past.sees(block) ? past.page(block) : nullptr;
    const uint8_t* values = page ? page + a.planeStride + static_cast<uint64_t>(past.kvHead) * a.headStride : a.arena;
    uint8_t* to = past.values(block);
    for (uint32_t token = lane / chunks, chunk = lane % chunks; token < kBlockTokens;) {
      const int32_t position = static_cast<int32_t>(block * kBlockTokens + token);
      const uint32_t at = firstColumn * Kv::kBytes + chunk * 16;
      const bool there = page && position >= past.oldest && position <= past.newest && at < rowBytes;
      stageChunk(to + Kv::valueAt(token, chunk, past.shape.valuePitch), there ? values + token * rowBytes + at : a.arena,
                 there ? (rowBytes - at < 16 ? rowBytes - at : 16) : 0, past.aligned);
      token += stepTokens;
      chunk += stepChunks;
      if (chunk >= chunks) {
        chunk -= chunks;
        token++;
      }
    }
  }
}

}  // namespace cuda
}  // namespace weft

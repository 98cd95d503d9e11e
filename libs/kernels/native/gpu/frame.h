// A step's frame, laid out and filled as the engine does it (src/frame.ts, frame-writer.ts).
#pragma once
#include <cstdint>
#include <vector>

#include "gpu/list_builder.h"

namespace weft {
namespace gpu {

struct Capacity {
  uint32_t tokens, segments, logits, groups, groupRows, pageTable, pagePairs, biasPairs;
};

// Word offsets of the sections.
struct FrameLayout {
  explicit FrameLayout(const Capacity& capacity);
  uint32_t tokenIds, positions, rowSlots, rowSegments, segments, pages, logitRows, samples, groups, groupRows, pagePairs, bias, words;
};

// Rows [start, start + count) of a sequence. Its block b lies in page firstPage + b·pageStride.
struct SequenceRows {
  uint32_t slot, start, count;
  uint32_t firstPage, pageStride;
  int32_t adapter;                       // its slot, or -1
  bool sampled;                          // the last row becomes a token
};

// Fills the frame. Rows of one adapter are one group; a sampled row draws at a temperature of 0 (greedy).
void writeFrame(const FrameLayout& at, const std::vector<SequenceRows>& batch, uint32_t vocab, int32_t* frame);

}  // namespace gpu
}  // namespace weft

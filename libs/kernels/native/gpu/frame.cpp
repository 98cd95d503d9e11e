#include "gpu/frame.h"

#include <algorithm>
#include <cstring>
#include <map>

namespace weft {
namespace gpu {
namespace {

int32_t bitsOf(float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

}  // namespace

FrameLayout::FrameLayout(const Capacity& c) : words(kHeaderWords) {
  const auto section = [&](uint32_t size) {
    const uint32_t begin = words;
    words += (size + 15) / 16 * 16;
    return begin;
  };
  tokenIds = section(c.tokens), positions = section(c.tokens), rowSlots = section(c.tokens), rowSegments = section(c.tokens);
  segments = section(c.segments * kSegmentWords), pages = section(c.pageTable), logitRows = section(c.logits);
  samples = section(c.logits * kSampleWords), groups = section(c.groups * kGroupWords), groupRows = section(c.groupRows);
  pagePairs = section(c.pagePairs * 2), bias = section(c.biasPairs * 2);
}

void writeFrame(const FrameLayout& at, const std::vector<SequenceRows>& batch, uint32_t vocab, int32_t* frame) {
  memset(frame, 0, at.words * 4);
  uint32_t row = 0, page = 0, logits = 0, segmentNumber = 0;
  std::map<int32_t, std::vector<uint32_t>> rowsOfAdapters;
  for (const SequenceRows& sequence : batch) {
    int32_t* segment = frame + at.segments + segmentNumber * kSegmentWords;
    const uint32_t blocks = (sequence.start + sequence.count + kBlockTokens - 1) / kBlockTokens;
    segment[kSegmentSlot] = static_cast<int32_t>(sequence.slot);
    segment[kSegmentRowStart] = static_cast<int32_t>(row);
    segment[kSegmentRowCount] = static_cast<int32_t>(sequence.count);
    segment[kSegmentPageOffset] = static_cast<int32_t>(page);
    segment[kSegmentPageCount] = static_cast<int32_t>(blocks);
    for (uint32_t b = 0; b < blocks; b++) frame[at.pages + page++] = static_cast<int32_t>(sequence.firstPage + b * sequence.pageStride);
    for (uint32_t i = 0; i < sequence.count; i++, row++) {
      const uint32_t position = sequence.start + i;
      frame[at.tokenIds + row] = static_cast<int32_t>((position * 7919 + sequence.slot * 104729) % vocab);
      frame[at.positions + row] = static_cast<int32_t>(position);
      frame[at.rowSlots + row] = static_cast<int32_t>(sequence.slot);
      frame[at.rowSegments + row] = static_cast<int32_t>(segmentNumber);
      if (sequence.adapter >= 0) rowsOfAdapters[sequence.adapter].push_back(row);
    }
    if (sequence.sampled) {
      int32_t* sample = frame + at.samples + logits * kSampleWords;
      frame[at.logitRows + logits++] = static_cast<int32_t>(row - 1);
      sample[kSampleSlot] = static_cast<int32_t>(sequence.slot);
      sample[kSampleTarget] = -1;
      sample[kSampleTopP] = sample[kSampleRepetition] = bitsOf(1);
      sample[kSamplePromptLen] = static_cast<int32_t>(sequence.start);
      sample[kSampleMaskRow] = -1;
    }
    segmentNumber++;
  }
  uint32_t group = 0, groupRow = 0;
  for (const auto& [adapter, rows] : rowsOfAdapters) {
    int32_t* record = frame + at.groups + group++ * kGroupWords;
    record[kGroupAdapterSlot] = adapter;
    record[kGroupRowStart] = static_cast<int32_t>(groupRow);
    record[kGroupRowCount] = static_cast<int32_t>(rows.size());
    record[kGroupWeight] = bitsOf(1);
    for (const uint32_t r : rows) frame[at.groupRows + groupRow++] = static_cast<int32_t>(r);
  }
  frame[kHeaderTokens] = static_cast<int32_t>(row);
  frame[kHeaderSegments] = static_cast<int32_t>(segmentNumber);
  frame[kHeaderLogits] = static_cast<int32_t>(logits);
  frame[kHeaderGroups] = static_cast<int32_t>(group);
  frame[kHeaderGroupRows] = static_cast<int32_t>(groupRow);
}

}  // namespace gpu
}  // namespace weft

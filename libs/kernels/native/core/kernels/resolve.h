// Which token and position each row stands for. A few words a row, in row order: rows of one slot build on each other.
#pragma once

namespace weft {
namespace WEFT_ISA {

static uint32_t resolveTiles(const void* p, uint32_t) { return static_cast<const ResolveArgs*>(p)->count ? 1 : 0; }

static void resolveRun(const void* p, uint32_t, uint32_t, Scratch&) {
  const ResolveArgs& a = *static_cast<const ResolveArgs*>(p);
  for (uint32_t t = 0; t < a.count; t++) {
    int32_t slotIndex = a.rowSlots[t], token = a.tokenIds[t], position = a.positions[t];
    int32_t* slot = a.slots + (size_t)slotIndex * kSlotWords;
    if (token >= 0) {
      a.history[(size_t)slotIndex * a.maxLen + position] = token;
      slot[kSlotLength] = position + 1;
    } else {
      token = slot[kSlotLastToken];
      position = slot[kSlotLength] - 1;
    }
    a.outTokens[t] = token;
    a.outPositions[t] = position;
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

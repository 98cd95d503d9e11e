// KV pages: where a block lies, and writing rows into it.
#pragma once

namespace weft {
namespace WEFT_ISA {

// The page of `block` of a segment, for KV group `group` (frame.ts: SEGMENT).
template <class Args>
WEFT_INLINE uint8_t* pageOf(const Args& a, const int32_t* segment, uint32_t block) {
  const int32_t* group = segment + kSegmentFirstBlock + 3 * a.kvGroup;
  return a.arena + (size_t)a.pages[group[1] + (int32_t)block - group[0]] * a.pageBytes + a.layerOffset;
}

// kvWrite.   bound by cache lines: V is one run of dim values, K touches dim/2 lines (tokens lie in lanes for attention)
static uint32_t kvWriteTiles(const void* p, uint32_t threads) {
  const KvWriteArgs& a = *static_cast<const KvWriteArgs*>(p);
  return Split(a.count, a.kvHeads * a.dim * 1.0, threads).tiles();
}

static void kvWriteRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const KvWriteArgs& a = *static_cast<const KvWriteArgs*>(p);
  Split split(a.count, a.kvHeads * a.dim * 1.0, threads);
  const uint32_t padded = ceilDiv(a.dim, kLanes) * kLanes;
  uint16_t* halves = static_cast<uint16_t*>(scratch.take(padded * 2));
  auto narrow = [&](const float* row) {
    for (uint32_t i = 0; i < a.dim; i += kLanes) {
      storeF16(halves + i, a.dim - i < (uint32_t)kLanes ? loadN(row + i, a.dim - i) : load(row + i));
    }
  };
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    const uint32_t position = a.positions[t], token = position % kBlockTokens;
    uint8_t* page = pageOf(a, a.segments + (size_t)a.rowSegments[t] * kSegmentWords, position / kBlockTokens);
    for (uint32_t h = 0; h < a.kvHeads; h++) {
      uint16_t* keys = reinterpret_cast<uint16_t*>(page + (size_t)h * a.headStride);
      uint16_t* values = reinterpret_cast<uint16_t*>(page + a.planeStride + (size_t)h * a.headStride);
      narrow(a.k + t * a.ldk + h * a.dim);
      for (uint32_t i = 0; i < a.dim; i++) keys[i * kBlockTokens + token] = halves[i];
      narrow(a.v + t * a.ldv + h * a.dim);
      memcpy(values + token * a.dim, halves, a.dim * 2);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

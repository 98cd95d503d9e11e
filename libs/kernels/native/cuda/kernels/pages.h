// KV pages: writing rows into them, and copying them whole.
#pragma once
#include "cuda/kernels/rows.h"

namespace weft {
namespace cuda {

// The layer's part of the page that row t's token stands in (frame.ts: SEGMENT), or nullptr where an index is out of its bounds.
template <typename Args>
WEFT_DEVICE uint8_t* pageOfRow(const Args& a, const Step& step, uint32_t t, int32_t position) {
  const int32_t segment = a.rowSegments[t];
  if (!within(step, Bound::kSegment, t, segment, a.nSegments)) return nullptr;
  const int32_t* group = a.segments + static_cast<uint64_t>(segment) * kSegmentWords + kSegmentFirstBlock + 3 * a.kvGroup;
  const int32_t first = group[0], offset = group[1], count = group[2];
  if (first < 0 || offset < 0 || count < 0 || static_cast<uint32_t>(offset) + static_cast<uint32_t>(count) > a.tableSize) {
    report(step, Bound::kPageTable, static_cast<uint32_t>(segment), offset, a.tableSize);
    return nullptr;
  }
  if (!within(step, Bound::kPosition, t, position, 0x7fffffff)) return nullptr;
  const int32_t block = position / static_cast<int32_t>(kBlockTokens) - first;
  if (!within(step, Bound::kBlock, t, block, static_cast<uint32_t>(count))) return nullptr;
  const int32_t page = a.pages[offset + block];
  if (!within(step, Bound::kPage, t, page, a.nPages)) return nullptr;
  return a.arena + static_cast<uint64_t>(page) * a.pageBytes + a.layerOffset;
}

// Writes a head of K ([dim][16 tokens]) or V ([16 tokens][dim]) of one token. A token's K touches `dim` sectors, its V is one run.
template <typename Args>
WEFT_DEVICE void writeHead(const Args& a, uint8_t* page, const float* head, uint32_t h, bool isValue, uint32_t token) {
  uint8_t* plane = page + (isValue ? a.planeStride : 0);
  uint8_t* stored = plane + static_cast<uint64_t>(h) * a.headStride;
  const uint32_t first = isValue ? token * a.dim : token, stride = isValue ? 1 : kBlockTokens;
  if (a.kvType != kDTypeInt8) {
    uint16_t* halves = reinterpret_cast<uint16_t*>(stored) + first;
    for (uint32_t i = laneIndex(); i < a.dim; i += kWarp) halves[i * stride] = static_cast<uint16_t>(toF16(head[i]));
    return;
  }
  // Symmetric, the largest becomes ±127; a head that is not finite gets the scale NaN (kv.h of the CPU).
  float high = 0, poison = 0;
  for (uint32_t i = laneIndex(); i < a.dim; i += kWarp) {
    high = fmaxf(high, fabsf(head[i]));
    poison += product(head[i], 0.0f);                    // 0, or NaN
  }
  const uint32_t half = toF16(warpMax(high) / 127.0f + warpSum(poison));
  const float scale = fromF16(half), inverse = scale > 0 ? 1.0f / scale : 0.0f;
  int8_t* bytes = reinterpret_cast<int8_t*>(stored) + first;
  for (uint32_t i = laneIndex(); i < a.dim; i += kWarp) {
    const float rounded = rintf(product(head[i], inverse));
    bytes[i * stride] = rounded == rounded ? static_cast<int8_t>(fmaxf(-127.0f, fminf(127.0f, rounded))) : int8_t{0};
  }
  uint16_t* scales = reinterpret_cast<uint16_t*>(plane + static_cast<uint64_t>(a.kvHeads) * a.headStride);
  if (laneIndex() == 0) scales[h * kBlockTokens + token] = static_cast<uint16_t>(half);
}

// A warp takes a head of K or V.
WEFT_KERNEL(kvWrite, KvWriteArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const int32_t position = a.positions[row];
  uint8_t* page = pageOfRow(a, step, row, position);
  if (!page) return;
  float* head = headOfWarp(shared, a.dim);
  for (uint32_t i = blockIdx.y * kHeadWarps + warpIndex(); i < 2 * a.kvHeads; i += gridDim.y * kHeadWarps) {
    const bool isValue = i >= a.kvHeads;
    const uint32_t h = isValue ? i - a.kvHeads : i;
    const float* x = isValue ? a.v + static_cast<uint64_t>(row) * a.ldv : a.k + static_cast<uint64_t>(row) * a.ldk;
    loadHead(head, x + static_cast<uint64_t>(h) * a.dim, a.dim);
    writeHead(a, page, head, h, isValue, static_cast<uint32_t>(position) % kBlockTokens);
    __syncwarp();
  }
}

// A warp takes a head of [q | k | v].
WEFT_KERNEL(ropeKv, RopeKvArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const int32_t position = a.positions[row];
  if (!within(step, Bound::kPosition, row, position, a.maxPos)) return;
  uint8_t* page = pageOfRow(a, step, row, position);
  if (!page) return;
  const uint32_t turned = a.heads + a.kvHeads;           // heads of q and k
  float* head = headOfWarp(shared, a.dim);
  for (uint32_t i = blockIdx.y * kHeadWarps + warpIndex(); i < turned + a.kvHeads; i += gridDim.y * kHeadWarps) {
    float* x = a.x + static_cast<uint64_t>(row) * a.ldx + static_cast<uint64_t>(i) * a.dim;
    const bool isValue = i >= turned;
    loadHead(head, x, a.dim);
    if (!isValue) {
      const float* norm = i < a.heads ? a.qNorm : a.kNorm;
      if (norm) normHead(head, norm, a.dim, a.plusOne ? 1.0f : 0.0f, a.eps);
      turnHead(head, a.cosSin + static_cast<uint64_t>(position) * a.rotary, a.rotary, a.interleaved);
      storeHead(head, x, a.dim);
    }
    if (i >= a.heads) writeHead(a, page, head, isValue ? i - turned : i - a.heads, isValue, static_cast<uint32_t>(position) % kBlockTokens);
    __syncwarp();
  }
}

// Pairs are copied in order and one may read what another wrote: a thread copies the same 16 bytes for all of them.
WEFT_KERNEL(copyPages, CopyPagesArgs) {
  const uint32_t count = counted(step, a.count, a.maxPairs);
  const uint64_t at = (uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) * sizeof(Quad);
  if (at >= a.pageBytes) return;
  const bool whole = aligned(a.arena, sizeof(Quad)) && a.pageBytes % sizeof(Quad) == 0;
  for (uint32_t i = 0; i < count; i++) {
    const int32_t from = a.pairs[2 * i], to = a.pairs[2 * i + 1];
    if (!within(step, Bound::kPage, 2 * i, from, a.nPages) || !within(step, Bound::kPage, 2 * i + 1, to, a.nPages)) continue;
    const uint8_t* source = a.arena + static_cast<uint64_t>(from) * a.pageBytes + at;
    uint8_t* place = a.arena + static_cast<uint64_t>(to) * a.pageBytes + at;
    if (whole) {
      *reinterpret_cast<Quad*>(place) = *reinterpret_cast<const Quad*>(source);
    } else {
      const uint64_t bytes = a.pageBytes - at < sizeof(Quad) ? a.pageBytes - at : sizeof(Quad);
      for (uint64_t b = 0; b < bytes; b++) place[b] = source[b];
    }
  }
}

}  // namespace cuda
}  // namespace weft

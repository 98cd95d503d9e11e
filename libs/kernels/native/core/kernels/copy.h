// Copies: bound by memory, 2 bytes moved a byte.
#pragma once

namespace weft {
namespace WEFT_ISA {

static uint32_t copyRowsTiles(const void* p, uint32_t threads) {
  const CopyRowsArgs& a = *static_cast<const CopyRowsArgs*>(p);
  return Split(a.count, a.dim * 8 / kBytesPerNs, threads).tiles();
}

static void copyRowsRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const CopyRowsArgs& a = *static_cast<const CopyRowsArgs*>(p);
  Split split(a.count, a.dim * 8 / kBytesPerNs, threads);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    const float* from = a.from + t * a.ldFrom;
    if (a.toType == kDTypeBf16) roundRow(from, rowOf<Bf16>(a.to, t, a.ldTo), a.dim);
    else memcpy(rowOf<F32>(a.to, t, a.ldTo), from, a.dim * 4);
  }
}

// Pairs are copied in order and one may read what another wrote, so a tile is a slice of the page, for all pairs.
constexpr uint32_t kCopySlice = 4096;

static uint32_t copyPagesTiles(const void* p, uint32_t) {
  const CopyPagesArgs& a = *static_cast<const CopyPagesArgs*>(p);
  return a.count ? ceilDiv(a.pageBytes, kCopySlice) : 0;
}

static void copyPagesRun(const void* p, uint32_t tile, uint32_t, Scratch&) {
  const CopyPagesArgs& a = *static_cast<const CopyPagesArgs*>(p);
  uint32_t at = tile * kCopySlice, bytes = a.pageBytes - at < kCopySlice ? a.pageBytes - at : kCopySlice;
  for (uint32_t i = 0; i < a.count; i++) {
    size_t from = (size_t)a.pairs[2 * i] * a.pageBytes, to = (size_t)a.pairs[2 * i + 1] * a.pageBytes;
    memmove(a.arena + to + at, a.arena + from + at, bytes);
  }
}

// The sum over one rank is what is there already.
static uint32_t allReduceTiles(const void*, uint32_t) { return 0; }
static void allReduceRun(const void*, uint32_t, uint32_t, Scratch&) {}

}  // namespace WEFT_ISA
}  // namespace weft

// Random contents of memory. Bound by writing it.
#pragma once
#include "core/ops.gen.h"
#include "cuda/fill.h"
#include "cuda/memory.h"
#include "cuda/step.h"

namespace weft {
namespace cuda {

// Source: C. Wellons, «Prospecting for Hash Functions», lowbias32.
WEFT_DEVICE uint32_t scrambled(uint32_t x) {
  x = (x ^ x >> 16) * 0x7feb352du;
  x = (x ^ x >> 15) * 0x846ca68bu;
  return x ^ x >> 16;
}

// A word of the memory: one f32, or two values of 16 bits.
WEFT_DEVICE uint32_t randomWord(const FillArgs& a, uint64_t index) {
  const uint32_t bits = scrambled(static_cast<uint32_t>(index) ^ scrambled(static_cast<uint32_t>(a.seed + (index >> 32))));
  const float low = a.scale * (static_cast<float>(bits & 0xffffu) * (1.0f / 32768) - 1);
  const float high = a.scale * (static_cast<float>(bits >> 16) * (1.0f / 32768) - 1);
  if (a.dtype == kDTypeF32) return floatToBits(low);
  return a.dtype == kDTypeBf16 ? toBf16(low) | toBf16(high) << 16 : toF16(low) | toF16(high) << 16;
}

WEFT_KERNEL_BOUNDS(fillRandom, FillArgs, kFillThreads, 1) {
  for (uint64_t i = uint64_t{blockIdx.x} * kFillThreads + threadIdx.x; i < a.quads; i += uint64_t{gridDim.x} * kFillThreads) {
    reinterpret_cast<Quad*>(a.to)[i] = {randomWord(a, 4 * i), randomWord(a, 4 * i + 1), randomWord(a, 4 * i + 2), randomWord(a, 4 * i + 3)};
  }
}

}  // namespace cuda
}  // namespace weft

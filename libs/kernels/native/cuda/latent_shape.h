// Blocks of the ops of latent attention, for kernels and launches.
#pragma once
#include <cstdint>

#include "core/ops.gen.h"
#include "cuda/anywhere.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

constexpr uint32_t kLatentThreads = 256;                 // a thread for each position of a span
constexpr uint32_t kHeadRows = 8, kHeadLinearWarps = 4;  // of headLinear: rows and panels of a block
constexpr uint32_t kPanelOuts = 32;
static_assert(kAttentionSpan == kLatentThreads, "a span is a position for each thread");

// Values of shared memory that a head of latentAttention takes: its query, its sums, its weights of a span.
WEFT_ANYWHERE constexpr uint32_t latentHeadValues(uint32_t latent, uint32_t rope) { return 2 * latent + rope + kAttentionSpan; }
constexpr uint32_t kLatentHeadsMax = 8;
// Heads that share what a block reads: as many as fit into 48 KiB, which every device has.
WEFT_ANYWHERE constexpr uint32_t latentHeads(uint32_t latent, uint32_t rope) {
  uint32_t heads = kLatentHeadsMax;
  while (heads > 1 && heads * latentHeadValues(latent, rope) * 4 > 47 * 1024) heads /= 2;
  return heads;
}

}  // namespace cuda
}  // namespace weft

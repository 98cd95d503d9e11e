// What is measured, and how large.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace weft {
namespace gpu {

struct ModelShape {
  const char* name;
  uint32_t layers, hidden, heads, kvHeads, headDim, intermediate, vocab;
};

struct Sizes {
  ModelShape model{"Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256};
  // As an engine is set up (host.ts).
  uint32_t stepTokens = 512, maxSequences = 128, maxRank = 256, maxLen = 8193;

  uint64_t copyBytes = 1ull << 30;
  std::vector<uint32_t> gemms{4096, 8192}, mapRows{1, 8, 32, 64, 128, 512, 2048};
  std::vector<uint32_t> batches{1, 8, 32, 64}, contexts{512, 2048, 4096}, ranks{8, 16, 32, 64};
  std::vector<uint32_t> prompts{2048, 8192}, chunks{512, 2048};
  uint32_t attentionContext = 32768;
  std::vector<uint32_t> attentionBatches{1, 8};
  std::vector<uint32_t> copiedPages{1, 64};
  uint32_t smallOps = 300;
  uint32_t breakdownBatch = 32, breakdownContext = 2048;
  double seconds = 1;                    // for one measurement

  static Sizes quick() {
    Sizes s;
    s.gemms = {4096}, s.mapRows = {1, 32, 512};
    s.batches = {1, 32};
    s.contexts = {2048};
    s.prompts = {2048};
    s.seconds = 0.3;
    return s;
  }
  // For machines that only pretend to have a GPU.
  static Sizes tiny() {
    Sizes s;
    s.model = {"a tiny model", 2, 64, 4, 2, 16, 96, 320};
    s.stepTokens = 16, s.maxSequences = 4, s.maxRank = 16, s.maxLen = 65;
    s.copyBytes = 1 << 16;
    s.gemms = {64}, s.mapRows = {1, 9};
    s.batches = {1, 2}, s.contexts = {24}, s.ranks = {4, 8};
    s.prompts = {24}, s.chunks = {8, 16};
    s.attentionContext = 300, s.attentionBatches = {1, 2};
    s.copiedPages = {1, 2};
    s.smallOps = 5;
    s.breakdownBatch = 2, s.breakdownContext = 24;
    s.seconds = 0.001;
    return s;
  }
};

}  // namespace gpu
}  // namespace weft

// A model with adapters and room for contexts, as far as the GPU's memory goes.
#pragma once
#include <memory>

#include "gpu/llama.h"
#include "gpu/parts.h"

namespace weft {
namespace gpu {

class LoadedModel {
 public:
  // Pages for `tokens` of context and for `adapters` adapters, whose ranks are the sizes' ranks in turn; fewer pages
  // where they don't fit.
  LoadedModel(const Bench& bench, const Sizes& sizes, uint64_t tokens, uint32_t adapters);

  // One row for each of `size` sequences with `context` tokens, which use `adapters` adapters in turn.
  std::vector<SequenceRows> decoding(uint32_t size, uint32_t context, uint32_t adapters) const;
  // Whether there are pages for that.
  bool holds(uint32_t size, uint32_t context, uint32_t adapters) const;

  // Adapter i of a step that uses `adapters`: alone it is the second, of a common rank.
  uint32_t adapterOf(uint32_t i, uint32_t adapters) const;
  uint64_t loraBytes(uint32_t adapters) const;
  std::string ranksOf(uint32_t adapters) const;

  Machine machine;
  std::unique_ptr<Llama> llama;
  std::vector<uint64_t> adapterBytes;

 private:
  const std::vector<uint32_t> ranks_;
  uint64_t kvPages_ = 0;
};

// ms a step, as `row` wants it: median, fastest, slowest.
Fields milliseconds(const Timing& timing);

}  // namespace gpu
}  // namespace weft

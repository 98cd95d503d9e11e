// The list of one step.
#pragma once
#include "gpu/llama.h"

namespace weft {
namespace gpu {

constexpr uint32_t kSplitRows = 4;       // rows whose attention may be cut by spans

struct Llama::Recorder {
  Recorder(const Llama& model, uint32_t tokens);
  std::vector<uint32_t> words();

 private:
  Ref frame(uint32_t word) const { return {kBindingFrame, uint64_t{word} * 4}; }
  void embed();
  void norm(Ref weight, const Rows* add);
  void finalNorm();
  void attention(const Layer& layer, uint32_t number);
  void mlp(const Layer& layer, uint32_t number);
  void linear(const Matrix& w, const Rows& x, const Rows& y, const Params& rows);
  void lora(uint32_t layer, uint32_t firstSite, uint32_t parts, const Rows& x, const Rows& y);
  void sampleTile(uint32_t firstRow);

  const Llama& m_;
  const ModelShape& shape_;
  const FrameLayout& at_;
  Capacity c_;
  const uint32_t pageBytes_;
  ListBuilder list_;
};

}  // namespace gpu
}  // namespace weft

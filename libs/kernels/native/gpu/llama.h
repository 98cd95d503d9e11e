// A dense decoder with random weights, recorded as the engine records it (libs/engine/src/models/decoder.ts).
#pragma once
#include <map>
#include <vector>

#include "gpu/adapters.h"
#include "gpu/frame.h"
#include "gpu/machine.h"
#include "gpu/sizes.h"

namespace weft {
namespace gpu {

// Pages of 16 tokens of all layers, keys and values of f16.
struct KvView {
  explicit KvView(const ModelShape& shape);
  uint64_t headStride, planeStride, layerStride, pageBytes;
};

// Rows in a buffer.
struct Rows {
  Ref ref;
  uint32_t ld, type;
};
Rows allocateRows(Machine& machine, uint64_t rows, uint32_t width, const char* label, uint32_t type = kDTypeF32);
// Attention over a table of pages: what all its ops share.
Params pagedParams(const ModelShape& shape, const KvView& kv, uint32_t layer, uint32_t segments, uint32_t tableSize, uint32_t pages);

class Llama {
 public:
  // pages: of the arena; from adapterPage on they hold adapters. Throws out_of_memory.
  Llama(Machine& machine, const Sizes& sizes, uint32_t pages, uint32_t adapterPage);

  // Gives an adapter slot an adapter; returns its bytes.
  uint64_t bind(uint32_t slot, const AdapterTable& table);

  // Rows that the list of a step has room for.
  uint32_t bucketOf(uint32_t rows) const;
  const std::vector<uint32_t>& words(uint32_t bucket);

  // Prepares a step; `run` does it, as often as one likes.
  void prepare(const std::vector<SequenceRows>& batch);
  RunResult run(bool timed = false);
  // Whether every row of the last step that became a token has a finite one.
  bool finite() const;

  uint64_t weightBytes() const { return weightBytes_; }            // of the linear maps: what a step reads
  uint64_t kvBytes(uint64_t tokens) const { return tokens * sizes_.model.layers * 4 * sizes_.model.kvHeads * sizes_.model.headDim; }
  double flopsPerToken() const { return static_cast<double>(layerBytes_); }  // two for each weight of two bytes; the head aside
  uint64_t sentBytes() const { return machine_.buffer(frame_)->bytes; }                                   // with each step
  uint64_t fetchedBytes() const { return machine_.buffer(results_)->bytes + machine_.buffer(hidden_)->bytes; }
  const KvView kv;

 private:
  struct Matrix { Ref ref; uint32_t n, k; };
  struct Layer { Matrix qkv, o, gateUp, down; Ref inputNorm, postNorm; };
  struct Recorder;

  Matrix matrix(uint32_t n, uint32_t k, const char* label);
  Ref ones(const char* label);
  void makeRopeTable();

  Machine& machine_;
  const Sizes sizes_;
  const uint32_t pages_, slotWords_, adapterSlots_;
  Capacity capacity_;
  const FrameLayout layout_;
  uint64_t weightBytes_ = 0, layerBytes_ = 0;
  std::vector<Layer> layers_;
  Matrix head_;
  Ref embed_, norm_, arena_, tables_, slots_, history_, cosSin_, tokens_, positions_, frame_, results_, hidden_;
  Rows residual_, normed_, delta_, wide_, inner_, shrunk_, headInput_, logits_, partials_;
  uint32_t nPartials_;
  struct Step { std::vector<uint32_t> words; List list; };
  std::map<uint32_t, Step> steps_;                                 // by bucket
  const LinkedProgram* next_ = nullptr;
  uint32_t sampled_ = 0;
};

}  // namespace gpu
}  // namespace weft

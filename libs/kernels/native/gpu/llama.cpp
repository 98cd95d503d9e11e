#include "gpu/llama.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gpu/llama_record.h"

namespace weft {
namespace gpu {
namespace {

constexpr uint32_t kAdaptersPerRequest = 4, kBiases = 512;         // host.ts
constexpr uint32_t kBuckets[] = {8, 32, 64, 128, 256, 512, 1024, 2048};

uint64_t roundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
uint32_t bytesOf(uint32_t type) { return type == kDTypeF32 ? 4 : 2; }

// Whole cache lines, and never a multiple of 4 KiB.
uint32_t strideOf(uint32_t width, uint32_t valueBytes) {
  const uint32_t line = 64 / valueBytes, ld = static_cast<uint32_t>(roundUp(width, line));
  return ld * valueBytes % 4096 == 0 ? ld + line : ld;
}

Capacity capacityOf(const Sizes& s, uint32_t pages) {
  const uint32_t blocks = (s.maxLen - 1 + kBlockTokens - 1) / kBlockTokens, sequences = s.maxSequences;
  return {s.stepTokens, sequences, s.stepTokens, sequences * kAdaptersPerRequest, s.stepTokens * kAdaptersPerRequest,
          std::min(pages, sequences * blocks) + sequences, 1, sequences * 2 * kBiases};
}

}  // namespace

KvView::KvView(const ModelShape& s)
    : headStride(uint64_t{kBlockTokens} * s.headDim * 2), planeStride(s.kvHeads * headStride), layerStride(roundUp(2 * planeStride, 128)),
      pageBytes(roundUp(s.layers * layerStride, 4096)) {}

Rows allocateRows(Machine& machine, uint64_t rows, uint32_t width, const char* label, uint32_t type) {
  const uint32_t ld = strideOf(width, bytesOf(type));
  return {machine.allocate(rows * ld * bytesOf(type), label), ld, type};
}

Params pagedParams(const ModelShape& shape, const KvView& kv, uint32_t layer, uint32_t segments, uint32_t tableSize, uint32_t pages) {
  const auto word = [](uint64_t bytes) { return static_cast<uint32_t>(bytes); };
  return {{"kvHeads", shape.kvHeads}, {"dim", shape.headDim}, {"nSegments", segments}, {"tableSize", tableSize}, {"nPages", pages},
          {"pageBytes", word(kv.pageBytes)}, {"layerOffset", word(layer * kv.layerStride)}, {"planeStride", word(kv.planeStride)},
          {"headStride", word(kv.headStride)}, {"kvGroup", 0u}, {"kvType", kDTypeF16}};
}

Llama::Llama(Machine& machine, const Sizes& sizes, uint32_t pages, uint32_t adapterPage)
    : kv(sizes.model), machine_(machine), sizes_(sizes), pages_(pages), slotWords_(slotWords(sizes.model, sizes.maxRank, kv.pageBytes)),
      adapterSlots_(std::max(2 * sizes.maxSequences, 64u)), capacity_(capacityOf(sizes, pages)), layout_(capacity_) {
  const ModelShape& s = sizes_.model;
  const uint32_t q = s.heads * s.headDim, kvWidth = s.kvHeads * s.headDim, slots = 2 * sizes_.maxSequences;
  for (uint32_t i = 0; i < s.layers; i++) {
    layers_.push_back({matrix(q + 2 * kvWidth, s.hidden, "qkv"), matrix(s.hidden, q, "o"), matrix(2 * s.intermediate, s.hidden, "gate|up"),
                       matrix(s.hidden, s.intermediate, "down"), ones("input norm"), ones("post norm")});
  }
  layerBytes_ = weightBytes_;
  head_ = matrix(s.vocab, s.hidden, "head");
  const uint64_t read = weightBytes_;
  embed_ = matrix(s.vocab, s.hidden, "embeddings").ref;            // a step reads few of its rows
  weightBytes_ = read;
  norm_ = ones("norm");

  arena_ = machine.allocate(pages * kv.pageBytes, "arena");
  const uint64_t kvEnd = adapterPage * kv.pageBytes, arenaBytes = pages * kv.pageBytes;
  const BufferRef& arena = machine.buffer(arena_);
  if (kvEnd > 0) machine.device.fill(arena, 0, kvEnd, kDTypeF16, 77, 1);
  if (arenaBytes > kvEnd) machine.device.fill(arena, kvEnd, arenaBytes - kvEnd, kDTypeBf16, 78, 0.02f);
  tables_ = machine.allocate(uint64_t{adapterSlots_} * slotWords_ * 4, "adapter tables");
  slots_ = machine.allocate(slots * kSlotWords * 4, "slots");
  history_ = machine.allocate(uint64_t{slots} * sizes_.maxLen * 4, "history");

  const Capacity& c = capacity_;
  tokens_ = machine.allocate(c.tokens * 4, "tokens");
  positions_ = machine.allocate(c.tokens * 4, "positions");
  residual_ = allocateRows(machine, c.tokens, s.hidden, "residual");
  normed_ = allocateRows(machine, c.tokens, s.hidden, "normed", kDTypeBf16);
  delta_ = allocateRows(machine, c.tokens, s.hidden, "delta");
  wide_ = allocateRows(machine, c.tokens, std::max(q + 2 * kvWidth, 2 * s.intermediate), "qkv, gate|up");
  inner_ = allocateRows(machine, c.tokens, std::max(q, s.intermediate), "attention, activation", kDTypeBf16);
  shrunk_ = allocateRows(machine, c.groupRows, 3 * static_cast<uint32_t>(roundUp(sizes_.maxRank, 16)), "LoRA");
  const uint32_t tileRows = std::min(kLogitTile, c.logits);
  headInput_ = allocateRows(machine, tileRows, s.hidden, "head input", kDTypeBf16);
  logits_ = allocateRows(machine, tileRows, s.vocab, "logits");
  nPartials_ = std::min(kSplitRows, c.tokens) * s.heads * ((sizes_.maxLen + kAttentionSpan - 1) / kAttentionSpan);
  partials_ = allocateRows(machine, nPartials_, static_cast<uint32_t>(roundUp(s.headDim, 16)) + 2, "attention, spans");
  makeRopeTable();

  frame_ = machine.allocate(layout_.words * 4, "frame");
  results_ = machine.allocate(c.logits * kResultWords * 4, "results");
  hidden_ = machine.allocate(uint64_t{c.logits} * s.hidden * 4, "hidden");
  for (const Ref& ref : {frame_, results_, hidden_}) machine.device.mirror(machine.buffer(ref));
}

// Values whose products with rows of variance 1 have variance 1.
Llama::Matrix Llama::matrix(uint32_t n, uint32_t k, const char* label) {
  const Ref ref = machine_.allocate(uint64_t{n} * k * 2, label);
  machine_.fill(ref, kDTypeBf16, std::sqrt(3.0f / k));
  weightBytes_ += uint64_t{n} * k * 2;
  return {ref, n, k};
}

Ref Llama::ones(const char* label) {
  const Ref ref = machine_.allocate(sizes_.model.hidden * 4, label);
  machine_.write(ref, std::vector<float>(sizes_.model.hidden, 1));
  return ref;
}

void Llama::makeRopeTable() {
  const uint32_t rotary = sizes_.model.headDim, half = rotary / 2;
  std::vector<float> table(uint64_t{sizes_.maxLen} * rotary);
  for (uint32_t i = 0; i < half; i++) {
    const double frequency = std::pow(500000.0, -2.0 * i / rotary);
    for (uint32_t position = 0; position < sizes_.maxLen; position++) {
      table[uint64_t{position} * rotary + i] = static_cast<float>(std::cos(position * frequency));
      table[uint64_t{position} * rotary + half + i] = static_cast<float>(std::sin(position * frequency));
    }
  }
  cosSin_ = machine_.allocate(table.size() * 4, "RoPE");
  machine_.write(cosSin_, table);
}

uint64_t Llama::bind(uint32_t slot, const AdapterTable& table) {
  machine_.write({tables_.id, uint64_t{slot} * slotWords_ * 4}, table.words);
  return table.bytes;
}

uint32_t Llama::bucketOf(uint32_t rows) const {
  for (const uint32_t bucket : kBuckets) {
    if (bucket >= rows && bucket < capacity_.tokens) return bucket;
  }
  return capacity_.tokens;
}

const std::vector<uint32_t>& Llama::words(uint32_t bucket) {
  Step& step = steps_[bucket];
  if (!step.list) {
    step.words = Recorder(*this, bucket).words();
    step.list = machine_.list(step.words, {{kBindingFrame, frame_}, {kBindingResults, results_}, {kBindingHidden, hidden_}});
  }
  return step.words;
}

void Llama::prepare(const std::vector<SequenceRows>& batch) {
  writeFrame(layout_, batch, sizes_.model.vocab, reinterpret_cast<int32_t*>(machine_.device.mirror(machine_.buffer(frame_))->data()));
  uint32_t rows = 0;
  sampled_ = 0;
  for (const SequenceRows& sequence : batch) rows += sequence.count, sampled_ += sequence.sampled;
  const uint32_t bucket = bucketOf(rows);
  words(bucket);
  next_ = steps_.at(bucket).list.get();
}

RunResult Llama::run(bool timed) { return machine_.device.run(*next_, timed); }

bool Llama::finite() const {
  const auto* results = reinterpret_cast<const int32_t*>(machine_.device.mirror(machine_.buffer(results_))->data());
  for (uint32_t row = 0; row < sampled_; row++) {
    if (results[row * kResultWords + kResultStatus] != static_cast<int32_t>(kRowStatusOk)) return false;
  }
  return true;
}

}  // namespace gpu
}  // namespace weft

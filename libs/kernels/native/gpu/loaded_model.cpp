#include "gpu/loaded_model.h"

#include <algorithm>

#include "core/error.h"

namespace weft {
namespace gpu {
namespace {

// What activations, tables and the driver take besides weights and pages.
constexpr uint64_t kReserveBytes = 3ull << 30;

uint64_t matricesBytes(const ModelShape& s) {
  uint64_t values = 2ull * s.vocab * s.hidden;
  for (const AdapterSite& site : sitesOf(s)) values += uint64_t{s.layers} * site.dIn * site.dOut;
  return values * 2;
}

}  // namespace

LoadedModel::LoadedModel(const Bench& bench, const Sizes& sizes, uint64_t tokens, uint32_t adapters)
    : machine(bench.device), ranks_(sizes.ranks) {
  const KvView kv(sizes.model);
  std::vector<AdapterTable> tables;
  uint64_t adapterPages = 0;
  for (uint32_t i = 0; i < adapters; i++) {
    tables.push_back(adapterTable(sizes.model, ranks_[i % ranks_.size()], static_cast<uint32_t>(adapterPages), kv.pageBytes));
    adapterPages += tables.back().pages;
  }
  const uint64_t free = machine.device.freeBytes(), taken = matricesBytes(sizes.model) + std::min(kReserveBytes, free / 4);
  const uint64_t fitting = free > taken ? (free - taken) / kv.pageBytes : 0;
  const auto needs = [&] { return format("%.1f GB are free: too few for this model and its adapters.", free / 1e9); };
  if (fitting <= adapterPages) throw Error("out_of_memory", needs());
  kvPages_ = std::min<uint64_t>(tokens / kBlockTokens + sizes.maxSequences, fitting - adapterPages);
  llama = std::make_unique<Llama>(machine, sizes, static_cast<uint32_t>(kvPages_ + adapterPages), static_cast<uint32_t>(kvPages_));
  uint64_t page = kvPages_;
  for (uint32_t i = 0; i < adapters; i++) {
    const AdapterTable table = adapterTable(sizes.model, ranks_[i % ranks_.size()], static_cast<uint32_t>(page), kv.pageBytes);
    adapterBytes.push_back(llama->bind(i, table));
    page += table.pages;
  }
}

bool LoadedModel::holds(uint32_t size, uint32_t context, uint32_t adapters) const {
  return uint64_t{size} * ((context + kBlockTokens - 1) / kBlockTokens) <= kvPages_ && adapters <= adapterBytes.size();
}

// Pages of the sequences alternate, as when they grow side by side.
std::vector<SequenceRows> LoadedModel::decoding(uint32_t size, uint32_t context, uint32_t adapters) const {
  std::vector<SequenceRows> batch;
  for (uint32_t i = 0; i < size; i++) {
    batch.push_back({i, context - 1, 1, i, size, adapters ? static_cast<int32_t>(adapterOf(i, adapters)) : -1, true});
  }
  return batch;
}

uint32_t LoadedModel::adapterOf(uint32_t i, uint32_t adapters) const {
  return adapters == 1 ? std::min<uint32_t>(1, static_cast<uint32_t>(adapterBytes.size()) - 1) : i % adapters;
}

uint64_t LoadedModel::loraBytes(uint32_t adapters) const {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < adapters; i++) bytes += adapterBytes[adapterOf(i, adapters)];
  return bytes;
}

std::string LoadedModel::ranksOf(uint32_t adapters) const {
  std::string text;
  for (uint32_t i = 0; i < std::min<size_t>(adapters, ranks_.size()); i++) {
    text += (i ? ", " : "") + std::to_string(ranks_[adapterOf(i, adapters) % ranks_.size()]);
  }
  return text;
}

Fields milliseconds(const Timing& timing) {
  const auto ms = [](double ns) { return number(ns / 1e6); };
  return {{"ms", ms(timing.median)}, {"fastest", ms(timing.min)}, {"slowest", ms(timing.max)}, {"runs", std::to_string(timing.runs)}};
}

}  // namespace gpu
}  // namespace weft

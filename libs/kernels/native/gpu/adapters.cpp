#include "gpu/adapters.h"

#include <algorithm>
#include <cstring>

#include "core/ops.gen.h"

namespace weft {
namespace gpu {
namespace {

constexpr uint32_t kUnitAlign = 128, kTile = 64;

}  // namespace

std::vector<AdapterSite> sitesOf(const ModelShape& s) {
  const uint32_t q = s.heads * s.headDim, kv = s.kvHeads * s.headDim;
  return {{s.hidden, q}, {s.hidden, kv}, {s.hidden, kv}, {q, s.hidden},
          {s.hidden, s.intermediate}, {s.hidden, s.intermediate}, {s.intermediate, s.hidden}};
}

AdapterTable adapterTable(const ModelShape& shape, uint32_t rank, uint32_t firstPage, uint64_t pageBytes) {
  const std::vector<AdapterSite> sites = sitesOf(shape);
  const std::vector<std::vector<uint32_t>> sharedInputs{{0, 1, 2}, {3}, {4, 5}, {6}};
  AdapterTable table;
  table.words.assign(shape.layers * kSites * 2 * kRunWords, 0);
  uint64_t page = firstPage, offset = 0;
  const auto put = [&](uint32_t layer, uint32_t site, uint32_t half) {
    const uint32_t unitBytes = half == kHalfA ? (sites[site].dIn + kTile - 1) / kTile * kTile * 2 : kTile * 2 * rank;
    const uint32_t units = half == kHalfA ? rank : (sites[site].dOut + kTile - 1) / kTile;
    const uint32_t run = ((layer * kSites + site) * 2 + half) * kRunWords, firstSeg = static_cast<uint32_t>(table.words.size());
    for (uint32_t unit = 0; unit < units;) {
      const uint32_t fitting = std::min<uint32_t>(units - unit, static_cast<uint32_t>((pageBytes - offset) / unitBytes));
      if (fitting == 0) {
        page++, offset = 0;
        continue;
      }
      const uint64_t at = (page * pageBytes + offset) / kUnitAlign;
      table.words.insert(table.words.end(), {static_cast<int32_t>(at), static_cast<int32_t>(unit), static_cast<int32_t>(fitting), 0});
      unit += fitting;
      offset += uint64_t{fitting} * unitBytes;
    }
    const float scale = 1;
    int32_t* words = table.words.data() + run;
    words[kRunDtype] = kDTypeBf16;
    words[kRunRank] = static_cast<int32_t>(rank);
    memcpy(words + kRunScale, &scale, sizeof scale);
    words[kRunUnitBytes] = static_cast<int32_t>(unitBytes);
    words[kRunUnits] = static_cast<int32_t>(units);
    words[kRunFirstSeg] = static_cast<int32_t>(firstSeg);
    words[kRunSegs] = static_cast<int32_t>((table.words.size() - firstSeg) / kSegWords);
    table.bytes += uint64_t{units} * unitBytes;
  };
  for (uint32_t layer = 0; layer < shape.layers; layer++) {
    for (const auto& together : sharedInputs) {
      for (const uint32_t half : {kHalfA, kHalfB}) {
        for (const uint32_t site : together) put(layer, site, half);
      }
    }
  }
  table.pages = static_cast<uint32_t>(page - firstPage + 1);
  return table;
}

uint32_t slotWords(const ModelShape& shape, uint32_t maxRank, uint64_t pageBytes) {
  const AdapterTable largest = adapterTable(shape, maxRank, 0, pageBytes);
  const uint32_t runs = shape.layers * kSites * 2;
  return (runs * kRunWords + (runs + 2 * largest.pages + 1) * kSegWords + 15) / 16 * 16;
}

}  // namespace gpu
}  // namespace weft

// Adapters as they lie in pages of the arena, and the tables by which kernels find them (src/adapter-table.ts, layout.ts).
#pragma once
#include <cstdint>
#include <vector>

#include "gpu/sizes.h"

namespace weft {
namespace gpu {

struct AdapterSite { uint32_t dIn, dOut; };
constexpr uint32_t kSites = 7;           // q, k, v, o, gate, up, down
std::vector<AdapterSite> sitesOf(const ModelShape& shape);

struct AdapterTable {
  std::vector<int32_t> words;            // a slot's
  uint32_t pages = 0;
  uint64_t bytes = 0;                    // of all units: what a step reads
};
// An adapter of one rank on all linear maps, in pages from firstPage on.
AdapterTable adapterTable(const ModelShape& shape, uint32_t rank, uint32_t firstPage, uint64_t pageBytes);

// Words of a slot that holds any adapter up to a rank.
uint32_t slotWords(const ModelShape& shape, uint32_t maxRank, uint64_t pageBytes);

}  // namespace gpu
}  // namespace weft

#if defined(__APPLE__)
#include "system.h"

#include <algorithm>
#include <thread>

namespace weft {

// There are neither affinity masks nor containers.
uint32_t usableProcessors() { return std::max(1u, std::thread::hardware_concurrency()); }

// Anonymous memory has 16 KiB pages, and no advice for larger ones.
void adviseHugePages(void*, uint64_t) {}

bool mayUseAmxTiles() { return false; }

}  // namespace weft
#endif

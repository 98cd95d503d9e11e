#if defined(__APPLE__)
#include "system.h"

#include <sys/sysctl.h>

#include <algorithm>
#include <thread>

namespace weft {
namespace {

bool has(const char* feature) {
  int value = 0;
  size_t bytes = sizeof value;
  return sysctlbyname(feature, &value, &bytes, nullptr, 0) == 0 && value != 0;
}

}  // namespace

// There are neither affinity masks nor containers.
uint32_t usableProcessors() { return std::max(1u, std::thread::hardware_concurrency()); }

// Anonymous memory has 16 KiB pages, and no advice for larger ones.
void adviseHugePages(void*, uint64_t) {}

ArmFeatures armFeatures() {
  ArmFeatures features;
  features.dotProducts = has("hw.optional.arm.FEAT_DotProd");
  features.bf16 = has("hw.optional.arm.FEAT_BF16");
  return features;
}

bool mayUseAmxTiles() { return false; }

}  // namespace weft
#endif

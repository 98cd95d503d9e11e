// What a run of a list tells about itself, and what a device counts over all runs.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

namespace weft {

struct RunResult {
  double elapsedNs = 0;
  std::vector<double> opNs;  // where timing was asked for
};

struct RunCounters {
  std::atomic<uint64_t> lists{0}, ops{0}, adapterBytesRead{0};
  std::atomic<uint64_t> adapterBytesStaged{0};           // scratch that ops on adapters took for values: copies would need it
};

}  // namespace weft

// Runs linked programs on this processor: the best kernels that it has, a pool of threads, one op after another.
#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "cpu_features.h"
#include "kernels.h"
#include "program.h"
#include "run_result.h"
#include "thread_pool.h"

namespace weft {

class CpuDevice {
 public:
  // threads 0: as many as this process may use.
  CpuDevice(uint32_t threads, Isa isa, const Tuning& tuning);

  // One list at a time. Throws list_invalid when a count or an index is out of its bounds; ops before it have run.
  RunResult run(const LinkedProgram& linked, bool timed);

  Isa isa() const { return isa_; }
  ThreadPool& pool() { return pool_; }
  uint32_t threads() const { return pool_.threads(); }
  const RunCounters& counters() const { return counters_; }

 private:
  void runKernel(uint32_t code, const void* args);

  const Isa isa_;
  ThreadPool pool_;
  Kernel kernels_[kOpCount] = {};
  Verified verified_;
  RunCounters counters_;
};

}  // namespace weft

// A device that recordings are replayed on. Buffers stay in host memory, where they are restored and compared.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/program.h"
#include "core/run_result.h"
#include "core/tuning.h"
#include "core/cpu_features.h"
#include "recording.h"

namespace weft {

using HostBuffers = std::map<uint32_t, BufferRef>;

class ReplayDevice {
 public:
  virtual ~ReplayDevice() = default;
  // What recordings call the place they were made on.
  virtual std::string isa() const = 0;
  // For people: "2 threads", "NVIDIA H100".
  virtual std::string describe() const = 0;
  // Weights as this device wants them; the others stay as they are.
  virtual Recording adapted(Recording recording) const { return recording; }
  // Runs the list on what `buffers` hold and leaves there what it made of them. Throws list_invalid.
  virtual RunResult run(const std::vector<uint32_t>& words, const HostBuffers& buffers, const std::map<uint32_t, uint32_t>& bindings,
                        bool timed) = 0;
};

std::unique_ptr<ReplayDevice> makeCpuReplay(uint32_t threads, const std::string& isa);

struct CudaReplayOptions {
  int ordinal = 0;
  std::string driver, module;
  bool deterministic = false, ownGemm = false;
  std::vector<std::string> cublasLt;
};
std::unique_ptr<ReplayDevice> makeCudaReplay(const CudaReplayOptions& options);

}  // namespace weft

// A recording brought to life: its buffers on a device, run as often as one likes.
#pragma once
#include "device.h"
#include "recording.h"

namespace weft {

class Session {
 public:
  explicit Session(const Recording& recording);

  // Buffers as they were recorded.
  void restore();
  // Throws list_invalid as a submitted list does.
  RunResult run(ReplayDevice& device, const std::vector<uint32_t>& words, bool timed);

  const BufferRef& buffer(uint32_t id) const { return buffers_.at(id); }

 private:
  const Recording& recording_;
  HostBuffers buffers_;
  std::map<uint32_t, uint32_t> bindings_;   // buffer of each binding
};

}  // namespace weft

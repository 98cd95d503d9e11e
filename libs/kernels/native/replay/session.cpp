#include "session.h"

#include <cstring>

#include "error.h"

namespace weft {

Session::Session(const Recording& recording) : recording_(recording) {
  const auto total = std::make_shared<std::atomic<uint64_t>>(0);
  for (const auto& info : recording.buffers) {
    if (info.id < kFirstBufferId || buffers_.count(info.id)) {
      throw Error("option_invalid", format("buffer %u stands twice, or for a binding.", info.id));
    }
    buffers_[info.id] = std::make_shared<Buffer>(info.id, info.bytes, info.label, total);
  }
  for (const auto& info : recording.bindings) {
    if (info.binding == 0 || info.binding >= kFirstBufferId || !buffers_.count(info.buffer)) {
      throw Error("option_invalid", format("binding %u to buffer %u.", info.binding, info.buffer));
    }
    bindings_[info.binding] = info.buffer;
  }
  restore();
}

void Session::restore() {
  for (const auto& [id, buffer] : buffers_) memset(buffer->data(), 0, buffer->bytes);
  for (const auto& chunk : recording_.chunks) memcpy(buffers_.at(chunk.buffer)->data() + chunk.offset, chunk.data, chunk.bytes);
}

RunResult Session::run(ReplayDevice& device, const std::vector<uint32_t>& words, bool timed) {
  return device.run(words, buffers_, bindings_, timed);
}

}  // namespace weft

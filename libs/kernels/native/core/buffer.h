// Device memory. Of this processor: anonymous mappings, zeroed, 4 KiB aligned, committed when first touched.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace weft {

class Buffer {
 public:
  // Throws out_of_memory. `total` counts the bytes of all buffers that are still mapped.
  Buffer(uint32_t id, uint64_t bytes, std::string label, std::shared_ptr<std::atomic<uint64_t>> total);
  // Memory that somebody else gave, at addresses of a device perhaps; `release` gives it back.
  Buffer(uint32_t id, uint64_t bytes, std::string label, std::shared_ptr<std::atomic<uint64_t>> total, uint8_t* data,
         std::function<void()> release);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  uint8_t* data() const { return data_; }

  const uint32_t id;
  const uint64_t bytes;
  const std::string label;
  // The host gave it back. Whoever still holds the buffer (a submitted list, a view) may go on using its memory.
  std::atomic<bool> freed{false};

 private:
  uint8_t* data_ = nullptr;
  uint64_t mapped_ = 0;
  std::function<void()> release_;
  std::shared_ptr<std::atomic<uint64_t>> total_;
};

using BufferRef = std::shared_ptr<Buffer>;

}  // namespace weft

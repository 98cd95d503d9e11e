// Memory of a CUDA device, and of the host where the device reads and writes it.
#pragma once
#include "core/buffer.h"
#include "cuda/driver.h"

namespace weft {
namespace cuda {

// Bytes of the host that the device copies from and to while the host goes on (pinned).
class Pinned {
 public:
  // Throws out_of_memory.
  Pinned(std::shared_ptr<Gpu> gpu, uint64_t bytes);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  uint8_t* data() const { return data_; }
  const uint64_t bytes;

 private:
  std::shared_ptr<Gpu> gpu_;
  uint8_t* data_ = nullptr;
};

class DeviceMemory {
 public:
  explicit DeviceMemory(std::shared_ptr<Gpu> gpu);

  // A buffer of undefined contents, at least 256-byte aligned. From kVirtualBytes on: an address range of its own, backed by
  // granules (cuMemAddressReserve, cuMemCreate, cuMemMap), so that it can grow and shrink in place; plain where the system
  // refuses that. Throws out_of_memory, which says how much there is.
  BufferRef allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total);

  // Whether large buffers have address ranges of their own.
  bool isVirtual() const { return granule_ != 0; }

 private:
  uint8_t* map(uint64_t bytes);
  [[noreturn]] void failAllocation(uint64_t bytes, const std::string& label);

  std::shared_ptr<Gpu> gpu_;
  AllocationProperties properties_;
  uint64_t granule_ = 0;
};

constexpr uint64_t kVirtualBytes = 64u << 20;

}  // namespace cuda
}  // namespace weft

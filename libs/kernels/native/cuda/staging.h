// Copies between pageable memory of the host and the device: through pinned halves that take turns, on a stream of their own,
// so that a list computes meanwhile. A half is filled again only when the copy out of it has ended.
#pragma once
#include <mutex>

#include "cuda/device_memory.h"

namespace weft {
namespace cuda {

class Staging {
 public:
  Staging(std::shared_ptr<Gpu> gpu, uint64_t halfBytes);
  ~Staging();

  // Each returns when the bytes are there. One copy at a time; others wait.
  void write(const BufferRef& to, uint64_t offset, const void* from, uint64_t bytes);
  void read(const BufferRef& from, uint64_t offset, void* to, uint64_t bytes);
  void zero(const BufferRef& buffer);

 private:
  struct Half {
    std::unique_ptr<Pinned> memory;
    Event copied = nullptr;              // its last copy
  };
  void check(Result result) const { (*gpu_)->check(result, "copying"); }
  void finish();

  std::shared_ptr<Gpu> gpu_;
  std::mutex lock_;
  OwnedStream stream_;
  Half halves_[2];
};

}  // namespace cuda
}  // namespace weft

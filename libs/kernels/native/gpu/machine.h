// The device that is measured, its buffers by number, and how a time is taken.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cuda/cuda_device.h"
#include "gpu/list_builder.h"

namespace weft {
namespace gpu {

// A list, checked and linked with its bindings.
using List = std::unique_ptr<LinkedProgram>;

class Machine {
 public:
  explicit Machine(const cuda::CudaOptions& options) : device(options) {}

  Ref allocate(uint64_t bytes, const char* label);
  const BufferRef& buffer(const Ref& ref) const { return buffers_.at(ref.id); }

  // bindings: by their numbers.
  List list(const std::vector<uint32_t>& words, const std::map<uint32_t, Ref>& bindings = {}) const;

  template <typename T>
  void write(const Ref& to, const std::vector<T>& values) { device.write(buffer(to), to.offset, values.data(), values.size() * sizeof(T)); }
  // Random values all over a buffer.
  void fill(const Ref& ref, uint32_t dtype, float scale);

  cuda::CudaDevice device;

 private:
  std::map<uint32_t, BufferRef> buffers_;
  uint32_t next_ = kFirstBufferId, seed_ = 1;
  std::shared_ptr<std::atomic<uint64_t>> total_ = std::make_shared<std::atomic<uint64_t>>(0);
};

struct Timing {
  double median = 0, min = 0, max = 0;   // ns
  uint32_t runs = 0;
};

// Runs `once`, which tells how many ns it took, twice for warmth, then at least 5 times and at most `most`, within
// about `seconds`; what takes longer than that alone runs once.
Timing measure(const std::function<double()>& once, double seconds = 1, uint32_t most = 20);

// ns that work took, by the clock.
double clocked(const std::function<void()>& work);

}  // namespace gpu
}  // namespace weft

#include <cstdlib>
#include <new>

#include "allocations.h"
#include "kernels.h"

namespace weft {

void* Scratch::reserve(size_t wanted) {
  if (wanted <= bytes) return data;
  countAllocation();
  std::free(data);
  bytes = 0;
  const size_t rounded = (wanted + 4095) / 4096 * 4096;
  data = std::aligned_alloc(64, rounded);
  if (!data) throw std::bad_alloc();
  bytes = rounded;
  return data;
}

Scratch::~Scratch() { std::free(data); }

}  // namespace weft

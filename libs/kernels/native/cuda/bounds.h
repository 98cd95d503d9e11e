// How kernels read what may be wrong: counts of the frame's header and indices inside buffers.
#pragma once
#include "core/ops.gen.h"
#include "cuda/platform.h"
#include "cuda/step.h"

namespace weft {
namespace cuda {

WEFT_DEVICE void report(const Step& step, Bound bound, uint32_t at, int32_t value, uint32_t limit) {
  if (atomicCAS(&step.fault->raised, 0u, 1u) != 0u) return;
  step.fault->op = step.op;
  step.fault->bound = bound;
  step.fault->at = at;
  step.fault->value = value;
  step.fault->limit = limit;
}

// True where 0 <= value < limit; reports it where not.
WEFT_DEVICE bool within(const Step& step, Bound bound, uint32_t at, int32_t value, uint32_t limit) {
  if (value >= 0 && static_cast<uint32_t>(value) < limit) return true;
  report(step, bound, at, value, limit);
  return false;
}

// How many of `capacity` rows run: header[word], or all where word is 0. A count above the capacity is reported and runs none.
WEFT_DEVICE uint32_t counted(const Step& step, uint32_t word, uint32_t capacity) {
  if (word == 0) return capacity;
  const int32_t count = step.header[word];
  return within(step, Bound::kCount, word, count, capacity + 1) ? static_cast<uint32_t>(count) : 0;
}

// The same for rows [from, from + capacity) of all that are counted.
WEFT_DEVICE uint32_t countedFrom(const Step& step, uint32_t word, uint32_t capacity, uint32_t from) {
  if (word == 0) return capacity;
  const int32_t count = step.header[word];
  if (!within(step, Bound::kCount, word, count, 0x7fffffff)) return 0;
  const uint32_t left = static_cast<uint32_t>(count) > from ? static_cast<uint32_t>(count) - from : 0;
  return left < capacity ? left : capacity;
}

}  // namespace cuda
}  // namespace weft

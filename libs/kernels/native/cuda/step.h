// What a kernel knows of the step besides its op: the frame's header, where to report an index that is out of its bounds,
// and memory that ops may use while they run.
#pragma once
#include <cstdint>

namespace weft {
namespace cuda {

// Bounds that indices inside buffers are held against. Names: bounds.cpp.
enum class Bound : uint32_t {
  kCount, kToken, kPosition, kSlot, kLength, kSegment, kRows, kPageTable, kPage, kBlock, kIndex, kGroup, kGroupRow, kAdapterSlot,
  kRun, kUnit, kSampleRecord, kBias, kMask, kLogits, kExpert, kSpan,
};

// The first index of a list that was out of its bounds. The op that met it left out what depends on it; ops behind it ran.
struct Fault {
  uint32_t raised;
  uint32_t op;        // number in the list
  Bound bound;
  uint32_t at;        // where the index stands: a row, a segment, …
  int32_t value;
  uint32_t limit;     // what it had to be below
};

struct Step {
  const int32_t* header;   // kHeaderWords words of the frame, or nullptr where no op counts by it
  Fault* fault;
  uint8_t* scratch;        // as many bytes as the op's launches asked for (launch.h); undefined contents
  uint32_t op;
};

}  // namespace cuda
}  // namespace weft

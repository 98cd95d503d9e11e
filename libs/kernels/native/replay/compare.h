// What a run left in its buffers, held against what was recorded.
#pragma once
#include "session.h"

namespace weft {

struct Comparison {
  uint64_t values = 0, sameBits = 0, beyond = 0;  // beyond: outside the tolerance
  double maxDifference = 0;
  std::string firstBeyond;                        // where, and what
};

Comparison compare(const Recording& recording, const Session& session);

}  // namespace weft

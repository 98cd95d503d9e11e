// Changes a recording's list and metadata at random: the device must refuse what it then gets, or run it, and never
// touch memory that is not its own. Run under ASAN and UBSAN.
#pragma once
#include "session.h"

namespace weft {

struct FuzzResult { uint64_t ran = 0, refused = 0; };

FuzzResult fuzz(const Recording& recording, Session& session, ReplayDevice& device, uint64_t runs, uint64_t seed);

}  // namespace weft

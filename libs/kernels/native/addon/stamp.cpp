#include "stamp.h"

namespace weft {

// The build defines it for this file alone: the others need not be compiled again when it changes.
const char* sourceStamp() { return WEFT_SOURCE_STAMP; }

}  // namespace weft

// Which sources this addon was built from.
#pragma once

namespace weft {

// The hash that scripts/lib/native.mjs gives for them; a prebuilt addon is used only where it is the checkout's own.
const char* sourceStamp();

}  // namespace weft

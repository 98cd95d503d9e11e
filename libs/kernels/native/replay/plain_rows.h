// Weights of a recording as plain rows (layout 1), for devices that read no panels.
#pragma once
#include "recording.h"

namespace weft {

// Every matrix of f32, bf16, f16 or bf12 that lies in panels becomes [n][k] in a buffer of its own, bf12 as bf16; int8 stays.
// Throws list_invalid where an operand reaches beyond its buffer.
Recording withPlainRows(Recording recording);

}  // namespace weft

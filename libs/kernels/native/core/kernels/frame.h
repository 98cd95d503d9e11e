// Frame and table records are 32-bit words (ops.gen.h names them); some of the words are floats.
#pragma once

namespace weft {
namespace WEFT_ISA {

WEFT_INLINE float wordAsFloat(int32_t word) { float f; memcpy(&f, &word, 4); return f; }
WEFT_INLINE int32_t floatAsWord(float f) { int32_t word; memcpy(&word, &f, 4); return word; }

}  // namespace WEFT_ISA
}  // namespace weft

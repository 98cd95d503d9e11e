// arm64 with dot products of bytes: -march=armv8.2-a+dotprod.
#include "kernels.h"

#define WEFT_ISA neondot
#define WEFT_DOT_INT8
#include "simd_neon.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsNeonDot[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

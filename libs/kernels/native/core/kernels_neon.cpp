// arm64.
#include "kernels.h"

#define WEFT_ISA neon
#include "simd_neon.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsNeon[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

// arm64 with dot products of bytes and with bf16: -march=armv8.2-a+dotprod+bf16.
#include "kernels.h"

#define WEFT_ISA neonbf16
#define WEFT_DOT_INT8
#define WEFT_DOT_PAIRS
#define WEFT_DOT_BF16
#define WEFT_MATRIX_BF16
#include "simd_neon.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsNeonBf16[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

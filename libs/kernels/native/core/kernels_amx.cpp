// x86-64 with AVX-512 and AMX for bf16: those of BF16, and -mamx-tile -mamx-bf16.
#include "kernels.h"

#define WEFT_ISA amx
#define WEFT_AMX
#define WEFT_DOT_PAIRS
#include "simd_avx512.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsAmx[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

// x86-64 with AVX-512 and its BF16 instructions: those of AVX-512, and -mavx512bf16.
#include "kernels.h"

#define WEFT_ISA avx512bf16
#define WEFT_DOT_PAIRS
#define WEFT_DOT_BF16
#include "simd_avx512.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsAvx512Bf16[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

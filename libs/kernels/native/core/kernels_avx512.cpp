// x86-64 with AVX-512: -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c.
#include "kernels.h"

#define WEFT_ISA avx512
#include "simd_avx512.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsAvx512[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

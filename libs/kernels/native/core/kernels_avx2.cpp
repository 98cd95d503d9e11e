// x86-64 with AVX2, FMA and F16C: -mavx2 -mfma -mf16c.
#include "kernels.h"

#define WEFT_ISA avx2
#include "simd_avx2.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsAvx2[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

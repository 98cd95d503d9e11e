// The reference for reading, and the fallback: complete on any processor.
#include "kernels.h"

#define WEFT_ISA portable
#include "simd_portable.h"
#include "kernels/table.h"

namespace weft {

const Kernel kKernelsPortable[kOpCount] = WEFT_KERNEL_TABLE;

}  // namespace weft

// Tensor cores: fragments as PTX lays them out (PTX ISA, «Matrix fragments for mma.m16n8k16»).
#pragma once
#include "cuda/platform.h"

namespace weft {
namespace cuda {

// d[16 × 8] += a[16 × 16] · b[16 × 8], bf16 in, f32 out. All lanes of a warp take part.
WEFT_DEVICE void mmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulatedMma(d, a, b, /* f16 */ false);
#endif
}
// The same for f16.
WEFT_DEVICE void mmaF16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(__CUDACC__)
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  emulatedMma(d, a, b, /* f16 */ true);
#endif
}
// Four 8 × 8 matrices of 16-bit values out of shared memory; lane l gives the address of row l % 8 of matrix l / 8
// (16 bytes, aligned), and gets values 2·(l % 4), + 1 of row l / 4 of each matrix.
WEFT_DEVICE void loadMatrices(uint32_t (&r)[4], const void* row) {
#if defined(__CUDACC__)
  const uint32_t at = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
#else
  emulatedLoadMatrices(r, row);
#endif
}

}  // namespace cuda
}  // namespace weft

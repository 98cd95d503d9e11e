// Loads and copies that kernels use. The device's versions are one instruction each; the host's do the same to memory.
#pragma once
#include "cuda/platform.h"

namespace weft {
namespace cuda {

struct alignas(16) Quad { uint32_t x, y, z, w; };      // 16 bytes

// 16 bytes that nobody writes while the kernel runs and that are read once: past L1. p is 16-byte aligned.
WEFT_DEVICE Quad loadQuad(const void* p) {
#if defined(__CUDACC__)
  Quad q;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(q.x), "=r"(q.y), "=r"(q.z), "=r"(q.w) : "l"(p));
  return q;
#else
  return emulatedLoad<Quad>(p);
#endif
}

// Copies 16 bytes from global to shared memory in the background, or puts zeros there where `there` is false (cp.async).
WEFT_DEVICE void copyAsync(void* shared, const void* global, bool there = true) {
#if defined(__CUDACC__)
  const uint32_t to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(there ? 16 : 0) : "memory");
#else
  emulatedCopyAsync(shared, global, there);
#endif
}
// Ends a group of this thread's copies.
WEFT_DEVICE void commitCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulatedCommitCopies();
#endif
}
// Waits until at most PENDING of this thread's groups are on their way. Others see the bytes after a barrier.
template <int PENDING>
WEFT_DEVICE void awaitCopies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#else
  emulatedAwaitCopies(PENDING);
#endif
}

// Stored formats. Two 16-bit values stand in a word, the lower first.
WEFT_DEVICE float bitsToFloat(uint32_t bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  return emulatedBits<float>(bits);
#endif
}
WEFT_DEVICE uint32_t floatToBits(float value) {
#if defined(__CUDACC__)
  return __float_as_uint(value);
#else
  return emulatedBits<uint32_t>(value);
#endif
}
WEFT_DEVICE float lowBf16(uint32_t word) { return bitsToFloat(word << 16); }
WEFT_DEVICE float highBf16(uint32_t word) { return bitsToFloat(word & 0xffff0000u); }
// Nearest even; NaN stays NaN.
WEFT_DEVICE uint32_t toBf16(float value) {
  const uint32_t bits = floatToBits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}
WEFT_DEVICE float fromF16(uint32_t half) {
#if defined(__CUDACC__)
  float value;
  asm("{ .reg .b16 h; cvt.u16.u32 h, %1; cvt.f32.f16 %0, h; }" : "=f"(value) : "r"(half));
  return value;
#else
  return emulatedFromF16(static_cast<uint16_t>(half));
#endif
}
WEFT_DEVICE float lowF16(uint32_t word) { return fromF16(word & 0xffffu); }
WEFT_DEVICE float highF16(uint32_t word) { return fromF16(word >> 16); }
// Nearest even.
WEFT_DEVICE uint32_t toF16(float value) {
#if defined(__CUDACC__)
  uint32_t half;
  asm("{ .reg .b16 h; cvt.rn.f16.f32 h, %1; cvt.u32.u16 %0, h; }" : "=r"(half) : "f"(value));
  return half;
#else
  return emulatedToF16(value);
#endif
}

}  // namespace cuda
}  // namespace weft

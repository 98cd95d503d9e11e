// How linear's kernels read stored values and store sums.
#pragma once
#include "cuda/bounds.h"
#include "cuda/memory.h"

namespace weft {
namespace cuda {

// 16 bytes that nobody writes while the kernel runs and that other warps of the multiprocessor read too: through L1.
WEFT_DEVICE Quad loadCachedQuad(const void* p) {
#if defined(__CUDACC__)
  Quad q;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(q.x), "=r"(q.y), "=r"(q.z), "=r"(q.w) : "l"(p));
  return q;
#else
  return emulatedLoad<Quad>(p);
#endif
}

// Formats: `widen` gives eight consecutive values, `one` a single one.
struct StoredF32 {
  static constexpr uint32_t kBytes = 4;
  static WEFT_DEVICE void widen(const Quad (&q)[2], float (&v)[8]) {
    v[0] = bitsToFloat(q[0].x), v[1] = bitsToFloat(q[0].y), v[2] = bitsToFloat(q[0].z), v[3] = bitsToFloat(q[0].w);
    v[4] = bitsToFloat(q[1].x), v[5] = bitsToFloat(q[1].y), v[6] = bitsToFloat(q[1].z), v[7] = bitsToFloat(q[1].w);
  }
  static WEFT_DEVICE float one(const uint8_t* rows, uint64_t at) { return reinterpret_cast<const float*>(rows)[at]; }
};
struct StoredBf16 {
  static constexpr uint32_t kBytes = 2;
  static WEFT_DEVICE void widen(const Quad (&q)[1], float (&v)[8]) {
    v[0] = lowBf16(q[0].x), v[1] = highBf16(q[0].x), v[2] = lowBf16(q[0].y), v[3] = highBf16(q[0].y);
    v[4] = lowBf16(q[0].z), v[5] = highBf16(q[0].z), v[6] = lowBf16(q[0].w), v[7] = highBf16(q[0].w);
  }
  static WEFT_DEVICE float one(const uint8_t* rows, uint64_t at) { return lowBf16(reinterpret_cast<const uint16_t*>(rows)[at]); }
};
struct StoredF16 {
  static constexpr uint32_t kBytes = 2;
  static WEFT_DEVICE void widen(const Quad (&q)[1], float (&v)[8]) {
    v[0] = lowF16(q[0].x), v[1] = highF16(q[0].x), v[2] = lowF16(q[0].y), v[3] = highF16(q[0].y);
    v[4] = lowF16(q[0].z), v[5] = highF16(q[0].z), v[6] = lowF16(q[0].w), v[7] = highF16(q[0].w);
  }
  static WEFT_DEVICE float one(const uint8_t* rows, uint64_t at) { return fromF16(reinterpret_cast<const uint16_t*>(rows)[at]); }
};

// Values [at, at + 8) of rows that lie so that those are 16-byte aligned. CACHED: through L1.
template <class Stored, bool CACHED = false>
WEFT_DEVICE void loadEight(const uint8_t* rows, uint64_t at, float (&v)[8]) {
  Quad q[Stored::kBytes / 2];
  WEFT_UNROLL
  for (uint32_t i = 0; i < Stored::kBytes / 2; i++) {
    const uint8_t* p = rows + at * Stored::kBytes + 16 * i;
    q[i] = CACHED ? loadCachedQuad(p) : loadQuad(p);
  }
  Stored::widen(q, v);
}

// Whether every eighth value of every row is 16-byte aligned.
WEFT_DEVICE bool alignedRows(const uint8_t* rows, uint64_t ld, uint32_t bytes) {
  return (reinterpret_cast<uintptr_t>(rows) | ld * bytes) % 16 == 0;
}

WEFT_DEVICE void storeOutput(const LinearArgs& a, uint32_t row, uint32_t out, float sum) {
  float* y = a.y + static_cast<uint64_t>(row) * a.ldy + out;
  if (a.b) sum += a.b[out];
  *y = a.accumulate ? *y + sum : sum;
}

}  // namespace cuda
}  // namespace weft

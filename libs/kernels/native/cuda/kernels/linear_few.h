// Few rows: bound by reading W, n·k·size bytes. A block's threads take every kFewThreads-th eight of k, 16 bytes a load, and
// multiply them by all rows; its many loads on their way at once hide memory's latency. Rows come out of L1, which the blocks
// of a multiprocessor share: staged in shared memory each block would fetch them anew.
#pragma once
#include "cuda/kernels/linear_values.h"
#include "cuda/linear_shape.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

// v[0] of lane l becomes the warp's sum of v[l / (kWarp / N)]. Lanes halve what they hold with every exchange: N - 1 + the rest
// instead of 5·N shuffles. The pairs that are added are the same for all N.
template <uint32_t N>
WEFT_DEVICE void foldWarp(float (&v)[N]) {
  static_assert(N <= kWarp && (N & (N - 1)) == 0, "a power of two");
  uint32_t held = N;
  WEFT_UNROLL
  for (uint32_t bit = kWarp / 2; bit > 0; bit /= 2) {
    if (held == 1) {
      v[0] += __shfl_xor_sync(kAllLanes, v[0], bit);
      continue;
    }
    held /= 2;
    const bool upper = threadIdx.x & bit;
    WEFT_UNROLL
    for (uint32_t i = 0; i < N / 2; i++) {
      if (i >= held) break;
      const float mine = upper ? v[i + held] : v[i], others = upper ? v[i] : v[i + held];
      v[i] = mine + __shfl_xor_sync(kAllLanes, others, bit);
    }
  }
}

template <class W, class X, uint32_t R>
WEFT_DEVICE void linearFew(const LinearArgs& a, const Step& step) {
  constexpr uint32_t kSums = R * kFewOuts, kWarps = kFewThreads / kWarp;
  __shared__ float warpSums[kWarps][kSums];
  const uint32_t rows = countedFrom(step, a.count, a.rows, a.countFrom), first = blockIdx.x * kFewOuts;
  if (rows == 0) return;

  // Rows and outputs that are not there are the last one again, and are not stored.
  const uint8_t *w[kFewOuts], *x[R];
  WEFT_UNROLL
  for (uint32_t o = 0; o < kFewOuts; o++) {
    w[o] = a.w + static_cast<uint64_t>(first + o < a.n ? first + o : a.n - 1) * a.k * W::kBytes;
  }
  WEFT_UNROLL
  for (uint32_t r = 0; r < R; r++) x[r] = a.x + static_cast<uint64_t>(r < rows ? r : rows - 1) * a.ldx * X::kBytes;

  float sums[kSums] = {};
  const bool aligned = alignedRows(a.w, a.k, W::kBytes) && alignedRows(a.x, a.ldx, X::kBytes);
  const uint32_t eights = aligned ? a.k / 8 : 0;
  for (uint32_t i = threadIdx.x; i < eights; i += kFewThreads) {
    float weights[kFewOuts][8];
    WEFT_UNROLL
    for (uint32_t o = 0; o < kFewOuts; o++) loadEight<W>(w[o], i * 8, weights[o]);
    WEFT_UNROLL
    for (uint32_t r = 0; r < R; r++) {
      float values[8];
      loadEight<X, true>(x[r], i * 8, values);
      WEFT_UNROLL
      for (uint32_t j = 0; j < 8; j++) {
        WEFT_UNROLL
        for (uint32_t o = 0; o < kFewOuts; o++) sums[r * kFewOuts + o] = fmaf(values[j], weights[o][j], sums[r * kFewOuts + o]);
      }
    }
  }
  for (uint32_t i = eights * 8 + threadIdx.x; i < a.k; i += kFewThreads) {
    float weights[kFewOuts];
    WEFT_UNROLL
    for (uint32_t o = 0; o < kFewOuts; o++) weights[o] = W::one(w[o], i);
    WEFT_UNROLL
    for (uint32_t r = 0; r < R; r++) {
      const float value = X::one(x[r], i);
      WEFT_UNROLL
      for (uint32_t o = 0; o < kFewOuts; o++) sums[r * kFewOuts + o] = fmaf(value, weights[o], sums[r * kFewOuts + o]);
    }
  }

  foldWarp(sums);
  constexpr uint32_t kSame = kWarp / kSums;              // lanes that hold the same sum
  const uint32_t lane = threadIdx.x % kWarp;
  if (lane % kSame == 0) warpSums[threadIdx.x / kWarp][lane / kSame] = sums[0];
  __syncthreads();
  if (threadIdx.x >= kSums) return;
  float sum = 0;
  for (uint32_t i = 0; i < kWarps; i++) sum += warpSums[i][threadIdx.x];
  const uint32_t row = threadIdx.x / kFewOuts, out = first + threadIdx.x % kFewOuts;
  if (row < rows && out < a.n) storeOutput(a, row, out, sum);
}

#define WEFT_LINEAR_FEW(NAME, W, R)                                        \
  WEFT_KERNEL_BOUNDS(NAME, LinearArgs, kFewThreads, 4) {                   \
    if (a.xType == kDTypeBf16) linearFew<W, StoredBf16, R>(a, step);       \
    else linearFew<W, StoredF32, R>(a, step);                              \
  }
#define WEFT_LINEAR_FEWS(NAME, W) \
  WEFT_LINEAR_FEW(NAME##1, W, 1)  \
  WEFT_LINEAR_FEW(NAME##2, W, 2)  \
  WEFT_LINEAR_FEW(NAME##4, W, 4)  \
  WEFT_LINEAR_FEW(NAME##8, W, 8)
WEFT_LINEAR_FEWS(linearFewF32x, StoredF32)
WEFT_LINEAR_FEWS(linearFewBf16x, StoredBf16)
WEFT_LINEAR_FEWS(linearFewF16x, StoredF16)
#undef WEFT_LINEAR_FEWS
#undef WEFT_LINEAR_FEW

}  // namespace cuda
}  // namespace weft

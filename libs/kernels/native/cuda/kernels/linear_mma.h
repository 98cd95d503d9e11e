// Tiles of bf16 on tensor cores: m16n8k16 with outputs as m, rows as n, f32 sums in registers. Pieces of kMmaDepth of k stream
// through shared memory in a ring of stages (cp.async). A row of a stage is 128 bytes, whose 16-byte chunks are exchanged by
// the row's number, so that the eight rows of an ldmatrix lie in different banks.
// Bound by tensor cores where a tile has many rows, else by memory: then stages on their way are what counts. Hopper's wgmma is
// faster with many rows, and cuBLASLt (cublaslt.h) has it.
// Source: PTX ISA, «Asynchronous copy», «ldmatrix», «mma.m16n8k16»; CUTLASS, «Efficient GEMM in CUDA».
#pragma once
#include "cuda/kernels/linear_values.h"
#include "cuda/linear_shape.h"
#include "cuda/mma.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

WEFT_DEVICE uint32_t chunkAt(uint32_t row, uint32_t chunk) { return row * kMmaRowBytes + (chunk ^ row % 8) * 16; }

// Sends rows below `there` of k [from, from + kMmaDepth) on their way to shared memory; zeros stand for what is not there.
// whole: a chunk of 16 bytes is aligned, and within k or beyond it.
template <uint32_t N, uint32_t THREADS>
WEFT_DEVICE void stageRows(uint8_t* to, const uint8_t* rows, uint64_t ld, bool whole, uint32_t there, uint32_t from, uint32_t k) {
  constexpr uint32_t kChunks = kMmaDepth / 8, kStep = THREADS / kChunks;
  static_assert(N % kStep == 0, "every thread copies as much");
  const uint32_t chunk = threadIdx.x % kChunks, value = from + chunk * 8, left = value < k ? k - value : 0;
  if (whole) {
    WEFT_UNROLL
    for (uint32_t i = 0; i < N / kStep; i++) {
      const uint32_t row = threadIdx.x / kChunks + i * kStep;
      copyAsync(to + chunkAt(row, chunk), rows + (row * ld + value) * 2, row < there && left > 0);
    }
    return;
  }
  for (uint32_t row = threadIdx.x / kChunks; row < N; row += kStep) {
    const uint16_t* p = reinterpret_cast<const uint16_t*>(rows) + row * ld + value;
    uint32_t words[4] = {};
    WEFT_UNROLL
    for (uint32_t j = 0; j < 8; j++) {
      if (row < there && j < left) words[j / 2] |= static_cast<uint32_t>(p[j]) << j % 2 * 16;
    }
    *reinterpret_cast<Quad*>(to + chunkAt(row, chunk)) = {words[0], words[1], words[2], words[3]};
  }
}

template <class Shape>
WEFT_DEVICE void linearMma(const LinearArgs& a, const Step& step, uint8_t* shared) {
  constexpr uint32_t kOuts = Shape::kOuts, kRows = Shape::kRows, kStages = Shape::kStages, kThreads = Shape::kThreads;
  constexpr uint32_t kM = kOuts / Shape::kWarpsOuts / 16, kN = kRows / Shape::kWarpsRows / 8;   // instructions of a warp
  static_assert(kN % 2 == 0, "an ldmatrix has the rows of two");

  // Blocks that share weights run side by side.
  const uint32_t rowTiles = (a.rows + kRows - 1) / kRows;
  const uint32_t firstRow = blockIdx.x % rowTiles * kRows, firstOut = blockIdx.x / rowTiles * kOuts;
  const uint32_t rows = countedFrom(step, a.count, a.rows, a.countFrom);
  if (firstRow >= rows) return;
  const bool wWhole = alignedRows(a.w, a.k, 2), xWhole = alignedRows(a.x, a.ldx, 2) && a.k % 8 == 0;
  const uint8_t* w = a.w + static_cast<uint64_t>(firstOut) * a.k * 2;
  const uint8_t* x = a.x + static_cast<uint64_t>(firstRow) * a.ldx * 2;
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const uint32_t warpOut = warp / Shape::kWarpsRows * kM * 16, warpRow = warp % Shape::kWarpsRows * kN * 8;
  const uint32_t steps = (a.k + kMmaDepth - 1) / kMmaDepth;
  auto stage = [&](uint32_t i) {
    uint8_t* to = shared + i % kStages * Shape::kStageBytes;
    stageRows<kOuts, kThreads>(to, w, a.k, wWhole, a.n - firstOut, i * kMmaDepth, a.k);
    stageRows<kRows, kThreads>(to + kOuts * kMmaRowBytes, x, a.ldx, xWhole, rows - firstRow, i * kMmaDepth, a.k);
  };

  for (uint32_t i = 0; i + 1 < kStages; i++) {
    if (i < steps) stage(i);
    commitCopies();
  }
  float sums[kM][kN][4] = {};
  for (uint32_t i = 0; i < steps; i++) {
    awaitCopies<kStages - 2>();
    __syncthreads();                                     // this stage is here, and nobody reads the one before it any more
    if (i + kStages - 1 < steps) stage(i + kStages - 1);
    commitCopies();
    const uint8_t* tileW = shared + i % kStages * Shape::kStageBytes;
    const uint8_t* tileX = tileW + kOuts * kMmaRowBytes;
    WEFT_UNROLL
    for (uint32_t chunk = 0; chunk < kMmaDepth / 8; chunk += 2) {
      uint32_t outs[kM][4], pairs[kN / 2][4];
      WEFT_UNROLL
      for (uint32_t m = 0; m < kM; m++) loadMatrices(outs[m], tileW + chunkAt(warpOut + m * 16 + lane % 16, chunk + lane / 16));
      WEFT_UNROLL
      for (uint32_t n = 0; n < kN / 2; n++) {
        loadMatrices(pairs[n], tileX + chunkAt(warpRow + n * 16 + lane / 16 * 8 + lane % 8, chunk + lane / 8 % 2));
      }
      WEFT_UNROLL
      for (uint32_t n = 0; n < kN; n++) {
        const uint32_t eightRows[2] = {pairs[n / 2][n % 2 * 2], pairs[n / 2][n % 2 * 2 + 1]};
        WEFT_UNROLL
        for (uint32_t m = 0; m < kM; m++) mmaBf16(sums[m][n], outs[m], eightRows);
      }
    }
  }

  WEFT_UNROLL
  for (uint32_t m = 0; m < kM; m++) {
    WEFT_UNROLL
    for (uint32_t n = 0; n < kN; n++) {
      WEFT_UNROLL
      for (uint32_t i = 0; i < 4; i++) {
        const uint32_t out = firstOut + warpOut + m * 16 + i / 2 * 8 + lane / 4, row = firstRow + warpRow + n * 8 + lane % 4 * 2 + i % 2;
        if (row < rows && out < a.n) storeOutput(a, row, out, sums[m][n][i]);
      }
    }
  }
}

#define WEFT_LINEAR_MMA(NAME, SHAPE, BLOCKS)                               \
  WEFT_KERNEL_BOUNDS(NAME, LinearArgs, SHAPE::kThreads, BLOCKS) {          \
    WEFT_DYNAMIC_SHARED(shared);                                           \
    linearMma<SHAPE>(a, step, shared);                                     \
  }
WEFT_LINEAR_MMA(linearMma128x128, Mma128x128, 1)
WEFT_LINEAR_MMA(linearMma64x64, Mma64x64, 2)
WEFT_LINEAR_MMA(linearMma32x32, Mma32x32, 2)
#undef WEFT_LINEAR_MMA

}  // namespace cuda
}  // namespace weft

// Tiles in f32: bound by multiply-adds. A block's tiles of W and x lie in shared memory as [k][out] and [k][row], so that a
// thread's outputs and rows are 16-byte reads; while one pair of tiles is multiplied, the next is on its way in registers.
#pragma once
#include "cuda/kernels/linear_values.h"
#include "cuda/linear_shape.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

template <uint32_t N>
struct alignas(4 * N) Floats { float v[N]; };

// Rows of one operand, as a tile needs them.
struct TileRows {
  const uint8_t* rows;
  uint64_t ld;                   // in values
  uint32_t type, first, limit;   // row `limit` is the first that is not there
  bool aligned;
};
WEFT_DEVICE TileRows tileRows(const uint8_t* rows, uint64_t ld, uint32_t type, uint32_t first, uint32_t limit) {
  return {rows, ld, type, first, limit, alignedRows(rows, ld, type == kDTypeF32 ? 4 : 2)};
}

// Eight of k of a row; zeros where there are none.
WEFT_DEVICE void loadPiece(const TileRows& t, uint32_t row, uint32_t from, uint32_t k, float (&v)[8]) {
  const uint64_t at = (static_cast<uint64_t>(t.first) + row) * t.ld + from;
  const uint32_t left = t.first + row < t.limit && from < k ? k - from : 0;
  if (left >= 8 && t.aligned) {
    if (t.type == kDTypeF32) loadEight<StoredF32>(t.rows, at, v);
    else if (t.type == kDTypeBf16) loadEight<StoredBf16>(t.rows, at, v);
    else loadEight<StoredF16>(t.rows, at, v);
    return;
  }
  WEFT_UNROLL
  for (uint32_t j = 0; j < 8; j++) {
    if (j >= left) v[j] = 0;
    else if (t.type == kDTypeF32) v[j] = StoredF32::one(t.rows, at + j);
    else if (t.type == kDTypeBf16) v[j] = StoredBf16::one(t.rows, at + j);
    else v[j] = StoredF16::one(t.rows, at + j);
  }
}

// A thread's pieces of a tile of N rows: registers between global and shared memory.
template <uint32_t N, uint32_t THREADS>
struct TileBuffer {
  static constexpr uint32_t kPerRow = kFmaDepth / 8, kPieces = N * kPerRow, kMine = (kPieces + THREADS - 1) / THREADS;
  static constexpr uint32_t kPitch = N + 4;              // a piece's stores meet few banks twice
  float v[kMine][8];

  WEFT_DEVICE void load(const TileRows& t, uint32_t from, uint32_t k) {
    WEFT_UNROLL
    for (uint32_t i = 0; i < kMine; i++) {
      const uint32_t piece = i * THREADS + threadIdx.x;
      if (piece < kPieces) loadPiece(t, piece / kPerRow, from + piece % kPerRow * 8, k, v[i]);
    }
  }
  WEFT_DEVICE void store(float (&tile)[kFmaDepth][kPitch]) const {
    WEFT_UNROLL
    for (uint32_t i = 0; i < kMine; i++) {
      const uint32_t piece = i * THREADS + threadIdx.x;
      if (piece >= kPieces) continue;
      WEFT_UNROLL
      for (uint32_t j = 0; j < 8; j++) tile[piece % kPerRow * 8 + j][piece / kPerRow] = v[i][j];
    }
  }
};

template <class Shape>
WEFT_DEVICE void linearFma(const LinearArgs& a, const Step& step) {
  constexpr uint32_t kQuads = Shape::kQuads, kPerRows = Shape::kPerRows, kThreadsOuts = Shape::kOuts / (4 * kQuads);
  using Weights = TileBuffer<Shape::kOuts, Shape::kThreads>;
  using Rows = TileBuffer<Shape::kRows, Shape::kThreads>;
  alignas(16) __shared__ float tileW[2][kFmaDepth][Weights::kPitch];
  alignas(16) __shared__ float tileX[2][kFmaDepth][Rows::kPitch];

  // Blocks that share weights run side by side.
  const uint32_t rowTiles = (a.rows + Shape::kRows - 1) / Shape::kRows;
  const uint32_t firstRow = blockIdx.x % rowTiles * Shape::kRows, firstOut = blockIdx.x / rowTiles * Shape::kOuts;
  const uint32_t rows = countedFrom(step, a.count, a.rows, a.countFrom);
  if (firstRow >= rows) return;
  const TileRows w = tileRows(a.w, a.k, a.dtype, firstOut, a.n), x = tileRows(a.x, a.ldx, a.xType, firstRow, rows);
  const uint32_t myOut = threadIdx.x % kThreadsOuts * 4, myRow = threadIdx.x / kThreadsOuts * kPerRows;

  Weights weights;
  Rows values;
  weights.load(w, 0, a.k);
  values.load(x, 0, a.k);
  weights.store(tileW[0]);
  values.store(tileX[0]);
  __syncthreads();
  float sums[kPerRows][kQuads * 4] = {};
  for (uint32_t from = 0, now = 0; from < a.k; from += kFmaDepth, now ^= 1) {
    const bool more = a.k - from > kFmaDepth;
    if (more) {
      weights.load(w, from + kFmaDepth, a.k);
      values.load(x, from + kFmaDepth, a.k);
    }
    WEFT_UNROLL
    for (uint32_t i = 0; i < kFmaDepth; i++) {
      const auto mine = *reinterpret_cast<const Floats<kPerRows>*>(&tileX[now][i][myRow]);
      WEFT_UNROLL
      for (uint32_t q = 0; q < kQuads; q++) {
        const auto outs = *reinterpret_cast<const Floats<4>*>(&tileW[now][i][q * kThreadsOuts * 4 + myOut]);
        WEFT_UNROLL
        for (uint32_t r = 0; r < kPerRows; r++) {
          WEFT_UNROLL
          for (uint32_t o = 0; o < 4; o++) sums[r][q * 4 + o] = fmaf(mine.v[r], outs.v[o], sums[r][q * 4 + o]);
        }
      }
    }
    if (more) {
      weights.store(tileW[now ^ 1]);
      values.store(tileX[now ^ 1]);
    }
    __syncthreads();
  }

  WEFT_UNROLL
  for (uint32_t r = 0; r < kPerRows; r++) {
    WEFT_UNROLL
    for (uint32_t o = 0; o < kQuads * 4; o++) {
      const uint32_t row = firstRow + myRow + r, out = firstOut + o / 4 * kThreadsOuts * 4 + myOut + o % 4;
      if (row < rows && out < a.n) storeOutput(a, row, out, sums[r][o]);
    }
  }
}

WEFT_KERNEL_BOUNDS(linearFma64x64, LinearArgs, Fma64x64::kThreads, 1) { linearFma<Fma64x64>(a, step); }
WEFT_KERNEL_BOUNDS(linearFma64x16, LinearArgs, Fma64x16::kThreads, 1) { linearFma<Fma64x16>(a, step); }

}  // namespace cuda
}  // namespace weft

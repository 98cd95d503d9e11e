// One head of a row in shared memory, worked on by one warp: what headNorm, rope, kvWrite and ropeKv have in common, so that
// one pass over a row gives the bits of three. Between two of these stands a __syncwarp.
#pragma once
#include "cuda/fours.h"
#include "cuda/numbers.h"
#include "cuda/reduce.h"

namespace weft {
namespace cuda {

WEFT_DEVICE uint32_t laneIndex() { return threadIdx.x % kWarp; }
WEFT_DEVICE uint32_t warpIndex() { return threadIdx.x / kWarp; }

// The place of this warp's head; the block has room for one of each warp.
WEFT_DEVICE float* headOfWarp(uint8_t* shared, uint32_t dim) {
  return reinterpret_cast<float*>(shared) + warpIndex() * ((dim + 3) / 4 * 4);
}

WEFT_DEVICE void loadHead(float* head, const float* x, uint32_t dim) {
  for (uint32_t i = 4 * laneIndex(); i < dim; i += 4 * kWarp) storeFour(head, i, loadFour(x, i, fourOf(i, dim)), fourOf(i, dim));
  __syncwarp();
}
WEFT_DEVICE void storeHead(const float* head, float* x, uint32_t dim) {
  for (uint32_t i = 4 * laneIndex(); i < dim; i += 4 * kWarp) storeFour(x, i, loadFour(head, i, fourOf(i, dim)), fourOf(i, dim));
}

// head = (w + plus) · head / sqrt(mean(head²) + eps)
WEFT_DEVICE void normHead(float* head, const float* w, uint32_t dim, float plus, float eps) {
  float squares = 0;
  for (uint32_t i = laneIndex(); i < dim; i += kWarp) squares = fmaf(head[i], head[i], squares);
  const float factor = 1.0f / sqrtf(warpSum(squares) / static_cast<float>(dim) + eps);
  for (uint32_t i = laneIndex(); i < dim; i += kWarp) head[i] = product(w[i] + plus, product(head[i], factor));
  __syncwarp();
}

// (a, b) → (a cos - b sin, b cos + a sin) for the pairs of the first `rotary` values.
WEFT_DEVICE void turnHead(float* head, const float* cosSin, uint32_t rotary, bool interleaved) {
  const uint32_t half = rotary / 2;
  for (uint32_t i = laneIndex(); i < half; i += kWarp) {
    const uint32_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
    const float c = cosSin[i], s = cosSin[half + i], a = head[first], b = head[second];
    head[first] = product(a, c) - product(b, s);
    head[second] = product(b, c) + product(a, s);
  }
  __syncwarp();
}

}  // namespace cuda
}  // namespace weft

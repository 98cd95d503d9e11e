// Ops on rows of activations. All are bound by memory, or by latency where rows are few.
#pragma once
#include "cuda/bounds.h"
#include "cuda/int8_panel.h"
#include "cuda/kernels/heads.h"
#include "cuda/rows_shape.h"

namespace weft {
namespace cuda {

constexpr uint32_t kMaxWarps = 32;

// Stores a value of rows that are f32 or bf16.
WEFT_DEVICE void storeTyped(uint8_t* rows, uint64_t at, uint32_t type, float value) {
  if (type == kDTypeBf16) reinterpret_cast<uint16_t*>(rows)[at] = static_cast<uint16_t>(toBf16(value));
  else reinterpret_cast<float*>(rows)[at] = value;
}
WEFT_DEVICE float loadTyped(const uint8_t* rows, uint64_t at, uint32_t type) {
  return type == kDTypeBf16 ? lowBf16(reinterpret_cast<const uint16_t*>(rows)[at]) : reinterpret_cast<const float*>(rows)[at];
}

// One block takes rows in order, a run of as many as it has threads at a time. A row with a known token sets the length of its
// slot if no known row of the slot is behind it in the run; a row without one follows the nearest known row before it in the
// run, or else what the slot had when the run began.
WEFT_KERNEL_BOUNDS(resolve, ResolveArgs, kResolveRows, 1) {
  __shared__ int32_t slots[kResolveRows], places[kResolveRows];   // -1: none, or a row that is left out
  const uint32_t rows = counted(step, a.count, a.rows);
  for (uint32_t begin = 0; begin < rows; begin += kResolveRows) {
    const uint32_t row = begin + threadIdx.x, size = rows - begin < kResolveRows ? rows - begin : kResolveRows;
    const bool mine = threadIdx.x < size;
    int32_t slot = -1, token = -1, position = -1;
    if (mine) {
      token = a.tokenIds[row];
      const bool fits = within(step, Bound::kSlot, row, a.rowSlots[row], a.nSlots) &&
                        (token == -1 || within(step, Bound::kToken, row, token, a.vocab));
      if (fits && token >= 0) position = a.positions[row];
      if (fits && (token < 0 || within(step, Bound::kPosition, row, position, a.maxLen))) slot = a.rowSlots[row];
    }
    slots[threadIdx.x] = slot;
    places[threadIdx.x] = slot >= 0 ? position : -1;
    __syncthreads();

    int32_t* state = a.slots + static_cast<uint64_t>(slot < 0 ? 0 : slot) * kSlotWords;
    bool last = slot >= 0 && token >= 0;
    if (last) {
      a.history[static_cast<uint64_t>(slot) * a.maxLen + position] = token;
      a.outTokens[row] = token;
      a.outPositions[row] = position;
      for (uint32_t i = threadIdx.x + 1; i < size && last; i++) last = slots[i] != slot || places[i] < 0;
    } else if (slot >= 0) {
      int32_t length = 0;
      for (uint32_t i = threadIdx.x; i > 0 && length == 0; i--) length = slots[i - 1] == slot ? places[i - 1] + 1 : 0;
      if (length == 0) length = state[kSlotLength];
      token = state[kSlotLastToken];
      const bool fits = length >= 1 && static_cast<uint32_t>(length) <= a.maxLen;
      if (!fits) report(step, Bound::kLength, row, length, a.maxLen + 1);
      if (fits && within(step, Bound::kToken, row, token, a.vocab)) {
        a.outTokens[row] = token;
        a.outPositions[row] = length - 1;
      }
    }
    __syncthreads();
    if (last) state[kSlotLength] = position + 1;
    __syncthreads();
  }
}

// A row's place in a panel of int8 weights: two bytes of each line.
WEFT_DEVICE void embedInt8(const EmbedArgs& a, uint32_t token, float* x) {
  const uint32_t lane = token % kInt8Outs;
  for (uint32_t pair = threadIdx.x; 2 * pair < a.dim; pair += blockDim.x) {
    const uint32_t group = pair / kInt8Pairs, line = pair % kInt8Pairs;
    const uint16_t* lines = reinterpret_cast<const uint16_t*>(int8GroupOf(a.table, token / kInt8Outs, group, a.dim)) + lane;
    const uint32_t both = lines[line * kInt8Outs];
    const float scale = lowBf16(lines[int8LinesOf(group, a.dim) * kInt8Outs]);
    x[2 * pair] = a.scale * (scale * static_cast<float>(static_cast<int8_t>(both)));
    if (2 * pair + 1 < a.dim) x[2 * pair + 1] = a.scale * (scale * static_cast<float>(static_cast<int8_t>(both >> 8)));
  }
}

// A block takes a row.
WEFT_KERNEL(embed, EmbedArgs) {
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const int32_t token = a.tokens[row];
  if (!within(step, Bound::kToken, row, token, a.limit)) return;
  float* x = a.x + static_cast<uint64_t>(row) * a.ldx;
  if (static_cast<uint32_t>(token) >= a.vocab) {
    for (uint32_t i = threadIdx.x; i < a.dim; i += blockDim.x) x[i] = 0;
    return;
  }
  if (a.dtype == kDTypeInt8) return embedInt8(a, static_cast<uint32_t>(token), x);
  const uint64_t from = static_cast<uint64_t>(token) * a.dim;
  for (uint32_t i = 4 * threadIdx.x; i < a.dim; i += 4 * blockDim.x) {
    const uint32_t n = fourOf(i, a.dim);
    Four four = loadFour(a.table, from + i, a.dtype, n);
    for (float& value : four.v) value *= a.scale;
    storeFour(x, i, four, n);
  }
}

// A block takes a row. What it reads a second time comes out of L1.
WEFT_KERNEL(rmsNorm, RmsNormArgs) {
  __shared__ float sums[kMaxWarps];
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  int32_t source = static_cast<int32_t>(row);
  if (a.index) {
    source = a.index[row];
    if (!within(step, Bound::kIndex, row, source, a.srcRows)) return;
  }
  float* r = a.r + static_cast<uint64_t>(source) * a.ldr;
  const float* added = a.add ? a.add + static_cast<uint64_t>(source) * a.ldAdd : nullptr;
  const bool keeps = added && !a.index;                  // with an index r belongs to other readers too
  auto sumAt = [&](uint32_t i, uint32_t n) {
    Four four = loadFour(r, i, n);
    if (!added) return four;
    const Four more = loadFour(added, i, n);
    for (uint32_t j = 0; j < 4; j++) four.v[j] += more.v[j];
    return four;
  };
  float squares = 0;
  for (uint32_t i = 4 * threadIdx.x; i < a.dim; i += 4 * blockDim.x) {
    const uint32_t n = fourOf(i, a.dim);
    const Four four = sumAt(i, n);
    if (keeps) storeFour(r, i, four, n);
    for (const float value : four.v) squares += value * value;
  }
  const float scale = 1.0f / sqrtf(blockSum(squares, sums) / static_cast<float>(a.dim) + a.eps), plus = a.plusOne ? 1.0f : 0.0f;
  for (uint32_t i = 4 * threadIdx.x; i < a.dim; i += 4 * blockDim.x) {
    const uint32_t n = fourOf(i, a.dim);
    Four four = keeps ? loadFour(r, i, n) : sumAt(i, n);
    const Four w = loadFour(a.w, i, n);
    for (uint32_t j = 0; j < 4; j++) four.v[j] = (w.v[j] + plus) * (four.v[j] * scale);
    storeFour(a.y, static_cast<uint64_t>(row) * a.ldy + i, a.yType, four, n);
  }
}

// A warp takes a head.
WEFT_KERNEL(headNorm, HeadNormArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  float* head = headOfWarp(shared, a.dim);
  for (uint32_t h = blockIdx.y * kHeadWarps + warpIndex(); h < a.heads; h += gridDim.y * kHeadWarps) {
    float* x = a.x + static_cast<uint64_t>(row) * a.ldx + static_cast<uint64_t>(h) * a.dim;
    loadHead(head, x, a.dim);
    normHead(head, a.w, a.dim, a.plusOne ? 1.0f : 0.0f, a.eps);
    storeHead(head, x, a.dim);
    __syncwarp();
  }
}

WEFT_KERNEL(rope, RopeArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const int32_t position = a.positions[row];
  if (!within(step, Bound::kPosition, row, position, a.maxPos)) return;
  float* head = headOfWarp(shared, a.dim);
  for (uint32_t h = blockIdx.y * kHeadWarps + warpIndex(); h < a.heads; h += gridDim.y * kHeadWarps) {
    float* x = a.x + static_cast<uint64_t>(row) * a.ldx + static_cast<uint64_t>(h) * a.dim;
    loadHead(head, x, a.rotary);
    turnHead(head, a.cosSin + static_cast<uint64_t>(position) * a.rotary, a.rotary, a.interleaved);
    storeHead(head, x, a.rotary);
    __syncwarp();
  }
}

WEFT_DEVICE float activated(float x, uint32_t act) {
  if (act == kActivationSilu) return x / (1.0f + expf(-x));
  // x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) = x · sigmoid(2√(2/π) (x + 0.044715 x³)): nothing cancels
  if (act == kActivationGeluTanh) return x / (1.0f + expf(-1.595769122f * (x * (x * x * 0.044715f + 1.0f))));
  return 0.5f * x * erfcf(-0.707106781f * x);
}

// Blocks of a row stand side by side in y.
WEFT_KERNEL(gatedAct, GatedActArgs) {
  const uint32_t row = blockIdx.x;
  if (row >= counted(step, a.count, a.rows)) return;
  const float* x = a.x + static_cast<uint64_t>(row) * a.ldx;
  for (uint64_t i = 4 * (uint64_t{blockIdx.y} * blockDim.x + threadIdx.x); i < a.dim; i += 4 * uint64_t{gridDim.y} * blockDim.x) {
    const uint32_t n = fourOf(static_cast<uint32_t>(i), a.dim);
    Four gate = loadFour(x, i, n);
    const Four up = loadFour(x, a.dim + i, n);
    for (uint32_t j = 0; j < 4; j++) gate.v[j] = activated(gate.v[j], a.act) * up.v[j];
    storeFour(a.y, static_cast<uint64_t>(row) * a.ldy + i, a.yType, gate, n);
  }
}

// x - x is 0, and NaN for what is not finite.
WEFT_KERNEL(softcap, SoftcapArgs) {
  const uint32_t row = blockIdx.x;
  if (row >= countedFrom(step, a.count, a.rows, a.countFrom)) return;
  float* x = a.x + static_cast<uint64_t>(row) * a.ldx;
  for (uint64_t i = 4 * (uint64_t{blockIdx.y} * blockDim.x + threadIdx.x); i < a.dim; i += 4 * uint64_t{gridDim.y} * blockDim.x) {
    const uint32_t n = fourOf(static_cast<uint32_t>(i), a.dim);
    Four four = loadFour(x, i, n);
    for (float& value : four.v) value = a.cap * tanhf(value / a.cap) + (value - value);
    storeFour(x, i, four, n);
  }
}

WEFT_KERNEL(copyRows, CopyRowsArgs) {
  const uint32_t row = blockIdx.x;
  if (row >= countedFrom(step, a.count, a.rows, a.countFrom)) return;
  const float* from = a.from + static_cast<uint64_t>(row) * a.ldFrom;
  for (uint64_t i = 4 * (uint64_t{blockIdx.y} * blockDim.x + threadIdx.x); i < a.dim; i += 4 * uint64_t{gridDim.y} * blockDim.x) {
    const uint32_t n = fourOf(static_cast<uint32_t>(i), a.dim);
    storeFour(a.to, static_cast<uint64_t>(row) * a.ldTo + i, a.toType, loadFour(from, i, n), n);
  }
}

}  // namespace cuda
}  // namespace weft

// LoRA on experts: u = A_e x and y += scale·weight · B_e u for each choice e of each row of a group.
//
// expertShrink   a block takes a choice of an entry, a warp a rank row: lanes have eights of k, folded in a fixed tree.
// expertExpand   a block takes a row and applies the groups that it stands in in their order; threads have outputs, ranks follow one
//                another.
//
// Bound by memory: rank·(dIn + dOut)·2 bytes for each choice; those that share an expert find it in L2.
#pragma once
#include "cuda/kernels/adapter.h"
#include "cuda/kernels/heads.h"
#include "cuda/kernels/lora.h"
#include "cuda/kernels/work.h"

namespace weft {
namespace cuda {

WEFT_DEVICE Run expertRunA(const ExpertShrinkArgs& a, const Step& step, const RowGroup& group, uint32_t part) {
  const int32_t* words = runWords(a, group, part, 0);
  const uint64_t units = static_cast<uint64_t>(static_cast<uint32_t>(words[kRunRank])) * a.experts;
  if (words[kRunUnits] == 0 || !within(step, Bound::kRun, part, words[kRunRank], a.partStride + 1)) return {};
  return runOf(a, step, group, part, 0, static_cast<uint32_t>(units), (static_cast<uint64_t>(a.dIn) + 63) / 64 * 128);
}

template <class W, class X>
WEFT_DEVICE float expertDot(const uint8_t* unit, const uint8_t* x, uint32_t dIn, bool whole) {
  float sum = 0;
  for (uint32_t k = laneIndex() * 8; k < dIn; k += kWarp * 8) {
    float weights[8], values[8];
    loadEight<W>(unit, k, weights);
    loadActivations<X>(x, k, dIn, whole, values);
    WEFT_UNROLL
    for (uint32_t i = 0; i < 8; i++) sum = fmaf(weights[i], values[i], sum);
  }
  return warpSum(sum);
}

template <class X>
WEFT_DEVICE void shrinkChoice(const ExpertShrinkArgs& a, const Step& step, const RowGroup& group, uint32_t entry, uint32_t choice) {
  const uint64_t pair = static_cast<uint64_t>(a.groupRows[entry]) * a.topK + choice;
  const int32_t expert = a.keys[pair], row = a.inverse ? a.inverse[pair] : a.groupRows[entry];
  if (!within(step, Bound::kExpert, static_cast<uint32_t>(pair), expert, a.experts) || !within(step, Bound::kIndex, static_cast<uint32_t>(pair), row, a.xRows)) return;
  const uint8_t* x = a.x + static_cast<uint64_t>(row) * a.ldx * X::kBytes;
  const bool whole = alignedRows(a.x, a.ldx, X::kBytes);
  for (uint32_t part = 0; part < a.parts; part++) {
    const Run run = expertRunA(a, step, group, part);
    if (run.units == 0) continue;
    float* u = a.u + (static_cast<uint64_t>(entry) * a.topK + choice) * a.ldu + part * a.partStride;
    for (uint32_t rank = warpIndex(); rank < run.rank; rank += kLoraThreads / kWarp) {
      const uint8_t* unit = unitAt(a, step, run, static_cast<uint32_t>(expert) * run.rank + rank);
      if (!unit) continue;
      const float sum = run.dtype == kDTypeBf16 ? expertDot<StoredBf16, X>(unit, x, a.dIn, whole) : expertDot<StoredF16, X>(unit, x, a.dIn, whole);
      if (laneIndex() == 0) u[rank] = sum;
    }
  }
}

WEFT_KERNEL_BOUNDS(expertShrink, ExpertShrinkArgs, kLoraThreads, 4) {
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows);
  shareWork(groups,
    [&](uint32_t g) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      bool acts = false;
      for (uint32_t part = 0; part < a.parts && group.rows > 0; part++) acts |= expertRunA(a, step, group, part).units > 0;
      return entryOf(acts ? group.rows * a.topK : 0);
    },
    [&](uint32_t g, uint32_t item, uint32_t) {
      const RowGroup group = groupAt(a, step, groupRows, g);
      const uint32_t entry = group.first + item / a.topK;
      if (!hasRow(a, step, entry)) return;
      if (a.xType == kDTypeBf16) shrinkChoice<StoredBf16>(a, step, group, entry, item % a.topK);
      else shrinkChoice<StoredF32>(a, step, group, entry, item % a.topK);
    });
}

// The entry of a group that is this row's, or `none`. All threads of the block call it.
WEFT_DEVICE uint32_t entryOfRow(const ExpertExpandArgs& a, const RowGroup& group, uint32_t row, uint32_t none, uint32_t* shared) {
  if (threadIdx.x == 0) *shared = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < group.rows; i += kLoraThreads) {
    if (static_cast<uint32_t>(a.groupRows[group.first + i]) == row) atomicMax(shared, i + 1);
  }
  __syncthreads();
  const uint32_t found = *shared;
  __syncthreads();
  return found ? group.first + found - 1 : none;
}

WEFT_KERNEL_BOUNDS(expertExpand, ExpertExpandArgs, kLoraThreads, 4) {
  __shared__ uint32_t found;
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows), row = blockIdx.x;
  const uint32_t offsets[] = {a.outOffset0, a.outOffset1, a.outOffset2}, dims[] = {a.dOut0, a.dOut1, a.dOut2};
  for (uint32_t g = 0; g < groups; g++) {
    const RowGroup group = groupAt(a, step, groupRows, g);
    const uint32_t entry = entryOfRow(a, group, row, 0xffffffffu, &found);
    if (entry == 0xffffffffu) continue;
    for (uint32_t part = 0; part < a.parts; part++) {
      const uint32_t tiles = (dims[part] + kUnitOuts - 1) / kUnitOuts;
      const Run run = runOf(a, step, group, part, 1, tiles * a.experts, 0);
      if (run.units == 0 || run.tail) continue;
      for (uint32_t c = 0; c < a.topK; c++) {
        const uint64_t pair = static_cast<uint64_t>(row) * a.topK + c;
        const int32_t expert = a.keys[pair], place = a.inverse[pair];
        if (!within(step, Bound::kExpert, static_cast<uint32_t>(pair), expert, a.experts) || !within(step, Bound::kIndex, static_cast<uint32_t>(pair), place, a.pairs)) continue;
        const float* u = a.u + (static_cast<uint64_t>(entry) * a.topK + c) * a.ldu + part * a.partStride;
        float* y = a.y + static_cast<uint64_t>(place) * a.ldy + offsets[part];
        for (uint32_t tile = threadIdx.x / kUnitOuts; tile < tiles; tile += kLoraThreads / kUnitOuts) {
          const uint32_t out = tile * kUnitOuts + threadIdx.x % kUnitOuts;
          const auto* b = reinterpret_cast<const uint16_t*>(unitAt(a, step, run, static_cast<uint32_t>(expert) * tiles + tile));
          if (!b || out >= dims[part]) continue;
          float sum = 0;
          for (uint32_t j = 0; j < run.rank; j++) sum = fmaf(u[j], decoded(b[j * kUnitOuts + threadIdx.x % kUnitOuts], run.dtype), sum);
          y[out] = fmaf(product(run.scale, group.weight), sum, y[out]);
        }
      }
    }
  }
}

}  // namespace cuda
}  // namespace weft

// y[t] += scale·weight · B(A x[t]) for the rows of each group: loraShrink is A, loraExpand B. All groups and parts of a site run
// in one launch; items are some ranks or outputs of a group's part for up to kLoraRows of its rows.
//
// loraShrink   A unit is a rank row. A block takes kShrinkRanks of them; thread t has values 8t … 8t + 7 of every 1,024, and
//              threads' sums are folded in a fixed tree: a dot product's bits depend on dIn alone.
// loraExpand   A unit is 64 outputs × all ranks as [rank][64]. A thread has eight outputs, and ranks follow one another.
//
// One row a group: bound by memory, 2 bytes a value of the adapter, each a load of 16. Many rows: by multiply-adds, and
// loraExpand by y, 8 bytes a value.
//
// With a tail: y += weight·(h·y + (1 + h)·scale·Σ_j … + c), h and c of each output behind the ranks.
//
// A row may stand in several groups; their contributions follow in the order of groups. Items don't wait for each other: the
// first entry of such a row takes in all of them.
// Source: S-LoRA §5; Punica §4.
#pragma once
#include "cuda/fours.h"
#include "cuda/kernels/adapter.h"
#include "cuda/kernels/linear_few.h"
#include "cuda/kernels/work.h"
#include "cuda/lora_shape.h"
#include "cuda/numbers.h"

namespace weft {
namespace cuda {

// Up to kLoraRows entries of a group's rows, from `entry` on.
struct RowTile { uint32_t entry, rows; };

template <class Args>
WEFT_DEVICE uint32_t loraRow(const Args& a, uint32_t entry) { return static_cast<uint32_t>(a.groupRows[entry]); }
template <class Args>
WEFT_DEVICE bool hasRow(const Args& a, const Step& step, uint32_t entry) {
  return within(step, Bound::kGroupRow, entry, a.groupRows[entry], a.rows);
}

// Values [k, k + 8) of a row; zeros behind dIn.
template <class X>
WEFT_DEVICE void loadActivations(const uint8_t* row, uint32_t k, uint32_t dIn, bool whole, float (&values)[8]) {
  if (whole && k + 8 <= dIn) return loadEight<X, true>(row, k, values);
  WEFT_UNROLL
  for (uint32_t i = 0; i < 8; i++) values[i] = k + i < dIn ? X::one(row, k + i) : 0.0f;
}

// Dot products of R rows of x and kShrinkRanks units of a run: put(row of the tile, unit, sum).
template <class W, class X, uint32_t R, class Args, class Put>
WEFT_DEVICE void shrinkItem(const Args& a, const Step& step, const Run& run, uint32_t firstRank, const RowTile& tile, Put put) {
  constexpr uint32_t kWarps = kLoraThreads / kWarp, kSums = R * kShrinkRanks;
  __shared__ float warpSums[kWarps][kSums];
  const uint8_t *units[kShrinkRanks], *x[R];             // nullptr: not there
  WEFT_UNROLL
  for (uint32_t j = 0; j < kShrinkRanks; j++) units[j] = firstRank + j < run.units ? unitAt(a, step, run, firstRank + j) : nullptr;
  WEFT_UNROLL
  for (uint32_t r = 0; r < R; r++) {
    const bool there = r < tile.rows && hasRow(a, step, tile.entry + r);
    x[r] = there ? a.x + static_cast<uint64_t>(loraRow(a, tile.entry + r)) * a.ldx * X::kBytes : nullptr;
  }
  const bool whole = alignedRows(a.x, a.ldx, X::kBytes);
  float sums[kSums] = {};
  for (uint32_t k = threadIdx.x * 8; k < a.dIn; k += kLoraThreads * 8) {
    float weights[kShrinkRanks][8] = {};
    WEFT_UNROLL
    for (uint32_t j = 0; j < kShrinkRanks; j++) if (units[j]) loadEight<W>(units[j], k, weights[j]);
    WEFT_UNROLL
    for (uint32_t r = 0; r < R; r++) {
      if (!x[r]) continue;
      float values[8];
      loadActivations<X>(x[r], k, a.dIn, whole, values);
      WEFT_UNROLL
      for (uint32_t i = 0; i < 8; i++) {
        WEFT_UNROLL
        for (uint32_t j = 0; j < kShrinkRanks; j++) sums[r * kShrinkRanks + j] = fmaf(weights[j][i], values[i], sums[r * kShrinkRanks + j]);
      }
    }
  }
  foldWarp(sums);
  constexpr uint32_t kSame = kWarp / kSums;              // lanes that hold the same sum
  const uint32_t lane = threadIdx.x % kWarp;
  __syncthreads();                                       // nobody reads the item before any more
  if (lane % kSame == 0) warpSums[threadIdx.x / kWarp][lane / kSame] = sums[0];
  __syncthreads();
  if (threadIdx.x >= kSums) return;
  float sum = 0;
  for (uint32_t i = 0; i < kWarps; i++) sum += warpSums[i][threadIdx.x];
  const uint32_t r = threadIdx.x / kShrinkRanks, rank = firstRank + threadIdx.x % kShrinkRanks;
  if (r >= tile.rows || rank >= run.units || !hasRow(a, step, tile.entry + r)) return;
  put(r, rank, sum);
}

template <class W, class X, class Args, class Put>
WEFT_DEVICE void shrinkRows(const Args& a, const Step& step, const Run& run, uint32_t firstRank, const RowTile& tile, Put put) {
  if (tile.rows == 1) shrinkItem<W, X, 1>(a, step, run, firstRank, tile, put);
  else if (tile.rows <= 4) shrinkItem<W, X, 4>(a, step, run, firstRank, tile, put);
  else shrinkItem<W, X, kLoraRows>(a, step, run, firstRank, tile, put);
}

template <class Args, class Put>
WEFT_DEVICE void shrink(const Args& a, const Step& step, const Run& run, uint32_t firstRank, const RowTile& tile, Put put) {
  if (a.xType == kDTypeBf16) {
    if (run.dtype == kDTypeBf16) shrinkRows<StoredBf16, StoredBf16>(a, step, run, firstRank, tile, put);
    else shrinkRows<StoredF16, StoredBf16>(a, step, run, firstRank, tile, put);
  } else {
    if (run.dtype == kDTypeBf16) shrinkRows<StoredBf16, StoredF32>(a, step, run, firstRank, tile, put);
    else shrinkRows<StoredF16, StoredF32>(a, step, run, firstRank, tile, put);
  }
}

WEFT_DEVICE RowTile tileOf(const RowGroup& group, uint32_t tile) {
  const uint32_t from = tile * kLoraRows, left = group.rows - from;
  return {group.first + from, left < kLoraRows ? left : kLoraRows};
}
WEFT_DEVICE uint32_t tilesOf(const RowGroup& group) { return (group.rows + kLoraRows - 1) / kLoraRows; }

WEFT_DEVICE Run shrinkRun(const LoraShrinkArgs& a, const Step& step, const RowGroup& group, uint32_t part) {
  return runOf(a, step, group, part, 0, 0, (static_cast<uint64_t>(a.dIn) + 63) / 64 * 128);
}

WEFT_KERNEL_BOUNDS(loraShrink, LoraShrinkArgs, kLoraThreads, 4) {
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows);
  shareWork(groups * a.parts,
    [&](uint32_t i) {
      const RowGroup group = groupAt(a, step, groupRows, i / a.parts);
      if (group.rows == 0) return entryOf(0);
      return entryOf((shrinkRun(a, step, group, i % a.parts).units + kShrinkRanks - 1) / kShrinkRanks * tilesOf(group));
    },
    [&](uint32_t i, uint32_t item, uint32_t) {
      const RowGroup group = groupAt(a, step, groupRows, i / a.parts);
      const uint32_t part = i % a.parts, tiles = tilesOf(group), rank = item / tiles * kShrinkRanks;
      const Run run = shrinkRun(a, step, group, part);
      const RowTile tile = tileOf(group, item % tiles);
      shrink(a, step, run, rank, tile, [&](uint32_t r, uint32_t j, float sum) {
        a.u[static_cast<uint64_t>(tile.entry + r) * a.ldu + part * a.partStride + j] = sum;
      });
    });
}

// Outputs of a part: kExpandUnits units from `unit` on.
struct OutTile { uint32_t part, offset, dOut, unit; };

// y of R rows += what their group adds to an OutTile. rows: bits of those that it is for. All threads of the block.
template <class W, uint32_t R>
WEFT_DEVICE void expandRows(const LoraExpandArgs& a, const Step& step, const Run& run, float weight, const OutTile& outs,
                            const RowTile& tile, uint32_t rows) {
  constexpr uint32_t kRanks = 64;                        // that are in shared memory at a time
  __shared__ float u[kRanks][R];
  const uint32_t unit = outs.unit + threadIdx.x * kThreadOuts / kUnitOuts, out = threadIdx.x * kThreadOuts % kUnitOuts;
  const uint8_t* b = unit < run.units ? unitAt(a, step, run, unit) : nullptr;
  float sums[R][kThreadOuts] = {};
  for (uint32_t first = 0; first < run.rank; first += kRanks) {
    const uint32_t ranks = run.rank - first < kRanks ? run.rank - first : kRanks;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < ranks * R; i += kLoraThreads) {
      const uint32_t r = i / ranks, j = i % ranks;
      u[j][r] = rows >> r & 1 ? a.u[static_cast<uint64_t>(tile.entry + r) * a.ldu + outs.part * a.partStride + first + j] : 0.0f;
    }
    __syncthreads();
    if (!b) continue;
    for (uint32_t j = 0; j < ranks; j++) {
      float weights[kThreadOuts];
      loadEight<W>(b, static_cast<uint64_t>(first + j) * kUnitOuts + out, weights);
      WEFT_UNROLL
      for (uint32_t r = 0; r < R; r++) {
        WEFT_UNROLL
        for (uint32_t o = 0; o < kThreadOuts; o++) sums[r][o] = fmaf(u[j][r], weights[o], sums[r][o]);
      }
    }
  }
  if (!b) return;
  const float factor = product(run.scale, weight);
  const float* tail = run.tail ? reinterpret_cast<const float*>(b + static_cast<uint64_t>(run.rank) * 128) + out : nullptr;     // h, then c
  const uint32_t at = unit * kUnitOuts + out, left = outs.dOut > at ? outs.dOut - at : 0;
  WEFT_UNROLL
  for (uint32_t r = 0; r < R; r++) {
    if (!(rows >> r & 1)) continue;
    float* y = a.y + static_cast<uint64_t>(loraRow(a, tile.entry + r)) * a.ldy + outs.offset + at;
    WEFT_UNROLL
    for (uint32_t o = 0; o < kThreadOuts; o += 4) {
      if (o >= left) break;
      const uint32_t n = left - o < 4 ? left - o : 4;
      Four four = loadFour(y, o, n);
      WEFT_UNROLL
      for (uint32_t i = 0; i < 4; i++) {
        if (tail) {
          const float grown = tail[o + i], change = fmaf(product(run.scale, sums[r][o + i]), 1.0f + grown, tail[kUnitOuts + o + i]);
          four.v[i] = fmaf(weight, fmaf(grown, four.v[i], change), four.v[i]);
        } else {
          four.v[i] = fmaf(factor, sums[r][o + i], four.v[i]);
        }
      }
      storeFour(y, o, four, n);
    }
  }
}

template <uint32_t R>
WEFT_DEVICE void expandGroup(const LoraExpandArgs& a, const Step& step, const Run& run, float weight, const OutTile& outs,
                             const RowTile& tile, uint32_t rows) {
  if (run.dtype == kDTypeBf16) expandRows<StoredBf16, R>(a, step, run, weight, outs, tile, rows);
  else expandRows<StoredF16, R>(a, step, run, weight, outs, tile, rows);
}

// The run of B, if that of A has the same rank.
WEFT_DEVICE Run expandRun(const LoraExpandArgs& a, const Step& step, const RowGroup& group, uint32_t part, uint32_t dOut) {
  Run run = runOf(a, step, group, part, 1, (dOut + kUnitOuts - 1) / kUnitOuts, 0);
  if (run.units == 0) return run;
  const int32_t* first = runWords(a, group, part, 0);
  if (first[kRunUnits] != 0 && first[kRunRank] == static_cast<int32_t>(run.rank)) return run;
  report(step, Bound::kRun, static_cast<uint32_t>(first - a.tables) + kRunRank, first[kRunRank], run.rank + 1);
  run.units = 0;
  return run;
}

WEFT_DEVICE OutTile outsOf(const LoraExpandArgs& a, uint32_t part, uint32_t tile) {
  const uint32_t offset = part == 0 ? a.outOffset0 : part == 1 ? a.outOffset1 : a.outOffset2;
  return {part, offset, part == 0 ? a.dOut0 : part == 1 ? a.dOut1 : a.dOut2, tile * kExpandUnits};
}

// Where a row stands: group in the upper half, entry of groupRows in the lower. Of those from `from` on the first, or ~0.
// All threads of the block; a warp looks through every fourth group.
WEFT_DEVICE uint64_t nextPlace(const LoraExpandArgs& a, const Step& step, uint32_t groups, uint32_t groupRows, uint32_t row,
                               uint64_t from) {
  constexpr uint32_t kWarps = kLoraThreads / kWarp;
  __shared__ uint64_t found[kWarps];
  const uint32_t warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  uint64_t first = ~0ull;
  for (uint32_t g = static_cast<uint32_t>(from >> 32) + warp; g < groups && first == ~0ull; g += kWarps) {
    const RowGroup group = groupAt(a, step, groupRows, g);
    for (uint32_t i = 0; i < group.rows && first == ~0ull; i += kWarp) {
      const uint32_t entry = group.first + i + lane;
      const uint64_t place = static_cast<uint64_t>(g) << 32 | entry;
      const bool matches = i + lane < group.rows && place >= from && a.groupRows[entry] == static_cast<int32_t>(row);
      const uint32_t lanes = __ballot_sync(kAllLanes, matches);
      for (uint32_t l = 0; lanes >> l && first == ~0ull; l++) if (lanes >> l & 1) first = place - lane + l;
    }
  }
  __syncthreads();
  if (lane == 0) found[warp] = first;
  __syncthreads();
  for (uint32_t i = 0; i < kWarps; i++) first = found[i] < first ? found[i] : first;
  return first;
}

// A row that stands in several places: what all of them add, if `place` is the first that adds anything.
WEFT_DEVICE void expandShared(const LoraExpandArgs& a, const Step& step, uint32_t groups, uint32_t groupRows, const OutTile& outs,
                              uint32_t row, uint64_t place) {
  bool isFirst = true;
  for (uint64_t at = nextPlace(a, step, groups, groupRows, row, 0); at != ~0ull; at = nextPlace(a, step, groups, groupRows, row, at + 1)) {
    const RowGroup group = groupAt(a, step, groupRows, static_cast<uint32_t>(at >> 32));
    const Run run = expandRun(a, step, group, outs.part, outs.dOut);
    if (run.units == 0) continue;
    if (isFirst && at != place) return;
    isFirst = false;
    expandGroup<1>(a, step, run, group.weight, outs, {static_cast<uint32_t>(at), 1}, 1);
  }
}

WEFT_DEVICE void expandItem(const LoraExpandArgs& a, const Step& step, uint32_t groups, uint32_t groupRows, uint32_t g, uint32_t part,
                            uint32_t item) {
  __shared__ uint32_t sharedRows;                        // bits of the tile's rows that stand elsewhere too
  const RowGroup group = groupAt(a, step, groupRows, g);
  const uint32_t tiles = tilesOf(group);
  const OutTile outs = outsOf(a, part, item / tiles);
  const RowTile tile = tileOf(group, item % tiles);
  const Run run = expandRun(a, step, group, part, outs.dOut);
  int32_t own[kLoraRows];
  uint32_t rows = 0;
  WEFT_UNROLL
  for (uint32_t r = 0; r < kLoraRows; r++) {
    const bool there = r < tile.rows && hasRow(a, step, tile.entry + r);
    own[r] = there ? a.groupRows[tile.entry + r] : -1;
    rows |= static_cast<uint32_t>(there) << r;
  }
  __syncthreads();                                       // nobody reads the item before any more
  if (threadIdx.x == 0) sharedRows = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < groupRows; i += kLoraThreads) {
    const int32_t row = a.groupRows[i];
    WEFT_UNROLL
    for (uint32_t r = 0; r < kLoraRows; r++) if (row == own[r] && row >= 0 && i != tile.entry + r) atomicOr(&sharedRows, 1u << r);
  }
  __syncthreads();
  const uint32_t several = sharedRows, alone = rows & ~several;
  if (tile.rows == 1) {
    if (alone) expandGroup<1>(a, step, run, group.weight, outs, tile, alone);
  } else if (tile.rows <= 4) {
    if (alone) expandGroup<4>(a, step, run, group.weight, outs, tile, alone);
  } else if (alone) {
    expandGroup<kLoraRows>(a, step, run, group.weight, outs, tile, alone);
  }
  for (uint32_t r = 0; r < kLoraRows; r++) {
    const uint32_t entry = tile.entry + r;
    if (several >> r & 1) expandShared(a, step, groups, groupRows, outs, loraRow(a, entry), static_cast<uint64_t>(g) << 32 | entry);
  }
}

WEFT_KERNEL_BOUNDS(loraExpand, LoraExpandArgs, kLoraThreads, 4) {
  const uint32_t groups = counted(step, a.groupCount, a.maxGroups), groupRows = counted(step, a.groupRowCount, a.maxGroupRows);
  shareWork(groups * a.parts,
    [&](uint32_t i) {
      const RowGroup group = groupAt(a, step, groupRows, i / a.parts);
      if (group.rows == 0) return entryOf(0);
      const Run run = expandRun(a, step, group, i % a.parts, outsOf(a, i % a.parts, 0).dOut);
      return entryOf((run.units + kExpandUnits - 1) / kExpandUnits * tilesOf(group));
    },
    [&](uint32_t i, uint32_t item, uint32_t) { expandItem(a, step, groups, groupRows, i / a.parts, i % a.parts, item); });
}

}  // namespace cuda
}  // namespace weft

// Finding an adapter's bytes: the rows of a group, the run of a site in a slot's table, and its units through segs. Whatever a
// table says is held against what the op's shape asks for and against the arena before it is followed.
#pragma once
#include "cuda/bounds.h"
#include "cuda/memory.h"

namespace weft {
namespace cuda {

struct RowGroup {
  uint32_t first, rows;                                  // of groupRows; none: nothing to do, or an index is wrong
  int32_t slot;
  float weight;
};

// groupRows: how many are counted.
template <class Args>
WEFT_DEVICE RowGroup groupAt(const Args& a, const Step& step, uint32_t groupRows, uint32_t g) {
  const int32_t* words = a.groups + static_cast<uint64_t>(g) * kGroupWords;
  const int32_t slot = words[kGroupAdapterSlot], first = words[kGroupRowStart], rows = words[kGroupRowCount];
  if (!within(step, Bound::kAdapterSlot, g, slot, a.nSlots)) return {0, 0, 0, 0};
  const uint32_t end = static_cast<uint32_t>(first) + static_cast<uint32_t>(rows);
  if (first < 0 || rows < 0 || end > groupRows) {
    report(step, Bound::kGroup, g, first < 0 || rows < 0 ? -1 : static_cast<int32_t>(end), groupRows + 1);
    return {0, 0, 0, 0};
  }
  return {static_cast<uint32_t>(first), static_cast<uint32_t>(rows), slot, bitsToFloat(static_cast<uint32_t>(words[kGroupWeight]))};
}

struct Run {
  const int32_t* segs;
  uint32_t nSegs, dtype, rank, units, unitBytes;         // units 0: the adapter does not touch the site, or its table is wrong
  uint32_t tail;                                         // bytes behind the ranks of a unit
  float scale;
};

// The words of a run of a part and half (0: A, 1: B).
template <class Args>
WEFT_DEVICE const int32_t* runWords(const Args& a, const RowGroup& group, uint32_t part, uint32_t half) {
  const uint64_t run = (static_cast<uint64_t>(a.layer) * a.nSites + a.site + part) * 2 + half;
  return a.tables + static_cast<uint64_t>(group.slot) * a.slotWords + run * kRunWords;
}

// A run whose units are `units` of `unitBytes` bytes, with all else that its words say checked; without units where they are wrong.
// rank, tail: checked before.
template <class Args>
WEFT_DEVICE Run checkedRun(const Args& a, const Step& step, const RowGroup& group, const int32_t* words, uint32_t units,
                           uint64_t unitBytes) {
  Run run = {};
  const int32_t dtype = words[kRunDtype], firstSeg = words[kRunFirstSeg], nSegs = words[kRunSegs];
  const bool formatFits = dtype == static_cast<int32_t>(kDTypeBf16) || dtype == static_cast<int32_t>(kDTypeF16);
  const bool unitsFit = static_cast<uint32_t>(words[kRunUnits]) == units;
  const bool bytesFit = static_cast<uint32_t>(words[kRunUnitBytes]) == unitBytes;
  const uint64_t segsEnd = static_cast<uint32_t>(firstSeg) + static_cast<uint64_t>(static_cast<uint32_t>(nSegs)) * kSegWords;
  const bool segsFit = firstSeg >= 0 && nSegs >= 1 && segsEnd <= a.slotWords;
  if (!formatFits || !unitsFit || !bytesFit || !segsFit) {
    const uint32_t wrong = !formatFits ? kRunDtype : !unitsFit ? kRunUnits : !bytesFit ? kRunUnitBytes : kRunFirstSeg;
    const uint32_t limit = !formatFits ? kDTypeF16 : !unitsFit ? units : !bytesFit ? static_cast<uint32_t>(unitBytes) : a.slotWords;
    report(step, Bound::kRun, static_cast<uint32_t>(words - a.tables) + wrong, words[wrong], limit + 1);
    return run;
  }
  run.segs = a.tables + static_cast<uint64_t>(group.slot) * a.slotWords + firstSeg;
  run.nSegs = static_cast<uint32_t>(nSegs);
  run.dtype = static_cast<uint32_t>(dtype);
  run.rank = static_cast<uint32_t>(words[kRunRank]);
  run.units = units;
  run.unitBytes = static_cast<uint32_t>(unitBytes);
  run.tail = static_cast<uint32_t>(words[kRunTail]);
  run.scale = bitsToFloat(static_cast<uint32_t>(words[kRunScale]));
  return run;
}

template <class Args>
WEFT_DEVICE bool rankFits(const Args& a, const Step& step, const int32_t* words) {
  const int32_t rank = words[kRunRank];
  return within(step, Bound::kRun, static_cast<uint32_t>(words - a.tables) + kRunRank, rank > 0 ? rank : -1, a.partStride + 1);
}

// A run, with all that its words say checked. Its units and their bytes are `units` and `unitBytes`, or 0: as many as there are
// ranks, 64 values for each rank and a tail where there is one.
template <class Args>
WEFT_DEVICE Run runOf(const Args& a, const Step& step, const RowGroup& group, uint32_t part, uint32_t half, uint32_t units,
                      uint64_t unitBytes) {
  const int32_t* words = runWords(a, group, part, half);
  if (words[kRunUnits] == 0 || !rankFits(a, step, words)) return {};
  const uint32_t rank = static_cast<uint32_t>(words[kRunRank]), tail = half == 1 ? static_cast<uint32_t>(words[kRunTail]) : 0;
  if (tail != 0 && tail != kOutsBytes) {
    report(step, Bound::kRun, static_cast<uint32_t>(words - a.tables) + kRunTail, words[kRunTail], kOutsBytes + 1);
    return {};
  }
  Run run = checkedRun(a, step, group, words, units == 0 ? rank : units, unitBytes == 0 ? static_cast<uint64_t>(rank) * 128 + tail : unitBytes);
  run.tail = tail;
  return run;
}

// Rows of an end, `dim` values each: a unit a row, and with a tail the token that it is of behind it.
template <class Args>
WEFT_DEVICE Run endRowsOf(const Args& a, const Step& step, const RowGroup& group, uint32_t dim) {
  const int32_t* words = runWords(a, group, 0, 0);
  if (words[kRunUnits] == 0) return {};
  const uint32_t tail = static_cast<uint32_t>(words[kRunTail]);
  if (tail != 0 && tail != kIdBytes) {
    report(step, Bound::kRun, static_cast<uint32_t>(words - a.tables) + kRunTail, words[kRunTail], kIdBytes + 1);
    return {};
  }
  return checkedRun(a, step, group, words, static_cast<uint32_t>(words[kRunUnits]), (static_cast<uint64_t>(dim) + 63) / 64 * 128 + tail);
}

// Bytes of a unit, or nullptr where the table leads nowhere.
template <class Args>
WEFT_DEVICE const uint8_t* unitAt(const Args& a, const Step& step, const Run& run, uint32_t unit) {
  uint32_t low = 0, high = run.nSegs - 1;                // the last seg that does not begin behind the unit
  while (low < high) {
    const uint32_t middle = (low + high + 1) / 2;
    if (run.segs[static_cast<uint64_t>(middle) * kSegWords + kSegFirstUnit] <= static_cast<int32_t>(unit)) low = middle;
    else high = middle - 1;
  }
  const int32_t* seg = run.segs + static_cast<uint64_t>(low) * kSegWords;
  const int32_t number = static_cast<int32_t>(unit) - seg[kSegFirstUnit], units = seg[kSegUnits];
  const uint64_t at = static_cast<uint64_t>(static_cast<uint32_t>(seg[kSegAt])) * 128;
  const uint64_t arenaBytes = static_cast<uint64_t>(a.nPages) * a.pageBytes;
  const uint32_t where = static_cast<uint32_t>(seg - a.tables);
  if (!within(step, Bound::kUnit, where, number, units > 0 ? static_cast<uint32_t>(units) : 0)) return nullptr;
  const uint64_t offset = at + static_cast<uint64_t>(number) * run.unitBytes;
  if (offset + run.unitBytes > arenaBytes) {
    report(step, Bound::kUnit, where, static_cast<int32_t>(offset / 128), static_cast<uint32_t>(arenaBytes / 128));
    return nullptr;
  }
  return a.arena + offset;
}

// The token that a row of an end is of.
WEFT_DEVICE int32_t tokenOf(const Run& run, uint32_t unit, const uint8_t* row) {
  return run.tail ? *reinterpret_cast<const int32_t*>(row + run.unitBytes - kIdBytes) : static_cast<int32_t>(unit);
}

// The row of a token, or nullptr.
template <class Args>
WEFT_DEVICE const uint8_t* rowOfToken(const Args& a, const Step& step, const Run& run, int32_t token) {
  if (!run.tail) return static_cast<uint32_t>(token) < run.units ? unitAt(a, step, run, static_cast<uint32_t>(token)) : nullptr;
  uint32_t low = 0, high = run.units;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const uint8_t* row = unitAt(a, step, run, middle);
    if (!row) return nullptr;
    const int32_t found = tokenOf(run, middle, row);
    if (found == token) return row;
    if (found < token) low = middle + 1;
    else high = middle;
  }
  return nullptr;
}

}  // namespace cuda
}  // namespace weft

// LoRA on experts: u = A_e x and y += scale·weight · B_e u for each choice e of each row of a group, row by row.
//
// Bound by memory: rank·(dIn + dOut)·2 bytes for each distinct (adapter, expert); rows of one adapter that meet in an expert find them
// in the cache. Dot products and sums over ranks are those of loraShrink and loraExpand: their orders are fixed.
#pragma once

namespace weft {
namespace WEFT_ISA {

// A unit of a run, wherever it lies.
WEFT_INLINE const uint8_t* unitOf(const Run& run, const uint8_t* arena, uint32_t unit) {
  const int32_t* segs = run.table + run.words[kRunFirstSeg];
  uint32_t low = 0, high = (uint32_t)run.words[kRunSegs] - 1;               // the last seg that does not begin behind it
  while (low < high) {
    const uint32_t middle = (low + high + 1) / 2;
    if ((uint32_t)segs[middle * kSegWords + kSegFirstUnit] <= unit) low = middle;
    else high = middle - 1;
  }
  const int32_t* seg = segs + low * kSegWords;
  return arena + (size_t)(uint32_t)seg[kSegAt] * 128 + (size_t)(unit - seg[kSegFirstUnit]) * run.unitBytes();
}

template <class Args>
WEFT_INLINE double expertLoraRank(const Args& a, uint32_t half) {
  uint32_t rank = 0;
  for (uint32_t g = 0; g < a.groupCount; g++)
    for (uint32_t p = 0; p < a.parts; p++) {
      const Run run = Run::of(a, a.groups + g * kGroupWords, p, half);
      if (run.units() && run.rank() > rank) rank = run.rank();
    }
  return rank;
}

// Tiles are choices of entries, in the order of groups.
static Split expertShrinkSplit(const ExpertShrinkArgs& a, uint32_t threads) {
  uint32_t choices = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) choices += (uint32_t)a.groups[g * kGroupWords + kGroupRowCount] * a.topK;
  const double rank = expertLoraRank(a, kHalfA);
  return Split(rank ? choices : 0, 10 + rank * a.parts * a.dIn * 2.0 / tuning().bytesPerNs, threads);
}

static uint32_t expertShrinkTiles(const void* p, uint32_t threads) { return expertShrinkSplit(*static_cast<const ExpertShrinkArgs*>(p), threads).tiles(); }

template <class W, class X>
static void expertShrinkRow(const ExpertShrinkArgs& a, const Run& run, uint32_t expert, const typename X::Stored* x, float* u) {
  const typename X::Stored* rows[] = {x};
  for (uint32_t rank = 0; rank < run.rank(); rank += kShrinkRanks) {
    ShrinkItem item = {{}, run.rank() - rank < kShrinkRanks ? run.rank() - rank : kShrinkRanks, run.dtype(), 0, 1, 0};
    for (uint32_t j = 0; j < kShrinkRanks; j++) item.units[j] = j < item.ranks ? unitOf(run, a.arena, expert * run.rank() + rank + j) : item.units[j - 1];
    float* to[] = {u + rank};
    shrinkRanks<W, X, 1>(item, 0, rows, a.dIn, to, item.units);
  }
}

static void expertShrinkRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const ExpertShrinkArgs& a = *static_cast<const ExpertShrinkArgs*>(p);
  const Split split = expertShrinkSplit(a, threads);
  uint32_t before = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    const uint32_t choices = (uint32_t)group[kGroupRowCount] * a.topK, begin = split.begin(tile), end = split.end(tile);
    for (uint32_t i = begin > before ? begin - before : 0; i < choices && before + i < end; i++) {
      const uint32_t entry = group[kGroupRowStart] + i / a.topK;
      const size_t pair = (size_t)a.groupRows[entry] * a.topK + i % a.topK, row = a.inverse ? (size_t)a.inverse[pair] : (size_t)a.groupRows[entry];
      for (uint32_t part = 0; part < a.parts; part++) {
        const Run run = Run::of(a, group, part, kHalfA);
        if (!run.units()) continue;
        float* u = a.u + ((size_t)entry * a.topK + i % a.topK) * a.ldu + part * a.partStride;
        withRowType(a.xType, [&](auto type) {
          using X = decltype(type);
          if (run.dtype() == kDTypeBf16) expertShrinkRow<Bf16, X>(a, run, a.keys[pair], rowOf<X>(a.x, row, a.ldx), u);
          else expertShrinkRow<F16, X>(a, run, a.keys[pair], rowOf<X>(a.x, row, a.ldx), u);
        });
      }
    }
    before += choices;
  }
}

// Tiles are runs of the parts' units of 64 outputs, for all entries in the order of groups: a row that stands in several adds them so.
struct ExpertExpandPlan {
  uint32_t offset[3], dOut[3], firstUnit[4];
  Split units;
  ExpertExpandPlan(const ExpertExpandArgs& a, uint32_t threads)
      : offset{a.outOffset0, a.outOffset1, a.outOffset2}, dOut{a.dOut0, a.dOut1, a.dOut2}, firstUnit{}, units(countUnits(a.parts), unitNs(a), threads) {}
  uint32_t countUnits(uint32_t parts) {
    for (uint32_t p = 0; p < parts; p++) firstUnit[p + 1] = firstUnit[p] + ceilDiv(dOut[p], kUnitOuts);
    return firstUnit[parts];
  }
  static double unitNs(const ExpertExpandArgs& a) { return 1 + a.groupRowCount * a.topK * (10 + expertLoraRank(a, kHalfB) * 128 / tuning().bytesPerNs); }
};

static uint32_t expertExpandTiles(const void* p, uint32_t threads) {
  const ExpertExpandArgs& a = *static_cast<const ExpertExpandArgs*>(p);
  return a.groupRowCount && expertLoraRank(a, kHalfB) ? ExpertExpandPlan(a, threads).units.tiles() : 0;
}

static void expertExpandRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const ExpertExpandArgs& a = *static_cast<const ExpertExpandArgs*>(p);
  const ExpertExpandPlan plan(a, threads);
  const uint32_t begin = plan.units.begin(tile), end = plan.units.end(tile);
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    for (uint32_t part = 0; part < a.parts; part++) {
      const Run run = Run::of(a, group, part, kHalfB);
      const uint32_t first = plan.firstUnit[part], tiles = plan.firstUnit[part + 1] - first;
      const uint32_t from = begin > first ? begin - first : 0, to = end > first ? (end - first < tiles ? end - first : tiles) : 0;
      if (!run.units() || from >= to) continue;
      const ExpandFactors factors{run.scale(), wordAsFloat(group[kGroupWeight]), false};
      for (uint32_t i = 0; i < (uint32_t)group[kGroupRowCount] * a.topK; i++) {
        const uint32_t entry = group[kGroupRowStart] + i / a.topK;
        const size_t pair = (size_t)a.groupRows[entry] * a.topK + i % a.topK;
        const float* u[] = {a.u + ((size_t)entry * a.topK + i % a.topK) * a.ldu + part * a.partStride};
        for (uint32_t unit = from; unit < to; unit++) {
          const uint32_t left = plan.dOut[part] - unit * kUnitOuts;
          float* y[] = {a.y + (size_t)a.inverse[pair] * a.ldy + plan.offset[part] + unit * kUnitOuts};
          const uint8_t* bytes = unitOf(run, a.arena, (uint32_t)a.keys[pair] * tiles + unit);
          if (run.dtype() == kDTypeBf16) expandDispatch<Bf16>(1, bytes, run.rank(), u, factors, y, left < kUnitOuts ? left : kUnitOuts, nullptr);
          else expandDispatch<F16>(1, bytes, run.rank(), u, factors, y, left < kUnitOuts ? left : kUnitOuts, nullptr);
        }
      }
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

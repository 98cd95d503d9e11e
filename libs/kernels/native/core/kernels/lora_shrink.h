// u[i][p·partStride + j] = A_p[j] · x[groupRows[i]].
//
// A unit is one rank row, K contiguous, so K stands in lanes: each dot product is kLanes sums over k ≡ lane, folded in a
// fixed tree, whatever tile it is part of.
//
// one row a group    bound by memory: rank·dIn·2 bytes. Eight rank rows side by side, each a sequential stream.
// many rows          bound by flops: 2·rows·rank·dIn. Up to six rows of x × as many rank rows as there are registers for
//                    (AVX2: 2, AVX-512: 4): a weight is widened once for six rows, and rows of x stay in L1 for eight ranks.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kShrinkRanks = 8;                     // rank rows of a work item
constexpr int kShrinkRowTile = 6;

// Rank rows that `rows` rows of x meet at a time.
constexpr int shrinkRanksFor(int rows) {
  int ranks = kShrinkRanks;
  while (ranks > 1 && rows * ranks > kAccumulators) ranks /= 2;
  return ranks;
}

// Up to eight rank rows of one run for some rows of its group.
struct ShrinkItem {
  const uint8_t* units[kShrinkRanks];                    // all valid: the last one repeats
  uint32_t ranks, dtype, from, to, column;
};

// Stream: the next units are asked for one after another, not side by side.
template <class W, class X, int J, int R, bool Stream>
static void shrinkTile(const uint8_t* const* units, const typename X::Stored* const* x, uint32_t dIn, float* const* u, const uint8_t* const* ahead) {
  F acc[J][R];
#pragma GCC unroll 8
  for (int j = 0; j < J; j++)
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) acc[j][r] = zero();

  auto step = [&](uint32_t k, auto loadX) {
    F weights[J];
#pragma GCC unroll 8
    for (int j = 0; j < J; j++) {
      if (!Stream) askFor(ahead[j] + 2 * k);
      else if (j * kLanes % 32 == 0) askFor(ahead[0] + 2 * J * k + 2 * j * kLanes);
      weights[j] = W::vector(reinterpret_cast<const typename W::Stored*>(units[j]) + k);        // padded to 64 values
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
      const F value = inRegister(loadX(x[r] + k));
#pragma GCC unroll 8
      for (int j = 0; j < J; j++) acc[j][r] = fma(weights[j], value, acc[j][r]);
    }
  };
  uint32_t k = 0;
  for (; k + kLanes <= dIn; k += kLanes) step(k, [](const typename X::Stored* p) __attribute__((always_inline)) { return X::vector(p); });
  if (k < dIn) step(k, [n = (int)(dIn - k)](const typename X::Stored* p) __attribute__((always_inline)) { return X::vectorN(p, n); });

#pragma GCC unroll 8
  for (int j = 0; j < J; j++)
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) u[r][j] = sumOf(acc[j][r]);
}

// R rows of x and the item's rank rows j …, as many at a time as there are registers for.
template <class W, class X, int R, int J = shrinkRanksFor(R)>
static void shrinkRanks(const ShrinkItem& item, uint32_t j, const typename X::Stored* const* x, uint32_t dIn, float* const* u,
                        const uint8_t* const* ahead) {
  for (; j + J <= item.ranks; j += J) {
    float* at[R];
    for (int r = 0; r < R; r++) at[r] = u[r] + j;
    // Short rank rows end before the processor's prefetcher has learned of them.
    if (R == 1 && dIn <= tuning().shrinkStream) shrinkTile<W, X, J, R, R == 1>(item.units + j, x, dIn, at, ahead + j);
    else shrinkTile<W, X, J, R, false>(item.units + j, x, dIn, at, ahead + j);
  }
  if constexpr (J > 1) {
    if (j < item.ranks) shrinkRanks<W, X, R, J / 2>(item, j, x, dIn, u, ahead);
  }
}

template <class W, class X, int R = kShrinkRowTile>
static void shrinkDispatch(uint32_t rows, const ShrinkItem& item, const typename X::Stored* const* x, uint32_t dIn, float* const* u,
                           const uint8_t* const* ahead) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) shrinkRanks<W, X, R>(item, 0, x, dIn, u, ahead);
    else shrinkDispatch<W, X, R - 1>(rows, item, x, dIn, u, ahead);
  }
}

// The next item is asked for meanwhile: adapters of one row are read at the speed of memory, and where each begins no
// processor can guess.
template <class W, class X>
static void shrinkItem(const LoraShrinkArgs& a, const ShrinkItem& item, const ShrinkItem& next) {
  const uint32_t count = item.to - item.from, tiles = ceilDiv(count, kShrinkRowTile);
  for (uint32_t t = 0; t < tiles; t++) {
    const uint32_t from = item.from + evenBegin(count, tiles, t), rows = item.from + evenBegin(count, tiles, t + 1) - from;
    const typename X::Stored* x[kShrinkRowTile] = {};
    float* u[kShrinkRowTile] = {};
    for (uint32_t r = 0; r < rows; r++) {
      x[r] = rowOf<X>(a.x, a.groupRows[from + r], a.ldx);
      u[r] = a.u + (size_t)(from + r) * a.ldu + item.column;
    }
    shrinkDispatch<W, X>(rows, item, x, a.dIn, u, t == 0 ? next.units : item.units);
  }
}

static void shrinkItem(const LoraShrinkArgs& a, const ShrinkItem& item, const ShrinkItem& next) {
  withRowType(a.xType, [&](auto type) {
    if (item.dtype == kDTypeBf16) shrinkItem<Bf16, decltype(type)>(a, item, next);
    else shrinkItem<F16, decltype(type)>(a, item, next);
  });
}

// What items are estimated to take, in ns.
struct ShrinkCost {
  double bytesNs, flopsNs;                               // a rank row, read; a rank row times a row of x
  template <class Args>
  explicit ShrinkCost(const Args& a) : bytesNs(2.0 * a.dIn / tuning().bytesPerNs), flopsNs(2.0 * a.dIn / tuning().flopsPerNs) {}
  uint64_t item(uint32_t ranks, uint32_t rows) const { return 10 + (uint64_t)(ranks * (flopsNs * rows > bytesNs ? flopsNs * rows : bytesNs)); }
  uint64_t items(uint32_t rank, uint32_t rows) const {
    return rank / kShrinkRanks * item(kShrinkRanks, rows) + (rank % kShrinkRanks ? item(rank % kShrinkRanks, rows) : 0);
  }
};

static uint64_t shrinkTotalNs(const LoraShrinkArgs& a, const ShrinkCost& cost) {
  uint64_t total = 0;
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    const uint32_t count = group[kGroupRowCount], chunks = ceilDiv(count, tuning().shrinkRows);
    for (uint32_t p = 0; p < a.parts; p++) {
      const uint32_t rank = Run::of(a, group, p, kHalfA).units();
      for (uint32_t c = 0; c < chunks; c++) total += cost.items(rank, evenBegin(count, chunks, c + 1) - evenBegin(count, chunks, c));
    }
  }
  return total;
}

static uint32_t loraShrinkTiles(const void* p, uint32_t threads) {
  const LoraShrinkArgs& a = *static_cast<const LoraShrinkArgs*>(p);
  return sharesOf(shrinkTotalNs(a, ShrinkCost(a)), threads);
}

static void loraShrinkRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const LoraShrinkArgs& a = *static_cast<const LoraShrinkArgs*>(p);
  const ShrinkCost cost(a);
  Share share(tile, shareNs(shrinkTotalNs(a, cost), threads));
  ShrinkItem items[2];
  uint32_t found = 0;
  auto add = [&](UnitCursor& cursor, const Run& run, uint32_t part, uint32_t rank, uint32_t ranks, uint32_t from, uint32_t to) {
    ShrinkItem& item = items[found % 2];
    item = {{}, ranks, run.dtype(), from, to, part * a.partStride + rank};
    for (uint32_t j = 0; j < kShrinkRanks; j++) item.units[j] = j < ranks ? cursor.at(rank + j) : item.units[j - 1];
    if (found++ > 0) shrinkItem(a, items[found % 2], item);
  };
  for (uint32_t g = 0; g < a.groupCount && share.at < share.to; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    const uint32_t begin = group[kGroupRowStart], count = group[kGroupRowCount], chunks = ceilDiv(count, tuning().shrinkRows);
    for (uint32_t part = 0; part < a.parts; part++) {
      const Run run = Run::of(a, group, part, kHalfA);
      for (uint32_t c = 0; c < chunks; c++) {
        const uint32_t from = evenBegin(count, chunks, c), to = evenBegin(count, chunks, c + 1);
        if (share.skips(cost.items(run.units(), to - from))) continue;
        UnitCursor cursor(run, a.arena);
        for (uint32_t rank = 0; rank < run.units(); rank += kShrinkRanks) {
          const uint32_t ranks = run.units() - rank < kShrinkRanks ? run.units() - rank : kShrinkRanks;
          if (share.owns(cost.item(ranks, to - from))) add(cursor, run, part, rank, ranks, begin + from, begin + to);
        }
      }
    }
  }
  if (found > 0) {
    const ShrinkItem& last = items[(found - 1) % 2];
    shrinkItem(a, last, last);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

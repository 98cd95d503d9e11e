// What adapters do at the ends of a model, beside the LoRA ops (which run there too).
//
// embedShrink    u[i][j] = A[j][token of row groupRows[i]]: a gather of rank values a row.
// embedReplace   the embedding's row of a token, where an adapter has its own: a gather of dim values a row.
// headReplace    logits of the tokens that an adapter has rows of its own for: dot products, as loraShrink makes them. Bound by
//                memory for few rows of x (rows·dIn·2 bytes), by flops for many.
#pragma once

namespace weft {
namespace WEFT_ISA {

// Calls use(run, group, begin, end) for the entries of groupRows in [from, to) of each group that has the run.
template <class Args, class Use>
static void eachGroup(const Args& a, uint32_t from, uint32_t to, Use use) {
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    const uint32_t first = group[kGroupRowStart], last = first + group[kGroupRowCount];
    const uint32_t begin = first > from ? first : from, end = last < to ? last : to;
    if (begin >= end) continue;
    const Run run = Run::of(a, group, 0, kHalfA);
    if (run.units()) use(run, group, begin, end);
  }
}

// No tile where no group has the run.
template <class Args>
static uint32_t entryTiles(const Args& a, double entryNs, uint32_t threads) {
  bool any = false;
  eachGroup(a, 0, a.groupRowCount, [&](const Run&, const int32_t*, uint32_t, uint32_t) { any = true; });
  return any ? Split(a.groupRowCount, entryNs, threads).tiles() : 0;
}

static double embedShrinkNs(const EmbedShrinkArgs& a) { return 20 + 0.3 * a.partStride; }

static uint32_t embedShrinkTiles(const void* p, uint32_t threads) {
  const EmbedShrinkArgs& a = *static_cast<const EmbedShrinkArgs*>(p);
  return entryTiles(a, embedShrinkNs(a), threads);
}

template <class W>
static void embedShrinkRow(const uint8_t* values, uint32_t rank, float* u) {
  const auto* row = reinterpret_cast<const typename W::Stored*>(values);
  uint32_t j = 0;
  for (; j + kLanes <= rank; j += kLanes) store(u + j, W::vector(row + j));
  if (j < rank) storeN(u + j, W::vectorN(row + j, rank - j), rank - j);
}

static void embedShrinkRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const EmbedShrinkArgs& a = *static_cast<const EmbedShrinkArgs*>(p);
  const Split split(a.groupRowCount, embedShrinkNs(a), threads);
  eachGroup(a, split.begin(tile), split.end(tile), [&](const Run& run, const int32_t*, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; i++) {
      const uint32_t token = a.tokens[a.groupRows[i]], rank = run.rank();
      float* u = a.u + (size_t)i * a.ldu;
      if (token / 64 >= run.units()) {
        memset(u, 0, rank * sizeof(float));
        continue;
      }
      const uint8_t* values = run.unitAt(token / 64, a.arena) + (size_t)(token % 64) * rank * 2;
      if (run.dtype() == kDTypeBf16) embedShrinkRow<Bf16>(values, rank, u);
      else embedShrinkRow<F16>(values, rank, u);
    }
  });
}

static double embedReplaceNs(const EmbedReplaceArgs& a) { return 50 + 0.3 * a.dim; }

static uint32_t embedReplaceTiles(const void* p, uint32_t threads) {
  const EmbedReplaceArgs& a = *static_cast<const EmbedReplaceArgs*>(p);
  return entryTiles(a, embedReplaceNs(a), threads);
}

template <class W>
static void embedReplaceRow(const uint8_t* values, uint32_t dim, float scale, float weight, float* x) {
  const auto* row = reinterpret_cast<const typename W::Stored*>(values);
  for (uint32_t i = 0; i < dim; i += kLanes) {           // padded to 64 values
    const int n = dim - i < (uint32_t)kLanes ? (int)(dim - i) : kLanes;
    const F own = mul(splat(scale), W::vector(row + i)), base = loadN(x + i, n);
    storeN(x + i, weight == 1.0f ? own : fma(splat(weight), sub(own, base), base), n);
  }
}

static void embedReplaceRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const EmbedReplaceArgs& a = *static_cast<const EmbedReplaceArgs*>(p);
  const Split split(a.groupRowCount, embedReplaceNs(a), threads);
  eachGroup(a, split.begin(tile), split.end(tile), [&](const Run& run, const int32_t* group, uint32_t begin, uint32_t end) {
    const float weight = wordAsFloat(group[kGroupWeight]);
    for (uint32_t i = begin; i < end; i++) {
      const uint32_t t = a.groupRows[i];
      const uint8_t* row = EndRows{run, a.arena}.of(a.tokens[t]);
      if (!row) continue;
      if (run.dtype() == kDTypeBf16) embedReplaceRow<Bf16>(row, a.dim, run.scale(), weight, a.x + (size_t)t * a.ldx);
      else embedReplaceRow<F16>(row, a.dim, run.scale(), weight, a.x + (size_t)t * a.ldx);
    }
  });
}

// Up to eight rows of the head for some rows of x: their logits, put where their tokens are.
template <class W, class X>
static void headReplaceItem(const HeadReplaceArgs& a, const ShrinkItem& item, const uint32_t* tokens, float weight) {
  const uint32_t count = item.to - item.from, tiles = ceilDiv(count, kShrinkRowTile);
  for (uint32_t t = 0; t < tiles; t++) {
    const uint32_t from = item.from + evenBegin(count, tiles, t), rows = item.from + evenBegin(count, tiles, t + 1) - from;
    const typename X::Stored* x[kShrinkRowTile] = {};
    float logits[kShrinkRowTile][kShrinkRanks], *u[kShrinkRowTile] = {};
    for (uint32_t r = 0; r < rows; r++) {
      x[r] = rowOf<X>(a.x, a.groupRows[from + r], a.ldx);
      u[r] = logits[r];
    }
    shrinkDispatch<W, X>(rows, item, x, a.dIn, u, item.units);
    for (uint32_t r = 0; r < rows; r++) {
      float* y = a.y + (size_t)a.groupRows[from + r] * a.ldy;
      for (uint32_t j = 0; j < item.ranks; j++) {
        float& at = y[tokens[j]];
        at = weight == 1.0f ? logits[r][j] : at + weight * (logits[r][j] - at);
      }
    }
  }
}

// Rows of x of a group that are taken at a time.
static uint32_t headReplaceChunks(uint32_t rows) { return ceilDiv(rows, tuning().shrinkRows); }

static uint64_t headReplaceTotalNs(const HeadReplaceArgs& a, const ShrinkCost& cost) {
  uint64_t total = 0;
  eachGroup(a, 0, a.groupRowCount, [&](const Run& run, const int32_t*, uint32_t begin, uint32_t end) {
    const uint32_t count = end - begin, chunks = headReplaceChunks(count);
    for (uint32_t c = 0; c < chunks; c++) total += cost.items(run.units(), evenBegin(count, chunks, c + 1) - evenBegin(count, chunks, c));
  });
  return total;
}

static uint32_t headReplaceTiles(const void* p, uint32_t threads) {
  const HeadReplaceArgs& a = *static_cast<const HeadReplaceArgs*>(p);
  return sharesOf(headReplaceTotalNs(a, ShrinkCost(a)), threads);
}

static void headReplaceRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const HeadReplaceArgs& a = *static_cast<const HeadReplaceArgs*>(p);
  const ShrinkCost cost(a);
  Share share(tile, shareNs(headReplaceTotalNs(a, cost), threads));
  eachGroup(a, 0, a.groupRowCount, [&](const Run& run, const int32_t* group, uint32_t begin, uint32_t end) {
    const uint32_t count = end - begin, chunks = headReplaceChunks(count);
    const EndRows rows{run, a.arena};
    for (uint32_t c = 0; c < chunks && share.at < share.to; c++) {
      ShrinkItem item = {{}, 0, run.dtype(), begin + evenBegin(count, chunks, c), begin + evenBegin(count, chunks, c + 1), 0};
      if (share.skips(cost.items(run.units(), item.to - item.from))) continue;
      UnitCursor cursor(run, a.arena);
      for (uint32_t unit = 0; unit < run.units() && share.at < share.to; unit += kShrinkRanks) {
        item.ranks = run.units() - unit < kShrinkRanks ? run.units() - unit : kShrinkRanks;
        if (!share.owns(cost.item(item.ranks, item.to - item.from))) continue;
        uint32_t tokens[kShrinkRanks] = {};
        for (uint32_t j = 0; j < kShrinkRanks; j++) {
          item.units[j] = j < item.ranks ? cursor.at(unit + j) : item.units[j - 1];
          if (j < item.ranks) tokens[j] = rows.tokenOf(unit + j, item.units[j]);
        }
        withRowType(a.xType, [&](auto type) {
          const float weight = wordAsFloat(group[kGroupWeight]);
          if (run.dtype() == kDTypeBf16) headReplaceItem<Bf16, decltype(type)>(a, item, tokens, weight);
          else headReplaceItem<F16, decltype(type)>(a, item, tokens, weight);
        });
      }
    }
  });
}

}  // namespace WEFT_ISA
}  // namespace weft

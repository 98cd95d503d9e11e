// out[t][h] = softmax(scale · query[t][h]·C) C[latent values] over the visible positions of the row's own sequence.
//
// As attention.h, with one key for all heads, whose first values are the value too: units of kUnitTokens, spans of
// kSpanTokens, a pair (row, head) sees exactly the steps for exactly its own visible tokens. A key lies with tokens in lanes,
// which scores want; for values its blocks are transposed once for all pairs of an item.
//
// An item is some rows × some heads × their spans. Few rows with a long past are cut by spans, as in attention.h, and where
// that does not do, by heads.
//
// bound by flops: 2·(2·latent + rope) a head and position, of which a position is (latent + rope)·2 bytes
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kLatentBlocks = 4;                    // blocks that are wide at a time: they stay in L2
static_assert(kUnitBlocks % kLatentBlocks == 0, "they don't cross units");

// Values of a row of sums: whole vectors, of whatever instruction set.
constexpr uint32_t latentStride(uint32_t latent) { return ceilDiv(latent, 16) * 16; }

// What is kept of pairs, [row][head]. ld: of sums and of values.
struct LatentState {
  uint32_t pairs, dim, latent, ld;
  float *wide, *p, *q;
  float *spanAcc, *acc, *spanTop, *spanSum, *top, *sum;

  LatentState(Scratch& scratch, uint32_t pairs, uint32_t dim, uint32_t latent) : pairs(pairs), dim(dim), latent(latent), ld(latentStride(latent)) {
    const uint32_t sizes[] = {kLatentBlocks * kBlockTokens * (dim > ld ? dim : ld), pairs * kUnitTokens, pairs * dim, pairs * ld, pairs * ld, pairs, pairs, pairs, pairs};
    uint32_t total = 0;
    for (uint32_t size : sizes) total += wholeLines(size);
    float* at = static_cast<float*>(scratch.take(total * sizeof(float)));
    float** parts[] = {&wide, &p, &q, &spanAcc, &acc, &spanTop, &spanSum, &top, &sum};
    for (uint32_t i = 0; i < sizeof parts / sizeof *parts; i++) {
      *parts[i] = at;
      at += wholeLines(sizes[i]);
    }
  }
  void beginSpan() const {
    memset(spanAcc, 0, (size_t)pairs * ld * sizeof(float));
    for (uint32_t m = 0; m < pairs; m++) {
      spanTop[m] = kLowest;
      spanSum[m] = 0;
    }
  }
  Softmax span(uint32_t m) const { return {spanTop + m, spanSum + m, spanAcc + (size_t)m * ld}; }
  Softmax before(uint32_t m) const { return {top + m, sum + m, acc + (size_t)m * ld}; }

 private:
  static uint32_t wholeLines(uint32_t floats) { return ceilDiv(floats, 16) * 16; }
};

// [8][8] halves, rows `from` and `to` values apart.
typedef uint16_t Eight __attribute__((vector_size(16)));
WEFT_INLINE void transpose8(const uint16_t* from, uint32_t ldFrom, uint16_t* to, uint32_t ldTo) {
  Eight a[8], b[8];
  for (int i = 0; i < 8; i++) memcpy(a + i, from + i * ldFrom, 16);
  // Interleaving row i with row i + 4, three times.
  const auto interleave = [](const Eight* x, Eight* y) __attribute__((always_inline)) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      y[2 * i] = __builtin_shufflevector(x[i], x[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
  };
  interleave(a, b);
  interleave(b, a);
  interleave(a, b);
  for (int i = 0; i < 8; i++) memcpy(to + i * ldTo, b + i, 16);
}

// A block's [latent][16 tokens] of f16 as [16 tokens][ld] of f32, zero behind the last value. What lies behind the last token of
// a page is carried along: values that nobody reads.
static void transposeBlock(const uint16_t* block, uint32_t latent, uint32_t ld, float* to) {
  constexpr uint32_t kColumns = 16;
  uint16_t halves[kBlockTokens * kColumns] = {};
  for (uint32_t c = 0; c < latent; c += kColumns) {
    if (c + kColumns <= latent) {
      for (uint32_t i = 0; i < kColumns; i += 8)
        for (uint32_t t = 0; t < kBlockTokens; t += 8) transpose8(block + (c + i) * kBlockTokens + t, kBlockTokens, halves + t * kColumns + i, kColumns);
    } else {
      memset(halves, 0, sizeof halves);
      for (uint32_t i = 0; i < latent - c; i++)
        for (uint32_t t = 0; t < kBlockTokens; t++) halves[t * kColumns + i] = block[(c + i) * kBlockTokens + t];
    }
    for (uint32_t t = 0; t < kBlockTokens; t++)
      for (uint32_t i = 0; i < kColumns; i += kLanes) store(to + (size_t)t * ld + c + i, loadF16(halves + t * kColumns + i));
  }
}

// Some rows of a segment and some heads.
struct LatentItem {
  const LatentAttentionArgs& a;
  const int32_t* segment;
  const int32_t* positions;                              // of its rows: ascending
  uint32_t rows, head, heads;
  uint32_t pairs() const { return rows * heads; }
  uint32_t lastPosition() const { return positions[rows - 1]; }
  const uint16_t* block(uint32_t block) const { return reinterpret_cast<const uint16_t*>(pageOf(a, segment, block)); }
};

// Blocks [from, to] of a unit.
static void latentScores(const LatentItem& item, const LatentState& state, uint32_t from, uint32_t to) {
  uint32_t blind = 0;                                    // rows that see nothing of the unit come first
  while ((uint32_t)item.positions[blind] < from * kBlockTokens) blind++;
  const uint32_t begin = blind * item.heads, count = item.pairs() - begin, tiles = ceilDiv(count, kScoreRows), size = kBlockTokens * state.dim;
  for (uint32_t block = from; block <= to;) {
    const uint32_t blocks = to + 1 - block < kLatentBlocks ? to + 1 - block : kLatentBlocks;
    const float* keys[kLatentBlocks];
    for (uint32_t b = 0; b < blocks; b++) {
      const uint16_t* key = item.block(block + b);
      float* wide = state.wide + b * size;
      for (uint32_t i = 0; i < size; i += kLanes) store(wide + i, loadF16(key + i));
      keys[b] = wide;
    }
    for (uint32_t i = 0; i < tiles; i++) {
      const uint32_t m = begin + evenBegin(count, tiles, i), end = begin + evenBegin(count, tiles, i + 1);
      scoreBlocks<F32>(end - m, state.q + (size_t)m * state.dim, state.dim, keys, blocks, state.dim, state.p + m * kUnitTokens + block % kUnitBlocks * kBlockTokens, nullptr);
    }
    block += blocks;
  }
}

static void latentValues(const LatentItem& item, const LatentState& state, uint32_t from, uint32_t to) {
  const uint32_t pairs = item.pairs(), ld = state.ld;
  for (uint32_t block = from; block <= to;) {
    const uint32_t blocks = to + 1 - block < kLatentBlocks ? to + 1 - block : kLatentBlocks, base = block * kBlockTokens, column = base % kUnitTokens;
    for (uint32_t b = 0; b < blocks; b++) transposeBlock(item.block(block + b), state.latent, ld, state.wide + (size_t)b * kBlockTokens * ld);
    const auto seenBy = [&](uint32_t m) { return Visible(item.positions[m / item.heads], 0, base, blocks * kBlockTokens); };
    for (uint32_t m = 0; m < pairs;) {
      uint32_t end = m + kValueRows < pairs ? m + kValueRows : pairs;
      const Visible seen = seenBy(m);
      if (!(seen == seenBy(end - 1))) end = m + (item.heads - m % item.heads < end - m ? item.heads - m % item.heads : end - m);  // one row's
      if (seen.any) valueRows<F32>(end - m, state.p + m * kUnitTokens + column, state.wide, seen.first, seen.last, ld, state.spanAcc + (size_t)m * ld, nullptr);
      m = end;
    }
    block += blocks;
  }
}

static void latentUnit(const LatentItem& item, const LatentState& state, uint32_t from, uint32_t to) {
  latentScores(item, state, from, to);
  for (uint32_t m = 0; m < state.pairs; m++) {
    const Visible seen(item.positions[m / item.heads], 0, from * kBlockTokens, kUnitTokens);
    if (seen.any) weigh<false>(state.p + m * kUnitTokens, seen, 0, nullptr, nullptr, state.span(m), state.ld);
  }
  latentValues(item, state, from, to);
}

// How a segment is cut: into chunks of `step` rows, groups of `perGroup` heads, and a single chunk perhaps into `parts` of `perPart`
// spans, whose states stand in partials from `firstPartial` on, [row][head][span]. An item takes about `ns`.
struct LatentPlan {
  uint32_t row, rows, step = 1, chunks = 0, groups = 1, perGroup = 1, spans = 0, parts = 1, perPart = 0, firstPartial = 0;
  uint64_t ns = 0;
  uint32_t items() const { return chunks * groups * parts; }
  bool cut() const { return parts > 1; }
};

// The plans of all segments, in their order.
class LatentPlans {
 public:
  LatentPlans(const LatentAttentionArgs& a, uint32_t threads) : a_(a) {
    pairNs_ = ((2 * a.latent + a.rope) * 2.0 / kFlopsPerNs + 16.0 / kLanes) * 1.1;
    wideNs_ = (2.0 * a.latent + a.rope) / kLanes;
    uint64_t total = 0;
    for (uint32_t s = 0; s < a.segmentCount; s++) {
      const LatentPlan plan = whole(segment(s));
      total += plan.ns * plan.items();
    }
    const double wanted = tileNs((double)total, threads);
    partNs_ = (uint64_t)(wanted < kPartNsMin ? kPartNsMin : wanted);
  }
  const int32_t* segment(uint32_t s) const { return a_.segments + s * kSegmentWords; }

  // Of segment s. Asked for in ascending order.
  LatentPlan next(uint32_t s) {
    LatentPlan plan = whole(segment(s));
    if (plan.chunks != 1 || plan.ns < 2 * partNs_) return plan;
    uint32_t wanted = (uint32_t)((plan.ns + partNs_ - 1) / partNs_);
    plan.spans = a_.positions[plan.row + plan.rows - 1] / kSpanTokens + 1;
    const uint64_t states = (uint64_t)plan.rows * a_.heads * plan.spans;
    if (a_.partials && plan.spans > 1 && used_ + states <= a_.nPartials) {
      plan.perPart = ceilDiv(plan.spans, wanted < plan.spans ? wanted : plan.spans);
      plan.parts = ceilDiv(plan.spans, plan.perPart);
      plan.firstPartial = (uint32_t)used_;
      used_ += states;
    }
    wanted = ceilDiv(wanted, plan.parts * plan.groups);
    // Each group reads the past again: no fewer heads than make that worth it.
    const uint32_t least = plan.perGroup < kHeadsMin ? plan.perGroup : kHeadsMin;
    uint32_t perGroup = ceilDiv(plan.perGroup, wanted);
    if (perGroup < least) perGroup = least;
    plan.ns = plan.ns * perGroup / plan.perGroup / plan.parts + 100;
    plan.perGroup = perGroup;
    plan.groups = ceilDiv(a_.heads, perGroup);
    return plan;
  }

 private:
  static constexpr double kPartNsMin = 8000;             // less is not worth a second phase
  static constexpr uint32_t kHeadsMin = 8;

  LatentPlan whole(const int32_t* segment) const {
    LatentPlan plan;
    plan.row = segment[kSegmentRowStart];
    plan.rows = segment[kSegmentRowCount];
    if (plan.rows == 0) return plan;
    const uint32_t context = a_.positions[plan.row + plan.rows - 1] + 1;
    plan.groups = ceilDiv(a_.heads, kPairsMax);
    plan.perGroup = ceilDiv(a_.heads, plan.groups);
    const uint32_t most = kPairsMax / plan.perGroup;
    plan.step = plan.rows < most ? plan.rows : most;
    plan.chunks = ceilDiv(plan.rows, plan.step);
    plan.ns = (uint64_t)(100 + context * (wideNs_ + pairNs_ * plan.step * plan.perGroup));
    return plan;
  }

  const LatentAttentionArgs& a_;
  double pairNs_, wideNs_;
  uint64_t partNs_, used_ = 0;
};

static uint64_t latentTotalNs(const LatentAttentionArgs& a, uint32_t threads) {
  LatentPlans plans(a, threads);
  uint64_t total = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) {
    const LatentPlan plan = plans.next(s);
    total += plan.ns * plan.items();
  }
  return total;
}

static uint32_t latentAttentionTiles(const void* p, uint32_t threads) {
  return sharesOf(latentTotalNs(*static_cast<const LatentAttentionArgs*>(p), threads), threads);
}

// The state of a span that was put aside: [acc, padded to 16 | top, sum].
WEFT_INLINE Softmax partialOf(const LatentAttentionArgs& a, const LatentPlan& plan, uint32_t row, uint32_t head, uint32_t span) {
  float* at = a.partials + (size_t)(plan.firstPartial + (row * a.heads + head) * plan.spans + span) * a.ldPartials;
  const uint32_t ld = latentStride(a.latent);
  return {at + ld, at + ld + 1, at};
}

WEFT_INLINE void finishLatent(const LatentAttentionArgs& a, const Softmax& state, size_t row, uint32_t head) {
  const F total = splat(*state.sum);
  float* out = a.out + row * a.ldo + (size_t)head * a.latent;
  for (uint32_t i = 0; i < a.latent; i += kLanes) {
    const F value = divide(load(state.acc + i), total);
    if (a.latent - i < (uint32_t)kLanes) storeN(out + i, value, a.latent - i);
    else store(out + i, value);
  }
}

// All spans of an item, or those of one part. row: its first, counted in the segment.
static void latentItem(const LatentItem& item, const LatentPlan& plan, uint32_t row, uint32_t part, Scratch& scratch) {
  const LatentAttentionArgs& a = item.a;
  const LatentState state(scratch, item.pairs(), a.latent + a.rope, a.latent);
  for (uint32_t m = 0; m < state.pairs; m++) {
    const float* q = a.query + (size_t)(plan.row + row + m / item.heads) * a.ldq + (size_t)(item.head + m % item.heads) * state.dim;
    for (uint32_t i = 0; i < state.dim; i++) state.q[(size_t)m * state.dim + i] = q[i] * a.scale;
  }
  const uint32_t lastBlock = item.lastPosition() / kBlockTokens;
  uint32_t span = 0, end = lastBlock / kSpanBlocks + 1;
  if (plan.cut()) {
    span = part * plan.perPart;
    if (span + plan.perPart < end) end = span + plan.perPart;
  }
  for (; span < end; span++) {
    const uint32_t next = (span + 1) * kSpanBlocks;
    state.beginSpan();
    for (uint32_t block = span * kSpanBlocks; block < next && block <= lastBlock; block += kUnitBlocks) {
      const uint32_t last = block + kUnitBlocks - 1;
      latentUnit(item, state, block, last < lastBlock ? last : lastBlock);
    }
    for (uint32_t m = 0; m < state.pairs; m++) {
      if ((uint32_t)item.positions[m / item.heads] < span * kSpanTokens) continue;
      if (plan.cut()) partialOf(a, plan, row + m / item.heads, item.head + m % item.heads, span).copy(state.span(m), state.ld);
      else if (span == 0) state.before(m).copy(state.span(m), state.ld);
      else state.before(m).merge(state.span(m), state.ld);
    }
  }
  if (plan.cut()) return;
  for (uint32_t m = 0; m < state.pairs; m++) finishLatent(a, state.before(m), plan.row + row + m / item.heads, item.head + m % item.heads);
}

static void latentAttentionRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LatentAttentionArgs& a = *static_cast<const LatentAttentionArgs*>(p);
  Share share(tile, shareNs(latentTotalNs(a, threads), threads));
  LatentPlans plans(a, threads);
  for (uint32_t s = 0; s < a.segmentCount && share.at < share.to; s++) {
    const LatentPlan plan = plans.next(s);
    const Share::Range items = share.ownsOf(plan.items(), plan.ns);
    for (uint32_t i = items.begin; i < items.end; i++) {
      const uint32_t part = i % plan.parts, group = i / plan.parts / plan.chunks, row = i / plan.parts % plan.chunks * plan.step;
      const uint32_t rows = plan.rows - row < plan.step ? plan.rows - row : plan.step;
      const uint32_t head = group * plan.perGroup, heads = a.heads - head < plan.perGroup ? a.heads - head : plan.perGroup;
      latentItem({a, plans.segment(s), a.positions + plan.row + row, rows, head, heads}, plan, row, part, scratch);
    }
  }
}

// Second phase: a tile merges one head of one segment that was cut.
static uint32_t latentMergeTiles(const void* p, uint32_t threads) {
  const LatentAttentionArgs& a = *static_cast<const LatentAttentionArgs*>(p);
  LatentPlans plans(a, threads);
  uint32_t tiles = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) if (plans.next(s).cut()) tiles += a.heads;
  return tiles;
}

static void latentMerge(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LatentAttentionArgs& a = *static_cast<const LatentAttentionArgs*>(p);
  LatentPlans plans(a, threads);
  LatentPlan plan;
  for (uint32_t s = 0, seen = 0; seen <= tile / a.heads; s++) {
    plan = plans.next(s);
    seen += plan.cut();
  }
  const uint32_t head = tile % a.heads, ld = latentStride(a.latent);
  float* state = static_cast<float*>(scratch.take((ld + 2) * sizeof(float)));
  const Softmax whole{state + ld, state + ld + 1, state};
  for (uint32_t row = 0; row < plan.rows; row++) {
    whole.copy(partialOf(a, plan, row, head, 0), ld);
    for (uint32_t span = 1; span <= (uint32_t)a.positions[plan.row + row] / kSpanTokens; span++) whole.merge(partialOf(a, plan, row, head, span), ld);
    finishLatent(a, whole, plan.row + row, head);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

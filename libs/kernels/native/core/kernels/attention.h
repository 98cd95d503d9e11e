// out[t][h] = softmax(scale · q[t][h]·K) V over the visible positions of the row's own sequence.
//
// Positions are cut into spans of kSpanTokens and those into units of kUnitTokens. Unit by unit, for M pairs (row, query
// head) at once:
//
//   scores    S[m][t] = Σ_d scale·q[m][d] · K[d][t]       tokens in lanes, d sequential
//   weights   top' = max(top, visible S); sum and acc scaled by e^(top - top'); p[t] = e^(S[t] - top'); sum += Σ_t p[t]
//   values    acc[:] += Σ_t p[t] · V[t][:]                 t sequential
//
// Each span begins anew, and spans are merged in ascending order. A pair sees exactly these steps for exactly its own
// visible tokens, so its bits depend on positions alone: not on the tile that it is in, nor on who merges. What lies
// behind the last token of a page may be anything, NaN too: scores outside are replaced, values never touched.
//
// An item of work is some kv heads × some rows, with all the query heads that share them, × their spans. A few rows with a
// long past make too few items: theirs are cut by spans, states of spans go to `partials`, and a second phase merges them.
//
// Of int8 keys and values the scales multiply scores and weights, not the values themselves. Where keys and values are bf16,
// scaled queries and weights are rounded to bf16 too, and multiplied by pairs (attention_tiles.h); sums are of weights as they were.
//
// one row     bound by memory: tokens·dim·4 bytes a kv head (int8: 2).     a chunk: by flops, 4·rows·tokens·dim a head
#pragma once
#include <optional>

namespace weft {
namespace WEFT_ISA {

// What is kept of the pairs of some kv heads, [kv head][row][head]. ld: dim rounded up to whole vectors.
struct AttentionState {
  uint32_t pairs, dim, ld;
  float *q, *keys, *values, *p;
  float *keyScales, *valueScales;                        // of a unit of each kv head
  float *spanTop, *spanSum, *spanAcc;                    // of the span at hand
  float *top, *sum, *acc;                                // of the spans before it

  AttentionState(Scratch& scratch, uint32_t pairs, uint32_t kvHeads, uint32_t dim) : pairs(pairs), dim(dim), ld(ceilDiv(dim, kLanes) * kLanes) {
    const uint32_t sizes[] = {kUnitTokens * dim, kUnitTokens * ld, pairs * kUnitTokens, pairs * dim, pairs * ld, pairs * ld, pairs, pairs, pairs, pairs,
                              kvHeads * kUnitTokens, kvHeads * kUnitTokens};
    uint32_t total = 0;
    for (uint32_t size : sizes) total += wholeLines(size);
    float* at = static_cast<float*>(scratch.take(total * sizeof(float)));
    float** parts[] = {&keys, &values, &p, &q, &spanAcc, &acc, &spanTop, &spanSum, &top, &sum, &keyScales, &valueScales};
    for (uint32_t i = 0; i < sizeof parts / sizeof *parts; i++) {
      *parts[i] = at;
      at += wholeLines(sizes[i]);
    }
  }
  void beginSpan() {
    memset(spanAcc, 0, pairs * ld * sizeof(float));
    for (uint32_t m = 0; m < pairs; m++) {
      spanTop[m] = kLowest;
      spanSum[m] = 0;
    }
  }
  Softmax span(uint32_t m) const { return {spanTop + m, spanSum + m, spanAcc + m * ld}; }
  Softmax before(uint32_t m) const { return {top + m, sum + m, acc + m * ld}; }

  template <class W>
  void widenKeys(const typename W::Stored* from, float* to) const {
    for (uint32_t i = 0; i < kBlockTokens * dim; i += kLanes) store(to + i, W::vector(from + i));
  }
  // Whole vectors of each token, or of each pair.
  template <class W>
  void widenValues(const typename W::Stored* from, uint32_t rows, float* to) const {
    if (ld == dim) {
      for (uint32_t i = 0; i < rows * dim; i += kLanes) store(to + i, W::vector(from + i));
      return;
    }
    for (uint32_t t = 0; t < rows; t++) {
      for (uint32_t i = 0; i < ld; i += kLanes) {
        store(to + t * ld + i, dim - i < (uint32_t)kLanes ? W::vectorN(from + t * dim + i, dim - i) : W::vector(from + t * dim + i));
      }
    }
  }

 private:
  static uint32_t wholeLines(uint32_t floats) { return ceilDiv(floats, 16) * 16; }
};

// Some rows of a segment and some kv heads.
struct AttentionItem {
  const AttentionArgs& a;
  const int32_t* segment;
  const int32_t* positions;                              // of its rows: ascending
  uint32_t rows, heads;                                  // heads: query heads of a kv head
  uint32_t kvHead, kvHeads;
  uint32_t firstBlock, lastBlock;                        // that are read
  uint32_t pairs() const { return rows * heads; }        // of one kv head
  uint32_t lastPosition() const { return positions[rows - 1]; }
  const uint8_t* keys(uint32_t block, uint32_t kv) const { return pageOf(a, segment, block) + (size_t)(kvHead + kv) * a.headStride; }
  const uint8_t* values(uint32_t block, uint32_t kv) const { return keys(block, kv) + a.planeStride; }
  const uint16_t* keyScales(uint32_t block, uint32_t kv) const {
    return reinterpret_cast<const uint16_t*>(scalesOf(a, pageOf(a, segment, block)) + (kvHead + kv) * kBlockTokens * 2);
  }
  const uint16_t* valueScales(uint32_t block, uint32_t kv) const { return keyScales(block, kv) + a.planeStride / 2; }
};

// Blocks [from, to] of a unit.
template <class W>
static void weighAll(const AttentionItem& item, AttentionState& state, uint32_t from, uint32_t to) {
  if (kScaled<W>) {
    for (uint32_t kv = 0; kv < item.kvHeads; kv++) {
      for (uint32_t block = from; block <= to; block++) {
        const uint32_t at = kv * kUnitTokens + block % kUnitBlocks * kBlockTokens;
        for (uint32_t t = 0; t < kBlockTokens; t += kLanes) {
          store(state.keyScales + at + t, loadF16(item.keyScales(block, kv) + t));
          store(state.valueScales + at + t, loadF16(item.valueScales(block, kv) + t));
        }
      }
    }
  }
  for (uint32_t m = 0; m < state.pairs; m++) {
    const Visible seen(item.positions[m / item.heads % item.rows], item.a.window, from / kUnitBlocks * kUnitTokens, kUnitTokens);
    const uint32_t scales = m / item.pairs() * kUnitTokens;
    if (seen.any) weigh<kScaled<W>, kStep<W> == 2>(state.p + m * kUnitTokens, seen, item.a.softcap, state.keyScales + scales, state.valueScales + scales, state.span(m), state.ld);
  }
}

// acc of one kv head's pairs += their weights · `tokens` values from position `base` on.
template <class W>
static void addValues(const AttentionItem& item, const AttentionState& state, uint32_t kv, uint32_t base, uint32_t tokens, const typename W::Stored* values,
                      const uint8_t* ahead) {
  const uint32_t begin = kv * item.pairs(), end = begin + item.pairs(), column = base % kUnitTokens;
  const auto seenBy = [&](uint32_t m) { return Visible(item.positions[m / item.heads % item.rows], item.a.window, base, tokens); };
  for (uint32_t m = begin; m < end;) {
    uint32_t to = m + kValueRows < end ? m + kValueRows : end;
    const Visible seen = seenBy(m);
    if (!(seen == seenBy(to - 1))) to = m + (item.heads - m % item.heads < to - m ? item.heads - m % item.heads : to - m);  // one row's
    if (seen.any) valueRows<W>(to - m, state.p + m * kUnitTokens + column / kStep<W>, values, seen.first, seen.last, state.ld, state.spanAcc + m * state.ld, ahead);
    m = to;
  }
}

// Blocks from `block` on in the order of memory, page by page, which the processor's own prefetchers then follow: 2 KiB here
// and 2 KiB there would come at half the speed. Behind an item's last block come those of the one that follows it, if any. A
// piece is one kv head's keys or values of a block.
class NextUnit {
 public:
  NextUnit(const AttentionItem& item, const AttentionItem* following, uint32_t block) : item_(&item), following_(following), block_(block) { open(); }
  const uint8_t* next() {
    const AttentionItem& item = *item_;
    const uint8_t* piece = kv_ < item.kvHeads ? keys_ + (size_t)kv_ * item.a.headStride : values_ + (size_t)(kv_ - item.kvHeads) * item.a.headStride;
    if (++kv_ == 2 * item.kvHeads) {
      block_++;
      open();
    }
    return piece;
  }

 private:
  void open() {
    kv_ = 0;
    if (block_ > item_->lastBlock && following_) {
      item_ = following_;
      block_ = item_->firstBlock;
      following_ = nullptr;
    }
    const uint32_t most = item_->lastPosition() / kBlockTokens;                // what is another thread's next is in L3 at least
    keys_ = item_->keys(block_ < most ? block_ : most, 0);
    values_ = keys_ + item_->a.planeStride;
    if (item_->a.kvType != kDTypeInt8) return;
    const uint8_t* scales = keys_ + (size_t)(item_->a.kvHeads - item_->kvHead) * item_->a.headStride;
    __builtin_prefetch(scales);
    __builtin_prefetch(scales + item_->a.planeStride);
  }
  const AttentionItem *item_, *following_;
  uint32_t block_, kv_;
  const uint8_t *keys_, *values_;
};

// Blocks [from, to] of a unit. Few pairs use what they read only once: it is widened in registers.
template <class W>
static void unitOfFew(const AttentionItem& item, const AttentionItem* following, AttentionState& state, uint32_t from, uint32_t to) {
  using Stored = typename W::Stored;
  const uint32_t blocks = to - from + 1;
  NextUnit ahead(item, following, to + 1);
  for (uint32_t kv = 0; kv < item.kvHeads; kv++) {
    const Stored* keys[kUnitBlocks];
    const uint8_t* pieces[kUnitBlocks];
    for (uint32_t b = 0; b < blocks; b++) {
      keys[b] = reinterpret_cast<const Stored*>(item.keys(from + b, kv));
      pieces[b] = ahead.next();
    }
    const uint32_t m = kv * item.pairs();
    scoreBlocks<W>(item.pairs(), state.q + m * state.dim, state.dim, keys, blocks, state.dim / kStep<W>, state.p + m * kUnitTokens + from % kUnitBlocks * kBlockTokens, pieces);
  }
  weighAll<W>(item, state, from, to);
  for (uint32_t block = from; block <= to; block++) {
    for (uint32_t kv = 0; kv < item.kvHeads; kv++) {
      addValues<W>(item, state, kv, block * kBlockTokens, kBlockTokens, reinterpret_cast<const Stored*>(item.values(block, kv)), ahead.next());
    }
  }
}

// Many pairs share a widened copy; pairs of bf16 are read where they lie, and their values only put in a row.
template <class W>
static void unitOfMany(const AttentionItem& item, const AttentionItem* following, AttentionState& state, uint32_t from, uint32_t to) {
  using Stored = typename W::Stored;
  using Wide = std::conditional_t<kStep<W> == 2, W, F32>;
  const uint32_t blocks = to - from + 1, base = from * kBlockTokens;
  const float* keys[kUnitBlocks];
  NextUnit ahead(item, following, to + 1);
  uint32_t blind = 0;                                    // rows that see nothing of the unit come first
  while ((uint32_t)item.positions[blind] < base) blind++;
  for (uint32_t kv = 0; kv < item.kvHeads; kv++) {
    for (uint32_t b = 0; b < blocks; b++) {
      const auto* stored = reinterpret_cast<const Stored*>(item.keys(from + b, kv));
      if constexpr (kStep<W> == 2) {
        keys[b] = stored;
      } else {
        float* wide = state.keys + b * kBlockTokens * state.dim;
        state.widenKeys<W>(stored, wide);
        keys[b] = wide;
      }
    }
    const uint32_t begin = kv * item.pairs() + blind * item.heads, count = item.pairs() - blind * item.heads, tiles = ceilDiv(count, kScoreRows);
    for (uint32_t i = 0; i < tiles; i++) {
      const uint32_t m = begin + evenBegin(count, tiles, i), end = begin + evenBegin(count, tiles, i + 1);
      const uint8_t* pieces[kUnitBlocks];
      const bool asks = i < 2;                           // for the keys and values of as many blocks
      for (uint32_t b = 0; b < blocks && asks; b++) pieces[b] = ahead.next();
      scoreBlocks<Wide, sizeof(Stored)>(end - m, state.q + m * state.dim, state.dim, keys, blocks, state.dim / kStep<W>, state.p + m * kUnitTokens + from % kUnitBlocks * kBlockTokens, asks ? pieces : nullptr);
    }
  }
  weighAll<W>(item, state, from, to);
  for (uint32_t kv = 0; kv < item.kvHeads; kv++) {
    for (uint32_t b = 0; b < blocks; b++) {
      const uint32_t left = item.lastPosition() - (from + b) * kBlockTokens + 1, tokens = left < kBlockTokens ? left : kBlockTokens;
      state.widenValues<W>(reinterpret_cast<const Stored*>(item.values(from + b, kv)), ceilDiv(tokens, kStep<W>), state.values + b * kBlockTokens / kStep<W> * state.ld);
    }
    addValues<Wide>(item, state, kv, base, blocks * kBlockTokens, state.values, nullptr);
  }
}

// How a segment is cut: into chunks of `step` rows, for `perGroup` kv heads each, and a single chunk perhaps into `parts` of
// `perPart` spans, whose states stand in partials from `firstPartial` on, [row][head][span]. An item takes about `ns`.
struct AttentionPlan {
  uint32_t row, rows, step = 1, chunks = 0, groups = 1, perGroup = 1, firstSpan = 0, spans = 0, parts = 1, perPart = 0, firstPartial = 0;
  uint64_t ns = 0;
  uint32_t items() const { return chunks * groups * parts; }
  bool cut() const { return parts > 1; }
};

// The plans of all segments, in their order.
class AttentionPlans {
 public:
  AttentionPlans(const AttentionArgs& a, uint32_t threads) : a_(a), heads_(a.heads / a.kvHeads) {
    pairNs_ = (a.dim * (a.kvType == kDTypeBf16 && kDotPairs ? 2.0 : 4.0) / kFlopsPerNs + 16.0 / kLanes) * 1.2;
    readNs_ = a.dim * (a.kvType == kDTypeInt8 ? 2.0 : 4.0) / kBytesPerNs;
    uint64_t total = 0;
    for (uint32_t s = 0; s < a.segmentCount; s++) {
      const AttentionPlan plan = whole(segment(s));
      total += plan.ns * plan.items();
    }
    const double wanted = tileNs((double)total, threads);
    partNs_ = (uint64_t)(wanted < kPartNsMin ? kPartNsMin : wanted);
  }
  const int32_t* segment(uint32_t s) const { return a_.segments + s * kSegmentWords; }

  // Of segment s. Asked for in ascending order.
  AttentionPlan next(uint32_t s) {
    AttentionPlan plan = whole(segment(s));
    if (plan.chunks != 1 || plan.ns < 2 * partNs_) return plan;
    uint32_t wanted = (uint32_t)((plan.ns + partNs_ - 1) / partNs_);
    const uint32_t first = a_.positions[plan.row];
    plan.firstSpan = a_.window && first >= a_.window ? (first - a_.window + 1) / kSpanTokens : 0;
    plan.spans = a_.positions[plan.row + plan.rows - 1] / kSpanTokens + 1 - plan.firstSpan;
    const uint64_t states = (uint64_t)plan.rows * a_.heads * plan.spans;
    if (a_.partials && plan.spans > 1 && used_ + states <= a_.nPartials) {
      plan.perPart = ceilDiv(plan.spans, wanted < plan.spans ? wanted : plan.spans);
      plan.parts = ceilDiv(plan.spans, plan.perPart);
      plan.firstPartial = (uint32_t)used_;
      used_ += states;
    }
    wanted = ceilDiv(wanted, plan.parts);
    if (plan.groups == 1) {
      plan.perGroup = ceilDiv(a_.kvHeads, wanted < a_.kvHeads ? wanted : a_.kvHeads);
      plan.groups = ceilDiv(a_.kvHeads, plan.perGroup);
      plan.ns /= plan.groups;
    }
    plan.ns = plan.ns / plan.parts + 100;
    return plan;
  }

 private:
  static constexpr double kPartNsMin = 8000;             // less is not worth a second phase

  AttentionPlan whole(const int32_t* segment) const {
    AttentionPlan plan;
    plan.row = segment[kSegmentRowStart];
    plan.rows = segment[kSegmentRowCount];
    if (plan.rows == 0) return plan;
    const uint32_t length = a_.positions[plan.row + plan.rows - 1] + 1;
    const uint32_t context = a_.window && length > a_.window + plan.rows ? a_.window + plan.rows : length;
    const uint32_t most = kPairsMax / heads_ ? kPairsMax / heads_ : 1;
    plan.step = plan.rows < most ? plan.rows : most;
    plan.chunks = ceilDiv(plan.rows, plan.step);
    plan.perGroup = plan.step * a_.heads <= kPairsMax ? a_.kvHeads : 1;  // heads side by side are read in a row
    plan.groups = a_.kvHeads / plan.perGroup;
    plan.ns = (uint64_t)(100 + context * plan.perGroup * (readNs_ + pairNs_ * plan.step * heads_));
    return plan;
  }

  const AttentionArgs& a_;
  uint32_t heads_;
  double pairNs_, readNs_;
  uint64_t partNs_, used_ = 0;
};

static uint64_t attentionTotalNs(const AttentionArgs& a, uint32_t threads) {
  AttentionPlans plans(a, threads);
  uint64_t total = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) {
    const AttentionPlan plan = plans.next(s);
    total += plan.ns * plan.items();
  }
  return total;
}

static uint32_t attentionTiles(const void* p, uint32_t threads) {
  return sharesOf(attentionTotalNs(*static_cast<const AttentionArgs*>(p), threads), threads);
}

// The state of a span that was put aside: [acc, padded to 16 | top, sum].
WEFT_INLINE Softmax partialOf(const AttentionArgs& a, const AttentionPlan& plan, uint32_t row, uint32_t head, uint32_t span) {
  float* at = a.partials + (size_t)(plan.firstPartial + (row * a.heads + head) * plan.spans + span - plan.firstSpan) * a.ldPartials;
  float* numbers = at + ceilDiv(a.dim, 16) * 16;
  return {numbers, numbers + 1, at};
}

// An item, or one part of one. row: its first, counted in the segment.
struct AttentionWork {
  AttentionPlan plan;
  AttentionItem item;
  uint32_t row, span, spanEnd;

  // Number i of a segment's.
  AttentionWork(const AttentionArgs& a, const int32_t* segment, const AttentionPlan& plan, uint32_t i)
      : plan(plan), item{a, segment, nullptr, 0, a.heads / a.kvHeads, 0, 0, 0, 0}, row(i / plan.parts % plan.chunks * plan.step) {
    item.rows = plan.rows - row < plan.step ? plan.rows - row : plan.step;
    item.positions = a.positions + plan.row + row;
    item.kvHead = i / plan.parts / plan.chunks * plan.perGroup;
    item.kvHeads = a.kvHeads - item.kvHead < plan.perGroup ? a.kvHeads - item.kvHead : plan.perGroup;
    const uint32_t first = item.positions[0], oldest = a.window && first >= a.window ? first - a.window + 1 : 0;
    item.firstBlock = oldest / kBlockTokens;
    item.lastBlock = item.lastPosition() / kBlockTokens;
    span = oldest / kSpanTokens;
    spanEnd = item.lastBlock / kSpanBlocks + 1;
    if (!plan.cut()) return;
    span = plan.firstSpan + i % plan.parts * plan.perPart;
    if (span + plan.perPart < spanEnd) spanEnd = span + plan.perPart;
    if (span * kSpanBlocks > item.firstBlock) item.firstBlock = span * kSpanBlocks;
    if (spanEnd * kSpanBlocks <= item.lastBlock) item.lastBlock = spanEnd * kSpanBlocks - 1;
  }
};

static void attentionItem(const AttentionWork& work, const AttentionItem* following, Scratch& scratch) {
  const AttentionPlan& plan = work.plan;
  const AttentionItem& item = work.item;
  const AttentionArgs& a = item.a;
  const uint32_t row = work.row;
  AttentionState state(scratch, item.pairs() * item.kvHeads, item.kvHeads, a.dim);
  const auto rowAt = [&](uint32_t m) { return m / item.heads % item.rows; };
  const auto headOf = [&](uint32_t m) { return (item.kvHead + m / item.pairs()) * item.heads + m % item.heads; };
  for (uint32_t m = 0; m < state.pairs; m++) {
    const float* q = a.q + (size_t)(plan.row + row + rowAt(m)) * a.ldq + headOf(m) * a.dim;
    float* scaled = state.q + m * a.dim;
    for (uint32_t i = 0; i < a.dim; i++) scaled[i] = q[i] * a.scale;
    if (a.kvType == kDTypeBf16) roundRow(scaled, reinterpret_cast<uint16_t*>(scaled), a.dim);  // into its first half
  }
  const bool few = item.pairs() <= (uint32_t)kScoreRows && state.ld == a.dim;
  for (uint32_t span = work.span; span < work.spanEnd; span++) {
    const uint32_t base = span * kSpanTokens, next = (span + 1) * kSpanBlocks;
    state.beginSpan();
    for (uint32_t block = item.firstBlock > span * kSpanBlocks ? item.firstBlock : span * kSpanBlocks; block < next && block <= item.lastBlock;) {
      const uint32_t last = block / kUnitBlocks * kUnitBlocks + kUnitBlocks - 1, to = last < item.lastBlock ? last : item.lastBlock;
      const auto compute = [&](auto format) {
        using W = decltype(format);
        if (few) unitOfFew<W>(item, following, state, block, to);
        else unitOfMany<W>(item, following, state, block, to);
      };
      if (a.kvType == kDTypeInt8) compute(Int8{});
      else if (a.kvType == kDTypeBf16) compute(Bf16Pairs{});
      else compute(F16{});
      block = to + 1;
    }
    for (uint32_t m = 0; m < state.pairs; m++) {
      const uint32_t position = item.positions[rowAt(m)];
      if (!Visible(position, a.window, base, kSpanTokens).any) continue;
      if (plan.cut()) partialOf(a, plan, row + rowAt(m), headOf(m), span).copy(state.span(m), state.ld);
      else if (base == 0 || !Visible(position, a.window, base - kSpanTokens, kSpanTokens).any) state.before(m).copy(state.span(m), state.ld);
      else state.before(m).merge(state.span(m), state.ld);
    }
  }
  if (plan.cut()) return;
  for (uint32_t m = 0; m < state.pairs; m++) state.before(m).finish(a, plan.row + row + rowAt(m), headOf(m) * a.dim);
}

static void attentionRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const AttentionArgs& a = *static_cast<const AttentionArgs*>(p);
  Share share(tile, shareNs(attentionTotalNs(a, threads), threads));
  AttentionPlans plans(a, threads);
  std::optional<AttentionWork> works[2];                 // the next one is asked for while one runs
  uint32_t found = 0;
  for (uint32_t s = 0; s < a.segmentCount && share.at < share.to; s++) {
    const AttentionPlan plan = plans.next(s);
    const Share::Range items = share.ownsOf(plan.items(), plan.ns);
    for (uint32_t i = items.begin; i < items.end; i++) {
      std::optional<AttentionWork>& work = works[found % 2];
      work.emplace(a, plans.segment(s), plan, i);
      if (found++ > 0) attentionItem(*works[found % 2], &work->item, scratch);
    }
  }
  if (found > 0) attentionItem(*works[(found - 1) % 2], nullptr, scratch);
}

// Second phase: a tile merges one kv head of one segment that was cut.
static uint32_t attentionMergeTiles(const void* p, uint32_t threads) {
  const AttentionArgs& a = *static_cast<const AttentionArgs*>(p);
  AttentionPlans plans(a, threads);
  uint32_t tiles = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) if (plans.next(s).cut()) tiles += a.kvHeads;
  return tiles;
}

static void attentionMerge(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const AttentionArgs& a = *static_cast<const AttentionArgs*>(p);
  AttentionPlans plans(a, threads);
  AttentionPlan plan;
  for (uint32_t s = 0, seen = 0; seen <= tile / a.kvHeads; s++) {
    plan = plans.next(s);
    seen += plan.cut();
  }
  const uint32_t heads = a.heads / a.kvHeads, ld = ceilDiv(a.dim, kLanes) * kLanes;
  float* state = static_cast<float*>(scratch.take((ld + 2) * sizeof(float)));
  const Softmax whole{state + ld, state + ld + 1, state};
  for (uint32_t row = 0; row < plan.rows; row++) {
    const uint32_t position = a.positions[plan.row + row];
    const uint32_t first = a.window && position >= a.window ? (position - a.window + 1) / kSpanTokens : 0, last = position / kSpanTokens;
    for (uint32_t head = tile % a.kvHeads * heads, end = head + heads; head < end; head++) {
      whole.copy(partialOf(a, plan, row, head, first), ld);
      for (uint32_t span = first + 1; span <= last; span++) whole.merge(partialOf(a, plan, row, head, span), ld);
      whole.finish(a, plan.row + row, head * a.dim);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

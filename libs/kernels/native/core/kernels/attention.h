// out[t][h] = softmax(scale · q[t][h]·K) V over the visible positions of the row's own sequence.
//
// A tile is one kv head × some query rows with all the query heads that share it: M pairs (row, head). It goes over the
// blocks of 16 positions in ascending order; each block's K and V are widened to f32 once, for all M:
//
//   scores   S[m][16] = Σ_d q[m][d] · K[d][16]      tokens in lanes, d sequential
//   softmax  m' = max(m, S); p = e^(S - m'); l = l·e^(m - m') + p in 16 lanes, folded at the end
//   values   acc[m][:] = acc[m][:]·e^(m - m') + Σ_t p[t] · V[t][:]      t sequential
//
// Every pair sees exactly these steps for exactly its own visible tokens, so its bits don't depend on the tile. What
// lies behind the last token of a page may be anything, NaN too: scores outside are replaced, values never touched.
// Multiplying by e^0 = 1 is left out, which changes no bit.
//
// one row     bound by memory: tokens·dim·4 bytes a kv head.     a chunk: by flops, 4·rows·tokens·dim a head
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr int kTokenVectors = kBlockTokens / kLanes;
constexpr int kScoreRows = kAccumulators / kTokenVectors < kRowTile ? kAccumulators / kTokenVectors : kRowTile;
constexpr int kColumns = 4;                              // vectors of acc side by side
constexpr int kValueRows = kAccumulators / kColumns < kRowTile ? kAccumulators / kColumns : kRowTile;
constexpr uint32_t kBlocksAhead = 2;                     // about the latency of memory
constexpr uint32_t kPairsMax = 48;                       // (row, head) pairs of a tile: their state stays in L1/L2

// Lines of a block to come, asked for one at a time while this one is worked on: pages lie anywhere, so the processor
// can't guess them, and all at once would fill its miss buffers and hold up the loads behind.
struct BlockAhead {
  const uint8_t *keys, *values;
  uint32_t half;                                         // lines of each
  void touch(uint32_t line) const { __builtin_prefetch(line < half ? keys + line * 64 : values + (line - half) * 64); }
};

// scores[r][16] of R pairs. q: [R][dim], keys: [dim][16].
template <class W, int R>
static void scoreTile(const float* q, const typename W::Stored* keys, uint32_t dim, float* scores, const BlockAhead& ahead) {
  F acc[R][kTokenVectors];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) acc[r][v] = zero();
  for (uint32_t d = 0; d < dim; d++, q++, keys += kBlockTokens) {
    ahead.touch(d);                                      // a block is dim lines: dim/2 of keys, dim/2 of values
    F key[kTokenVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) key[v] = W::vector(keys + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F value = splat(q[(size_t)r * dim]);
#pragma GCC unroll 4
      for (int v = 0; v < kTokenVectors; v++) acc[r][v] = fma(value, key[v], acc[r][v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) store(scores + r * kBlockTokens + v * kLanes, acc[r][v]);
}

template <class W, int R = kScoreRows>
static void scoreDispatch(uint32_t rows, const float* q, const typename W::Stored* keys, uint32_t dim, float* scores, const BlockAhead& ahead) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) scoreTile<W, R>(q, keys, dim, scores, ahead);
    else scoreDispatch<W, R - 1>(rows, q, keys, dim, scores, ahead);
  }
}

// acc[r][C vectors] += Σ over t in [first, last] of p[r][t] · values[t].
template <class W, int R, int C>
WEFT_INLINE void valueColumns(const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  F sum[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) sum[r][c] = load(acc + r * ld + c * kLanes);
  for (uint32_t t = first; t <= last; t++) {
    F value[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) value[c] = W::vector(values + t * ld + c * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) {
      const F weight = splat(p[r * kBlockTokens + t]);
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) sum[r][c] = fma(weight, value[c], sum[r][c]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) store(acc + r * ld + c * kLanes, sum[r][c]);
}

template <class W, int R>
static void valueTile(const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  uint32_t c = 0;
  for (; c + kColumns * kLanes <= ld; c += kColumns * kLanes) valueColumns<W, R, kColumns>(p, values + c, first, last, ld, acc + c);
  for (; c < ld; c += kLanes) valueColumns<W, R, 1>(p, values + c, first, last, ld, acc + c);
}

template <class W, int R = kValueRows>
static void valueDispatch(uint32_t rows, const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) valueTile<W, R>(p, values, first, last, ld, acc);
    else valueDispatch<W, R - 1>(rows, p, values, first, last, ld, acc);
  }
}

// Visible tokens of a block for a row at `position`: first > last where there are none.
struct Visible {
  uint32_t first, last;
  bool any;
  Visible(uint32_t position, uint32_t window, uint32_t block) {
    const uint32_t base = block * kBlockTokens, oldest = window && position >= window ? position - window + 1 : 0;
    any = position >= base && oldest < base + kBlockTokens;
    first = oldest > base ? oldest - base : 0;
    last = position - base < kBlockTokens ? position - base : kBlockTokens - 1;
  }
  bool whole() const { return any && first == 0 && last == kBlockTokens - 1; }
};

// What a tile keeps between blocks. ld: dim rounded up to whole vectors.
struct AttentionState {
  uint32_t pairs, dim, ld;
  float *q, *keys, *values, *p, *max, *sum, *acc;

  static uint32_t floats(uint32_t pairs, uint32_t dim, uint32_t ld) {
    return pairs * dim + kBlockTokens * dim + kBlockTokens * ld + pairs * (kBlockTokens * 2 + 1 + ld) + 7 * 16;
  }
  AttentionState(Scratch& scratch, uint32_t pairs, uint32_t dim) : pairs(pairs), dim(dim), ld(ceilDiv(dim, kLanes) * kLanes) {
    float* at = static_cast<float*>(scratch.take(floats(pairs, dim, ld) * sizeof(float)));
    auto part = [&at](uint32_t n) { float* begin = at; at += ceilDiv(n, 16) * 16; return begin; };   // whole cache lines
    keys = part(kBlockTokens * dim);
    values = part(kBlockTokens * ld);
    acc = part(pairs * ld);
    p = part(pairs * kBlockTokens);
    sum = part(pairs * kBlockTokens);
    max = part(pairs);
    q = part(pairs * dim);
    memset(acc, 0, pairs * ld * sizeof(float));
    memset(sum, 0, pairs * kBlockTokens * sizeof(float));
    for (uint32_t m = 0; m < pairs; m++) max[m] = -3.402823466e38f;        // finite: -inf scores then give weight 0
  }

  void widen(const uint16_t* keyBits, const uint16_t* valueBits, uint32_t tokens) {
    for (uint32_t i = 0; i < kBlockTokens * dim; i += kLanes) store(keys + i, loadF16(keyBits + i));
    if (ld == dim) {
      for (uint32_t i = 0; i < tokens * dim; i += kLanes) store(values + i, loadF16(valueBits + i));
      return;
    }
    for (uint32_t t = 0; t < tokens; t++) {
      for (uint32_t i = 0; i < ld; i += kLanes) {
        const uint16_t* bits = valueBits + t * dim + i;
        store(values + t * ld + i, dim - i < (uint32_t)kLanes ? loadF16N(bits, dim - i) : loadF16(bits));
      }
    }
  }

  // Lanes of vector v outside [first, last] become `other`.
  WEFT_INLINE F within(F a, int v, uint32_t first, uint32_t last, F other) {
    static const float kLane[kBlockTokens] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const F lane = load(kLane + v * kLanes);
    return ifLess(lane, splat((float)first), other, ifLess(splat((float)last), lane, other, a));
  }

  // Scales the scores of pair m, and takes a new maximum into account where there is one.
  WEFT_INLINE void raise(const AttentionState& s, uint32_t m, const Visible& seen, float scale, float softcap) {
    float* scores = s.p + m * kBlockTokens;
    const F before = splat(s.max[m]), none = splat(-3.402823466e38f);
    F high = before;
    bool raised = false;
    for (int v = 0; v < kTokenVectors; v++) {
      F score = mul(load(scores + v * kLanes), splat(scale));
      if (softcap > 0) score = mul(splat(softcap), tanhOf(divide(score, splat(softcap))));
      if (!seen.whole()) score = within(score, v, seen.first, seen.last, none);
      store(scores + v * kLanes, score);
      raised |= anyGreater(score, before);
      high = maxOf(score, high);
    }
    if (!raised) return;
    s.max[m] = maxOver(high);
    const F factor = expOf(sub(before, splat(s.max[m])));
    float *acc = s.acc + m * s.ld, *l = s.sum + m * kBlockTokens;
    for (uint32_t i = 0; i < s.ld; i += kLanes) store(acc + i, mul(load(acc + i), factor));
    for (int v = 0; v < kTokenVectors; v++) store(l + v * kLanes, mul(load(l + v * kLanes), factor));
  }

  // Turns the scores of pair m into weights; tokens that it does not see get 0.
  WEFT_INLINE void weigh(const AttentionState& s, uint32_t m, const Visible& seen) {
    float *p = s.p + m * kBlockTokens, *l = s.sum + m * kBlockTokens;
    const F top = splat(s.max[m]);
    for (int v = 0; v < kTokenVectors; v++) {
      F weight = expOf(sub(load(p + v * kLanes), top));
      if (!seen.whole()) weight = within(weight, v, seen.first, seen.last, zero());
      store(p + v * kLanes, weight);
      store(l + v * kLanes, add(load(l + v * kLanes), weight));
    }
  }

  template <class T>
  void finish(uint32_t m, typename T::Stored* out) const {
    F total = load(sum + m * kBlockTokens);
    for (int v = 1; v < kTokenVectors; v++) total = add(total, load(sum + m * kBlockTokens + v * kLanes));
    const F l = splat(sumOf(total));
    for (uint32_t i = 0; i < dim; i += kLanes) {
      const F value = divide(load(acc + m * ld + i), l);
      if (dim - i < (uint32_t)kLanes) T::putN(out + i, value, dim - i);
      else T::put(out + i, value);
    }
  }
};

// One block for all pairs of a tile: rows positions[0 …], `heads` pairs each. W is what keys and values are stored as.
template <class W>
static void attentionBlock(const AttentionArgs& a, AttentionState& state, const int32_t* positions, uint32_t heads, uint32_t block,
                           const typename W::Stored* keys, const typename W::Stored* values, const BlockAhead& ahead) {
  const uint32_t scoreTiles = ceilDiv(state.pairs, kScoreRows);
  for (uint32_t i = 0; i < scoreTiles; i++) {
    const uint32_t from = evenBegin(state.pairs, scoreTiles, i), to = evenBegin(state.pairs, scoreTiles, i + 1);
    scoreDispatch<W>(to - from, state.q + from * a.dim, keys, a.dim, state.p + from * kBlockTokens, ahead);
  }
  for (uint32_t row = 0, m = 0; m < state.pairs; row++, m += heads) {
    const Visible seen(positions[row], a.window, block);
    if (!seen.any) continue;
    for (uint32_t h = 0; h < heads; h++) AttentionState::raise(state, m + h, seen, a.scale, a.softcap);
    for (uint32_t h = 0; h < heads; h++) AttentionState::weigh(state, m + h, seen);
  }
  for (uint32_t m = 0; m < state.pairs;) {
    const uint32_t end = m + kValueRows < state.pairs ? m + kValueRows : state.pairs;
    const Visible first(positions[m / heads], a.window, block), last(positions[(end - 1) / heads], a.window, block);
    if (first.whole() && last.whole()) {
      valueDispatch<W>(end - m, state.p + m * kBlockTokens, values, 0, kBlockTokens - 1, state.ld, state.acc + m * state.ld);
      m = end;
      continue;
    }
    for (; m < end; m++) {
      const Visible seen(positions[m / heads], a.window, block);
      if (seen.any) valueTile<W, 1>(state.p + m * kBlockTokens, values, seen.first, seen.last, state.ld, state.acc + m * state.ld);
    }
  }
}

static void attentionTile(const AttentionArgs& a, const int32_t* segment, uint32_t kvHead, uint32_t row, uint32_t rows, Scratch& scratch) {
  const uint32_t heads = a.heads / a.kvHeads, pairs = rows * heads;
  AttentionState state(scratch, pairs, a.dim);
  for (uint32_t r = 0; r < rows; r++) {
    memcpy(state.q + r * heads * a.dim, a.q + (size_t)(row + r) * a.ldq + kvHead * heads * a.dim, heads * a.dim * sizeof(float));
  }
  const int32_t* positions = a.positions + row;
  const uint32_t oldest = a.window && (uint32_t)positions[0] >= a.window ? positions[0] - a.window + 1 : 0;
  const uint32_t lastPosition = positions[rows - 1];     // positions of a segment's rows ascend
  const uint32_t lastBlock = lastPosition / kBlockTokens;
  const bool few = pairs <= (uint32_t)kScoreRows && state.ld == a.dim;   // f16 is widened in registers: it is used only once
  for (uint32_t block = oldest / kBlockTokens; block <= lastBlock; block++) {
    const uint8_t* keys = pageOf(a, segment, block) + (size_t)kvHead * a.headStride;
    const uint8_t* next = pageOf(a, segment, block + kBlocksAhead < lastBlock ? block + kBlocksAhead : lastBlock) + (size_t)kvHead * a.headStride;
    const BlockAhead ahead{next, next + a.planeStride, a.dim / 2};
    const uint16_t *keyBits = reinterpret_cast<const uint16_t*>(keys), *valueBits = reinterpret_cast<const uint16_t*>(keys + a.planeStride);
    if (few) {
      attentionBlock<F16>(a, state, positions, heads, block, keyBits, valueBits, ahead);
    } else {
      const uint32_t tokens = block < lastBlock ? kBlockTokens : lastPosition % kBlockTokens + 1;
      state.widen(keyBits, valueBits, tokens);
      attentionBlock<F32>(a, state, positions, heads, block, state.keys, state.values, ahead);
    }
  }
  withRowType(a.outType, [&](auto type) {
    using T = decltype(type);
    for (uint32_t m = 0; m < pairs; m++) {
      state.finish<T>(m, rowOf<T>(a.out, row + m / heads, a.ldo) + (kvHead * heads + m % heads) * a.dim);
    }
  });
}

// How a segment is cut: for each kv head into chunks of `step` rows, each of about `ns`.
struct AttentionPlan {
  uint32_t row, rows, step, chunks;
  uint64_t ns;
  AttentionPlan(const AttentionArgs& a, const int32_t* segment)
      : row(segment[kSegmentRowStart]), rows(segment[kSegmentRowCount]), step(1), chunks(0), ns(0) {
    if (rows == 0) return;
    const uint32_t heads = a.heads / a.kvHeads, length = a.positions[row + rows - 1] + 1;
    const uint32_t context = a.window && length > a.window + rows ? a.window + rows : length;
    const double rowNs = heads * context * (a.dim * 4.0 / kFlopsPerNs + 16.0 / kLanes) * 1.2;
    const double widenNs = context * a.dim * 4.0 / kBytesPerNs;
    step = kPairsMax / heads ? kPairsMax / heads : 1;
    if (step * rowNs > kTileNs) step = kTileNs / rowNs > 4 ? (uint32_t)(kTileNs / rowNs) : step < 4 ? step : 4;
    chunks = ceilDiv(rows, step);
    ns = (uint64_t)(100 + widenNs + rowNs * (rows < step ? rows : step));
  }
  uint64_t total(uint32_t kvHeads) const { return ns * chunks * kvHeads; }
};

static uint64_t attentionTotalNs(const AttentionArgs& a) {
  uint64_t total = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) total += AttentionPlan(a, a.segments + s * kSegmentWords).total(a.kvHeads);
  return total;
}

static uint32_t attentionTiles(const void* p, uint32_t threads) {
  return sharesOf(attentionTotalNs(*static_cast<const AttentionArgs*>(p)), threads);
}

static void attentionRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const AttentionArgs& a = *static_cast<const AttentionArgs*>(p);
  Share share(tile, shareNs(attentionTotalNs(a), threads));
  for (uint32_t s = 0; s < a.segmentCount && share.at < share.to; s++) {
    const int32_t* segment = a.segments + s * kSegmentWords;
    const AttentionPlan plan(a, segment);
    const Share::Range items = share.ownsOf(plan.chunks * a.kvHeads, plan.ns);
    for (uint32_t i = items.begin; i < items.end; i++) {
      const uint32_t kvHead = i / plan.chunks, from = i % plan.chunks * plan.step;
      attentionTile(a, segment, kvHead, plan.row + from, plan.rows - from < plan.step ? plan.rows - from : plan.step, scratch);
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

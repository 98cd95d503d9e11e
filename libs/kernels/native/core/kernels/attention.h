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
constexpr uint32_t kPairsMax = 48;                       // (row, head) pairs of a tile: their state stays in L1/L2

// scores[r][16] of R pairs. q: [dim][R].
template <int R>
static void scoreTile(const float* q, const float* keys, uint32_t dim, float* scores) {
  F acc[R][kTokenVectors];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) acc[r][v] = zero();
  for (uint32_t d = 0; d < dim; d++, q += R, keys += kBlockTokens) {
    F key[kTokenVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) key[v] = load(keys + v * kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F value = splat(q[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kTokenVectors; v++) acc[r][v] = fma(value, key[v], acc[r][v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int v = 0; v < kTokenVectors; v++) store(scores + r * kBlockTokens + v * kLanes, acc[r][v]);
}

template <int R = kScoreRows>
static void scoreDispatch(uint32_t rows, const float* q, const float* keys, uint32_t dim, float* scores) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) scoreTile<R>(q, keys, dim, scores);
    else scoreDispatch<R - 1>(rows, q, keys, dim, scores);
  }
}

// acc[r][C vectors] += Σ over t in [first, last] of p[r][t] · values[t].
template <int R, int C>
WEFT_INLINE void valueColumns(const float* p, const float* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  F sum[R][C];
#pragma GCC unroll 6
  for (int r = 0; r < R; r++)
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) sum[r][c] = load(acc + r * ld + c * kLanes);
  for (uint32_t t = first; t <= last; t++) {
    F value[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c++) value[c] = load(values + t * ld + c * kLanes);
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

template <int R>
static void valueTile(const float* p, const float* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  uint32_t c = 0;
  for (; c + kColumns * kLanes <= ld; c += kColumns * kLanes) valueColumns<R, kColumns>(p, values + c, first, last, ld, acc + c);
  for (; c < ld; c += kLanes) valueColumns<R, 1>(p, values + c, first, last, ld, acc + c);
}

template <int R = kValueRows>
static void valueDispatch(uint32_t rows, const float* p, const float* values, uint32_t first, uint32_t last, uint32_t ld, float* acc) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) valueTile<R>(p, values, first, last, ld, acc);
    else valueDispatch<R - 1>(rows, p, values, first, last, ld, acc);
  }
}

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
    for (uint32_t t = 0; t < tokens; t++) {
      for (uint32_t i = 0; i < ld; i += kLanes) {
        const uint16_t* bits = valueBits + t * dim + i;
        store(values + t * ld + i, dim - i < (uint32_t)kLanes ? loadF16N(bits, dim - i) : loadF16(bits));
      }
    }
  }

  // Turns the scores of pair m into weights; tokens outside [first, last] get 0.
  void weigh(uint32_t m, uint32_t first, uint32_t last, float scale, float softcap) {
    static const float kLane[kBlockTokens] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const F none = splat(-3.402823466e38f);
    const bool whole = first == 0 && last == kBlockTokens - 1;
    F s[kTokenVectors];
    bool raised = false;
    const F before = splat(max[m]);
    for (int v = 0; v < kTokenVectors; v++) {
      s[v] = mul(load(p + m * kBlockTokens + v * kLanes), splat(scale));
      if (softcap > 0) s[v] = mul(splat(softcap), tanhOf(divide(s[v], splat(softcap))));
      if (!whole) {
        const F lane = load(kLane + v * kLanes);
        s[v] = ifLess(lane, splat((float)first), none, ifLess(splat((float)last), lane, none, s[v]));
      }
      raised |= anyGreater(s[v], before);
    }
    float* l = sum + m * kBlockTokens;
    if (raised) {
      F high = s[0];
      for (int v = 1; v < kTokenVectors; v++) high = maxOf(s[v], high);
      const float now = maxOver(maxOf(high, before));
      const F factor = expOf(sub(before, splat(now)));
      for (uint32_t i = 0; i < ld; i += kLanes) store(acc + m * ld + i, mul(load(acc + m * ld + i), factor));
      for (int v = 0; v < kTokenVectors; v++) store(l + v * kLanes, mul(load(l + v * kLanes), factor));
      max[m] = now;
    }
    const F top = splat(max[m]);
    for (int v = 0; v < kTokenVectors; v++) {
      F weight = expOf(sub(s[v], top));
      if (!whole) {
        const F lane = load(kLane + v * kLanes);
        weight = ifLess(lane, splat((float)first), zero(), ifLess(splat((float)last), lane, zero(), weight));
      }
      store(p + m * kBlockTokens + v * kLanes, weight);
      store(l + v * kLanes, add(load(l + v * kLanes), weight));
    }
  }

  void finish(uint32_t m, float* out) const {
    F total = load(sum + m * kBlockTokens);
    for (int v = 1; v < kTokenVectors; v++) total = add(total, load(sum + m * kBlockTokens + v * kLanes));
    const F l = splat(sumOf(total));
    for (uint32_t i = 0; i < dim; i += kLanes) {
      const F value = divide(load(acc + m * ld + i), l);
      if (dim - i < (uint32_t)kLanes) storeN(out + i, value, dim - i);
      else store(out + i, value);
    }
  }
};

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

static void attentionTile(const AttentionArgs& a, const int32_t* segment, uint32_t kvHead, uint32_t row, uint32_t rows, Scratch& scratch) {
  const uint32_t heads = a.heads / a.kvHeads, pairs = rows * heads;
  AttentionState state(scratch, pairs, a.dim);
  // Queries as [dim][R] for each register tile of R pairs.
  const uint32_t scoreTiles = ceilDiv(pairs, kScoreRows);
  for (uint32_t i = 0; i < scoreTiles; i++) {
    const uint32_t from = evenBegin(pairs, scoreTiles, i), to = evenBegin(pairs, scoreTiles, i + 1);
    for (uint32_t m = from; m < to; m++) {
      const float* q = a.q + (size_t)(row + m / heads) * a.ldq + (kvHead * heads + m % heads) * a.dim;
      for (uint32_t d = 0; d < a.dim; d++) state.q[from * a.dim + d * (to - from) + (m - from)] = q[d];
    }
  }
  const int32_t* positions = a.positions + row;
  const uint32_t oldest = a.window && (uint32_t)positions[0] >= a.window ? positions[0] - a.window + 1 : 0;
  const uint32_t lastPosition = positions[rows - 1];     // positions of a segment's rows ascend
  for (uint32_t block = oldest / kBlockTokens; block <= lastPosition / kBlockTokens; block++) {
    const uint8_t* page = pageOf(a, segment, block) + (size_t)kvHead * a.headStride;
    const uint32_t tokens = lastPosition - block * kBlockTokens < kBlockTokens ? lastPosition - block * kBlockTokens + 1 : kBlockTokens;
    state.widen(reinterpret_cast<const uint16_t*>(page), reinterpret_cast<const uint16_t*>(page + a.planeStride), tokens);
    for (uint32_t i = 0; i < scoreTiles; i++) {
      const uint32_t from = evenBegin(pairs, scoreTiles, i), to = evenBegin(pairs, scoreTiles, i + 1);
      scoreDispatch(to - from, state.q + from * a.dim, state.keys, a.dim, state.p + from * kBlockTokens);
    }
    for (uint32_t m = 0; m < pairs; m++) {
      const Visible seen(positions[m / heads], a.window, block);
      if (seen.any) state.weigh(m, seen.first, seen.last, a.scale, a.softcap);
    }
    for (uint32_t m = 0; m < pairs;) {
      const uint32_t end = m + kValueRows < pairs ? m + kValueRows : pairs;
      const Visible first(positions[m / heads], a.window, block), last(positions[(end - 1) / heads], a.window, block);
      if (first.whole() && last.whole()) {
        valueDispatch(end - m, state.p + m * kBlockTokens, state.values, 0, kBlockTokens - 1, state.ld, state.acc + m * state.ld);
        m = end;
        continue;
      }
      for (; m < end; m++) {
        const Visible seen(positions[m / heads], a.window, block);
        if (seen.any) valueTile<1>(state.p + m * kBlockTokens, state.values, seen.first, seen.last, state.ld, state.acc + m * state.ld);
      }
    }
  }
  for (uint32_t m = 0; m < pairs; m++) {
    state.finish(m, a.out + (size_t)(row + m / heads) * a.ldo + (kvHead * heads + m % heads) * a.dim);
  }
}

// How a segment is cut: `chunks` runs of rows for each kv head, each of about `ns`.
struct AttentionPlan {
  uint32_t chunks;
  uint64_t ns;
  AttentionPlan(const AttentionArgs& a, const int32_t* segment) {
    const uint32_t heads = a.heads / a.kvHeads, rows = segment[kSegmentRowCount];
    const uint32_t last = a.positions[segment[kSegmentRowStart] + rows - 1] + 1;
    const uint32_t context = a.window && last > a.window + rows ? a.window + rows : last;
    const double rowNs = heads * context * (a.dim * 4.0 / kFlopsPerNs + 16.0 / kLanes) * 1.2;
    const double widenNs = context * a.dim * 4.0 / kBytesPerNs;
    uint32_t most = kPairsMax / heads ? kPairsMax / heads : 1;
    if (most * rowNs > kTileNs) most = kTileNs / rowNs > 4 ? (uint32_t)(kTileNs / rowNs) : most < 4 ? most : 4;
    chunks = ceilDiv(rows, most);
    ns = (uint64_t)(100 + widenNs + rowNs * rows / chunks);
  }
};

static uint64_t attentionTotalNs(const AttentionArgs& a) {
  uint64_t total = 0;
  for (uint32_t s = 0; s < a.segmentCount; s++) {
    const int32_t* segment = a.segments + s * kSegmentWords;
    if (segment[kSegmentRowCount] == 0) continue;
    AttentionPlan plan(a, segment);
    total += plan.ns * plan.chunks * a.kvHeads;
  }
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
    const uint32_t row = segment[kSegmentRowStart], rows = segment[kSegmentRowCount];
    if (rows == 0) continue;
    AttentionPlan plan(a, segment);
    if (share.skips(plan.ns * plan.chunks * a.kvHeads)) continue;
    for (uint32_t kvHead = 0; kvHead < a.kvHeads; kvHead++) {
      for (uint32_t c = 0; c < plan.chunks; c++) {
        const uint32_t from = evenBegin(rows, plan.chunks, c), to = evenBegin(rows, plan.chunks, c + 1);
        if (share.owns(plan.ns)) attentionTile(a, segment, kvHead, row + from, to - from, scratch);
      }
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

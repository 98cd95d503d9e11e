// y[t][h] += scale·weight · Aᵀ(B_hᵀ x[t][h])   or   B_h(A x[t][h]): what adapters add to the heads' maps of latent attention.
//
// The first half is dot products with rank rows, K in lanes, folded in a fixed tree; the second adds rank rows, outputs in lanes,
// ranks sequential. A's rank rows are units, B_h's are cut by units of 64 outputs: pieces. What is between them, u, never leaves L1.
// A tile is some heads × some rows and walks all groups in their order, so that a row adds them in that order.
//
// bound by flops: 2·rank·(latent + outs) a row and head; heads share A, which they find in the cache
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kLatentRankMax = 256, kLatentOutsMax = 1024;  // held by check_shapes.cpp: they stand on the stack
constexpr int kLatentRows = kShrinkRowTile;

// The values of a rank row that lie side by side.
struct Piece {
  uint32_t begin, count;                                 // of the vector that they are multiplied with or added to
  const uint8_t* const* rows;                            // A: where each rank row begins
  const uint8_t* unit;                                   // B: of [rank][64], from the first of our outputs on
  template <class W>
  const typename W::Stored* at(uint32_t j) const {
    return rows ? reinterpret_cast<const typename W::Stored*>(rows[j]) : reinterpret_cast<const typename W::Stored*>(unit) + (size_t)j * kUnitOuts;
  }
};

// u[r][j …] of R rows and J ranks.
template <class W, int R, int J>
static void latentDots(const Piece* pieces, uint32_t count, uint32_t j, const float* const* x, float (*u)[kLatentRankMax]) {
  F acc[J][R];
#pragma GCC unroll 8
  for (int i = 0; i < J; i++)
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) acc[i][r] = zero();
  for (const Piece* piece = pieces; piece < pieces + count; piece++) {
    const typename W::Stored* at[J];
    for (int i = 0; i < J; i++) at[i] = piece->at<W>(j + i);
    const auto step = [&](uint32_t k, auto weight, auto value) __attribute__((always_inline)) {
      F weights[J];
#pragma GCC unroll 8
      for (int i = 0; i < J; i++) weights[i] = weight(at[i] + k);
#pragma GCC unroll 6
      for (int r = 0; r < R; r++) {
        const F v = inRegister(value(x[r] + piece->begin + k));
#pragma GCC unroll 8
        for (int i = 0; i < J; i++) acc[i][r] = fma(weights[i], v, acc[i][r]);
      }
    };
    uint32_t k = 0;
    for (; k + kLanes <= piece->count; k += kLanes)
      step(k, [](const typename W::Stored* p) __attribute__((always_inline)) { return W::vector(p); }, [](const float* p) __attribute__((always_inline)) { return load(p); });
    if (k < piece->count) {
      const int n = piece->count - k;
      step(k, [n](const typename W::Stored* p) __attribute__((always_inline)) { return W::vectorN(p, n); }, [n](const float* p) __attribute__((always_inline)) { return loadN(p, n); });
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < J; i++)
#pragma GCC unroll 6
    for (int r = 0; r < R; r++) u[r][j + i] = sumOf(acc[i][r]);
}

template <class W, int R, int J = shrinkRanksFor(R)>
static void latentDotsOf(const Piece* pieces, uint32_t count, uint32_t j, uint32_t rank, const float* const* x, float (*u)[kLatentRankMax]) {
  for (; j + J <= rank; j += J) latentDots<W, R, J>(pieces, count, j, x, u);
  if constexpr (J > 1) {
    if (j < rank) latentDotsOf<W, R, J / 2>(pieces, count, j, rank, x, u);
  }
}

// y[r][piece] += f · Σ_j u[r][j] · rank row j, from value i on, C vectors at a time.
template <class W, int R, int C>
static void latentSums(const Piece& piece, uint32_t i, uint32_t rank, const float (*u)[kLatentRankMax], float f, float* const* y) {
  const auto tile = [&](auto weight, int n) __attribute__((always_inline)) {
    F acc[R][C];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) acc[r][c] = zero();
    for (uint32_t j = 0; j < rank; j++) {
      const typename W::Stored* at = piece.at<W>(j) + i;
      F weights[C];
#pragma GCC unroll 4
      for (int c = 0; c < C; c++) weights[c] = weight(at + c * kLanes);
#pragma GCC unroll 6
      for (int r = 0; r < R; r++)
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) acc[r][c] = fma(splat(u[r][j]), weights[c], acc[r][c]);
    }
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) {
        float* at = y[r] + piece.begin + i + c * kLanes;
        storeN(at, fma(splat(f), acc[r][c], loadN(at, n)), n);
      }
  };
  for (; i + C * kLanes <= piece.count; i += C * kLanes) tile([](const typename W::Stored* p) __attribute__((always_inline)) { return W::vector(p); }, kLanes);
  if constexpr (C > 1) {
    if (i < piece.count) latentSums<W, R, C / 2>(piece, i, rank, u, f, y);
  } else if (i < piece.count) {
    const int n = piece.count - i;
    tile([n](const typename W::Stored* p) __attribute__((always_inline)) { return W::vectorN(p, n); }, n);
  }
}

// One head's part of an adapter. a: where its rank rows begin.
struct LatentAdapter {
  Piece a, b[kLatentOutsMax / kUnitOuts + 2];
  uint32_t pieces = 0;

  LatentAdapter(const LatentLoraArgs& args, const Run& runA, const Run& runB, uint32_t head, const uint8_t** rows) : a{0, args.latent, rows, nullptr} {
    UnitCursor ranks(runA, args.arena), units(runB, args.arena);
    for (uint32_t j = 0; j < runA.rank(); j++) rows[j] = ranks.at(j);
    const uint32_t from = head * args.headOuts + args.firstOut, to = from + args.outs;
    for (uint32_t out = from; out < to;) {
      const uint32_t end = (out / kUnitOuts + 1) * kUnitOuts < to ? (out / kUnitOuts + 1) * kUnitOuts : to;
      b[pieces++] = {out - from, end - out, nullptr, units.at(out / kUnitOuts) + out % kUnitOuts * sizeof(uint16_t)};
      out = end;
    }
  }
};

template <class WA, class WB, int R>
static void latentApply(const LatentAdapter& adapter, bool transposed, uint32_t rank, float f, const float* const* x, float* const* y) {
  float u[R][kLatentRankMax];
  constexpr int C = besides(R, 1, 4);
  if (transposed) {
    latentDotsOf<WB, R>(adapter.b, adapter.pieces, 0, rank, x, u);
    latentSums<WA, R, C>(adapter.a, 0, rank, u, f, y);
  } else {
    latentDotsOf<WA, R>(&adapter.a, 1, 0, rank, x, u);
    for (uint32_t i = 0; i < adapter.pieces; i++) latentSums<WB, R, C>(adapter.b[i], 0, rank, u, f, y);
  }
}

template <class WA, class WB, int R = kLatentRows>
static void latentDispatch(uint32_t rows, const LatentAdapter& adapter, bool transposed, uint32_t rank, float f, const float* const* x, float* const* y) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) latentApply<WA, WB, R>(adapter, transposed, rank, f, x, y);
    else latentDispatch<WA, WB, R - 1>(rows, adapter, transposed, rank, f, x, y);
  }
}

// Heads of a tile, and stripes of rows where there are many.
struct LatentLoraPlan {
  uint32_t stripes;
  Split heads;
  LatentLoraPlan(const LatentLoraArgs& a, uint32_t threads) : stripes(a.groupRowCount / 128 + 1), heads(a.heads, headNs(a) / stripes, threads) {}
  static double headNs(const LatentLoraArgs& a) {
    double ns = 0;
    for (uint32_t g = 0; g < a.groupCount; g++) {
      const int32_t* group = a.groups + g * kGroupWords;
      const uint32_t rank = Run::of(a, group, 0, kHalfB).units() ? Run::of(a, group, 0, kHalfB).rank() : 0;
      if (rank == 0) continue;
      const double values = 2.0 * rank * (a.latent + a.outs), bytes = values / tuning().bytesPerNs, flops = values * group[kGroupRowCount] / tuning().flopsPerNs;
      ns += 20 + 10.0 * group[kGroupRowCount] + (bytes > flops ? bytes : flops);
    }
    return ns;
  }
};

static uint32_t latentLoraTiles(const void* p, uint32_t threads) {
  const LatentLoraArgs& a = *static_cast<const LatentLoraArgs*>(p);
  if (LatentLoraPlan::headNs(a) == 0) return 0;
  const LatentLoraPlan plan(a, threads);
  return plan.heads.tiles() * plan.stripes;
}

static void latentLoraRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LatentLoraArgs& a = *static_cast<const LatentLoraArgs*>(p);
  const LatentLoraPlan plan(a, threads);
  const uint32_t stripe = tile % plan.stripes, heads = tile / plan.stripes;
  uint32_t* members = scratch.indices(a.groupRowCount);   // rows of a group that are in our stripe
  const uint8_t* rankRows[kLatentRankMax];
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    const Run runA = Run::of(a, group, 0, kHalfA), runB = Run::of(a, group, 0, kHalfB);
    if (!runB.units()) continue;
    uint32_t count = 0;
    for (uint32_t i = 0; i < (uint32_t)group[kGroupRowCount]; i++) {
      members[count] = a.groupRows[group[kGroupRowStart] + i];
      count += members[count] / kStripe % plan.stripes == stripe;
    }
    if (!count) continue;
    const float f = runB.scale() * wordAsFloat(group[kGroupWeight]);
    for (uint32_t head = plan.heads.begin(heads); head < plan.heads.end(heads); head++) {
      const LatentAdapter adapter(a, runA, runB, head, rankRows);
      const uint32_t tiles = ceilDiv(count, kLatentRows);
      for (uint32_t t = 0; t < tiles; t++) {
        const uint32_t from = evenBegin(count, tiles, t), rows = evenBegin(count, tiles, t + 1) - from;
        const float* x[kLatentRows] = {};
        float* y[kLatentRows] = {};
        for (uint32_t r = 0; r < rows; r++) {
          x[r] = a.x + (size_t)members[from + r] * a.ldx + (size_t)head * a.xStride;
          y[r] = a.y + (size_t)members[from + r] * a.ldy + (size_t)head * a.yStride;
        }
        const auto apply = [&](auto formatA, auto formatB) {
          latentDispatch<decltype(formatA), decltype(formatB)>(rows, adapter, a.transposed, runB.rank(), f, x, y);
        };
        const bool bf16A = runA.dtype() == kDTypeBf16, bf16B = runB.dtype() == kDTypeBf16;
        if (bf16A && bf16B) apply(Bf16{}, Bf16{});
        else if (bf16A) apply(Bf16{}, F16{});
        else if (bf16B) apply(F16{}, Bf16{});
        else apply(F16{}, F16{});
      }
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

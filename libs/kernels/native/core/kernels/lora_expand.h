// y[groupRows[i]][outOffset_p + o] += scale·weight · Σ_j B_p[o][j] · u[i][p·partStride + j].
//
// A unit of B is 64 outputs × all ranks as [rank][64]: the outputs' sums stay in registers over all ranks, B is one
// sequential stream, and y is touched once per group. The sum over ranks is sequential; groups follow in their order
// inside a tile, so a row that stands in several groups adds them in that order.
//
// one row a group    bound by memory: dOut·rank·2 bytes.
// many rows          bound by flops: 2·rows·rank·dOut. Up to six rows × 64 outputs in registers (AVX-512).
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr uint32_t kUnitOuts = 64;
constexpr int kUnitPairs = kUnitOuts / (2 * kLanes);
constexpr int kExpandRows = kRowTile < 6 ? kRowTile : 6;
constexpr uint32_t kStripe = 32;                         // rows of y that always go to the same tile

constexpr int expandPairsFor(int rows) {
  int pairs = kUnitPairs;
  while (pairs > 1 && rows * pairs * 2 > kAccumulators) pairs /= 2;
  return pairs;
}

// `outs` of the unit's 64 outputs exist in y.
template <class W, int R>
static void expandTile(const typename W::Stored* unit, uint32_t rank, const float* const* u, float factor, float* const* y, uint32_t outs) {
  constexpr int P = expandPairsFor(R);
  for (int pair = 0; pair < kUnitPairs; pair += P) {
    const typename W::Stored* b = unit + pair * 2 * kLanes;
    F acc[R][P][2];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) acc[r][p][0] = acc[r][p][1] = zero();
    for (uint32_t j = 0; j < rank; j++, b += kUnitOuts) {
      F weights[P][2];
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) W::pair(b + p * 2 * kLanes, weights[p][0], weights[p][1]);
#pragma GCC unroll 6
      for (int r = 0; r < R; r++) {
        const F value = splat(u[r][j]);
#pragma GCC unroll 4
        for (int p = 0; p < P; p++) {
          acc[r][p][0] = fma(value, weights[p][0], acc[r][p][0]);
          acc[r][p][1] = fma(value, weights[p][1], acc[r][p][1]);
        }
      }
    }
    const F f = splat(factor);
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        W::order(acc[r][p][0], acc[r][p][1]);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
          const uint32_t out = (pair + p) * 2 * kLanes + h * kLanes;
          if (out >= outs) continue;
          const int n = outs - out < (uint32_t)kLanes ? (int)(outs - out) : kLanes;
          storeN(y[r] + out, fma(f, acc[r][p][h], loadN(y[r] + out, n)), n);
        }
      }
  }
}

template <class W, int R = kExpandRows>
static void expandDispatch(uint32_t rows, const uint8_t* unit, uint32_t rank, const float* const* u, float factor, float* const* y, uint32_t outs) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) expandTile<W, R>(reinterpret_cast<const typename W::Stored*>(unit), rank, u, factor, y, outs);
    else expandDispatch<W, R - 1>(rows, unit, rank, u, factor, y, outs);
  }
}

// The parts of a fused site as one list of units, cut into runs; many rows are cut into stripes as well.
struct ExpandPlan {
  uint32_t offset[3], dOut[3], parts, units, stripes;
  Split runs;
  ExpandPlan(const LoraExpandArgs& a, uint32_t threads)
      : offset{a.outOffset0, a.outOffset1, a.outOffset2}, dOut{a.dOut0, a.dOut1, a.dOut2}, parts(a.parts), units(0),
        stripes(a.groupRowCount / 128 + 1), runs(countUnits(), unitNs(a) / stripes, threads) {}
  uint32_t countUnits() {
    for (uint32_t p = 0; p < parts; p++) units += ceilDiv(dOut[p], kUnitOuts);
    return units;
  }
  static double unitNs(const LoraExpandArgs& a) {
    double ns = 0;
    for (uint32_t g = 0; g < a.groupCount; g++) {
      const int32_t* group = a.groups + g * kGroupWords;
      uint32_t rank = 0;
      for (uint32_t p = 0; p < a.parts; p++) {
        const Run run = Run::of(a, group, p, 1);
        if (run.units() && run.rank() > rank) rank = run.rank();
      }
      if (rank == 0) continue;
      double bytes = rank * 128.0 / kBytesPerNs, flops = 128.0 * rank * group[kGroupRowCount] / kFlopsPerNs;
      ns += 10 + 4.0 * group[kGroupRowCount] + (bytes > flops ? bytes : flops);
    }
    return ns;
  }
};

static uint32_t loraExpandTiles(const void* p, uint32_t threads) {
  const LoraExpandArgs& a = *static_cast<const LoraExpandArgs*>(p);
  if (ExpandPlan::unitNs(a) == 0) return 0;
  ExpandPlan plan(a, threads);
  return plan.runs.tiles() * plan.stripes;
}

// Unit by unit, the rows of one group that belong to this stripe.
template <class W>
static void expandGroup(const LoraExpandArgs& a, const ExpandPlan& plan, const Run& run, const int32_t* group, uint32_t part,
                        uint32_t firstUnit, uint32_t endUnit, uint32_t stripe) {
  const float factor = run.scale() * wordAsFloat(group[kGroupWeight]);
  const uint32_t begin = group[kGroupRowStart], end = begin + group[kGroupRowCount];
  UnitCursor cursor(run, a.arena);
  for (uint32_t unit = firstUnit; unit < endUnit; unit++) {
    const uint8_t* bytes = cursor.at(unit);
    const uint32_t left = plan.dOut[part] - unit * kUnitOuts, outs = left < kUnitOuts ? left : kUnitOuts;
    const float* u[kExpandRows];
    float* y[kExpandRows];
    uint32_t rows = 0;
    for (uint32_t i = begin; i < end; i++) {
      const uint32_t row = a.groupRows[i];
      if (plan.stripes > 1 && row / kStripe % plan.stripes != stripe) continue;
      u[rows] = a.u + (size_t)i * a.ldu + part * a.partStride;
      y[rows] = a.y + (size_t)row * a.ldy + plan.offset[part] + unit * kUnitOuts;
      if (++rows == kExpandRows) {
        expandDispatch<W>(rows, bytes, run.rank(), u, factor, y, outs);
        rows = 0;
      }
    }
    expandDispatch<W>(rows, bytes, run.rank(), u, factor, y, outs);
  }
}

static void loraExpandRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const LoraExpandArgs& a = *static_cast<const LoraExpandArgs*>(p);
  ExpandPlan plan(a, threads);
  const uint32_t stripe = tile % plan.stripes, from = plan.runs.begin(tile / plan.stripes), to = plan.runs.end(tile / plan.stripes);
  for (uint32_t g = 0; g < a.groupCount; g++) {
    const int32_t* group = a.groups + g * kGroupWords;
    uint32_t partBegin = 0;
    for (uint32_t part = 0; part < a.parts; part++) {
      const uint32_t units = ceilDiv(plan.dOut[part], kUnitOuts);
      const uint32_t first = from > partBegin ? from - partBegin : 0, last = to - partBegin < units ? to - partBegin : units;
      const Run run = Run::of(a, group, part, 1);
      if (to > partBegin && first < last && run.units()) {
        if (run.dtype() == kDTypeBf16) expandGroup<Bf16>(a, plan, run, group, part, first, last, stripe);
        else expandGroup<F16>(a, plan, run, group, part, first, last, stripe);
      }
      partBegin += units;
    }
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

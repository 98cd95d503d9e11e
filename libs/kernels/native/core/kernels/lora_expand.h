// y[groupRows[i]][outOffset_p + o] += scale·weight · Σ_j B_p[o][j] · u[i][p·partStride + j].
//
// With a tail: y += weight·(h·y + (1 + h)·scale·Σ_j … + c), h and c of each output behind the ranks.
//
// A unit of B is 64 outputs × all ranks as [rank][64]: the outputs' sums stay in registers over all ranks, B is one
// sequential stream, and y is touched once per group. The sum over ranks is sequential; groups follow in their order
// inside a tile, so a row that stands in several groups adds them in that order.
//
// one row a group    bound by memory: dOut·rank·2 bytes.
// many rows          bound by flops: 2·rows·rank·dOut. Up to six rows × 64 outputs in registers (AVX-512), × 16 (AVX2).
//                    Where ranks are low, by y: 8 bytes a value and group.
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

constexpr uint32_t kStripedFrom = 128;                   // rows
constexpr uint32_t kRowsSeen = 512;

// Whether no row stands in two groups: then nothing depends on the order of groups.
static bool rowsApart(const LoraExpandArgs& a) {
  if (a.groupCount < 2 || a.groupRowCount >= kStripedFrom) return false;
  uint64_t seen[kRowsSeen / 64] = {};
  for (uint32_t i = 0; i < a.groupRowCount; i++) {
    const uint32_t row = (uint32_t)a.groupRows[i];
    if (row >= kRowsSeen || (seen[row / 64] >> row % 64 & 1)) return false;
    seen[row / 64] |= uint64_t{1} << row % 64;
  }
  return true;
}

// How (group, unit) pairs are cut into tiles, units being those of all parts of a fused site. Where rows stand in one group
// each, a tile is a stretch of adapters, each read from end to end: long streams, which the processor's prefetcher helps with.
// Otherwise it is a range of units of all groups, in their order; many rows are cut into stripes as well.
struct ExpandPlan {
  uint32_t offset[3], dOut[3], parts, units, stripes;
  bool alongGroups;
  uint64_t totalNs, shareOfNs;
  uint32_t shares;
  Split runs;
  ExpandPlan(const LoraExpandArgs& a, uint32_t threads)
      : offset{a.outOffset0, a.outOffset1, a.outOffset2}, dOut{a.dOut0, a.dOut1, a.dOut2}, parts(a.parts), units(countUnits()),
        stripes(a.groupRowCount / kStripedFrom + 1), alongGroups(rowsApart(a)), totalNs(countNs(a)), shareOfNs(shareNs(totalNs, threads)),
        shares(sharesOf(totalNs, threads)), runs(units, units ? (double)totalNs / units / stripes : 0, threads) {}

  uint32_t tiles() const { return alongGroups ? shares : runs.tiles() * stripes; }
  // A unit for the rows of its group.
  static uint64_t unitNs(const Run& run, uint32_t rows) {
    const double bytes = 128.0 * run.rank() / tuning().bytesPerNs, flops = 128.0 * run.rank() * rows / tuning().flopsPerNs;
    return (uint64_t)(10 + 4.0 * rows + (bytes > flops ? bytes : flops));
  }

 private:
  uint32_t countUnits() const {
    uint32_t count = 0;
    for (uint32_t p = 0; p < parts; p++) count += ceilDiv(dOut[p], kUnitOuts);
    return count;
  }
  uint64_t countNs(const LoraExpandArgs& a) const {
    uint64_t ns = 0;
    for (uint32_t g = 0; g < a.groupCount; g++) {
      const int32_t* group = a.groups + g * kGroupWords;
      for (uint32_t p = 0; p < parts; p++) {
        const Run run = Run::of(a, group, p, kHalfB);
        if (run.units()) ns += ceilDiv(dOut[p], kUnitOuts) * unitNs(run, group[kGroupRowCount]);
      }
    }
    return ns;
  }
};

// The spans of units that are a tile's, group by group, part by part, in the order in which they are applied.
class ExpandWalk {
 public:
  ExpandWalk(const LoraExpandArgs& a, const ExpandPlan& plan, uint32_t tile)
      : a_(a), plan_(plan), share_(tile, plan.shareOfNs), from_(plan.runs.begin(tile / plan.stripes)), to_(plan.runs.end(tile / plan.stripes)) { enter(); }

  uint32_t group = 0, part = 0;
  uint32_t unit = 0, end = 0;                            // the current span
  Run run{};
  bool done() const { return group == a_.groupCount; }
  const int32_t* groupWords() const { return a_.groups + group * kGroupWords; }
  void next() {
    step();
    enter();
  }

 private:
  void step() {
    partBegin_ += ceilDiv(plan_.dOut[part], kUnitOuts);
    if (++part < plan_.parts) return;
    part = partBegin_ = 0;
    group++;
  }
  // Goes on to the next group and part with units of ours.
  void enter() {
    for (; !done(); step()) {
      const uint32_t units = ceilDiv(plan_.dOut[part], kUnitOuts);
      if (plan_.alongGroups) {
        if (share_.at >= share_.to) group = a_.groupCount;
        if (done()) return;
      } else {
        unit = from_ > partBegin_ ? from_ - partBegin_ : 0;
        end = to_ > partBegin_ ? (to_ - partBegin_ < units ? to_ - partBegin_ : units) : 0;
        if (unit >= end) continue;
      }
      run = Run::of(a_, groupWords(), part, kHalfB);
      if (!run.units()) continue;
      if (!plan_.alongGroups) return;
      const Share::Range ours = share_.ownsOf(units, ExpandPlan::unitNs(run, groupWords()[kGroupRowCount]));
      unit = ours.begin;
      end = ours.end;
      if (unit < end) return;
    }
  }

  const LoraExpandArgs& a_;
  const ExpandPlan& plan_;
  Share share_;
  uint32_t from_, to_, partBegin_ = 0;
};

// Asks for the units to come, line by line and a fixed number of bytes ahead, whatever their ranks: adapters of few rows
// are read at the speed of memory, and where each begins no processor can guess.
class ExpandAhead {
 public:
  ExpandAhead(const ExpandWalk& walk, const uint8_t* arena) : walk_(walk), arena_(arena) {
    enter();
    for (uint32_t i = 0; i < tuning().expandAhead; i++) touch();
  }
  // One more rank of 64 outputs: two lines.
  void touch() {
    if (at_ == end_) return;
    askFor(at_);
    askFor(at_ + 64);
    at_ += 128;
    if (at_ == end_) advance();
  }

 private:
  void enter() {
    if (walk_.done()) return;
    cursor_ = UnitCursor(walk_.run, arena_);
    unit_ = walk_.unit;
    open();
  }
  void open() {
    at_ = cursor_.at(unit_);
    end_ = at_ + walk_.run.unitBytes();
  }
  void advance() {
    if (++unit_ < walk_.end) return open();
    walk_.next();
    enter();
  }
  ExpandWalk walk_;
  const uint8_t* arena_;
  UnitCursor cursor_;
  uint32_t unit_ = 0;
  const uint8_t *at_ = nullptr, *end_ = nullptr;
};

struct ExpandFactors {
  float scale, weight;
  bool hasTail;
};

// `outs` of the unit's 64 outputs exist in y.
template <class W, int R>
static void expandTile(const typename W::Stored* unit, uint32_t rank, const float* const* u, const ExpandFactors& factors, float* const* y,
                       uint32_t outs, ExpandAhead* ahead) {
  constexpr int P = expandPairsFor(R);
  for (int r = 0; r < R; r++)                            // y is wanted when the sums over ranks are done
    for (uint32_t out = 0; out < kUnitOuts; out += 16) __builtin_prefetch(y[r] + out, 1);
  for (int pair = 0; pair < kUnitPairs; pair += P) {
    const typename W::Stored* b = unit + pair * 2 * kLanes;
    F acc[R][P][2];
#pragma GCC unroll 6
    for (int r = 0; r < R; r++)
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) acc[r][p][0] = acc[r][p][1] = zero();
    for (uint32_t j = 0; j < rank; j++, b += kUnitOuts) {
      if (pair == 0 && ahead) ahead->touch();
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
    const float* tail = reinterpret_cast<const float*>(unit + (size_t)rank * kUnitOuts);       // h, then c
    if (pair == 0 && ahead && factors.hasTail)
      for (uint32_t line = 0; line < kOutsBytes; line += 128) ahead->touch();
    const F f = splat(factors.scale * factors.weight), scale = splat(factors.scale), weight = splat(factors.weight), one = splat(1.0f);
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
          const F before = loadN(y[r] + out, n);
          if (factors.hasTail) {
            const F grown = load(tail + out), added = load(tail + kUnitOuts + out);
            const F change = fma(grown, before, fma(mul(scale, acc[r][p][h]), add(one, grown), added));
            storeN(y[r] + out, fma(weight, change, before), n);
          } else {
            storeN(y[r] + out, fma(f, acc[r][p][h], before), n);
          }
        }
      }
  }
}

template <class W, int R = kExpandRows>
static void expandDispatch(uint32_t rows, const uint8_t* unit, uint32_t rank, const float* const* u, const ExpandFactors& factors,
                           float* const* y, uint32_t outs, ExpandAhead* ahead) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) expandTile<W, R>(reinterpret_cast<const typename W::Stored*>(unit), rank, u, factors, y, outs, ahead);
    else expandDispatch<W, R - 1>(rows, unit, rank, u, factors, y, outs, ahead);
  }
}

static uint32_t loraExpandTiles(const void* p, uint32_t threads) {
  const LoraExpandArgs& a = *static_cast<const LoraExpandArgs*>(p);
  const ExpandPlan plan(a, threads);
  return plan.totalNs ? plan.tiles() : 0;
}

// A span of units for the members of its group: few rows at a time, and for them unit after unit, so that B streams by
// once where a group is one row, and y is passed over once where it is many.
template <class W>
static void expandSpan(const LoraExpandArgs& a, const ExpandPlan& plan, const ExpandWalk& walk, const uint32_t* members, uint32_t count, ExpandAhead& ahead) {
  const ExpandFactors factors{walk.run.scale(), wordAsFloat(walk.groupWords()[kGroupWeight]), walk.run.hasTail()};
  for (uint32_t i = 0; i < count;) {
    const uint32_t parts = ceilDiv(count - i, kExpandRows), rows = ceilDiv(count - i, parts);
    const float* u[kExpandRows] = {};
    float* y[kExpandRows] = {};
    for (uint32_t r = 0; r < rows; r++) {
      u[r] = a.u + (size_t)members[i + r] * a.ldu + walk.part * a.partStride;
      y[r] = a.y + (size_t)a.groupRows[members[i + r]] * a.ldy + plan.offset[walk.part] + walk.unit * kUnitOuts;
    }
    UnitCursor cursor(walk.run, a.arena);
    for (uint32_t unit = walk.unit; unit < walk.end; unit++) {
      const uint32_t left = plan.dOut[walk.part] - unit * kUnitOuts;
      expandDispatch<W>(rows, cursor.at(unit), walk.run.rank(), u, factors, y, left < kUnitOuts ? left : kUnitOuts, i == 0 ? &ahead : nullptr);
      for (uint32_t r = 0; r < rows; r++) y[r] += kUnitOuts;
    }
    i += rows;
  }
}

static void loraExpandRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LoraExpandArgs& a = *static_cast<const LoraExpandArgs*>(p);
  const ExpandPlan plan(a, threads);
  const uint32_t stripe = tile % plan.stripes;
  ExpandWalk walk(a, plan, tile);
  ExpandAhead ahead(walk, a.arena);
  // Entries of groupRows of the current group whose rows are in our stripe.
  uint32_t* members = scratch.indices(a.groupRowCount);
  uint32_t count = 0, group = a.groupCount;
  for (; !walk.done(); walk.next()) {
    if (walk.group != group) {
      group = walk.group;
      count = 0;
      const uint32_t begin = walk.groupWords()[kGroupRowStart], end = begin + walk.groupWords()[kGroupRowCount];
      for (uint32_t i = begin; i < end; i++) {
        members[count] = i;
        count += plan.stripes == 1 || (uint32_t)a.groupRows[i] / kStripe % plan.stripes == stripe;
      }
    }
    if (walk.run.dtype() == kDTypeBf16) expandSpan<Bf16>(a, plan, walk, members, count, ahead);
    else expandSpan<F16>(a, plan, walk, members, count, ahead);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

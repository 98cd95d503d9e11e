// y[i] = W_key x[row of i] for sorted rows: op `linear` once for each key, with its own register tiles and chains of additions.
//
// few rows a key   bound by memory: the weights of every distinct key, once. Panels of the base stand as `linear` has them; those of
//                  expert slots are followed unit by unit through their pages, sums staying in registers from page to page.
// many rows a key  bound by flops. Rows of a key are brought together first (x is small beside the weights that meet it).
#pragma once

namespace weft {
namespace WEFT_ISA {

// The W units of a slot's matrix, in order.
class UnitWalk {
 public:
  UnitWalk(const ExpertLinearArgs& a, uint32_t slot, uint32_t unit)
      : pages_(a.pages + (size_t)slot * a.slotPages), arena_(a.arena), pageBytes_(a.pageBytes), perPage_(a.pageBytes / kWUnitBytes) { seek(a.firstUnit + unit); }
  const uint8_t* at() const { return at_; }
  void next() {
    at_ += kWUnitBytes;
    if (++inPage_ < perPage_) return;
    inPage_ = 0;
    at_ = arena_ + (size_t)pages_[++page_] * pageBytes_;
  }

 private:
  void seek(uint32_t unit) {
    page_ = unit / perPage_;
    inPage_ = unit % perPage_;
    at_ = arena_ + (size_t)pages_[page_] * pageBytes_ + (size_t)inPage_ * kWUnitBytes;
  }
  const int32_t* pages_;
  const uint8_t *arena_, *at_;
  size_t pageBytes_;
  uint32_t perPage_, page_, inPage_;
};

constexpr uint32_t kUnitsAhead = 2;                      // twice the latency of memory, as in `linear`

// R rows × V vectors of a block whose units begin at `units`. left: units from there to the end of the matrix.
template <class M, int R, int V>
static void pagedTile(const LinearArgs& a, UnitWalk units, uint32_t left, size_t row, size_t block, int vector) {
  using W = typename M::Weights;
  using Stored = typename W::Stored;
  constexpr int kDepth = W::kDepth;
  const auto* x = rowOf<typename M::Rows>(a.x, row, a.ldx);
  UnitWalk ahead = units;
  uint32_t asked = 0;
  const auto advance = [&] { if (++asked < left) ahead.next(); };
  for (uint32_t i = 0; i < kUnitsAhead; i++) advance();
  F acc[R][1][V];
  clear(acc);
  for (uint32_t k = 0; k < a.k; k += kWDepth) {
    const uint32_t depth = a.k - k < kWDepth ? a.k - k : kWDepth;
    const auto* w = reinterpret_cast<const Stored*>(units.at()) + vector * kLanes * kDepth;
    const uint8_t* wanted = ahead.at();
    for (uint32_t i = 0; i < depth / kDepth; i++) {
      if (vector == 0)
        for (int line = 0; line < kOuts * kDepth * (int)sizeof(Stored); line += 64) __builtin_prefetch(wanted + i * kOuts * kDepth * sizeof(Stored) + line);
      M::template step<kDepth>(w, 0, x, a.ldx, acc);
      w += kOuts * kDepth;
      x += kDepth;
    }
    if (depth % kDepth) M::template step<1>(w, 0, x, a.ldx, acc);
    if (k + kWDepth < a.k) units.next();
    advance();
  }
  storeTile(a, row, block, vector, acc);
}

template <class M, int R = kRowTile>
static void pagedDispatch(const LinearArgs& a, uint32_t rows, const UnitWalk& units, uint32_t left, size_t row, size_t block) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) {
      for (int v = 0; v < kVectors; v += vectorsFor(R)) pagedTile<M, R, vectorsFor(R)>(a, units, left, row, block, v);
    } else {
      pagedDispatch<M, R - 1>(a, rows, units, left, row, block);
    }
  }
}

// Blocks [block, end) of a slot's matrix for all rows of `a`.
template <class M>
static void pagedBlocks(const ExpertLinearArgs& e, uint32_t slot, const LinearArgs& a, uint32_t block, uint32_t end) {
  const uint32_t depth = ceilDiv(a.k, kWDepth), all = ceilDiv(a.n, kOuts) * depth, parts = ceilDiv(a.count, kRowTile);
  for (; block < end; block++) {
    const UnitWalk units(e, slot, block * depth);
    for (uint32_t i = 0; i < parts; i++) {
      const uint32_t from = evenBegin(a.count, parts, i), to = evenBegin(a.count, parts, i + 1);
      pagedDispatch<M>(a, to - from, units, all - block * depth, from, block);
    }
  }
}

#ifdef WEFT_AMX
// Two tiles of 32 k a unit. `at` is asked for ascending i.
struct AmxUnits {
  UnitWalk units;
  size_t unit = 0, whole;
  AmxUnits(const ExpertLinearArgs& e, uint32_t slot, const LinearArgs& a, uint32_t block)
      : units(e, slot, block * ceilDiv(a.k, kWDepth)), whole(a.k / kAmxDepth) {}
  const uint16_t* operator()(size_t i) {
    for (; unit < i / 2; unit++) units.next();
    return reinterpret_cast<const uint16_t*>(units.at()) + i % 2 * kAmxDepth * kOuts;
  }
  const uint16_t* tail() { return (*this)(whole); }
};
#endif

// Some rows of a span, and what a block of them takes.
struct ExpertRows {
  int32_t key;
  uint32_t begin, rows;
  bool ofBase(const ExpertLinearArgs& a) const { return key < (int32_t)a.experts; }
  uint32_t slot(const ExpertLinearArgs& a) const { return (uint32_t)key - a.experts; }
  uint32_t dtype(const ExpertLinearArgs& a) const { return ofBase(a) ? a.dtype : (uint32_t)a.types[slot(a)]; }
};

struct ExpertCost {
  const ExpertLinearArgs& a;
  uint32_t blocks;
  explicit ExpertCost(const ExpertLinearArgs& args) : a(args), blocks(ceilDiv(args.n, kOuts)) {}
  uint64_t block(uint32_t rows) const {
    const double flops = 2.0 * kOuts * a.k * rows / tuning().flopsPerNs, bytes = (double)kOuts * a.k * LinearPlan::bytesOf(a.dtype) / tuning().bytesPerNs;
    return 1 + (uint64_t)(flops > bytes ? flops : bytes);
  }
};

// Calls use(rows) for all spans, many rows in chunks.
template <class Use>
WEFT_INLINE void eachRows(const ExpertLinearArgs& a, Use use) {
  uint32_t done = 0;
  for (uint32_t s = 0; done < a.count; s++) {
    const int32_t* span = a.spans + (size_t)s * kSpanWords;
    const uint32_t count = span[kSpanCount], chunks = rowChunks(count);
    for (uint32_t c = 0; c < chunks; c++) {
      const uint32_t from = evenBegin(count, chunks, c);
      use(ExpertRows{span[kSpanKey], span[kSpanStart] + from, evenBegin(count, chunks, c + 1) - from});
    }
    done += count;
  }
}

static uint64_t expertTotalNs(const ExpertLinearArgs& a, const ExpertCost& cost) {
  uint64_t total = 0;
  eachRows(a, [&](const ExpertRows& r) { total += cost.blocks * cost.block(r.rows); });
  return total;
}

static uint32_t expertLinearTiles(const void* p, uint32_t threads) {
  const ExpertLinearArgs& a = *static_cast<const ExpertLinearArgs*>(p);
  return a.count ? sharesOf(expertTotalNs(a, ExpertCost(a)), threads) : 0;
}

// Bytes of a base expert's panels.
static size_t expertBytes(const ExpertLinearArgs& a) {
  const size_t blocks = ceilDiv(a.n, kOuts);
  if (a.dtype == kDTypeBf12) return blocks * bf12PanelBytes(a.k);
  if (a.dtype == kDTypeBf16) return blocks * panelSteps<Bf16>(a.k) * kOuts * 4;
  return blocks * kOuts * a.k * (a.dtype == kDTypeF32 ? 4 : 2);
}

// `linear` for these rows alone: x where it lies if that is one stretch of the kind Rows, else brought together in `room`.
template <class Rows>
static LinearArgs expertArgs(const ExpertLinearArgs& a, const ExpertRows& r, uint32_t dtype, uint8_t* room) {
  LinearArgs l = {};
  if (r.ofBase(a)) l.w = a.base + (size_t)r.key * expertBytes(a);
  l.y = a.y + (size_t)r.begin * a.ldy;
  l.count = l.rows = r.rows;
  l.n = a.n;
  l.k = a.k;
  l.ldy = a.ldy;
  l.dtype = dtype;
  l.xType = std::is_same<Rows, F32>() ? kDTypeF32 : kDTypeBf16;
  const auto sourceRow = [&](uint32_t i) { return a.order ? (size_t)a.order[r.begin + i] / a.topK : (size_t)r.begin + i; };
  if (a.xType == l.xType && (!a.order || r.rows == 1)) {
    l.x = reinterpret_cast<uint8_t*>(rowOf<Rows>(a.x, sourceRow(0), a.ldx));
    l.ldx = a.ldx;
    return l;
  }
  l.x = room;
  l.ldx = (uint32_t)wideStride(a.k);
  for (uint32_t i = 0; i < r.rows; i++) {
    auto* to = rowOf<Rows>(room, i, l.ldx);
    if constexpr (std::is_same<Rows, F32>()) {
      if (a.xType == kDTypeBf16) {
        widenRow(rowOf<Bf16>(a.x, sourceRow(i), a.ldx), to, a.k);
        continue;
      }
    }
    memcpy(to, rowOf<Rows>(a.x, sourceRow(i), a.ldx), a.k * sizeof *to);
  }
  return l;
}

constexpr size_t expertRowsBytes(const ExpertLinearArgs& a, uint32_t rows) { return rows * wideStride(a.k) * sizeof(float); }

// Blocks [block, end) for rows that share a key.
template <class M>
static void expertBlocks(const ExpertLinearArgs& a, const ExpertRows& r, uint32_t block, uint32_t end, Scratch& scratch) {
  const size_t panelBytes = r.dtype(a) == kDTypeBf12 ? bf12Room(a.k, r.rows) : 0;
  auto* room = static_cast<uint8_t*>(scratch.room(panelBytes + expertRowsBytes(a, r.rows)));
  const LinearArgs l = expertArgs<typename M::Rows>(a, r, r.dtype(a), room + panelBytes);
  if (r.ofBase(a)) linearBlocks<M>(l, block, end, reinterpret_cast<uint16_t*>(room));
  else pagedBlocks<M>(a, r.slot(a), l, block, end);
}

#ifdef WEFT_AMX
static void expertAmx(const ExpertLinearArgs& a, const ExpertRows& r, uint32_t block, uint32_t end, Scratch& scratch) {
  const LinearArgs l = expertArgs<Bf16>(a, r, kDTypeBf16, static_cast<uint8_t*>(scratch.room(expertRowsBytes(a, r.rows))));
  amxWritten(l.x);
  for (uint32_t row = 0; row < l.count; row += 2 * kAmxRows) {
    const uint32_t rows = l.count - row < 2 * kAmxRows ? l.count - row : 2 * kAmxRows;
    if (r.ofBase(a)) amxRows(l, row, rows, block, end, [&](uint32_t b) { return AmxPanel(l, b); });
    else amxRows(l, row, rows, block, end, [&](uint32_t b) { return AmxUnits(a, r.slot(a), l, b); });
  }
}
#endif

static void expertLinearRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const ExpertLinearArgs& a = *static_cast<const ExpertLinearArgs*>(p);
  const ExpertCost cost(a);
  Share share(tile, shareNs(expertTotalNs(a, cost), threads));
  eachRows(a, [&](const ExpertRows& r) {
    const Share::Range blocks = share.ownsOf(cost.blocks, cost.block(r.rows));
    if (blocks.begin >= blocks.end) return;
    const uint32_t dtype = r.dtype(a);
#ifdef WEFT_DOT_BF16
    if (a.xType == kDTypeBf16 && (dtype == kDTypeBf16 || dtype == kDTypeBf12)) return expertBlocks<DotBf16>(a, r, blocks.begin, blocks.end, scratch);
#endif
#ifdef WEFT_AMX
    if (a.xType == kDTypeBf16 && dtype == kDTypeBf16) return expertAmx(a, r, blocks.begin, blocks.end, scratch);
#endif
    withFormat(dtype, [&](auto format) { expertBlocks<MultiplyAdd<decltype(format)>>(a, r, blocks.begin, blocks.end, scratch); });
  });
}

}  // namespace WEFT_ISA
}  // namespace weft

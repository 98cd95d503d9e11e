// y[i] = W_key x[row of i] for sorted rows. Items are some rows of a span × four panels of 32 outputs, a warp each; x of these rows
// stands in shared memory, weights stream past it: panels of the base, or the W units of an expert slot, found through its pages.
//
// few rows     bound by memory. Outputs in lanes, k one after another: a warp's load is 128 bytes of one pair of k, and the chain of
//              additions is the CPU's.
// bf16 rows    and bf16 weights, on tensor cores (m16n8k16, outputs as m): a panel's words [pair of k][output] are the instruction's A
//              as they lie; 16 k an instruction, ascending.
//
// Either way a row's bits are those of its x and its weights alone.
#pragma once
#include "cuda/bounds.h"
#include "cuda/experts_shape.h"
#include "cuda/kernels/work.h"
#include "cuda/memory.h"
#include "cuda/mma.h"

namespace weft {
namespace cuda {

// Rows of a span, checked.
struct ExpertSpan { uint32_t key, start, rows; };        // no rows: nothing to do, or its words are wrong

WEFT_DEVICE ExpertSpan spanAt(const ExpertLinearArgs& a, const Step& step, uint32_t pairs, uint32_t s) {
  const int32_t* words = a.spans + static_cast<uint64_t>(s) * kSpanWords;
  const int32_t key = words[kSpanKey], start = words[kSpanStart], rows = words[kSpanCount];
  if (rows == 0) return {0, 0, 0};
  const uint32_t end = static_cast<uint32_t>(start) + static_cast<uint32_t>(rows);
  if (start < 0 || rows < 0 || end > pairs) {
    report(step, Bound::kSpan, s, start < 0 || rows < 0 ? -1 : static_cast<int32_t>(end), pairs + 1);
    return {0, 0, 0};
  }
  if (!within(step, Bound::kExpert, s, key, a.experts + (a.pages ? a.expertSlots : 0))) return {0, 0, 0};
  return {static_cast<uint32_t>(key), static_cast<uint32_t>(start), static_cast<uint32_t>(rows)};
}

// The type of an expert's weights; f32 (0) is the base's alone.
WEFT_DEVICE uint32_t typeOf(const ExpertLinearArgs& a, const Step& step, const ExpertSpan& span) {
  if (span.key < a.experts) return a.dtype;
  const int32_t type = a.types[span.key - a.experts];
  if (type == static_cast<int32_t>(kDTypeBf16)) return kDTypeBf16;
  if (type != static_cast<int32_t>(kDTypeF16)) report(step, Bound::kRun, span.key - a.experts, type, kDTypeF16 + 1);
  return kDTypeF16;
}

// A panel of an expert's matrix.
struct ExpertPanel {
  const uint8_t* at;             // of the base; nullptr for expert slots
  const int32_t* pages;
  uint32_t firstUnit;
};
WEFT_DEVICE ExpertPanel panelOf(const ExpertLinearArgs& a, const ExpertSpan& span, uint32_t panel) {
  const uint32_t panels = (a.n + kWOuts - 1) / kWOuts, depth = (a.k + kWDepth - 1) / kWDepth;
  if (span.key >= a.experts) return {nullptr, a.pages + static_cast<uint64_t>(span.key - a.experts) * a.slotPages, a.firstUnit + panel * depth};
  const uint64_t values = static_cast<uint64_t>(a.dtype == kDTypeBf16 ? (a.k + 1) / 2 * 2 : a.k) * kWOuts;
  return {a.base + (static_cast<uint64_t>(span.key) * panels + panel) * values * (a.dtype == kDTypeF32 ? 4 : 2), nullptr, 0};
}
// Its bytes from k = 64·d on; nullptr where the tables lead nowhere.
WEFT_DEVICE const uint8_t* panelAt(const ExpertLinearArgs& a, const Step& step, const ExpertPanel& panel, uint32_t d) {
  if (panel.at) return panel.at + static_cast<uint64_t>(d) * kWUnitBytes * (a.dtype == kDTypeF32 ? 2 : 1);
  const uint32_t perPage = a.pageBytes / kWUnitBytes, unit = panel.firstUnit + d;
  const int32_t page = panel.pages[unit / perPage];
  if (!within(step, Bound::kPage, unit, page, a.nPages)) return nullptr;
  return a.arena + static_cast<uint64_t>(page) * a.pageBytes + static_cast<uint64_t>(unit % perPage) * kWUnitBytes;
}

// Row of x of place i, or nullptr.
WEFT_DEVICE const uint8_t* expertRow(const ExpertLinearArgs& a, const Step& step, uint32_t i) {
  uint32_t row = i;
  if (a.order) {
    if (!within(step, Bound::kIndex, i, a.order[i], a.pairs)) return nullptr;
    row = static_cast<uint32_t>(a.order[i]) / a.topK;
  }
  return a.x + static_cast<uint64_t>(row) * a.ldx * (a.xType == kDTypeBf16 ? 2 : 4);
}

// k [from, from + kExpertDepth) of `rows` rows from place `first` on, as f32 or as bf16, zeros behind them; all threads take part.
template <uint32_t ROWS>
WEFT_DEVICE void stageFloats(const ExpertLinearArgs& a, const Step& step, uint32_t first, uint32_t rows, uint32_t from, float (&to)[ROWS][kExpertDepth]) {
  for (uint32_t i = threadIdx.x; i < ROWS * kExpertDepth; i += kExpertThreads) {
    const uint32_t r = i / kExpertDepth, k = from + i % kExpertDepth;
    const uint8_t* x = r < rows && k < a.k ? expertRow(a, step, first + r) : nullptr;
    to[r][i % kExpertDepth] = !x ? 0.0f : a.xType == kDTypeBf16 ? lowBf16(reinterpret_cast<const uint16_t*>(x)[k]) : reinterpret_cast<const float*>(x)[k];
  }
}
constexpr uint32_t kPairPitch = kExpertDepth / 2 + 4;    // eight rows' words lie in different banks
WEFT_DEVICE void stagePairs(const ExpertLinearArgs& a, const Step& step, uint32_t first, uint32_t rows, uint32_t from, uint32_t (&to)[kManyExpertRows][kPairPitch]) {
  for (uint32_t i = threadIdx.x; i < kManyExpertRows * kExpertDepth / 2; i += kExpertThreads) {
    const uint32_t r = i / (kExpertDepth / 2), pair = i % (kExpertDepth / 2), k = from + 2 * pair;
    const auto* x = r < rows && k < a.k ? reinterpret_cast<const uint16_t*>(expertRow(a, step, first + r)) : nullptr;
    to[r][pair] = !x ? 0 : x[k] | (k + 1 < a.k ? static_cast<uint32_t>(x[k + 1]) << 16 : 0);
  }
}

// Weights of output `lane` for k and k + 1 behind a place of its panel, from which `left` of k are there.
template <uint32_t TYPE>
WEFT_DEVICE void weightsAt(const uint8_t* w, uint32_t k, uint32_t left, uint32_t lane, float& first, float& second) {
  first = second = 0;
  if (!w || k >= left) return;
  if (TYPE == kDTypeBf16) {
    const uint32_t word = reinterpret_cast<const uint32_t*>(w)[k / 2 * kWOuts + lane];
    first = lowBf16(word), second = highBf16(word);
  } else if (TYPE == kDTypeF16) {
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(w) + k * kWOuts + lane;
    first = fromF16(halves[0]);
    if (k + 1 < left) second = fromF16(halves[kWOuts]);
  } else {
    const float* floats = reinterpret_cast<const float*>(w) + k * kWOuts + lane;
    first = floats[0];
    if (k + 1 < left) second = floats[kWOuts];
  }
}

template <uint32_t TYPE, uint32_t R>
WEFT_DEVICE void fewRows(const ExpertLinearArgs& a, const Step& step, const ExpertSpan& span, uint32_t first, uint32_t rows, uint32_t panel,
                         float (&x)[kFewExpertRows][kExpertDepth]) {
  constexpr uint32_t kAtOnce = 16;                       // of k: loads on their way together
  const bool mine = panel < (a.n + kWOuts - 1) / kWOuts;
  const ExpertPanel where = panelOf(a, span, mine ? panel : 0);
  const uint32_t lane = threadIdx.x % kWarp;
  float sums[R] = {};
  for (uint32_t from = 0; from < a.k; from += kExpertDepth) {
    __syncthreads();                                     // nobody reads the rows before any more
    stageFloats(a, step, first, rows, from, x);
    __syncthreads();
    for (uint32_t k = from; mine && k < a.k && k < from + kExpertDepth; k += kAtOnce) {
      const uint8_t* w = panelAt(a, step, where, k / kWDepth);
      const uint32_t within64 = k % kWDepth, left = a.k - (k - within64);
      float weights[kAtOnce];
      WEFT_UNROLL
      for (uint32_t i = 0; i < kAtOnce; i += 2) weightsAt<TYPE>(w, within64 + i, left, lane, weights[i], weights[i + 1]);
      WEFT_UNROLL
      for (uint32_t i = 0; i < kAtOnce; i++) {
        WEFT_UNROLL
        for (uint32_t r = 0; r < R; r++) sums[r] = fmaf(x[r][k - from + i], weights[i], sums[r]);
      }
    }
  }
  const uint32_t out = panel * kWOuts + lane;
  if (!mine || out >= a.n) return;
  WEFT_UNROLL
  for (uint32_t r = 0; r < R; r++) if (r < rows) a.y[static_cast<uint64_t>(first + r) * a.ldy + out] = sums[r];
}

WEFT_DEVICE void manyRows(const ExpertLinearArgs& a, const Step& step, const ExpertSpan& span, uint32_t first, uint32_t rows, uint32_t panel,
                          uint32_t (&x)[kManyExpertRows][kPairPitch]) {
  constexpr uint32_t kN = kManyExpertRows / 8;
  const bool mine = panel < (a.n + kWOuts - 1) / kWOuts;
  const ExpertPanel where = panelOf(a, span, mine ? panel : 0);
  const uint32_t lane = threadIdx.x % kWarp;
  float sums[2][kN][4] = {};
  for (uint32_t from = 0; from < a.k; from += kExpertDepth) {
    __syncthreads();
    stagePairs(a, step, first, rows, from, x);
    __syncthreads();
    for (uint32_t k = from; mine && k < a.k && k < from + kExpertDepth; k += 16) {
      const uint32_t* w = reinterpret_cast<const uint32_t*>(panelAt(a, step, where, k / kWDepth));
      const uint32_t pairs = (a.k - k + 1) / 2, pair = k % kWDepth / 2;
      uint32_t outs[2][4];
      WEFT_UNROLL
      for (uint32_t m = 0; m < 2; m++) {
        WEFT_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
          const uint32_t ahead = lane % 4 + i / 2 * 4, out = m * 16 + i % 2 * 8 + lane / 4;
          outs[m][i] = w && ahead < pairs ? w[(pair + ahead) * kWOuts + out] : 0;
        }
      }
      WEFT_UNROLL
      for (uint32_t n = 0; n < kN; n++) {
        const uint32_t* row = x[n * 8 + lane / 4] + (k - from) / 2 + lane % 4;
        const uint32_t eightRows[2] = {row[0], row[4]};
        WEFT_UNROLL
        for (uint32_t m = 0; m < 2; m++) mmaBf16(sums[m][n], outs[m], eightRows);
      }
    }
  }
  if (!mine) return;
  WEFT_UNROLL
  for (uint32_t m = 0; m < 2; m++) {
    WEFT_UNROLL
    for (uint32_t n = 0; n < kN; n++) {
      WEFT_UNROLL
      for (uint32_t i = 0; i < 4; i++) {
        const uint32_t out = panel * kWOuts + m * 16 + i / 2 * 8 + lane / 4, row = n * 8 + lane % 4 * 2 + i % 2;
        if (row < rows && out < a.n) a.y[static_cast<uint64_t>(first + row) * a.ldy + out] = sums[m][n][i];
      }
    }
  }
}

template <uint32_t TYPE>
WEFT_DEVICE void fewRows(const ExpertLinearArgs& a, const Step& step, const ExpertSpan& span, uint32_t first, uint32_t rows, uint32_t panel,
                         float (&x)[kFewExpertRows][kExpertDepth]) {
  if (rows == 1) fewRows<TYPE, 1>(a, step, span, first, rows, panel, x);
  else if (rows <= 4) fewRows<TYPE, 4>(a, step, span, first, rows, panel, x);
  else fewRows<TYPE, kFewExpertRows>(a, step, span, first, rows, panel, x);
}

WEFT_KERNEL_BOUNDS(expertLinear, ExpertLinearArgs, kExpertThreads, 4) {
  union Shared {
    float floats[kFewExpertRows][kExpertDepth];
    uint32_t pairs[kManyExpertRows][kPairPitch];
  };
  alignas(16) __shared__ Shared x;
  const uint32_t pairs = counted(step, a.count, a.pairs), quads = ((a.n + kWOuts - 1) / kWOuts + kExpertWarps - 1) / kExpertWarps;
  const auto rowsOf = [&](const ExpertSpan& span) { return a.xType == kDTypeBf16 && typeOf(a, step, span) == kDTypeBf16 ? kManyExpertRows : kFewExpertRows; };
  shareWork(a.maxSpans,
    [&](uint32_t s) {
      const ExpertSpan span = spanAt(a, step, pairs, s);
      return entryOf(span.rows ? (span.rows + rowsOf(span) - 1) / rowsOf(span) * quads : 0);
    },
    [&](uint32_t s, uint32_t item, uint32_t) {
      const ExpertSpan span = spanAt(a, step, pairs, s);
      const uint32_t type = typeOf(a, step, span), most = rowsOf(span), tiles = (span.rows + most - 1) / most, tile = item % tiles;
      const uint32_t first = span.start + tile * most, left = span.rows - tile * most, rows = left < most ? left : most;
      const uint32_t panel = item / tiles * kExpertWarps + threadIdx.x / kWarp;
      if (most == kManyExpertRows) manyRows(a, step, span, first, rows, panel, x.pairs);
      else if (type == kDTypeBf16) fewRows<kDTypeBf16>(a, step, span, first, rows, panel, x.floats);
      else if (type == kDTypeF16) fewRows<kDTypeF16>(a, step, span, first, rows, panel, x.floats);
      else fewRows<kDTypeF32>(a, step, span, first, rows, panel, x.floats);
    });
}

}  // namespace cuda
}  // namespace weft

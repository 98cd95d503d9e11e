// Which tokens a row sees, and a softmax over them that grows unit by unit.
#pragma once

namespace weft {
namespace WEFT_ISA {

constexpr float kLowest = -3.402823466e38f;              // finite: scores of -inf then get weight 0

// Which of `tokens` tokens from `base` on a row at `position` sees: [first, last] of them, or none.
struct Visible {
  uint32_t first = 0, last = 0;
  bool any;
  Visible(uint32_t position, uint32_t window, uint32_t base, uint32_t tokens) {
    const uint32_t oldest = window && position >= window ? position - window + 1 : 0;
    any = position >= base && oldest < base + tokens;
    if (!any) return;
    first = oldest > base ? oldest - base : 0;
    last = position - base < tokens ? position - base : tokens - 1;
  }
  bool operator==(const Visible& other) const { return any == other.any && first == other.first && last == other.last; }
};

// A softmax over some tokens that is not divided yet.
struct Softmax {
  float *top, *sum, *acc;

  // Takes the tokens of `later` in too. ld: values of acc, whole vectors.
  void merge(const Softmax& later, uint32_t ld) const {
    const float before = *top;
    *top = before > *later.top ? before : *later.top;
    const F mine = expOf(splat(before - *top)), theirs = expOf(splat(*later.top - *top));
    *sum = sumOfFirst(add(mul(splat(*sum), mine), mul(splat(*later.sum), theirs)));
    for (uint32_t i = 0; i < ld; i += kLanes) store(acc + i, add(mul(load(acc + i), mine), mul(load(later.acc + i), theirs)));
  }
  void copy(const Softmax& other, uint32_t ld) const {
    *top = *other.top;
    *sum = *other.sum;
    memcpy(acc, other.acc, ld * sizeof(float));
  }
  // Row `row` of out, from `column` on.
  void finish(const AttentionArgs& a, size_t row, uint32_t column) const {
    withRowType(a.outType, [&](auto type) {
      using T = decltype(type);
      typename T::Stored* out = rowOf<T>(a.out, row, a.ldo) + column;
      const F total = splat(*sum);
      for (uint32_t i = 0; i < a.dim; i += kLanes) {
        const F value = divide(load(acc + i), total);
        if (a.dim - i < (uint32_t)kLanes) T::putN(out + i, value, a.dim - i);
        else T::put(out + i, value);
      }
    });
  }

 private:
  WEFT_INLINE float sumOfFirst(F a) {
    float lanes[kLanes];
    store(lanes, a);
    return lanes[0];
  }
};

// Lanes of vector v outside [first, last] become `other`.
WEFT_INLINE F within(F a, uint32_t v, uint32_t first, uint32_t last, F other) {
  static const float kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const F lane = add(load(kLane), splat((float)(v * kLanes)));
  return ifLess(lane, splat((float)first), other, ifLess(splat((float)last), lane, other, a));
}

// Turns a pair's scores of a unit into weights, and takes them into `all`. Scales: of keys and values, where they have any.
// Rounded: weights become bf16, side by side in the first half of their room.
template <bool Scaled, bool Rounded = false>
static void weigh(float* p, const Visible& seen, float softcap, const float* keyScales, const float* valueScales, const Softmax& all, uint32_t ld) {
  const uint32_t begin = seen.first / kLanes, end = seen.last / kLanes;
  const auto cut = [&](F a, uint32_t v, F other) { return v == begin || v == end ? within(a, v, seen.first, seen.last, other) : a; };
  F high = splat(kLowest);
  for (uint32_t v = begin; v <= end; v++) {
    F score = load(p + v * kLanes);
    if (Scaled) score = mul(score, load(keyScales + v * kLanes));
    if (softcap > 0) score = mul(splat(softcap), tanhOf(divide(score, splat(softcap))));
    if (Scaled || softcap > 0) store(p + v * kLanes, score);
    high = maxOf(cut(score, v, splat(kLowest)), high);
  }
  const float highest = maxOver(high);
  if (highest > *all.top) {
    if (*all.sum != 0) {
      const float factor = expOf(*all.top - highest);
      *all.sum *= factor;
      for (uint32_t i = 0; i < ld; i += kLanes) store(all.acc + i, mul(load(all.acc + i), splat(factor)));
    }
    *all.top = highest;
  }
  const F top = splat(*all.top);
  F sums[2] = {zero(), zero()};
  for (uint32_t v = begin; v <= end; v++) {
    const F below = sub(load(p + v * kLanes), top), weight = cut(Rounded ? expBelowForBf16(below) : expBelow(below), v, zero());
    if (Rounded) storeBf16Normal(reinterpret_cast<uint16_t*>(p) + v * kLanes, weight);
    else store(p + v * kLanes, Scaled ? mul(weight, load(valueScales + v * kLanes)) : weight);
    sums[v % 2] = add(sums[v % 2], weight);
  }
  *all.sum += sumOf(add(sums[0], sums[1]));
}

}  // namespace WEFT_ISA
}  // namespace weft

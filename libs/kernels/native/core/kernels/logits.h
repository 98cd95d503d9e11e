// Passes over one row of logits: bound by memory, 4 bytes a token each, mostly out of L2.
#pragma once

namespace weft {
namespace WEFT_ISA {

struct RowStats { float max; bool finite; };

// The maximum, and whether the row is fit to be read: no NaN, no +inf, at least one finite value.
static RowStats statsOf(const float* x, uint32_t n) {
  const F infinite = splat(INFINITY);
  F high[4] = {splat(-INFINITY), splat(-INFINITY), splat(-INFINITY), splat(-INFINITY)}, bad = zero();
  uint32_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      const F a = load(x + i + v * kLanes);
      high[v] = maxOf(a, high[v]);
      bad = ifLess(a, infinite, bad, splat(1.0f));
    }
  }
  for (; i < n; i++) {
    high[0] = maxOf(splat(x[i]), high[0]);
    bad = ifLess(splat(x[i]), infinite, bad, splat(1.0f));
  }
  const float max = maxOver(maxOf(maxOf(high[0], high[1]), maxOf(high[2], high[3])));
  return {max, !anyGreater(bad, zero()) && max > -INFINITY};
}

static float maxOfRow(const float* x, uint32_t n) { return statsOf(x, n).max; }

// ln Σ e^(x - max): 16 lanes' worth of partial sums over each 1,024 tokens, these in double, in order.
static double logSumExp(const float* x, uint32_t n, float max) {
  constexpr uint32_t kRun = 1024;
  const F top = splat(max);
  double total = 0;
  for (uint32_t begin = 0; begin < n; begin += kRun) {
    const uint32_t end = n - begin < kRun ? n : begin + kRun;
    F s0 = zero(), s1 = zero();
    uint32_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      s0 = add(s0, expOf(sub(load(x + i), top)));
      s1 = add(s1, expOf(sub(load(x + i + kLanes), top)));
    }
    total += (double)sumOf(add(s0, s1));
    for (; i < end; i++) total += (double)expOf(x[i] - max);
  }
  return log(total);
}

// The first index of `value`, which occurs.
static uint32_t firstIndexOf(const float* x, uint32_t n, float value) {
  const F wanted = splat(value);
  uint32_t i = 0;
  // All are at most `value` where it is the maximum: ask for "not less".
  while (i + 4 * kLanes <= n) {
    F hit = zero();
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) hit = ifLess(load(x + i + v * kLanes), wanted, hit, splat(1.0f));
    if (anyGreater(hit, zero())) break;
    i += 4 * kLanes;
  }
  while (i + 1 < n && x[i] != value) i++;
  return i;
}

// How many are greater than `value`.
static uint32_t countAbove(const float* x, uint32_t n, float value) {
  const F limit = splat(value), one = splat(1.0f);
  F count = zero();                                      // exact: below 2^24 a lane
  uint32_t i = 0, total = 0;
  for (; i + kLanes <= n; i += kLanes) count = add(count, ifLess(limit, load(x + i), one, zero()));
  float lanes[kLanes];
  store(lanes, count);
  for (int l = 0; l < kLanes; l++) total += (uint32_t)lanes[l];
  for (; i < n; i++) total += x[i] > value;
  return total;
}

// The `wanted` greatest finite values, greatest first, equal ones by id; returns how many there are.
static uint32_t mostLikely(const float* x, uint32_t n, uint32_t wanted, int32_t* ids, float* values) {
  if (wanted == 0) return 0;
  uint32_t count = 0;
  auto offer = [&](uint32_t id) {
    const float value = x[id];
    uint32_t at = count < wanted ? count++ : wanted - 1;
    for (; at > 0 && values[at - 1] < value; at--) {
      values[at] = values[at - 1];
      ids[at] = ids[at - 1];
    }
    values[at] = value;
    ids[at] = (int32_t)id;
  };
  float limit = -INFINITY;                               // what the next one must exceed: ids ascend, so ties lose
  uint32_t i = 0;
  auto test = [&](uint32_t id) {
    if (!(x[id] > limit)) return;
    offer(id);
    if (count == wanted) limit = values[wanted - 1];
  };
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    const F high = maxOf(maxOf(load(x + i), load(x + i + kLanes)), maxOf(load(x + i + 2 * kLanes), load(x + i + 3 * kLanes)));
    if (anyGreater(high, splat(limit))) {
      for (uint32_t id = i; id < i + 4 * kLanes; id++) test(id);
    }
  }
  for (; i < n; i++) test(i);
  return count;
}

}  // namespace WEFT_ISA
}  // namespace weft

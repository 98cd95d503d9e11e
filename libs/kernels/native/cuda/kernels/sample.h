// From logits to a token: ops.ts tells the steps, core/kernels/sample.h what is exact about them, and the tokens are the same as
// there. A block takes a logit row.
//
// bound by latency and L2: greedy takes two passes over vocab · 4 bytes, a draw two more, top-k, top-p and the best nTop four to
// six each (select.h).
#pragma once
#include "cuda/kernels/sample_draw.h"

namespace weft {
namespace cuda {

// The `wanted` greatest raw logits, greatest first, equal ones by lower id, into shared ids and values, in no order.
WEFT_DEVICE void collectTop(const SampleRow& row, const RowStats& stats, uint32_t wanted) {
  SampleShared& shared = row.shared;
  const uint32_t vocab = row.a.vocab;
  static_assert(kSampleWarps >= kMaxTopLogprobs, "the least of the warps' maxima bounds the best");
  const float least = stats.least > -INFINITY ? stats.least : -kMostFloat;
  const Edge edge = edgeOf(orderOf(least), orderOf(stats.max), wanted, shared.select, [&](auto use) {
    eachOf(row.raw, vocab, [&](uint32_t, float value) { if (value >= least) use(orderOf(value), uint64_t{1}); });
  });
  uint32_t last = kNobody;
  if (edge.above + edge.equal > wanted) {
    const uint64_t missing = wanted - edge.above;
    last = firstBeyond(row.raw, vocab, missing - 1, shared.select, [&](float value) { return uint64_t{orderOf(value) == edge.key}; });
  }
  if (threadIdx.x == 0) shared.found = 0;
  __syncthreads();
  eachOf(row.raw, vocab, [&](uint32_t id, float value) {
    const uint32_t key = orderOf(value);
    if (key < edge.key || (key == edge.key && id > last)) return;
    const uint32_t at = atomicAdd(&shared.found, 1u);
    if (at >= kMaxTopLogprobs) return;
    shared.ids[at] = static_cast<int32_t>(id);
    shared.values[at] = value;
  });
  __syncthreads();
}

// Log-probabilities, the token's rank and the best nTop. token: what the row became.
WEFT_DEVICE void describeRow(const SampleRow& row, const RowStats& stats, int32_t token, int32_t* result) {
  SampleShared& shared = row.shared;
  const float own = row.raw[token];
  const WeightUnit wholeOf(row.a.vocab);
  uint64_t sum = 0;
  uint32_t above = 0;
  eachOf(row.raw, row.a.vocab, [&](uint32_t, float value) {
    sum += wholeOf(expOf(value - stats.max));
    above += value > own;
  });
  sum = overBlock(sum, shared.select.sums, AddUp());
  above = overBlock(above, shared.select.ids, AddUp());
  const double logSum = log(static_cast<double>(sum)) - wholeOf.s * 0.69314718055994530942;
  auto logprob = [&](float value) {
    return static_cast<int32_t>(floatToBits(static_cast<float>(static_cast<double>(value) - static_cast<double>(stats.max) - logSum)));
  };
  const uint32_t asked = row.word(kSampleNTop), found = asked < stats.count ? asked : stats.count;
  if (found) collectTop(row, stats, found);
  if (threadIdx.x == 0) {
    result[kResultLogprob] = logprob(own);
    result[kResultRank] = static_cast<int32_t>(above);
    result[kResultNTop] = static_cast<int32_t>(found);
  }
  if (threadIdx.x >= found) return;
  const float value = shared.values[threadIdx.x];
  const int32_t id = shared.ids[threadIdx.x];
  uint32_t place = 0;
  for (uint32_t i = 0; i < found; i++) place += shared.values[i] > value || (shared.values[i] == value && shared.ids[i] < id);
  result[kResultTopIds + place] = id;
  result[kResultTopLogprobs + place] = logprob(value);
}

// All threads of the block. What one row changes of a slot, the next row sees.
WEFT_DEVICE void sampleRow(SampleRow row) {
  if (!row.holds()) return;
  int32_t* result = row.a.results + static_cast<uint64_t>(row.index) * kResultWords;
  if (threadIdx.x < kResultWords) result[threadIdx.x] = 0;
  const int32_t target = row.record[kSampleTarget];
  const RowStats stats = statsOf(row.raw, row.a.vocab, row.shared.select);   // and barriers behind the zeros
  const int32_t chosen = target >= 0 ? target : stats.fit ? chooseToken(row, stats) : 0, token = chosen < 0 ? 0 : chosen;
  __syncthreads();
  if (threadIdx.x == 0) {
    if (target < 0) row.append(token);
    result[kResultToken] = token;
    result[kResultStatus] = !stats.fit ? kRowStatusNotFinite : chosen < 0 ? kRowStatusNothingAllowed : kRowStatusOk;
    if (!stats.fit) result[kResultLogprob] = 0x7fc00000; // NaN
  }
  if (stats.fit) describeRow(row, stats, token, result);
  __syncthreads();
}

// Rows that draw from one slot follow each other: the first one's block does them all.
WEFT_KERNEL_BOUNDS(sample, SampleArgs, kSampleThreads, 1) {
  __shared__ SampleShared shared;
  uint32_t count = countedFrom(step, a.count, a.tileRows, a.firstRow);
  if (uint64_t{a.firstRow} + count > a.maxLogits) {
    report(step, Bound::kLogits, a.firstRow, static_cast<int32_t>(count), a.maxLogits);
    count = a.firstRow < a.maxLogits ? a.maxLogits - a.firstRow : 0;
  }
  const uint32_t own = blockIdx.x;
  if (own >= count) return;
  const int32_t* records = a.records + static_cast<uint64_t>(a.firstRow) * kSampleWords;
  auto recordOf = [&](uint32_t row) { return records + static_cast<uint64_t>(row) * kSampleWords; };
  const int32_t slot = recordOf(own)[kSampleSlot];
  auto draws = [&](uint32_t row) { return recordOf(row)[kSampleSlot] == slot && recordOf(row)[kSampleTarget] < 0; };
  uint32_t end = own + 1;
  if (draws(own)) {
    uint32_t earlier = 0;
    for (uint32_t row = threadIdx.x; row < own; row += kSampleThreads) earlier += draws(row);
    if (overBlock(earlier, shared.select.ids, AddUp())) return;
    end = count;
  }
  float* scratch = reinterpret_cast<float*>(step.scratch) + own * 2 * sampleStride(a.vocab);
  for (uint32_t row = own; row < end; row++) {
    if (row != own && !draws(row)) continue;
    const float* raw = a.logits + static_cast<uint64_t>(row) * a.ldl;
    const int32_t vocab = recordOf(row)[kSampleVocab];
    if (!within(step, Bound::kSampleRecord, a.firstRow + row, vocab, a.vocab + 1)) continue;
    SampleArgs mine = a;
    if (vocab) mine.vocab = static_cast<uint32_t>(vocab);
    sampleRow(SampleRow{mine, step, shared, a.firstRow + row, raw, scratch, recordOf(row), nullptr, nullptr, 0});
  }
}

}  // namespace cuda
}  // namespace weft

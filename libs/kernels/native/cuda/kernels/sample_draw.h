// Drawing a token. Weights have the CPU's bits; their sums are whole multiples of 2^-s instead of doubles, s so that no sum
// overflows: 44 for 131,072 tokens.
#pragma once
#include "cuda/kernels/sample_record.h"

namespace weft {
namespace cuda {

// A weight of 1 is 2^s: s = 62 - bits of the vocabulary's size.
struct WeightUnit {
  uint32_t s;
  float one;
  WEFT_DEVICE explicit WeightUnit(uint32_t vocab)
      : s(30 + static_cast<uint32_t>(__clz(static_cast<int>(vocab)))), one(powerOf2(static_cast<int32_t>(s))) {}
  WEFT_DEVICE uint64_t operator()(float weight) const { return static_cast<uint64_t>(product(weight, one)); }
};

// Keeps the fewest candidates, the greatest weights first (equal ones: lower id first), whose measures reach `wanted`, and
// gives the sum of their weights. byMass: a candidate measures its weight, otherwise 1. lowest: a key that none is below.
WEFT_DEVICE uint64_t keepMostLikely(float* weights, uint32_t vocab, uint32_t lowest, uint64_t wanted, bool byMass,
                                    const WeightUnit& wholeOf, SelectShared& shared) {
  const Edge edge = edgeOf(lowest, floatToBits(1.0f), wanted, shared, [&](auto use) {
    eachOf(weights, vocab, [&](uint32_t, float weight) {
      if (weight > 0) use(floatToBits(weight), byMass ? wholeOf(weight) : uint64_t{1});
    });
  });
  // Of those that weigh exactly `least`, as many as are still needed.
  const float least = bitsToFloat(edge.key);
  const uint64_t each = byMass ? wholeOf(least) : 1, missing = wanted - edge.above;
  const uint64_t ties = each ? (missing + each - 1) / each : 1;
  uint32_t last = kNobody;
  if (ties * each < edge.equal) {
    last = firstBeyond(weights, vocab, ties - 1, shared, [&](float weight) { return uint64_t{weight == least}; });
  }
  uint64_t total = 0;
  eachOf(weights, vocab, [&](uint32_t id, float weight) {
    if (weight > least || (weight == least && id <= last)) total += wholeOf(weight);
    else if (weight > 0) weights[id] = 0;
  });
  return overBlock(total, shared.sums, AddUp());
}

// logits may be the scratch row itself; max is the greatest of them.
WEFT_DEVICE int32_t drawFrom(const SampleRow& row, const float* logits, float max) {
  SelectShared& shared = row.shared.select;
  float* weights = row.scratch;
  const uint32_t vocab = row.a.vocab, topK = row.word(kSampleTopK);
  const float temperature = row.number(kSampleTemperature), topP = row.number(kSampleTopP), minP = row.number(kSampleMinP);
  const float least = minP > 0 ? minP : 1e-45f;
  const WeightUnit wholeOf(vocab);
  uint64_t total = 0;
  uint32_t lowest = kNobody, count = 0;
  eachOf(logits, vocab, [&](uint32_t id, float value) {
    float weight = expOf((value - max) / temperature);
    if (!(weight >= least)) weight = 0;
    weights[id] = weight;
    if (!(weight > 0)) return;
    count++;
    total += wholeOf(weight);
    if (floatToBits(weight) < lowest) lowest = floatToBits(weight);
  });
  total = overBlock(total, shared.sums, AddUp());
  count = overBlock(count, shared.ids, AddUp());
  lowest = overBlock(lowest, shared.ids, Least());
  for (uint32_t pass = 0; pass < 2; pass++) {            // top-k, then top-p
    const bool byMass = pass == 1;
    if (byMass ? !(topP < 1.0f) : topK == 0 || topK >= count) continue;
    const double mass = ceil(static_cast<double>(topP) * static_cast<double>(total));
    const uint64_t wanted = !byMass ? topK : mass > 1 ? static_cast<uint64_t>(mass) : 1;
    total = keepMostLikely(weights, vocab, lowest, wanted, byMass, wholeOf, shared);
  }
  const uint64_t random = philoxBits(row.word(kSampleSeedLo), row.word(kSampleSeedHi), row.word(kSampleChoice), row.length);
  // A whole sum exceeds u · total, u of 53 bits, where it exceeds what is whole of it.
  const uint64_t target = highProduct(random >> 11 << 11, total);
  return static_cast<int32_t>(firstBeyond(weights, vocab, target, shared, wholeOf));
}

// The next token, or -1 if nothing may be drawn. rawStats: of the raw logits.
WEFT_DEVICE int32_t chooseToken(const SampleRow& row, const RowStats& rawStats) {
  const float* logits = row.raw;
  RowStats stats = rawStats;
  if (row.alters()) {
    row.alter();
    logits = row.scratch;
    stats = statsOf(logits, row.a.vocab, row.shared.select);
  }
  if (!(stats.max > -INFINITY)) return -1;
  return row.number(kSampleTemperature) > 0 ? drawFrom(row, logits, stats.max) : static_cast<int32_t>(stats.first);
}

}  // namespace cuda
}  // namespace weft

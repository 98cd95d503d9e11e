// The most likely tokens of a distribution without sorting it: a radix descent over the bits of their probabilities.
#pragma once

namespace weft {
namespace WEFT_ISA {

// Candidates in ascending id order: weights[i] > 0 is proportional to the probability of ids[i].
struct Candidates {
  int32_t* ids;
  float* weights;
  uint32_t count;
};

// Keeps the fewest candidates, most likely first (equal ones: lower id first), whose measures add up to `wanted`:
// by count every candidate measures 1, by mass its weight (summed in double). At least one is kept. Order stays by id.
//
// Positive floats sort like their bits: three passes over 10 bits each find the weight at which the sum is reached.
// O(count) however flat the distribution.
static void keepMostLikely(Candidates& c, double wanted, bool byMass) {
  auto bitsOf = [](float weight) { uint32_t bits; memcpy(&bits, &weight, 4); return bits; };
  constexpr uint32_t kShift[3] = {20, 10, 0}, kBins = 1024, kCopies = 4;   // weights are at most 1: 0x3f8 << 20
  double above = 0;                                      // measure of everything beyond the current prefix
  uint32_t prefix = 0;
  for (int level = 0; level < 3; level++) {
    // Four copies, so that candidates that fall into one bin don't wait for each other.
    double bins[kCopies][kBins];
    memset(bins, 0, sizeof bins);
    const uint32_t shift = kShift[level], parent = level ? kShift[level - 1] : 31;
    for (uint32_t i = 0; i < c.count; i++) {
      const uint32_t bits = bitsOf(c.weights[i]);
      const double measure = byMass ? (double)c.weights[i] : 1.0;
      bins[i % kCopies][bits >> shift & (kBins - 1)] += bits >> parent == prefix ? measure : 0.0;
    }
    for (uint32_t bin = 0; bin < kBins; bin++) bins[0][bin] = (bins[0][bin] + bins[1][bin]) + (bins[2][bin] + bins[3][bin]);
    uint32_t bin = kBins, lowest = 0;
    bool reached = false;
    while (bin-- > 0) {
      if (bins[0][bin] == 0) continue;
      lowest = bin;
      if (above + bins[0][bin] >= wanted) { reached = true; break; }
      above += bins[0][bin];
    }
    if (!reached) {
      if (level == 0) return;                            // all of them together fall short: all stay
      above -= bins[0][lowest];                          // only rounding of the bins' sums leads here
    }
    prefix = level == 0 ? lowest : prefix << (parent - shift) | lowest;
  }
  float edge;
  memcpy(&edge, &prefix, 4);
  // Of those that weigh exactly `edge`, as many as are still needed.
  const double each = byMass ? (double)edge : 1.0;
  uint32_t ties = 1;
  while (ties < c.count && above + each * ties < wanted) ties++;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < c.count; i++) {
    const float weight = c.weights[i];
    const uint32_t tie = (weight == edge) & (ties > 0);
    c.ids[kept] = c.ids[i];
    c.weights[kept] = weight;
    kept += (weight > edge) | tie;
    ties -= tie;
  }
  c.count = kept;
}

}  // namespace WEFT_ISA
}  // namespace weft

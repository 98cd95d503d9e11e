// bf16 rows × bf16 weights two rows, two outputs and four k an instruction. BFMMLA is defined as two BFDOT, the lower k first
// (Arm ARM, BFMatMulAdd), so that rows have the same bits here and where there are too few of them.
#pragma once

namespace weft {
namespace WEFT_ISA {

// Adds what comes in fours of k, of R rows × V vectors of outputs of a panel. Returns how many pairs of k that was.
template <int R, int V>
WEFT_INLINE size_t bfmmlaPairs(const uint16_t* w, const uint16_t* x, size_t ldx, size_t k, Ahead ahead, F (&acc)[R][1][V]) {
  constexpr int kCouples = (R + 1) / 2;                  // of rows; an odd one is its own neighbour
  constexpr size_t kPair = kOuts * 2;
  F sums[kCouples][V][2];
#pragma GCC unroll 6
  for (int c = 0; c < kCouples; c++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) sums[c][v][0] = sums[c][v][1] = zero();
  size_t pair = 0;
  for (; 2 * pair + 4 <= k; pair += 2) {
    for (int line = 0; line < 4; line++) __builtin_prefetch(ahead.at + pair * ahead.step + line * ahead.step / 2);
    I rows[kCouples];
#pragma GCC unroll 6
    for (int c = 0; c < kCouples; c++) rows[c] = quadsOf(x + 2 * c * ldx, x + (2 * c + 1 < R ? 2 * c + 1 : 2 * c) * ldx);
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) {
      const I pairs = loadPairs(w + v * kLanes * 2), next = loadPairs(w + kPair + v * kLanes * 2);
      const I first = quadsOfFirst(pairs, next), second = quadsOfSecond(pairs, next);
#pragma GCC unroll 6
      for (int c = 0; c < kCouples; c++) {
        sums[c][v][0] = multiplyQuads(sums[c][v][0], rows[c], first);
        sums[c][v][1] = multiplyQuads(sums[c][v][1], rows[c], second);
      }
    }
    w += 2 * kPair;
    x += 4;
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int v = 0; v < V; v++) acc[r][0][v] = r % 2 ? secondRow(sums[r / 2][v][0], sums[r / 2][v][1]) : firstRow(sums[r / 2][v][0], sums[r / 2][v][1]);
  return pair;
}

}  // namespace WEFT_ISA
}  // namespace weft

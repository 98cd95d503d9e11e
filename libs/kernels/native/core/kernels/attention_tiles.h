// The two products of attention for some pairs (row, query head) at once: scores = q K and sums += weights V.
//
// Bf16Pairs  Keys [dim/2][16 tokens] and values [8][dim] are words of two bf16 each, of two successive dimensions and of two
//            successive tokens. So are queries and weights: a step takes two products, the order of steps is by position as ever.
#pragma once
#include <type_traits>

namespace weft {
namespace WEFT_ISA {

constexpr int kTokenVectors = kBlockTokens / kLanes;
constexpr int kScoreRows = kAccumulators / kTokenVectors < kRowTile ? kAccumulators / kTokenVectors : kRowTile;
constexpr int kValueRows = kRowTile;
constexpr uint32_t kSpanTokens = kAttentionSpan, kSpanBlocks = kSpanTokens / kBlockTokens;
constexpr uint32_t kUnitBlocks = 8, kUnitTokens = kUnitBlocks * kBlockTokens;
constexpr uint32_t kPairsMax = 48;                       // pairs of a kv head at once: their state stays in L1/L2
static_assert(kSpanBlocks % kUnitBlocks == 0, "units don't cross spans");
// Two bf16 in a word, which no arithmetic on floats touches.
struct Bf16Pairs {
  using Stored = float;
  WEFT_INLINE F vector(const float* p) { return load(p); }
  WEFT_INLINE F vectorN(const float* p, int n) { return loadN(p, n); }
};
// Values that are stored with a scale for each head and token.
template <class W>
constexpr bool kScaled = sizeof(typename W::Stored) == 1;
// Dimensions or tokens that a step takes.
template <class W>
constexpr uint32_t kStep = std::is_same<W, Bf16Pairs>() ? 2 : 1;

// How many blocks, or vectors of values, go side by side with `rows` rows of `vectors` accumulators each.
constexpr int besides(int rows, int vectors, int most) {
  int n = most;
  while (n > 1 && rows * vectors * n > kAccumulators) n /= 2;
  return n;
}

// sum + a step of a row and a column.
template <class W>
WEFT_INLINE F multiplied(F row, F column, F sum) {
  if constexpr (kStep<W> == 1) return fma(row, column, sum);
#ifdef WEFT_DOT_PAIRS
  else return dotPairs(sum, pairsOf(column), pairsOf(row));
#else
  else return fma(lowHalf(row), lowHalf(column), fma(highHalf(row), highHalf(column), sum));
#endif
}

// acc[r][n] += row(r)·column(n). Of the two, the fewer stay in registers, the others pass by.
template <class W, int R, int N, class Row, class Column>
WEFT_INLINE void outer(Row row, Column column, F (&acc)[R][N]) {
  if constexpr (R <= N) {
    F rows[R];
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) rows[r] = row(r);
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) {
      const F value = column(n);
#pragma GCC unroll 12
      for (int r = 0; r < R; r++) acc[r][n] = multiplied<W>(rows[r], value, acc[r][n]);
    }
  } else {
    F columns[N];
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) columns[n] = column(n);
#pragma GCC unroll 12
    for (int r = 0; r < R; r++) {
      const F value = row(r);
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) acc[r][n] = multiplied<W>(value, columns[n], acc[r][n]);
    }
  }
}

WEFT_INLINE F splatWord(const float* p) {
  float word;                                            // pairs were stored as bf16
  memcpy(&word, p, sizeof word);
  return splat(word);
}

template <size_t Bytes>
WEFT_INLINE void prefetch(const uint8_t* at) {
  for (size_t line = 0; line < Bytes; line += 64) askFor(at + line);
}

// scores[r][block·16 …] of R pairs and B blocks. q: [R][ldq], `steps` words of each; keys: [steps][16] each. While a block is read, the lines of
// another one that will be are asked for, one at a time: all at once would fill the processor's miss buffers and hold up
// the loads behind. Size: bytes of a word of keys in pages.
template <class W, size_t Size, int R, int B>
static void scoreTile(const float* q, uint32_t ldq, const typename W::Stored* const* keys, uint32_t steps, float* scores, const uint8_t* const* ahead) {
  constexpr size_t kBytes = B * kBlockTokens * Size;        // asked for per step
  F acc[R][B * kTokenVectors];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int n = 0; n < B * kTokenVectors; n++) acc[r][n] = zero();
  const auto step = [&](uint32_t d) __attribute__((always_inline)) {
    outer<W, R, B * kTokenVectors>([&](int r) { return splatWord(q + (size_t)r * ldq + d); },
                                   [&](int n) { return W::vector(keys[n / kTokenVectors] + d * kBlockTokens + n % kTokenVectors * kLanes); }, acc);
  };
  if (kStep<W> == 2 && !ahead) {                          // pairs make few steps: one loop, which ends once
    for (uint32_t d = 0; d < steps; d++) step(d);
  } else {
    for (int part = 0; part < B; part++) {
      const uint32_t begin = steps * part / B, end = steps * (part + 1) / B;
      for (uint32_t d = begin; d < end; d++) {
        if (ahead) prefetch<kBytes>(ahead[part] + (d - begin) * kBytes);
        step(d);
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 16
    for (int n = 0; n < B * kTokenVectors; n++) store(scores + r * kUnitTokens + n * kLanes, acc[r][n]);
}

template <class W, size_t Size = sizeof(typename W::Stored), int R = kScoreRows>
static void scoreBlocks(uint32_t rows, const float* q, uint32_t ldq, const typename W::Stored* const* keys, uint32_t blocks, uint32_t steps, float* scores,
                        const uint8_t* const* ahead) {
  if constexpr (R > 0) {
    if (rows != (uint32_t)R) return scoreBlocks<W, Size, R - 1>(rows, q, ldq, keys, blocks, steps, scores, ahead);
    constexpr int B = besides(R, kTokenVectors, 4);
    uint32_t b = 0;
    for (; b + B <= blocks; b += B) scoreTile<W, Size, R, B>(q, ldq, keys + b, steps, scores + b * kBlockTokens, ahead ? ahead + b : nullptr);
    for (; b < blocks; b++) scoreTile<W, Size, R, 1>(q, ldq, keys + b, steps, scores + b * kBlockTokens, ahead ? ahead + b : nullptr);
  }
}

// acc[r][C vectors] += Σ over t in [first, last] of p[r][t] · values[t].
template <class W, int R, int C>
WEFT_INLINE void valueColumns(const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc,
                              const uint8_t* ahead) {
  constexpr size_t kBytes = C * kLanes * sizeof(typename W::Stored);
  F sum[R][C];
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) sum[r][c] = load(acc + r * ld + c * kLanes);
  const auto step = [&](uint32_t t, auto part) __attribute__((always_inline)) {
    if (ahead) prefetch<kBytes>(ahead + t * kBytes);
    outer<W, R, C>([&](int r) { return part(splatWord(p + r * kUnitTokens + t)); }, [&](int c) { return part(W::vector(values + t * ld + c * kLanes)); }, sum);
  };
  const auto all = [](F words) __attribute__((always_inline)) { return words; };
  if constexpr (kStep<W> == 1) {
    for (uint32_t t = first; t <= last; t++) step(t, all);
  } else {
    // Of a pair that is seen in part the other half may be anything.
    uint32_t t = first / 2;
    if (first % 2) step(t++, [](F words) __attribute__((always_inline)) { return highHalf(words); });
    for (; t < (last + 1) / 2; t++) step(t, all);
    if (last % 2 == 0) step(t, [](F words) __attribute__((always_inline)) { return lowHalf(words); });
  }
#pragma GCC unroll 12
  for (int r = 0; r < R; r++)
#pragma GCC unroll 8
    for (int c = 0; c < C; c++) store(acc + r * ld + c * kLanes, sum[r][c]);
}

template <class W, int R, int C>
WEFT_INLINE void valueTile(const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc,
                           const uint8_t* ahead, uint32_t c = 0) {
  for (; c + C * kLanes <= ld; c += C * kLanes) valueColumns<W, R, C>(p, values + c, first, last, ld, acc + c, ahead ? ahead + c * (kBlockTokens / kStep<W>) * sizeof(typename W::Stored) : nullptr);
  if constexpr (C > 1) {
    if (c < ld) valueTile<W, R, C / 2>(p, values, first, last, ld, acc, ahead, c);
  }
}

template <class W, int R = kValueRows>
static void valueRows(uint32_t rows, const float* p, const typename W::Stored* values, uint32_t first, uint32_t last, uint32_t ld, float* acc,
                      const uint8_t* ahead) {
  if constexpr (R > 0) {
    if (rows == (uint32_t)R) valueTile<W, R, besides(R, 1, 8)>(p, values, first, last, ld, acc, ahead);
    else valueRows<W, R - 1>(rows, p, values, first, last, ld, acc, ahead);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

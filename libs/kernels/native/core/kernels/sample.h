// From logits to a token: see ops.ts for the steps. What is exact here:
//
//   penalties    a token of the history (prompt too): l > 0 ? l / repetition : l · repetition; then, for its c > 0
//                occurrences from promptLen on, l - (presence + c · frequency); then bias is added, in record order;
//                then the mask. What overflows to +inf counts as FLT_MAX, inf - inf as -inf.
//   weights      w = e^((l - max l) / temperature) in f32 (expOf); tokens of weight 0 are out.
//   min-p        keeps w >= minP: at least minP times as likely as the likeliest.            then
//   top-k        keeps the k most likely of those, equal ones by lower id.                   then
//   top-p        keeps the fewest most likely of those whose weights add up to >= topP · (the sum of them all),
//                equal ones by lower id; sums in double.
//   draw         the first id, ascending, at which the sum of weights (double) exceeds u · total, u in [0, 1) from
//                Philox(seed; choice, position), position being that of the token to be drawn.
//
// bound by latency and caches: greedy takes three passes over vocab · 4 bytes, a draw five more, top-k and top-p four each.
#pragma once

namespace weft {
namespace WEFT_ISA {

struct SampleRow {
  const SampleArgs& a;
  const int32_t* record;
  int32_t* slot;
  const int32_t* history;

  SampleRow(const SampleArgs& a, uint32_t index)
      : a(a), record(a.records + (size_t)index * kSampleWords), slot(a.slots + (size_t)record[kSampleSlot] * kSlotWords),
        history(a.history + (size_t)record[kSampleSlot] * a.maxLen) {}

  float param(int word) const { return wordAsFloat(record[word]); }
  bool penalizes() const { return param(kSampleRepetition) != 1.0f || param(kSamplePresence) != 0.0f || param(kSampleFrequency) != 0.0f; }
  bool masked() const { return a.masks && record[kSampleMaskRow] >= 0; }
  bool alters() const { return penalizes() || masked() || record[kSampleBiasCount] > 0; }
  uint32_t length() const { return slot[kSlotLength]; }

  // Entries of the table that counts tokens of the history: a power of two, at most half full.
  uint32_t tableSize() const {
    uint32_t size = 16;
    while (size < 2 * length()) size *= 2;
    return penalizes() ? size : 0;
  }

  // No altered logit is +inf or NaN, so the greatest always weighs e^0 = 1.
  static float bounded(float value) { return value > 3.402823466e38f ? 3.402823466e38f : value == value ? value : -INFINITY; }

  void penalize(float* l, int32_t* tokens, uint32_t* counts) const {
    const uint32_t size = tableSize();
    const float repetition = param(kSampleRepetition), presence = param(kSamplePresence), frequency = param(kSampleFrequency);
    memset(tokens, 0xff, size * sizeof(int32_t));
    memset(counts, 0, size * sizeof(uint32_t));
    const uint32_t promptLen = record[kSamplePromptLen];
    for (uint32_t i = repetition != 1.0f ? 0 : promptLen; i < length(); i++) {
      const int32_t token = history[i];
      uint32_t at = (uint32_t)token * 2654435761u & (size - 1);
      while (tokens[at] != token && tokens[at] != -1) at = (at + 1) & (size - 1);
      tokens[at] = token;
      counts[at] += i >= promptLen;
    }
    for (uint32_t at = 0; at < size; at++) {
      if (tokens[at] < 0) continue;
      float& value = l[tokens[at]];
      value = value > 0 ? value / repetition : value * repetition;
      if (counts[at]) value -= presence + (float)counts[at] * frequency;
      value = bounded(value);
    }
  }

  void addBias(float* l) const {
    const int32_t* pair = a.bias + 2 * (size_t)record[kSampleBiasStart];
    for (int32_t i = 0; i < record[kSampleBiasCount]; i++, pair += 2) {
      l[pair[0]] = bounded(l[pair[0]] + wordAsFloat(pair[1]));
    }
  }

  void applyMask(float* l) const {
    const int32_t* mask = a.masks + (size_t)record[kSampleMaskRow] * a.maskWords;
    for (uint32_t i = 0; i < a.vocab; i++) if (!((uint32_t)mask[i / 32] >> (i % 32) & 1)) l[i] = -INFINITY;
  }

  int32_t draw(float* l, float max, int32_t* ids) const {
    const F temperature = splat(param(kSampleTemperature)), top = splat(max);
    uint32_t i = 0;
    for (; i + kLanes <= a.vocab; i += kLanes) store(l + i, expOf(divide(sub(load(l + i), top), temperature)));
    if (i < a.vocab) storeN(l + i, expOf(divide(sub(loadN(l + i, a.vocab - i), top), temperature)), a.vocab - i);

    const float minP = param(kSampleMinP), topP = param(kSampleTopP);
    const float least = minP > 0 ? minP : 1e-45f;
    Candidates c{ids, l, 0};
    for (uint32_t id = 0; id < a.vocab; id++) {
      const float weight = l[id];
      ids[c.count] = (int32_t)id;
      l[c.count] = weight;
      c.count += weight >= least;
    }
    const uint32_t topK = record[kSampleTopK] > 0 ? record[kSampleTopK] : 0;
    if (topK && topK < c.count) keepMostLikely(c, topK, false);
    double total = sumOfWeights(c);
    if (topP < 1.0f) {
      keepMostLikely(c, topP * total, true);
      total = sumOfWeights(c);
    }
    const Philox random = philox(record[kSampleSeedLo], record[kSampleSeedHi], record[kSampleChoice], length(), 0, 0);
    const double target = uniformOf(random) * total;
    double sum = 0;
    for (uint32_t n = 0; n < c.count; n++) {
      sum += (double)c.weights[n];
      if (sum > target) return c.ids[n];
    }
    return c.ids[c.count - 1];                           // u · total rounded up to the total
  }

  static double sumOfWeights(const Candidates& c) {
    double sums[4] = {0, 0, 0, 0};
    for (uint32_t n = 0; n < c.count; n++) sums[n % 4] += (double)c.weights[n];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }

  // The next token, or -1 if nothing may be drawn.
  int32_t choose(const float* raw, float rawMax, Scratch& scratch) const {
    const bool greedy = !(param(kSampleTemperature) > 0);
    if (greedy && !alters()) return (int32_t)firstIndexOf(raw, a.vocab, rawMax);
    const uint32_t vocab = ceilDiv(a.vocab, 16) * 16, size = tableSize();
    float* l = static_cast<float*>(scratch.take(((size_t)vocab * 2 + size * 2) * 4));
    int32_t* ids = reinterpret_cast<int32_t*>(l + vocab);
    memcpy(l, raw, a.vocab * sizeof(float));
    if (penalizes()) penalize(l, ids + vocab, reinterpret_cast<uint32_t*>(ids + vocab + size));
    addBias(l);
    if (masked()) applyMask(l);
    const float max = alters() ? maxOfRow(l, a.vocab) : rawMax;
    if (!(max > -INFINITY)) return -1;
    return greedy ? (int32_t)firstIndexOf(l, a.vocab, max) : draw(l, max, ids);
  }

  void append(int32_t token) const {
    const uint32_t at = length();
    if (at < a.maxLen) a.history[(size_t)record[kSampleSlot] * a.maxLen + at] = token;
    slot[kSlotLength] = at + 1;
    slot[kSlotLastToken] = token;
    slot[kSlotDraws] = (int32_t)((uint32_t)slot[kSlotDraws] + 1);
  }
};

static void sampleOne(const SampleArgs& whole, uint32_t i, Scratch& scratch) {
  const int32_t own = whole.records[(size_t)(whole.firstRow + i) * kSampleWords + kSampleVocab];
  SampleArgs a = whole;
  if (own) a.vocab = own;
  const float* raw = a.logits + (size_t)i * a.ldl;
  const SampleRow row(a, a.firstRow + i);
  int32_t* result = a.results + (size_t)(a.firstRow + i) * kResultWords;
  const int32_t target = row.record[kSampleTarget];
  memset(result, 0, kResultWords * sizeof(int32_t));

  const RowStats stats = statsOf(raw, a.vocab);
  if (!stats.finite) {
    result[kResultToken] = target >= 0 ? target : 0;
    result[kResultStatus] = kRowStatusNotFinite;
    result[kResultLogprob] = floatAsWord(NAN);
    if (target < 0) row.append(0);
    return;
  }
  int32_t token = target;
  if (target < 0) {
    token = row.choose(raw, stats.max, scratch);
    if (token < 0) {
      result[kResultStatus] = kRowStatusNothingAllowed;
      token = 0;
    }
    row.append(token);
  }
  const double logSum = logSumExp(raw, a.vocab, stats.max);
  auto logprob = [&](float value) { return floatAsWord((float)((double)value - (double)stats.max - logSum)); };
  result[kResultToken] = token;
  result[kResultLogprob] = logprob(raw[token]);
  result[kResultRank] = (int32_t)countAbove(raw, a.vocab, raw[token]);
  float values[kMaxTopLogprobs];
  const uint32_t asked = row.record[kSampleNTop], wanted = asked < kMaxTopLogprobs ? asked : kMaxTopLogprobs;
  const uint32_t found = mostLikely(raw, a.vocab, wanted, result + kResultTopIds, values);
  result[kResultNTop] = (int32_t)found;
  for (uint32_t i = 0; i < found; i++) result[kResultTopLogprobs + i] = logprob(values[i]);
}

static uint32_t sampleTiles(const void* p, uint32_t) { return static_cast<const SampleArgs*>(p)->count; }

// A tile is a row. Rows that draw from one slot follow each other: the first one's tile does them all.
static void sampleRun(const void* p, uint32_t tile, uint32_t, Scratch& scratch) {
  const SampleArgs& a = *static_cast<const SampleArgs*>(p);
  const int32_t* records = a.records + (size_t)a.firstRow * kSampleWords;
  auto drawsFrom = [&](uint32_t i, int32_t slot) {
    return records[(size_t)i * kSampleWords + kSampleSlot] == slot && records[(size_t)i * kSampleWords + kSampleTarget] < 0;
  };
  const int32_t slot = records[(size_t)tile * kSampleWords + kSampleSlot];
  if (!drawsFrom(tile, slot)) return sampleOne(a, tile, scratch);
  for (uint32_t i = 0; i < tile; i++) if (drawsFrom(i, slot)) return;
  for (uint32_t i = tile; i < a.count; i++) if (drawsFrom(i, slot)) sampleOne(a, i, scratch);
}

}  // namespace WEFT_ISA
}  // namespace weft

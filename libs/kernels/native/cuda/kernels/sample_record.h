// A logit row's record: what it may ask for, and how it alters logits.
#pragma once
#include "cuda/bounds.h"
#include "cuda/kernels/select.h"
#include "cuda/numbers.h"

namespace weft {
namespace cuda {

struct SampleShared {
  SelectShared select;
  uint32_t found;
  int32_t ids[kMaxTopLogprobs];
  float values[kMaxTopLogprobs];
};

constexpr float kMostFloat = 3.402823466e38f;
constexpr uint32_t kSeen = 0x80000000u;                  // in a token's count: it stands in the prompt

struct SampleRow {
  const SampleArgs& a;
  const Step& step;
  SampleShared& shared;
  uint32_t index;        // among all logit rows
  const float* raw;
  float* scratch;        // of the block: altered logits, then weights
  const int32_t* record;
  // Of a row that draws, once it holds.
  int32_t* slot;
  int32_t* history;
  uint32_t length;

  WEFT_DEVICE float number(uint32_t word) const { return bitsToFloat(static_cast<uint32_t>(record[word])); }
  WEFT_DEVICE uint32_t word(uint32_t at) const { return static_cast<uint32_t>(record[at]); }
  WEFT_DEVICE bool penalizes() const {
    return number(kSampleRepetition) != 1.0f || number(kSamplePresence) != 0.0f || number(kSampleFrequency) != 0.0f;
  }
  WEFT_DEVICE bool masked() const { return record[kSampleMaskRow] >= 0; }
  WEFT_DEVICE bool alters() const { return penalizes() || masked() || record[kSampleBiasCount] > 0; }

  // No altered logit is +inf or NaN, so the greatest always weighs e^0 = 1.
  WEFT_DEVICE static float bounded(float value) { return value > kMostFloat ? kMostFloat : value == value ? value : -INFINITY; }

  // NaN is in no range.
  WEFT_DEVICE bool numberWithin(uint32_t word, float lowest, float highest) const {
    if (number(word) >= lowest && number(word) <= highest) return true;
    report(step, Bound::kSampleRecord, index, record[word], 0);
    return false;
  }

  // Whether everything that the row reads lies where it may (core/check_sample.cpp).
  WEFT_DEVICE bool holds() {
    if (!within(step, Bound::kSlot, index, record[kSampleSlot], a.nSlots)) return false;
    if (record[kSampleTarget] != -1 && !within(step, Bound::kToken, index, record[kSampleTarget], a.vocab)) return false;
    if (!within(step, Bound::kSampleRecord, index, record[kSampleNTop], kMaxTopLogprobs + 1)) return false;
    if (record[kSampleTarget] >= 0) return true;
    if (!within(step, Bound::kSampleRecord, index, record[kSampleTopK], 0x7fffffff)) return false;
    if (record[kSampleMaskRow] != -1 && !within(step, Bound::kMask, index, record[kSampleMaskRow], a.masks ? a.maskRows : 0)) return false;
    if (!numberWithin(kSampleTemperature, 0, kMostFloat) || !numberWithin(kSampleTopP, -kMostFloat, kMostFloat)) return false;
    if (!numberWithin(kSampleMinP, -kMostFloat, 1) || !numberWithin(kSampleRepetition, 1e-45f, kMostFloat)) return false;
    if (!numberWithin(kSamplePresence, -kMostFloat, kMostFloat) || !numberWithin(kSampleFrequency, -kMostFloat, kMostFloat)) return false;
    const int64_t start = record[kSampleBiasStart], pairs = record[kSampleBiasCount];
    if (start < 0 || pairs < 0 || (start + pairs) * 2 > a.biasWords) {
      report(step, Bound::kBias, index, record[kSampleBiasStart], a.biasWords / 2);
      return false;
    }
    slot = a.slots + static_cast<uint64_t>(record[kSampleSlot]) * kSlotWords;
    history = a.history + static_cast<uint64_t>(record[kSampleSlot]) * a.maxLen;
    length = static_cast<uint32_t>(slot[kSlotLength]);
    return within(step, Bound::kLength, index, slot[kSlotLength], a.maxLen) &&
           within(step, Bound::kSampleRecord, index, record[kSamplePromptLen], a.maxLen + 1);
  }

  // use(token) for history [from, to).
  template <typename Use>
  WEFT_DEVICE void eachToken(uint32_t from, uint32_t to, Use use) const {
    for (uint32_t i = from + threadIdx.x; i < to; i += kSampleThreads) {
      const int32_t token = history[i];
      if (within(step, Bound::kToken, i, token, a.vocab)) use(token);
    }
    __syncthreads();
  }

  // counts: room for one a token of the vocabulary; only those of tokens in the history are used.
  WEFT_DEVICE void penalize(float* l, uint32_t* counts) const {
    const float repetition = number(kSampleRepetition), presence = number(kSamplePresence), frequency = number(kSampleFrequency);
    const uint32_t promptLen = word(kSamplePromptLen), from = repetition != 1.0f ? 0 : promptLen;
    eachToken(from, length, [&](int32_t token) { counts[token] = 0; });
    eachToken(from, promptLen < length ? promptLen : length, [&](int32_t token) { counts[token] = kSeen; });
    eachToken(promptLen, length, [&](int32_t token) { atomicAdd(&counts[token], 1u); });
    // Whoever takes a token's count away applies it.
    eachToken(from, length, [&](int32_t token) {
      const uint32_t count = counts[token], drawn = count & ~kSeen;
      if (count == 0 || atomicCAS(&counts[token], count, 0u) != count) return;
      float value = l[token];
      value = value > 0 ? value / repetition : product(value, repetition);
      if (drawn) value -= presence + product(static_cast<float>(drawn), frequency);
      l[token] = bounded(value);
    });
  }

  // Pairs of one token are added in their order, by the one thread that the token belongs to.
  WEFT_DEVICE void addBias(float* l) const {
    const int32_t* pairs = a.bias + 2 * static_cast<uint64_t>(record[kSampleBiasStart]);
    for (int32_t i = 0; i < record[kSampleBiasCount]; i++) {
      const int32_t token = pairs[2 * i];
      if (static_cast<uint32_t>(token) % kSampleThreads != threadIdx.x) continue;
      if (!within(step, Bound::kBias, index, token, a.vocab)) continue;
      l[token] = bounded(l[token] + bitsToFloat(static_cast<uint32_t>(pairs[2 * i + 1])));
    }
    __syncthreads();
  }

  WEFT_DEVICE void applyMask(float* l) const {
    const int32_t* mask = a.masks + static_cast<uint64_t>(record[kSampleMaskRow]) * a.maskWords;
    for (uint32_t id = threadIdx.x; id < a.vocab; id += kSampleThreads) {
      if (!(static_cast<uint32_t>(mask[id / 32]) >> id % 32 & 1)) l[id] = -INFINITY;
    }
    __syncthreads();
  }

  // The raw logits as the record alters them, in scratch.
  WEFT_DEVICE void alter() const {
    eachOf(raw, a.vocab, [&](uint32_t id, float value) { scratch[id] = value; });
    __syncthreads();
    if (penalizes()) penalize(scratch, reinterpret_cast<uint32_t*>(scratch + sampleStride(a.vocab)));
    addBias(scratch);
    if (masked()) applyMask(scratch);
  }

  // By one thread, when no other reads the slot any more.
  WEFT_DEVICE void append(int32_t token) const {
    history[length] = token;
    slot[kSlotLength] = static_cast<int32_t>(length + 1);
    slot[kSlotLastToken] = token;
    slot[kSlotDraws] = static_cast<int32_t>(static_cast<uint32_t>(slot[kSlotDraws]) + 1);
  }
};

}  // namespace cuda
}  // namespace weft

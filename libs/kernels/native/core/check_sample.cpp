#include <cmath>
#include <cstring>

#include "checks.h"
#include "error.h"
#include "ops.gen.h"

namespace weft {
namespace {

float asFloat(int32_t word) {
  float value;
  memcpy(&value, &word, 4);
  return value;
}

// Rows before `row` that draw from the same slot: each of them makes its history one token longer.
uint32_t drawsBefore(const int32_t* records, uint32_t row) {
  const int32_t slot = records[uint64_t{row} * kSampleWords + kSampleSlot];
  uint32_t draws = 0;
  for (uint32_t i = 0; i < row; i++) {
    const int32_t* record = records + uint64_t{i} * kSampleWords;
    draws += record[kSampleSlot] == slot && record[kSampleTarget] < 0;
  }
  return draws;
}

void checkNumbers(const OpSite& site, uint32_t row, const int32_t* record) {
  const struct { const char* name; float value; bool holds; } numbers[] = {
      {"temperature", asFloat(record[kSampleTemperature]), asFloat(record[kSampleTemperature]) >= 0},
      {"topP", asFloat(record[kSampleTopP]), true},
      {"minP", asFloat(record[kSampleMinP]), asFloat(record[kSampleMinP]) <= 1},
      {"repetition", asFloat(record[kSampleRepetition]), asFloat(record[kSampleRepetition]) > 0},
      {"presence", asFloat(record[kSamplePresence]), true},
      {"frequency", asFloat(record[kSampleFrequency]), true},
  };
  for (const auto& number : numbers) {
    if (!std::isfinite(number.value) || !number.holds) {
      site.fail(format("records[%u].%s = %g is out of range", row, number.name, number.value));
    }
  }
}

void checkBias(const SampleArgs& a, const OpSite& site, uint32_t row, const int32_t* record) {
  const int64_t start = record[kSampleBiasStart], count = record[kSampleBiasCount];
  if (start < 0 || count < 0 || (start + count) * 2 > a.biasWords) {
    site.fail(format("records[%u]: biasStart = %lld with biasCount = %lld pairs does not lie inside biasWords = %u", row,
                     (long long)start, (long long)count, a.biasWords));
  }
  for (int64_t i = start; i < start + count; i++) requireBelow(site, "bias", a.bias + 2 * i, 1, a.vocab, "vocab");
}

// What a drawing row reads of its slot: history up to length, where penalties look at it, and one place more to append to.
void checkSlot(const SampleArgs& a, const OpSite& site, const int32_t* records, uint32_t row) {
  const int32_t* record = records + uint64_t{row} * kSampleWords;
  const int32_t slot = record[kSampleSlot];
  const int32_t length = a.slots[uint64_t(slot) * kSlotWords + kSlotLength];
  if (length < 0 || uint64_t(length) + a.count > a.maxLen) {
    if (length < 0 || uint64_t(length) + drawsBefore(records, row) >= a.maxLen) {
      site.fail(format("slots[%d].length = %d leaves no place below maxLen = %u", slot, length, a.maxLen));
    }
  }
  const int32_t promptLen = record[kSamplePromptLen];
  if (promptLen < 0 || uint32_t(promptLen) > a.maxLen) {
    site.fail(format("records[%u].promptLen = %d is not between 0 and maxLen = %u", row, promptLen, a.maxLen));
  }
  const bool whole = asFloat(record[kSampleRepetition]) != 1;
  const bool output = asFloat(record[kSamplePresence]) != 0 || asFloat(record[kSampleFrequency]) != 0;
  const int32_t from = whole ? 0 : promptLen;
  if ((whole || output) && from < length) {
    requireBelow(site, "history", a.history + uint64_t(slot) * a.maxLen + from, length - from, a.vocab, "vocab");
  }
}

}  // namespace

void checkSampling(const SampleArgs& whole, const OpSite& site) {
  SampleArgs a = whole;                                  // of the row at hand: its own vocabulary
  if (uint64_t{a.firstRow} + a.count > a.maxLogits) {
    site.fail(format("firstRow = %u with %u rows is beyond maxLogits = %u", a.firstRow, a.count, a.maxLogits));
  }
  const int32_t* records = a.records + uint64_t{a.firstRow} * kSampleWords;
  for (uint32_t i = 0; i < a.count; i++) {
    const int32_t* record = records + uint64_t{i} * kSampleWords;
    const uint32_t row = a.firstRow + i;
    requireBelow(site, "records.vocab", record + kSampleVocab, 1, whole.vocab + 1, "vocab + 1");
    a.vocab = record[kSampleVocab] ? uint32_t(record[kSampleVocab]) : whole.vocab;
    requireBelow(site, "records.slot", record + kSampleSlot, 1, a.nSlots, "nSlots");
    requireBelow(site, "records.target", record + kSampleTarget, 1, a.vocab, "vocab", -1);
    if (record[kSampleNTop] < 0 || record[kSampleNTop] > int(kMaxTopLogprobs)) {
      site.fail(format("records[%u].nTop = %d is not between 0 and %u", row, record[kSampleNTop], kMaxTopLogprobs));
    }
    if (record[kSampleTarget] >= 0) continue;
    if (record[kSampleTopK] < 0) site.fail(format("records[%u].topK = %d is negative", row, record[kSampleTopK]));
    if (record[kSampleMaskRow] != -1) {
      if (!a.masks) site.fail(format("records[%u].maskRow = %d, but masks are absent", row, record[kSampleMaskRow]));
      requireBelow(site, "records.maskRow", record + kSampleMaskRow, 1, a.maskRows, "maskRows");
    }
    checkNumbers(site, row, record);
    checkBias(a, site, row, record);
    checkSlot(a, site, records, i);
  }
}

}  // namespace weft

#include "compare.h"

#include <cmath>
#include <cstring>

#include "error.h"
#include "float_formats.h"

namespace weft {
namespace {

// Records of integers may hold floats (probabilities in results). An integer of this size is no index of ours.
constexpr uint32_t kNoIndex = 0x20000000;

struct Values {
  double found, expected;
  bool numbers;  // may differ within the tolerance
};

Values wordValues(uint32_t found, uint32_t expected) {
  const auto isFloat = [](uint32_t word) { return (word & 0x7fffffff) >= kNoIndex || (word & 0x7fffffff) == 0; };
  if (isFloat(found) && isFloat(expected)) return {floatOf(found), floatOf(expected), true};
  return {double(int32_t(found)), double(int32_t(expected)), false};
}

template <typename Stored>
Stored at(const uint8_t* bytes, uint64_t index) {
  Stored value;
  memcpy(&value, bytes + index * sizeof value, sizeof value);
  return value;
}

Values valuesAt(uint32_t format, const uint8_t* found, const uint8_t* expected, uint64_t i) {
  switch (format) {
    case Recording::kF32: return {at<float>(found, i), at<float>(expected, i), true};
    case Recording::kF16: return {f16ToF32(at<uint16_t>(found, i)), f16ToF32(at<uint16_t>(expected, i)), true};
    case Recording::kBf16: return {bf16ToF32(at<uint16_t>(found, i)), bf16ToF32(at<uint16_t>(expected, i)), true};
    default: return wordValues(at<uint32_t>(found, i), at<uint32_t>(expected, i));
  }
}

}  // namespace

Comparison compare(const Recording& recording, const Session& session) {
  Comparison result;
  for (const auto& e : recording.expectations) {
    const uint8_t* found = session.buffer(e.buffer)->data() + e.offset;
    const uint8_t* expected = recording.expected(e);
    const uint64_t size = e.format == Recording::kF16 || e.format == Recording::kBf16 ? 2 : 4;
    for (uint64_t i = 0; i < e.bytes / size; i++) {
      result.values++;
      if (memcmp(found + i * size, expected + i * size, size) == 0) {
        result.sameBits++;
        continue;
      }
      const Values v = valuesAt(e.format, found, expected, i);
      const double difference = std::fabs(v.found - v.expected);
      if (v.numbers && difference > result.maxDifference) result.maxDifference = difference;
      if (v.numbers && difference <= e.absolute + e.relative * std::fabs(v.expected)) continue;
      if (result.beyond++ == 0) {
        result.firstBeyond = format("%s, byte %llu: %.9g instead of %.9g", session.buffer(e.buffer)->label.c_str(),
                                    (unsigned long long)(e.offset + i * size), v.found, v.expected);
      }
    }
  }
  return result;
}

}  // namespace weft

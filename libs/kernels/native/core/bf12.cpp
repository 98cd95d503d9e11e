#include "bf12.h"

#include <algorithm>
#include <array>

namespace weft {

bool encodeBf12(const uint16_t* pairs, uint32_t k, uint8_t* panel) {
  const uint32_t words = (k + 1) / 2 * 64;
  std::array<uint32_t, 128> counts{};
  for (uint32_t i = 0; i < words; i++) counts[pairs[i] >> 8 & 0x7f]++;
  std::array<uint8_t, 127> order;                        // 0 has a code of its own
  for (uint32_t i = 0; i < order.size(); i++) order[i] = uint8_t(i + 1);
  std::stable_sort(order.begin(), order.end(), [&](uint8_t a, uint8_t b) { return counts[a] > counts[b]; });
  std::array<uint8_t, 128> codes;
  codes.fill(kBf12NoCode);
  for (uint32_t i = 0; i < kBf12NoCode; i++) {
    codes[order[i]] = uint8_t(i);
    panel[i] = order[i];
    panel[i + 8] = order[i] | 0x80;
  }
  panel[kBf12NoCode] = 0;
  panel[kBf12NoCode + 8] = 0x80;

  uint8_t* stream = panel + bf12StreamAt(k);
  memset(panel + 16, 0, bf12StreamAt(k) - 16);
  memset(stream, 0, words / 64 * kBf12PairBytes);
  auto* exceptions = reinterpret_cast<uint32_t*>(panel + kBf12ExceptionsAt);
  uint32_t count = 0;
  for (uint32_t pair = 0; pair < words / 64; pair++, stream += kBf12PairBytes) {
    for (uint32_t j = 0; j < 2; j++) {                   // ascending in k
      for (uint32_t output = 0; output < 32; output++) {
        const uint32_t q = 2 * output + j, p = bf12LowByteOf(q);
        const uint8_t high = uint8_t(pairs[pair * 64 + q] >> 8), code = codes[high & 0x7f];
        stream[p] = uint8_t(pairs[pair * 64 + q]);
        stream[kBf12CodesAt + bf12CodeByteOf(p)] |= uint8_t((high >> 7 << 3 | code) << bf12CodeShiftOf(p));
        if (code != kBf12NoCode || (high & 0x7f) == 0) continue;
        if (count == bf12ExceptionsMax(k)) return false;
        exceptions[count++] = (2 * pair + j) << 13 | output << 8 | high;
      }
    }
  }
  memcpy(panel + 16, &count, 4);
  return true;
}

}  // namespace weft

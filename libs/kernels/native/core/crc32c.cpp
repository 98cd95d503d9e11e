#include "crc32c.h"

#include <array>
#include <cstring>

#include "cpu_features.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace weft {
namespace {

// tables[j][b]: what byte b does to the CRC when j more bytes follow it in the same 8-byte step.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables makeTables() {
  Tables tables{};
  for (uint32_t b = 0; b < 256; b++) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    tables[0][b] = crc;
  }
  for (uint32_t b = 0; b < 256; b++) {
    for (int j = 1; j < 8; j++) tables[j][b] = tables[j - 1][b] >> 8 ^ tables[0][tables[j - 1][b] & 0xff];
  }
  return tables;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32cSse42(const uint8_t* data, size_t bytes, uint32_t crc) {
  uint64_t state = ~crc;
  for (; bytes >= 8; data += 8, bytes -= 8) {
    uint64_t word;
    memcpy(&word, data, 8);
    state = _mm_crc32_u64(state, word);
  }
  for (; bytes > 0; data++, bytes--) state = _mm_crc32_u8(static_cast<uint32_t>(state), *data);
  return ~static_cast<uint32_t>(state);
}
#endif

}  // namespace

uint32_t crc32cPortable(const void* data, size_t bytes, uint32_t crc) {
  static const Tables tables = makeTables();
  const uint8_t* at = static_cast<const uint8_t*>(data);
  uint32_t state = ~crc;
  for (; bytes >= 8; at += 8, bytes -= 8) {
    uint32_t next = 0;
    for (int i = 0; i < 4; i++) next ^= tables[7 - i][(at[i] ^ state >> 8 * i) & 0xff];
    for (int i = 4; i < 8; i++) next ^= tables[7 - i][at[i]];
    state = next;
  }
  for (; bytes > 0; at++, bytes--) state = state >> 8 ^ tables[0][(state ^ *at) & 0xff];
  return ~state;
}

uint32_t crc32c(const void* data, size_t bytes, uint32_t crc) {
#if defined(__x86_64__)
  if (hasSse42()) return crc32cSse42(static_cast<const uint8_t*>(data), bytes, crc);
#endif
  return crc32cPortable(data, bytes, crc);
}

}  // namespace weft

// CRC-32C (Castagnoli), as iSCSI, ext4 and our images use it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace weft {

// Of `bytes` bytes, continuing from `crc` (0 to begin).
uint32_t crc32c(const void* data, size_t bytes, uint32_t crc = 0);

// The table-driven form, for processors without the instruction and for the test that compares both.
uint32_t crc32cPortable(const void* data, size_t bytes, uint32_t crc = 0);

}  // namespace weft

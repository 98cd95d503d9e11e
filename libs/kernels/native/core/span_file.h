// Buffers on disk, in spans that each have a checksum: written once, read back by all threads.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "buffer.h"
#include "thread_pool.h"

namespace weft {

// Where a whole buffer lies in a file: span i is its bytes from i · spanBytes on, the last one may be short.
struct BufferFile {
  std::string path;
  uint64_t offset, bytes;
  uint32_t spanBytes;
  std::vector<uint32_t> checksums;  // CRC-32C of each span
};

// Throws option_invalid when the number of checksums is not that of the spans.
void checkBufferFile(const BufferFile& file);

// Reads it into `out`. Throws image_corrupt (a span's checksum differs, the file is too short) or io_error.
void loadBuffer(ThreadPool& pool, const BufferFile& file, uint8_t* out);

// Writes bytes at `offset` of a file that is there; returns their CRC-32C. Throws insufficient_storage, io_error.
uint32_t storeSpan(const std::string& path, uint64_t offset, const uint8_t* from, uint64_t bytes);

}  // namespace weft

// Reads images from disk into arena pages, straight where the arena is host memory; each span is held against its checksum.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "buffer.h"

namespace weft {

struct PageLoad {
  std::string path;
  uint64_t fileOffset, totalBytes;
  BufferRef arena;
  uint32_t pageBytes;
  std::vector<int32_t> pages;       // arena page of each span of pageBytes
  std::vector<uint32_t> checksums;  // CRC-32C of each span's bytes
};

// Throws option_invalid when pages leave the arena or numbers of spans, pages and checksums differ.
void checkPageLoad(const PageLoad& load);

// room(page): where the bytes of an arena page are read to; placed(page): they are there, and checked. Bytes after a short last
// span become zero. Throws image_corrupt (wrong checksum, file too short) or io_error.
void loadPages(const PageLoad& load, const std::function<uint8_t*(uint64_t page)>& room, const std::function<void(uint64_t page)>& placed);

}  // namespace weft

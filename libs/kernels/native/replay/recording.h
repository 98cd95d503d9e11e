// A recorded list with its buffers, as src/recording.ts writes it and describes its format.
#pragma once
#include <cstdint>
#include <list>
#include <string>
#include <vector>

namespace weft {

struct Recording {
  enum Format : uint32_t { kWords = 0, kF32 = 1, kF16 = 2, kBf16 = 3 };

  struct BufferInfo { uint32_t id; uint64_t bytes; std::string label; };
  struct BindingInfo { uint32_t binding, buffer; };
  struct Chunk { uint32_t buffer; uint64_t offset; const uint8_t* data; uint64_t bytes; };
  struct Expectation { uint32_t buffer, format; uint64_t offset, bytes, place; float absolute, relative; };

  // Throws Error io_error, or option_invalid when the file is no recording or points outside itself or its buffers.
  static Recording read(const std::string& path);
  // Writes the file back with the expectations' current data.
  void write(const std::string& path) const;

  const uint8_t* expected(const Expectation& e) const { return file.data() + e.place; }

  std::vector<uint8_t> file;
  std::string isa;
  std::vector<uint32_t> words;
  std::vector<BufferInfo> buffers;
  std::vector<BindingInfo> bindings;
  std::vector<Chunk> chunks;
  std::vector<Expectation> expectations;
  std::list<std::vector<uint8_t>> owned;   // data of chunks that are not in the file
};

}  // namespace weft

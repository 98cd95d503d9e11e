// A file, opened for reading at given places by several threads; and writing at a place.
#pragma once
#include <cstdint>
#include <string>

namespace weft {

class File {
 public:
  // Throws io_error with the path and what the system says; `missing` is the code for a file that is not there.
  explicit File(const std::string& path, const char* missing = "io_error");
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t bytes() const { return bytes_; }
  // Reads exactly `bytes` from `offset`; false when the file ends before. Throws io_error.
  bool read(void* to, uint64_t bytes, uint64_t offset) const;

  const std::string path;

 private:
  int descriptor_;
  uint64_t bytes_;
};

// Writes `bytes` at `offset` of a file that is there. Throws insufficient_storage when the disk is full, io_error.
void writeAt(const std::string& path, const void* from, uint64_t bytes, uint64_t offset);

}  // namespace weft

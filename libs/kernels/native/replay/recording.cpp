#include "recording.h"

#include <cstdio>
#include <cstring>
#include <memory>

#include "error.h"
#include "file.h"

namespace weft {
namespace {

constexpr char kMagic[] = "WEFTREC1";
constexpr size_t kHeaderBytes = 64, kIsaBytes = 16, kLabelBytes = 48;
// A file whose tables ask for more than this is no recording.
constexpr uint64_t kMaxRows = 1u << 24;

// Takes values off a file one after another, never beyond its end.
class Reader {
 public:
  Reader(const std::string& path, const std::vector<uint8_t>& file) : path_(path), file_(file) {}

  template <typename T>
  T take() {
    T value;
    memcpy(&value, bytes(sizeof value), sizeof value);
    return value;
  }

  std::string text(size_t length) {
    const char* at = reinterpret_cast<const char*>(bytes(length));
    return std::string(at, strnlen(at, length));
  }

  void align() { at_ = (at_ + 7) / 8 * 8; }
  void seek(size_t at) { at_ = at; }

  const uint8_t* at(uint64_t place, uint64_t length) const {
    if (place > file_.size() || length > file_.size() - place) fail("points outside the file");
    return file_.data() + place;
  }

  [[noreturn]] void fail(const char* what) const { throw Error("option_invalid", path_ + ": " + what + "."); }

 private:
  const uint8_t* bytes(size_t length) {
    const uint8_t* found = at(at_, length);
    at_ += length;
    return found;
  }

  const std::string& path_;
  const std::vector<uint8_t>& file_;
  size_t at_ = 0;
};

}  // namespace

Recording Recording::read(const std::string& path) {
  Recording r;
  const File file(path);
  r.file.resize(file.bytes());
  if (!file.read(r.file.data(), r.file.size(), 0)) throw Error("io_error", path + ": it became shorter.");
  Reader reader(path, r.file);
  if (reader.text(8) != kMagic) reader.fail("is no recording");
  r.isa = reader.text(kIsaBytes);
  uint32_t rows[5];
  for (uint32_t& n : rows) {
    n = reader.take<uint32_t>();
    if (n > kMaxRows) reader.fail("has a table without measure");
  }
  reader.seek(kHeaderBytes);
  for (uint32_t i = 0; i < rows[0]; i++) r.words.push_back(reader.take<uint32_t>());
  reader.align();
  for (uint32_t i = 0; i < rows[1]; i++) {
    const uint32_t id = reader.take<uint32_t>();
    reader.take<uint32_t>();
    const uint64_t bytes = reader.take<uint64_t>();
    r.buffers.push_back({id, bytes, reader.text(kLabelBytes)});
  }
  for (uint32_t i = 0; i < rows[2]; i++) {
    const uint32_t binding = reader.take<uint32_t>();
    r.bindings.push_back({binding, reader.take<uint32_t>()});
  }
  const auto requireInside = [&](uint32_t id, uint64_t offset, uint64_t bytes) {
    for (const BufferInfo& buffer : r.buffers) {
      if (buffer.id == id && offset <= buffer.bytes && bytes <= buffer.bytes - offset) return;
    }
    reader.fail("points outside its buffers");
  };
  for (uint32_t i = 0; i < rows[3]; i++) {
    const uint32_t id = reader.take<uint32_t>();
    reader.take<uint32_t>();
    const uint64_t offset = reader.take<uint64_t>(), bytes = reader.take<uint64_t>();
    requireInside(id, offset, bytes);
    r.chunks.push_back({id, offset, reader.at(reader.take<uint64_t>(), bytes), bytes});
  }
  for (uint32_t i = 0; i < rows[4]; i++) {
    Expectation e;
    e.buffer = reader.take<uint32_t>();
    e.format = reader.take<uint32_t>();
    e.offset = reader.take<uint64_t>();
    e.bytes = reader.take<uint64_t>();
    e.place = reader.take<uint64_t>();
    e.absolute = reader.take<float>();
    e.relative = reader.take<float>();
    requireInside(e.buffer, e.offset, e.bytes);
    reader.at(e.place, e.bytes);
    if (e.format > kBf16) reader.fail("has an unknown format");
    r.expectations.push_back(e);
  }
  return r;
}

void Recording::write(const std::string& path) const {
  const std::unique_ptr<FILE, int (*)(FILE*)> out(fopen(path.c_str(), "wb"), fclose);
  if (!out || fwrite(file.data(), 1, file.size(), out.get()) != file.size() || fflush(out.get()) != 0) {
    throw Error("io_error", path + ": cannot be written.");
  }
}

}  // namespace weft

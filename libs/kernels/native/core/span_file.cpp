#include "span_file.h"

#include <algorithm>

#include "crc32c.h"
#include "error.h"
#include "file.h"

namespace weft {
namespace {

// What is read and summed at a time: it is still in L2 when it is summed.
constexpr uint64_t kPieceBytes = 256u << 10;

[[noreturn]] void failCorrupt(const std::string& path, const std::string& what) {
  Error error("image_corrupt", path + ": " + what);
  error.file = path;
  throw error;
}

struct Job {
  const BufferFile& what;
  const File file;
  uint8_t* out;
};

void loadSpan(const void* context, uint32_t span, Scratch&) {
  const Job& job = *static_cast<const Job*>(context);
  const BufferFile& what = job.what;
  const uint64_t begin = uint64_t{span} * what.spanBytes, end = std::min(begin + what.spanBytes, what.bytes);
  uint32_t found = 0;
  for (uint64_t at = begin; at < end; at += kPieceBytes) {
    const uint64_t bytes = std::min(kPieceBytes, end - at);
    if (!job.file.read(job.out + at, bytes, what.offset + at)) {
      failCorrupt(what.path, format("it ends before byte %llu.", (unsigned long long)(what.offset + at + bytes)));
    }
    found = crc32c(job.out + at, bytes, found);
  }
  if (found != what.checksums[span]) {
    failCorrupt(what.path, format("bytes from %llu on have the checksum %08x instead of %08x.",
                                  (unsigned long long)(what.offset + begin), found, what.checksums[span]));
  }
}

}  // namespace

void checkBufferFile(const BufferFile& file) {
  if (file.bytes == 0 || file.spanBytes == 0) throw Error("option_invalid", "loadBuffer: bytes and spanBytes are above 0.");
  const uint64_t spans = (file.bytes - 1) / file.spanBytes + 1;
  if (spans != file.checksums.size() || spans > UINT32_MAX) {
    throw Error("option_invalid", format("loadBuffer: %llu spans need as many checksums, not %zu.", (unsigned long long)spans, file.checksums.size()));
  }
}

void loadBuffer(ThreadPool& pool, const BufferFile& file, uint8_t* out) {
  const Job job{file, File(file.path), out};
  pool.run(static_cast<uint32_t>(file.checksums.size()), loadSpan, &job);
}

uint32_t storeSpan(const std::string& path, uint64_t offset, const uint8_t* from, uint64_t bytes) {
  writeAt(path, from, bytes, offset);
  return crc32c(from, bytes);
}

}  // namespace weft

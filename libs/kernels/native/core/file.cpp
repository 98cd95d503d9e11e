#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "error.h"

namespace weft {
namespace {

// The largest read or write that every system accepts in one call.
constexpr uint64_t kMaxTransfer = 1u << 30;

[[noreturn]] void fail(const char* code, const std::string& path, int error) {
  Error failure(code, path + ": " + std::strerror(error) + ".");
  failure.file = path;
  throw failure;
}

}  // namespace

File::File(const std::string& path, const char* missing) : path(path), descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) fail(errno == ENOENT ? missing : "io_error", path, errno);
  struct stat status;
  const int error = fstat(descriptor_, &status) != 0 ? errno : S_ISREG(status.st_mode) ? 0 : EINVAL;
  if (error) {
    ::close(descriptor_);
    fail("io_error", path, error);
  }
  bytes_ = static_cast<uint64_t>(status.st_size);
}

File::~File() { ::close(descriptor_); }

bool File::read(void* to, uint64_t bytes, uint64_t offset) const {
  uint8_t* at = static_cast<uint8_t*>(to);
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, at, std::min(bytes, kMaxTransfer), static_cast<off_t>(offset));
    if (got == 0) return false;
    if (got < 0) {
      if (errno == EINTR) continue;
      fail("io_error", path, errno);
    }
    at += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
  return true;
}

void writeAt(const std::string& path, const void* from, uint64_t bytes, uint64_t offset) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (descriptor < 0) fail("io_error", path, errno);
  const uint8_t* at = static_cast<const uint8_t*>(from);
  int error = 0;
  while (bytes > 0 && !error) {
    const ssize_t put = pwrite(descriptor, at, std::min(bytes, kMaxTransfer), static_cast<off_t>(offset));
    if (put < 0) {
      error = errno == EINTR ? 0 : errno;
      continue;
    }
    at += put;
    offset += static_cast<uint64_t>(put);
    bytes -= static_cast<uint64_t>(put);
  }
  if (::close(descriptor) != 0 && !error) error = errno;
  if (error) fail(error == ENOSPC || error == EDQUOT ? "insufficient_storage" : "io_error", path, error);
}

}  // namespace weft

#include "buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "error.h"
#include "system.h"

#if defined(__SANITIZE_ADDRESS__)
#define WEFT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_ASAN 1
#endif
#endif

namespace weft {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = 2u << 20;
// No machine has more; keeps sums of sizes far from overflow.
constexpr uint64_t kMaxBytes = uint64_t{1} << 46;
#ifdef WEFT_ASAN
// Up to here buffers come from the heap, where the sanitizer sees the first byte beyond their end.
constexpr uint64_t kGuardedBytes = 64u << 20;
#endif

uint64_t roundUp(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

uint8_t* map(uint64_t bytes) {
  void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return place == MAP_FAILED ? nullptr : static_cast<uint8_t*>(place);
}

// Begins at a multiple of the huge page, so that every huge page of it can be backed by one.
uint8_t* mapHuge(uint64_t bytes) {
  uint8_t* place = map(bytes + kHugePage);
  if (!place) return nullptr;
  const uint64_t before = roundUp(reinterpret_cast<uintptr_t>(place), kHugePage) - reinterpret_cast<uintptr_t>(place);
  if (before) munmap(place, before);
  munmap(place + before + bytes, kHugePage - before);
  adviseHugePages(place + before, bytes);
  return place + before;
}

}  // namespace

Buffer::Buffer(uint32_t id, uint64_t bytes, std::string label, std::shared_ptr<std::atomic<uint64_t>> total)
    : id(id), bytes(bytes), label(std::move(label)), total_(std::move(total)) {
  if (bytes == 0 || bytes > kMaxBytes) {
    throw Error("out_of_memory", format("%s: cannot allocate %llu bytes.", this->label.c_str(), (unsigned long long)bytes));
  }
#ifdef WEFT_ASAN
  if (bytes <= kGuardedBytes) {
    if (posix_memalign(reinterpret_cast<void**>(&data_), kPage, bytes) != 0) throw Error("out_of_memory", this->label);
    memset(data_, 0, bytes);
    total_->fetch_add(bytes, std::memory_order_relaxed);
    return;
  }
#endif
  mapped_ = roundUp(bytes, kPage);
  data_ = mapped_ >= kHugePage ? mapHuge(mapped_) : map(mapped_);
  if (!data_) {
    throw Error("out_of_memory", format("%s: the system gave no %llu bytes.", this->label.c_str(), (unsigned long long)bytes));
  }
  total_->fetch_add(mapped_, std::memory_order_relaxed);
}

Buffer::Buffer(uint32_t id, uint64_t bytes, std::string label, std::shared_ptr<std::atomic<uint64_t>> total, uint8_t* data,
               std::function<void()> release)
    : id(id), bytes(bytes), label(std::move(label)), data_(data), release_(std::move(release)), total_(std::move(total)) {
  total_->fetch_add(bytes, std::memory_order_relaxed);
}

Buffer::~Buffer() {
  if (release_) {
    release_();
    total_->fetch_sub(bytes, std::memory_order_relaxed);
    return;
  }
  if (!mapped_) {
    std::free(data_);
    total_->fetch_sub(bytes, std::memory_order_relaxed);
    return;
  }
  munmap(data_, mapped_);
  total_->fetch_sub(mapped_, std::memory_order_relaxed);
}

}  // namespace weft

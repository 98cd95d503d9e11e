// Shared memory of the block that runs, and copies into it that are on their way.
#include <cstdio>
#include <vector>

#if defined(__linux__)
#include <link.h>
#endif

#include "emulation/cuda/block.h"

namespace weft {
namespace cuda {
namespace emulated {

uint8_t* dynamicShared = nullptr;

namespace {

constexpr uint32_t kMaxDynamic = 227 << 10, kGuard = 1024;
constexpr uint8_t kGuardByte = 0xfb, kUndefined = 0xff;
alignas(1024) uint8_t space[kGuard + kMaxDynamic + kGuard];
uint32_t dynamicBytes;

// The thread-local variables of this module: those that kernels call __shared__, and one that tells where they are.
struct Range { uint8_t* begin; size_t bytes; };
Range staticShared;
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
thread_local volatile uint8_t anchor;
#endif

bool inside(const void* p, uint32_t bytes, const uint8_t* begin, size_t size) {
  const uint8_t* at = static_cast<const uint8_t*>(p);
  return at >= begin && at + bytes <= begin + size;
}

void land(const Copy& copy) {
  if (copy.there) memcpy(copy.to, copy.from, 16);
  else memset(copy.to, 0, 16);
}

}  // namespace

void findShared() {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
  staticShared = {};
  anchor = 1;                                            // the thread has its variables from now on
  dl_iterate_phdr([](dl_phdr_info* info, size_t, void*) {
    uint8_t* data = static_cast<uint8_t*>(info->dlpi_tls_data);
    const uint8_t* own = const_cast<const uint8_t*>(&anchor);
    for (int i = 0; data && i < info->dlpi_phnum; i++) {
      const auto& header = info->dlpi_phdr[i];
      if (header.p_type == PT_TLS && own >= data && own < data + header.p_memsz) staticShared = {data, header.p_memsz};
    }
    return 0;
  }, nullptr);
  if (!staticShared.begin) fail("the static shared memory is not found");
#endif
}

void prepareShared(uint32_t bytes) {
  if (bytes > kMaxDynamic) fail("launched with %u bytes of dynamic shared memory, at most %u are allowed", bytes, kMaxDynamic);
  dynamicBytes = bytes;
  dynamicShared = space + kGuard;
  memset(space, kGuardByte, kGuard);
  memset(dynamicShared, kUndefined, bytes);
  memset(dynamicShared + bytes, kGuardByte, kGuard);
  if (staticShared.begin) memset(staticShared.begin, kUndefined, staticShared.bytes);
}

void checkShared() {
  for (uint32_t i = 0; i < kGuard; i++) {
    if (space[i] != kGuardByte) fail("a write before the dynamic shared memory, at %d", static_cast<int>(i - kGuard));
    if (dynamicShared[dynamicBytes + i] != kGuardByte) {
      fail("a write behind the %u bytes of dynamic shared memory, at %u", dynamicBytes, dynamicBytes + i);
    }
  }
}

void requireAligned(const void* p, uint32_t bytes, const char* doing) {
  if (reinterpret_cast<uintptr_t>(p) % bytes) fail("%s at %p, which is not %u-byte aligned", doing, p, bytes);
}

void requireShared(const void* p, uint32_t bytes, const char* doing) {
  requireAligned(p, bytes, doing);
  if (inside(p, bytes, dynamicShared, dynamicBytes)) return;
  if (!staticShared.begin || inside(p, bytes, staticShared.begin, staticShared.bytes)) return;
  fail("%s at %p, which is not in shared memory (dynamic: %p, %u bytes)", doing, p, static_cast<void*>(dynamicShared), dynamicBytes);
}

void landCopies(Fiber& fiber) {
  for (const Copy& copy : fiber.copies) land(copy);
  fiber.copies.clear();
}

}  // namespace emulated

using namespace emulated;

void emulatedCopyAsync(void* shared, const void* global, bool there) {
  requireShared(shared, 16, "a copy to shared memory");
  requireAligned(global, 16, "a copy from global memory");
  memset(shared, kUndefined, 16);
  running->copies.push_back({shared, global, there});
  running->open++;
}

void emulatedCommitCopies() {
  running->groups.push_back(running->open);
  running->open = 0;
}

void emulatedAwaitCopies(uint32_t pending) {
  Fiber& f = *running;
  if (f.groups.size() <= pending) return;
  const size_t done = f.groups.size() - pending;
  size_t copies = 0;
  for (size_t i = 0; i < done; i++) copies += f.groups[i];
  for (size_t i = 0; i < copies; i++) land(f.copies[i]);
  f.copies.erase(f.copies.begin(), f.copies.begin() + static_cast<ptrdiff_t>(copies));
  f.groups.erase(f.groups.begin(), f.groups.begin() + static_cast<ptrdiff_t>(done));
}

}  // namespace cuda
}  // namespace weft

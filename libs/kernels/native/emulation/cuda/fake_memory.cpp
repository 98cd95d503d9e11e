// Memory of the fake GPU, and pinned memory of the host. Every piece has pages behind and before it that may not be touched,
// and ends at one, but for its alignment; what lies between is checked after every kernel. What was given back stays
// untouchable. New memory is 0xff.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "emulation/cuda/fake_memory.h"

namespace weft {
namespace cuda {
namespace fake {

std::map<uint64_t, Piece> pieces;
std::map<uint64_t, uint64_t> reserved;
uint64_t used = 0;

namespace {

struct Range { uint64_t begin, bytes; };

std::vector<Range> gone;
uint64_t usedPinned = 0;
bool isOpen = false;

uint64_t take(Kind kind, uint64_t bytes) {
  const uint64_t page = pageSize(), pageBytes = up(bytes, page), pages = untouchable(pageBytes + 2 * page) + page;
  protect(pages, pageBytes, PROT_READ | PROT_WRITE);
  const uint64_t address = pages + pageBytes - up(bytes, kAlignment);
  memset(at(pages), kUndefined, std::min(pageBytes, kFilled));
  memset(at(pages + pageBytes - std::min(page, pageBytes)), kUndefined, std::min(page, pageBytes));
  if (kind == kPlain && !isOpen) protect(pages, pageBytes, PROT_NONE);
  pieces[address] = {kind, bytes, pages, pageBytes, true, 0};
  (kind == kPinned ? usedPinned : used) += bytes;
  return address;
}

void checkMargin(uint64_t address, const Piece& piece, const char* after) {
  if (piece.kind == kMapped) return;
  const uint64_t end = address + piece.bytes, size = piece.bytes;
  for (uint64_t p = std::max(piece.pages, address - kAlignment); p < address; p++) {
    if (*at(p) != kUndefined) misuse("%s: a write %llu bytes before a piece of %llu bytes", after, 0ull + address - p, 0ull + size);
  }
  for (uint64_t p = end; p < piece.pages + piece.pageBytes; p++) {
    if (*at(p) != kUndefined) misuse("%s: a write %llu bytes behind a piece of %llu bytes", after, 0ull + p - end, 0ull + size);
  }
}

void giveBack(uint64_t address, Kind kind) {
  const auto found = pieces.find(address);
  if (found == pieces.end() || found->second.kind != kind) {
    misuse("%p is not allocated by its counterpart", static_cast<void*>(at(address)));
  }
  const Piece piece = found->second;
  forbidUse(address, piece.bytes, "memory is given back");
  protect(piece.pages, piece.pageBytes, PROT_READ | PROT_WRITE);
  checkMargin(address, piece, "when it was given back");
  bury(piece.pages, piece.pageBytes);
  pieces.erase(found);
  (kind == kPinned ? usedPinned : used) -= piece.bytes;
}

}  // namespace

void protect(uint64_t address, uint64_t bytes, int rights) {
  if (mprotect(at(address), bytes, rights)) misuse("mprotect: %m");
}

uint64_t untouchable(uint64_t bytes) {
  void* place = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (place == MAP_FAILED) misuse("mmap: %m");
  return reinterpret_cast<uint64_t>(place);
}

void bury(uint64_t begin, uint64_t bytes) {
  if (mmap(at(begin), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) misuse("mmap: %m");
  gone.push_back({begin, bytes});
}

void openMemory() {
  if (isOpen) return;
  isOpen = true;
  for (const auto& [address, piece] : pieces) {
    if (piece.kind != kPinned && piece.access) protect(piece.pages, piece.pageBytes, PROT_READ | PROT_WRITE);
  }
}

void closeMemory() {
  if (!isOpen) return;
  isOpen = false;
  for (const auto& [address, piece] : pieces) {
    if (piece.kind != kPinned) protect(piece.pages, piece.pageBytes, PROT_NONE);
  }
}

void checkMargins(const char* after) {
  for (const auto& [address, piece] : pieces) checkMargin(address, piece, after);
}

// Neighbours that are mapped make one range.
void requireDevice(Address address, uint64_t bytes, const char* doing) {
  uint64_t from = address;
  const uint64_t end = address + bytes;
  do {
    auto it = pieces.upper_bound(from);
    const bool inside = it != pieces.begin() && (--it)->second.kind != kPinned && from < it->first + it->second.bytes;
    if (!inside) {
      char text[300] = "";
      describe(at(from), text, sizeof text);
      misuse("%s: %llu bytes at %p are not all device memory: %s", doing, 0ull + bytes, static_cast<void*>(at(address)), text);
    }
    if (!it->second.access) misuse("%s: mapped memory without cuMemSetAccess", doing);
    from = it->first + it->second.bytes;
  } while (from < end);
}

void requirePinned(const void* p, uint64_t bytes, const char* doing) {
  const uint64_t address = reinterpret_cast<uint64_t>(p);
  auto it = pieces.upper_bound(address);
  const bool inside = it != pieces.begin() && (--it)->second.kind == kPinned && address + bytes <= it->first + it->second.bytes;
  if (!inside) misuse("%s: %llu bytes at %p are not all pinned memory", doing, 0ull + bytes, p);
}

bool isDevice(const void* p) {
  const uint64_t address = reinterpret_cast<uint64_t>(p);
  for (const auto& [begin, piece] : pieces) {
    if (piece.kind != kPinned && address >= piece.pages && address < piece.pages + piece.pageBytes + pageSize()) return true;
  }
  for (const auto& [begin, bytes] : reserved) if (address >= begin && address < begin + bytes) return true;
  for (const Range& range : gone) if (address >= range.begin && address < range.begin + range.bytes) return true;
  return false;
}

bool isPageable(uint64_t word) {
  if (word >> 46 != 1) return false;                     // where programs, libraries, stacks and mappings lie on x86-64
  auto it = pieces.upper_bound(word);
  if (it != pieces.begin() && (--it, word < it->first + it->second.bytes)) return false;
  if (isDevice(at(word))) return false;                  // reserved, or given back: whoever uses it will see
  unsigned char there;
  return mincore(at(word / pageSize() * pageSize()), 1, &there) == 0;
}

void describe(const void* p, char* text, size_t bytes) {
  const uint64_t address = reinterpret_cast<uint64_t>(p);
  text[0] = 0;
  for (const auto& [begin, piece] : pieces) {
    const uint64_t end = begin + piece.bytes;
    const char* what = piece.kind == kPinned ? "a pinned piece" : "a piece";
    const unsigned long long size = piece.bytes;
    const auto say = [&](uint64_t distance, const char* where) {
      snprintf(text, bytes, "%llu bytes %s %s of %llu bytes", 0ull + distance, where, what, size);
    };
    if (address >= begin && address < end) say(address - begin, "into");
    else if (address >= end && address < end + 2 * pageSize()) say(address - end, "behind");
    else if (address < begin && address + 2 * pageSize() > begin) say(begin - address, "before");
    if (*text) return;
  }
  for (const auto& [begin, size] : reserved) {
    if (address < begin || address >= begin + size) continue;
    snprintf(text, bytes, "a reserved address, %llu bytes into its range, where nothing is mapped", 0ull + address - begin);
  }
  for (const Range& range : gone) {
    if (address >= range.begin && address < range.begin + range.bytes) snprintf(text, bytes, "in memory that was given back");
  }
  if (!*text) snprintf(text, bytes, "no memory of this driver");
}

std::string leakedMemory() {
  uint32_t counts[3] = {};
  uint64_t bytes[3] = {};
  for (const auto& [address, piece] : pieces) counts[piece.kind]++, bytes[piece.kind] += piece.bytes;
  std::string text;
  const char* const names[] = {"plain", "mapped", "pinned"};
  for (int kind = 0; kind < 3; kind++) {
    if (!counts[kind]) continue;
    text += std::to_string(counts[kind]) + " " + names[kind] + " pieces of memory (" + std::to_string(bytes[kind]) + " bytes); ";
  }
  if (!reserved.empty()) text += std::to_string(reserved.size()) + " reserved address ranges; ";
  return text + leakedHandles();
}

}  // namespace fake
}  // namespace cuda
}  // namespace weft

using namespace weft::cuda::fake;

WEFT_EXPORT Result cuMemGetInfo_v2(size_t* free, size_t* total) {
  BEGIN(kContext);
  *free = config().bytes - used;
  *total = config().bytes;
  return kSuccess;
}

WEFT_EXPORT Result cuMemAlloc_v2(Address* address, size_t bytes) {
  BEGIN(kContext);
  forbidCapture("allocating");
  if (bytes == 0) misuse("0 bytes");
  if (bytes > config().bytes - used) return kOutOfMemory;
  *address = take(kPlain, bytes);
  return kSuccess;
}

WEFT_EXPORT Result cuMemFree_v2(Address address) {
  BEGIN(kContext);
  forbidCapture("giving memory back");
  giveBack(address, kPlain);
  return kSuccess;
}

WEFT_EXPORT Result cuMemHostAlloc(void** p, size_t bytes, unsigned flags) {
  BEGIN(kContext);
  forbidCapture("allocating");
  if (bytes == 0 || flags & ~7u) misuse("%zu bytes, flags %u", bytes, flags);
  if (bytes > config().pinnedBytes - usedPinned) return kOutOfMemory;
  *p = at(take(kPinned, bytes));
  return kSuccess;
}

WEFT_EXPORT Result cuMemFreeHost(void* p) {
  BEGIN(kContext);
  forbidCapture("giving memory back");
  giveBack(reinterpret_cast<uint64_t>(p), kPinned);
  return kSuccess;
}

// The fake GPU's virtual memory: ranges of addresses, handles of memory, and mappings of one in the other.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "emulation/cuda/fake_memory.h"

namespace weft {
namespace cuda {
namespace fake {
namespace {

struct Handle { int file; uint64_t bytes, mappings; bool released; };
std::map<uint64_t, Handle> handles;
uint64_t lastHandle = 0;

void dropHandle(uint64_t number) {
  const Handle& handle = handles.at(number);
  if (!handle.released || handle.mappings) return;
  close(handle.file);
  used -= handle.bytes;
  handles.erase(number);
}

// The reservation that holds the range.
void requireReserved(uint64_t address, uint64_t bytes) {
  const auto next = reserved.upper_bound(address);
  if (next == reserved.begin() || address + bytes > std::prev(next)->first + std::prev(next)->second) misuse("the range is not reserved");
  if (address % kGranule || bytes % kGranule || bytes == 0) misuse("the range is not made of granules");
}

// The pieces that are mapped in a range; they fill it.
std::vector<std::map<uint64_t, Piece>::iterator> mappedIn(uint64_t address, uint64_t bytes) {
  std::vector<std::map<uint64_t, Piece>::iterator> found;
  uint64_t end = address;
  for (auto it = pieces.lower_bound(address); it != pieces.end() && end < address + bytes; ++it) {
    if (it->first != end || it->second.kind != kMapped) break;
    found.push_back(it);
    end += it->second.bytes;
  }
  if (end != address + bytes) misuse("the range is not one of whole mappings");
  return found;
}

struct Properties { int type, handles; struct { int type, id; } location; void* reserved; unsigned char flags[8]; };
void requireProperties(const Properties* p) {
  if (!p || p->type != 1 || p->handles != 0 || p->location.type != 1 || p->location.id != 0 || p->reserved) {
    misuse("properties are not those of pinned memory on device 0");
  }
}

}  // namespace

std::string leakedHandles() { return handles.empty() ? "" : std::to_string(handles.size()) + " handles of memory; "; }

}  // namespace fake
}  // namespace cuda
}  // namespace weft

using namespace weft::cuda::fake;

WEFT_EXPORT Result cuMemGetAllocationGranularity(size_t* bytes, const void* properties, int option) {
  BEGIN(kNothing);
  requireProperties(static_cast<const Properties*>(properties));
  if (option != 0 && option != 1) misuse("option %d", option);
  *bytes = kGranule;
  return kSuccess;
}

WEFT_EXPORT Result cuMemAddressReserve(Address* address, size_t bytes, size_t alignment, Address, unsigned long long flags) {
  BEGIN(kNothing);
  if (bytes == 0 || bytes % kGranule || flags || (alignment & (alignment - 1))) {
    misuse("%zu bytes, aligned by %zu, flags %llu", bytes, alignment, flags);
  }
  const uint64_t unit = std::max<uint64_t>(alignment, kGranule);
  *address = up(untouchable(bytes + 2 * unit), unit);
  reserved[*address] = bytes;
  return kSuccess;
}

WEFT_EXPORT Result cuMemAddressFree(Address address, size_t bytes) {
  BEGIN(kNothing);
  const auto found = reserved.find(address);
  if (found == reserved.end() || found->second != bytes) misuse("no range of %zu bytes was reserved there", bytes);
  for (const auto& [begin, piece] : pieces) {
    if (begin >= address && begin < address + bytes) misuse("memory is still mapped in the range");
  }
  reserved.erase(found);
  bury(address, bytes);
  return kSuccess;
}

WEFT_EXPORT Result cuMemCreate(Address* number, size_t bytes, const void* properties, unsigned long long flags) {
  BEGIN(kNothing);
  forbidCapture("allocating");
  requireProperties(static_cast<const Properties*>(properties));
  if (bytes == 0 || bytes % kGranule || flags) misuse("%zu bytes, flags %llu", bytes, flags);
  if (bytes > config().bytes - used) return kOutOfMemory;
  const int file = memfd_create("fake-gpu", 0);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes))) misuse("memfd: %m");
  *number = ++lastHandle;
  handles[*number] = {file, bytes, 0, false};
  used += bytes;
  return kSuccess;
}

WEFT_EXPORT Result cuMemRelease(Address number) {
  BEGIN(kNothing);
  const auto found = handles.find(number);
  if (found == handles.end() || found->second.released) misuse("%llu is no handle of memory", number);
  found->second.released = true;
  dropHandle(number);
  return kSuccess;
}

WEFT_EXPORT Result cuMemMap(Address address, size_t bytes, size_t offset, Address number, unsigned long long flags) {
  BEGIN(kNothing);
  requireReserved(address, bytes);
  const auto found = handles.find(number);
  if (found == handles.end() || found->second.released) misuse("%llu is no handle of memory", number);
  if (offset != 0 || flags || bytes > found->second.bytes) {
    misuse("%zu bytes from %zu of a handle of %llu, flags %llu", bytes, offset, 0ull + found->second.bytes, flags);
  }
  for (const auto& [begin, piece] : pieces) {
    if (begin < address + bytes && address < begin + piece.bytes) misuse("something is mapped there");
  }
  if (mmap(at(address), bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, found->second.file, 0) == MAP_FAILED) misuse("mmap: %m");
  if (found->second.mappings == 0) memset(at(address), kUndefined, std::min<uint64_t>(bytes, kFilled));
  protect(address, bytes, PROT_NONE);
  found->second.mappings++;
  pieces[address] = {kMapped, bytes, address, bytes, false, number};
  return kSuccess;
}

WEFT_EXPORT Result cuMemUnmap(Address address, size_t bytes) {
  BEGIN(kNothing);
  forbidCapture("unmapping");
  requireReserved(address, bytes);
  forbidUse(address, bytes, "memory is unmapped");
  for (const auto& it : mappedIn(address, bytes)) {
    const uint64_t begin = it->first, size = it->second.bytes, number = it->second.handle;
    if (mmap(at(begin), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) misuse("mmap: %m");
    pieces.erase(it);
    handles.at(number).mappings--;
    dropHandle(number);
  }
  return kSuccess;
}

WEFT_EXPORT Result cuMemSetAccess(Address address, size_t bytes, const void* access, size_t count) {
  BEGIN(kNothing);
  struct Access { int type, id, flags; };
  const Access* a = static_cast<const Access*>(access);
  if (count != 1 || a->type != 1 || a->id != 0 || a->flags != 3) misuse("access is not read and write for device 0");
  requireReserved(address, bytes);
  for (const auto& it : mappedIn(address, bytes)) it->second.access = true;
  return kSuccess;
}

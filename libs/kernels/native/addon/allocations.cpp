// The addon's own `new`, which counts. The linker binds the addon's calls to it (-Bsymbolic-functions); Node and the C++
// library keep theirs, and what one of them allocates another may free: all of it is malloc's.
#include "core/allocations.h"

#include <cstdlib>
#include <new>

void* operator new(std::size_t bytes) {
  weft::countAllocation();
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void* operator new[](std::size_t bytes) { return operator new(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

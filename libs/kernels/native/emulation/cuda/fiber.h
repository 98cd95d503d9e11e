// Contexts that run in turns on one thread, each on a stack of its own.
#pragma once
#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace weft {
namespace cuda {
namespace emulated {

// Bytes of a stack; a page that may not be touched lies below it.
constexpr size_t kStackBytes = 128 << 10;

struct Context {
#if defined(__x86_64__)
  void* stack = nullptr;                                 // its top holds the registers that a call preserves
#else
  ucontext_t context;
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  const void* bottom = nullptr;
  size_t bytes = 0;
#endif
};

// `stack`: kStackBytes. When first switched to, the context calls entry, which never returns.
void prepare(Context& context, uint8_t* stack, void (*entry)());

// Goes on where `to` was left; returns when `from` is switched to. ended: `from` never will be.
void switchContext(Context& from, Context& to, bool ended = false);

// To be called first in entry.
void entered(Context& from);

// Stacks for as many contexts, kept until the process ends.
uint8_t* stackOf(uint32_t number);

// The number of the stack whose guard page holds the address, or -1.
int stackBehind(const void* address);

}  // namespace emulated
}  // namespace cuda
}  // namespace weft

#include "emulation/cuda/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace weft {
namespace cuda {
namespace emulated {
namespace {

constexpr size_t kGuardBytes = 64 << 10;                 // pages are as large on some machines
// Stacks do not all end at the same place of a page: their tops would share a few cache lines' places.
constexpr size_t kShifts = 64, kShiftBytes = 9 * 64;
std::vector<uint8_t*> stacks;

}  // namespace

#if defined(__x86_64__)

extern "C" void weftSwitchStack(void** from, void* to);
// System V ABI: rbx, rbp and r12 to r15 are the called function's to preserve, and so are the control words, which nobody here changes.
asm(".text\n"
    ".p2align 4\n"
    ".hidden weftSwitchStack\n"
    ".globl weftSwitchStack\n"
    ".type weftSwitchStack,@function\n"
    "weftSwitchStack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size weftSwitchStack,.-weftSwitchStack\n");

void prepare(Context& context, uint8_t* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + kStackBytes);
  *--top = nullptr;                                      // where entry would return to; before a call the stack is 16-byte aligned
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  context.stack = top;
#if defined(__SANITIZE_ADDRESS__)
  context.bottom = stack, context.bytes = kStackBytes, context.fake = nullptr;
#endif
}

static void change(Context& from, Context& to) { weftSwitchStack(&from.stack, to.stack); }

#else

void prepare(Context& context, uint8_t* stack, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = kStackBytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
#if defined(__SANITIZE_ADDRESS__)
  context.bottom = stack, context.bytes = kStackBytes, context.fake = nullptr;
#endif
}

static void change(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

#endif

void switchContext(Context& from, Context& to, bool ended) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(ended ? nullptr : &from.fake, to.bottom, to.bytes);
  change(from, to);
  __sanitizer_finish_switch_fiber(from.fake, nullptr, nullptr);
#else
  (void)ended;
  change(from, to);
#endif
}

void entered([[maybe_unused]] Context& from) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.bytes);
#endif
}

uint8_t* stackOf(uint32_t number) {
  while (stacks.size() <= number) {
    void* place = mmap(nullptr, kGuardBytes + kStackBytes + kShifts * kShiftBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED || mprotect(place, kGuardBytes, PROT_NONE)) {
      perror("emulated CUDA: a stack");
      abort();
    }
    stacks.push_back(static_cast<uint8_t*>(place) + kGuardBytes);
  }
  return stacks[number] + number % kShifts * kShiftBytes;
}

int stackBehind(const void* address) {
  const uint8_t* at = static_cast<const uint8_t*>(address);
  for (size_t i = 0; i < stacks.size(); i++) {
    if (at < stacks[i] && at >= stacks[i] - kGuardBytes) return static_cast<int>(i);
  }
  return -1;
}

}  // namespace emulated
}  // namespace cuda
}  // namespace weft

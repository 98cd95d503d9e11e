// Wrong addresses that kernels use.
#include <cstdio>

#include "emulation/cuda/block.h"

namespace weft {
namespace cuda {
namespace emulated {

void (*describeAddress)(const void* address, char* text, size_t bytes) = nullptr;

namespace {

alignas(16) uint8_t handlerStack[64 << 10];              // the fiber's may be what has ended

void onFault(int, siginfo_t* info, void*) {
  if (running && stackBehind(info->si_addr) >= 0) fail("it needs more than the %zu bytes of its stack", kStackBytes);
  char text[400] = "";
  if (describeAddress) describeAddress(info->si_addr, text, sizeof text);
  fail("it uses the address %p, which it may not%s%s", info->si_addr, *text ? ": " : "", text);
}

}  // namespace

FaultHandler::FaultHandler() {
  stack_t own{};
  own.ss_sp = handlerStack;
  own.ss_size = sizeof handlerStack;
  sigaltstack(&own, &stack_);
  struct sigaction action{};
  action.sa_sigaction = onFault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &segment_);
  sigaction(SIGBUS, &action, &bus_);
}

FaultHandler::~FaultHandler() {
  sigaction(SIGSEGV, &segment_, nullptr);
  sigaction(SIGBUS, &bus_, nullptr);
  sigaltstack(&stack_, nullptr);
}

}  // namespace emulated
}  // namespace cuda
}  // namespace weft

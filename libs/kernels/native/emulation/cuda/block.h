// The block that runs: its fibers and what they wait for. For the emulation's own files.
#pragma once
#include <csignal>
#include <vector>

#include "emulation/cuda/fiber.h"
#include "emulation/cuda/threads.h"

namespace weft {
namespace cuda {
namespace emulated {

struct Copy { void* to; const void* from; bool there; };

struct Fiber {
  enum State : uint8_t { kReady, kAtBlock, kAtWarp, kExited };
  Context context;
  State state;
  uint32_t number;                                       // in the block
  Index3 index;
  Site site;                                             // of the wait
  const char* waitsIn;
  uint32_t mask;
  WarpOp op;
  Lane lane;
  std::vector<Copy> copies;                              // on their way, oldest first
  std::vector<uint32_t> groups;                          // how many copies each group has
  uint32_t open = 0;                                     // copies that belong to no group yet
};

extern Fiber* running;                                   // nullptr between blocks
extern const Kernel* runningKernel;

// Random numbers that the seed fixes.
uint32_t randomBelow(uint32_t limit);

// Ends the block: nobody can go on. Says who waits where.
[[noreturn]] void failStuck(const std::vector<Fiber>& fibers, uint32_t count);

// Copies of a thread that ends.
void landCopies(Fiber& fiber);

// While one lives, a signal for a wrong address ends the process with the address and the thread that used it.
class FaultHandler {
 public:
  FaultHandler();
  ~FaultHandler();

 private:
  struct sigaction segment_, bus_;
  stack_t stack_;
};

// Where this thread has the static shared memory: before its first block.
void findShared();

// Shared memory of the block.
void prepareShared(uint32_t dynamicBytes);
void checkShared();

}  // namespace emulated
}  // namespace cuda
}  // namespace weft

// What a kernel is: the boundary between the device (which checks, resolves and shares out work) and arithmetic.
//
// The device resolves an op's words into its Args struct (ops.gen.h): operands become pointers, every count parameter
// (`count`, `groupCount`, …) becomes the number that really runs, and all indices inside buffers have been checked.
// A kernel only computes. It splits its work into independent tiles of at most about 50 µs; any thread may run any
// tile in any order, so a tile's result must not depend on it.
#pragma once
#include <cstddef>
#include <cstdint>
#include "bf12.h"
#include "ops.gen.h"

namespace weft {

// Memory of one thread that lives as long as the pool of threads. `take` never allocates in steady state: it grows to
// the largest request seen. Contents are undefined.
struct Scratch {
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* data = nullptr;
  size_t bytes = 0;
  size_t staged = 0;                  // bytes handed out for values since the device last looked
  void* take(size_t wanted) {         // 64-byte aligned; valid until the next take on this thread
    staged += wanted;
    return reserve(wanted);
  }
  // For lists of rows and the like: memory that can't hold a copy of what a kernel computes with.
  uint32_t* indices(size_t count) { return static_cast<uint32_t*>(reserve(count * sizeof(uint32_t))); }
  // For rows of activations and the base's own weights, in an op that reads adapters too.
  void* room(size_t wanted) { return reserve(wanted); }
  ~Scratch();

 private:
  void* reserve(size_t wanted);
};

struct Kernel {
  // Number of tiles for these args (0: nothing to do). Cheap: called once per op on the submitting thread.
  uint32_t (*tiles)(const void* args, uint32_t threads);
  // Runs one tile.
  void (*run)(const void* args, uint32_t tile, uint32_t threads, Scratch& scratch);
  // A second phase, where there is one: run in the same way when all tiles of the first are done.
  uint32_t (*mergeTiles)(const void* args, uint32_t threads) = nullptr;
  void (*merge)(const void* args, uint32_t tile, uint32_t threads, Scratch& scratch) = nullptr;
};

// One table per instruction set, indexed by op code; each in a translation unit of its own, compiled for that set.
// kernels_portable.cpp is complete; every other table may leave a slot empty ({nullptr, nullptr}): portable is used.
// A build for one machine leaves out tables that it can't run (scripts/lib/native.mjs): they are weak, and nullptr then.
#define WEFT_MAY_BE_LEFT_OUT __attribute__((weak))
extern const Kernel kKernelsPortable[kOpCount];
extern const Kernel kKernelsAvx2[kOpCount];                             // AVX2 + FMA + F16C
extern const Kernel kKernelsAvx512[kOpCount] WEFT_MAY_BE_LEFT_OUT;      // AVX-512 F, BW, VL, DQ
extern const Kernel kKernelsAvx512Bf16[kOpCount] WEFT_MAY_BE_LEFT_OUT;  // and BF16
extern const Kernel kKernelsAmx[kOpCount] WEFT_MAY_BE_LEFT_OUT;         // AVX-512, AMX-TILE and AMX-BF16
extern const Kernel kKernelsNeon[kOpCount];                             // arm64
extern const Kernel kKernelsNeonDot[kOpCount] WEFT_MAY_BE_LEFT_OUT;     // and dot products of bytes
extern const Kernel kKernelsNeonBf16[kOpCount] WEFT_MAY_BE_LEFT_OUT;    // and BF16

}  // namespace weft

// CUDA's words for the host: what platform.h means where no CUDA compiler is at work. Every thread of a block is a fiber;
// blocks run one after another, fibers and blocks in an order that a seed shuffles, so that a race or a missing barrier shows
// as a wrong value. What CUDA leaves undefined and this sees (threads that wait at different barriers, lanes that are missing
// or exited, misaligned or foreign addresses, writes behind shared memory) ends the process with the kernel, the block and the
// thread. Shared memory is 0xff (NaN) when a block begins.
//
// Not seen: static and dynamic shared memory together above a block's limit; writes behind a static array; register use.
// alignas stands before __shared__ (C++ wants it first).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/step.h"

#define WEFT_DEVICE inline
#define WEFT_KERNEL(NAME, ARGS) WEFT_KERNEL_BOUNDS(NAME, ARGS, 1024, 1)
#define WEFT_KERNEL_BOUNDS(NAME, ARGS, THREADS, BLOCKS)                                                                            \
  static void NAME(const ARGS& a, const ::weft::cuda::Step& step);                                                                 \
  static const ::weft::cuda::emulated::Kernel registered_##NAME(#NAME, THREADS, sizeof(ARGS), [](void** params) {                  \
    NAME(*static_cast<const ARGS*>(params[0]), *static_cast<const ::weft::cuda::Step*>(params[1]));                                \
  });                                                                                                                              \
  static void NAME([[maybe_unused]] const ARGS& a, [[maybe_unused]] const ::weft::cuda::Step& step)
#define WEFT_DYNAMIC_SHARED(NAME) uint8_t* const NAME = ::weft::cuda::emulated::dynamicShared

// Thread-local variables of a module lie together and can be filled before each block; the address sanitizer guards plain ones.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static thread_local
#endif
#define __align__(BYTES) __attribute__((aligned(BYTES)))

namespace weft {
namespace cuda {

struct Index3 { uint32_t x, y, z; };

// Of the fiber that runs.
extern Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

// One for each kernel of the program; they find each other when it starts.
struct Kernel {
  using Call = void (*)(void** params);
  Kernel(const char* name, uint32_t maxThreads, uint32_t argsBytes, Call call);

  const char* name;
  uint32_t maxThreads, argsBytes;
  Call call;
  const Kernel* next;
};
const Kernel* findKernel(const char* name);              // nullptr when there is none
const Kernel* firstKernel();

// Runs all blocks of a launch. params: of Args and Step. One launch at a time in a process.
void launch(const Kernel& kernel, Index3 grid, Index3 block, uint32_t sharedBytes, void** params);

// The order in which fibers and blocks run follows from it. Otherwise it is WEFT_CUDA_SEED of the environment, or 1.
void setSeed(uint64_t seed);

// Prints the text, with the kernel, block and thread that runs, and aborts.
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
[[noreturn]] void fail(const char* pattern, ...);

// Says what lies at an address that a kernel may not use, where somebody knows; it writes a text.
extern void (*describeAddress)(const void* address, char* text, size_t bytes);

extern uint8_t* dynamicShared;
void requireAligned(const void* p, uint32_t bytes, const char* doing);
void requireShared(const void* p, uint32_t bytes, const char* doing);   // bytes in shared memory of the block
void pause();                                            // others may run first

// Where a kernel waits.
struct Site { const char* file; int line; };
void awaitBlock(Site site);

// What a lane brings to an operation of its warp. The last lane of the mask that comes runs it for all.
struct Lane {
  const void* in;
  void* out;
  uint32_t argument, width;
};
using WarpOp = void (*)(Lane* const (&lanes)[32], uint32_t mask);   // lanes outside of the mask: nullptr
void awaitWarp(const char* name, uint32_t mask, Site site, WarpOp op, Lane lane);

void shuffleXor(Lane* const (&lanes)[32], uint32_t mask);
void shuffleDown(Lane* const (&lanes)[32], uint32_t mask);
void shuffleUp(Lane* const (&lanes)[32], uint32_t mask);
void shuffleFrom(Lane* const (&lanes)[32], uint32_t mask);
void ballot(Lane* const (&lanes)[32], uint32_t mask);
void barrier(Lane* const (&lanes)[32], uint32_t mask);

template <typename T>
T shuffle(const char* name, uint32_t mask, T value, uint32_t argument, uint32_t width, WarpOp op, Site site) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "values that a shuffle moves have 4 or 8 bytes");
  uint64_t in = 0, out = 0;
  memcpy(&in, &value, sizeof value);
  awaitWarp(name, mask, site, op, Lane{&in, &out, argument, width});
  memcpy(&value, &out, sizeof value);
  return value;
}

// An atomic operation: no other fiber runs within it, others may before it.
template <typename T, typename Change>
T atomic(T* p, Change change) {
  pause();
  requireAligned(p, sizeof(T), "an atomic operation");
  const T before = *p;
  *p = change(before);
  return before;
}

}  // namespace emulated

// The last parameters tell where the call stands.
#define WEFT_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(WEFT_SITE) { emulated::awaitBlock({file, line}); }
inline void __syncwarp(uint32_t mask = 0xffffffffu, WEFT_SITE) {
  emulated::awaitWarp("__syncwarp", mask, {file, line}, emulated::barrier, {});
}
template <typename T>
T __shfl_sync(uint32_t mask, T value, int lane, int width = 32, WEFT_SITE) {
  return emulated::shuffle("__shfl_sync", mask, value, lane, width, emulated::shuffleFrom, {file, line});
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, int width = 32, WEFT_SITE) {
  return emulated::shuffle("__shfl_xor_sync", mask, value, bits, width, emulated::shuffleXor, {file, line});
}
template <typename T>
T __shfl_down_sync(uint32_t mask, T value, uint32_t by, int width = 32, WEFT_SITE) {
  return emulated::shuffle("__shfl_down_sync", mask, value, by, width, emulated::shuffleDown, {file, line});
}
template <typename T>
T __shfl_up_sync(uint32_t mask, T value, uint32_t by, int width = 32, WEFT_SITE) {
  return emulated::shuffle("__shfl_up_sync", mask, value, by, width, emulated::shuffleUp, {file, line});
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate, WEFT_SITE) {
  uint32_t out = 0;
  emulated::awaitWarp("__ballot_sync", mask, {file, line}, emulated::ballot, {nullptr, &out, predicate != 0, 32});
  return out;
}
inline int __any_sync(uint32_t mask, int predicate, WEFT_SITE) { return __ballot_sync(mask, predicate, file, line) != 0; }
inline int __all_sync(uint32_t mask, int predicate, WEFT_SITE) { return __ballot_sync(mask, predicate, file, line) == mask; }

// int, unsigned, unsigned long long, float, double: those that CUDA has (atomicMax and atomicMin: integers).
#define WEFT_ATOMICS(T)                                                                                              \
  inline T atomicAdd(T* p, T value) { return emulated::atomic(p, [=](T before) { return static_cast<T>(before + value); }); }     \
  inline T atomicExch(T* p, T value) { return emulated::atomic(p, [=](T) { return value; }); }
#define WEFT_INTEGER_ATOMICS(T)                                                                                      \
  WEFT_ATOMICS(T)                                                                                                    \
  inline T atomicCAS(T* p, T was, T value) { return emulated::atomic(p, [=](T before) { return before == was ? value : before; }); } \
  inline T atomicMax(T* p, T value) { return emulated::atomic(p, [=](T before) { return before > value ? before : value; }); }       \
  inline T atomicMin(T* p, T value) { return emulated::atomic(p, [=](T before) { return before < value ? before : value; }); }       \
  inline T atomicOr(T* p, T value) { return emulated::atomic(p, [=](T before) { return static_cast<T>(before | value); }); }      \
  inline T atomicAnd(T* p, T value) { return emulated::atomic(p, [=](T before) { return static_cast<T>(before & value); }); }
WEFT_INTEGER_ATOMICS(int)
WEFT_INTEGER_ATOMICS(unsigned)
WEFT_INTEGER_ATOMICS(unsigned long long)
WEFT_ATOMICS(float)
WEFT_ATOMICS(double)
#undef WEFT_ATOMICS
#undef WEFT_INTEGER_ATOMICS

// Other threads see what this one wrote before it: here they always do.
inline void __threadfence() {}
inline void __threadfence_block() {}

inline int __popc(uint32_t bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(bits) : 32; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }
// value + the products of four signed bytes.
inline int __dp4a(int a, int b, int value) {
  for (int i = 0; i < 32; i += 8) value += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return value;
}

// What memory.h and mma.h do in one instruction.
template <typename T>
T emulatedLoad(const void* p) {
  emulated::requireAligned(p, sizeof(T), "a load");
  T value;
  memcpy(&value, p, sizeof value);
  return value;
}
template <typename To, typename From>
To emulatedBits(From from) {
  static_assert(sizeof(To) == sizeof(From), "the same bits");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
float emulatedFromF16(uint16_t half);
uint32_t emulatedToF16(float value);

// Until its wait comes, what a copy goes to is undefined: 0xff here.
void emulatedCopyAsync(void* shared, const void* global, bool there);
void emulatedCommitCopies();
void emulatedAwaitCopies(uint32_t pending);

void emulatedMma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool f16, WEFT_SITE);           // m16n8k16
void emulatedMmaInt8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], WEFT_SITE);               // m16n8k32, s8
void emulatedLoadMatrices(uint32_t (&r)[4], const void* row, bool transposed = false, WEFT_SITE);

#undef WEFT_SITE

}  // namespace cuda
}  // namespace weft

#include "emulation/cuda/threads.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "emulation/cuda/block.h"

namespace weft {
namespace cuda {

Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

Fiber* running = nullptr;
const Kernel* runningKernel = nullptr;

namespace {

const Kernel*& kernels() {
  static const Kernel* first = nullptr;
  return first;
}

uint64_t startSeed() {
  const char* text = getenv("WEFT_CUDA_SEED");
  return text ? strtoull(text, nullptr, 0) : 1;
}
uint64_t seed = startSeed(), launches = 0;
uint64_t state;

Context scheduler;
std::vector<Fiber> fibers;
uint32_t count, live, atBlock;                           // fibers of the block; those that have not ended; those in __syncthreads
void** launchParams;

constexpr uint32_t kLanes = 32;
struct Warp { uint32_t waiting, gone; };                 // lanes in an operation of the warp; lanes that have exited, or never were
std::vector<Warp> warpStates;
Fiber& laneOf(uint32_t warp, uint32_t lane) { return fibers[warp * kLanes + lane]; }

bool same(const Site& a, const Site& b) { return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0); }

void back(bool ended = false) { switchContext(running->context, scheduler, ended); }

void runFiber() {
  entered(scheduler);
  runningKernel->call(launchParams);
  running->state = Fiber::kExited;
  warpStates[running->number / kLanes].gone |= 1u << running->number % kLanes;
  live--;
  landCopies(*running);
  back(/* ended */ true);
  abort();
}

void resume(Fiber& fiber) {
  running = &fiber;
  threadIdx = fiber.index;
  switchContext(scheduler, fiber.context);
  running = nullptr;
}

// Whether all threads that are left have come.
void releaseBlock() {
  if (atBlock == 0 || atBlock < live) return;
  const Fiber* first = nullptr;
  for (uint32_t i = 0; i < count; i++) {
    Fiber& f = fibers[i];
    if (f.state != Fiber::kAtBlock) continue;
    if (!first) first = &f;
    if (!same(first->site, f.site)) failStuck(fibers, count);
  }
  for (uint32_t i = 0; i < count; i++) {
    if (fibers[i].state == Fiber::kAtBlock) fibers[i].state = Fiber::kReady;
  }
  atBlock = 0;
}

// Runs the operation of the running fiber's warp if all its lanes have come.
void releaseWarp() {
  const Fiber& last = *running;
  const uint32_t warp = last.number / kLanes;
  Warp& state = warpStates[warp];
  state.waiting |= 1u << last.number % kLanes;
  if (last.mask & state.gone) {
    const uint32_t lane = static_cast<uint32_t>(__builtin_ctz(last.mask & state.gone));
    fail("%s (%s:%d) names lane %u, which %s", last.waitsIn, last.site.file, last.site.line, lane,
         warp * kLanes + lane < count ? "has exited" : "the block does not have");
  }
  if ((state.waiting & last.mask) != last.mask) return;
  Lane* lanes[kLanes] = {};
  for (uint32_t i = 0; i < kLanes; i++) {
    if (!(last.mask >> i & 1)) continue;
    Fiber& f = laneOf(warp, i);
    if (f.op != last.op || f.mask != last.mask || !same(f.site, last.site)) return;
    lanes[i] = &f.lane;
  }
  last.op(lanes, last.mask);
  for (uint32_t i = 0; i < kLanes; i++) {
    if (lanes[i]) laneOf(warp, i).state = Fiber::kReady;
  }
  state.waiting &= ~last.mask;
}

// Runs every lane of a warp that can, in some order, until none can.
bool runWarp(uint32_t warp) {
  const uint32_t lanes = std::min(kLanes, count - warp * kLanes), first = randomBelow(lanes);
  uint32_t step = 1 + 2 * randomBelow(16);               // odd: all lanes of a whole warp come up
  if (lanes != kLanes) step = 1;
  bool ran = false;
  for (uint32_t i = 0, lane = first; i < lanes; i++, lane = (lane + step) % lanes) {
    Fiber& fiber = laneOf(warp, lane);
    if (fiber.state != Fiber::kReady) continue;
    resume(fiber);
    ran = true;
  }
  return ran;
}

void startBlock() {
  for (uint32_t i = 0; i < count; i++) {
    Fiber& f = fibers[i];
    f.state = Fiber::kReady;
    f.number = i;
    f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    f.site = {"", 0};
    f.copies.clear();
    f.groups.clear();
    f.open = 0;
    prepare(f.context, stackOf(i), runFiber);
  }
  live = count;
  atBlock = 0;
  const uint32_t warps = (count + kLanes - 1) / kLanes, beyond = warps * kLanes - count;
  warpStates.assign(warps, {});
  if (beyond) warpStates.back().gone = ~0u << (kLanes - beyond);
}

// Warps in some order, each as far as it comes, or for a while only.
void runBlock() {
  startBlock();
  const uint32_t warps = (count + kLanes - 1) / kLanes;
  std::vector<uint32_t> order(warps);
  std::iota(order.begin(), order.end(), 0u);
  while (live > 0) {
    for (uint32_t i = warps; i > 1; i--) std::swap(order[i - 1], order[randomBelow(i)]);
    bool ran = false;
    for (const uint32_t warp : order) {
      const uint32_t patience = randomBelow(4) ? 64 : 4;     // passes after which others come, so that waiting for their atomics ends
      while (runWarp(warp)) {
        ran = true;
        if (randomBelow(patience) == 0) break;
      }
    }
    if (live > 0) releaseBlock();
    if (live > 0 && !ran) {
      bool ready = false;
      for (uint32_t i = 0; i < count; i++) ready |= fibers[i].state == Fiber::kReady;
      if (!ready) failStuck(fibers, count);
    }
  }
}

}  // namespace

Kernel::Kernel(const char* name, uint32_t maxThreads, uint32_t argsBytes, Call call)
    : name(name), maxThreads(maxThreads), argsBytes(argsBytes), call(call), next(kernels()) {
  if (findKernel(name)) fail("there are two kernels named %s", name);
  kernels() = this;
}

const Kernel* firstKernel() { return kernels(); }

const Kernel* findKernel(const char* name) {
  for (const Kernel* k = kernels(); k; k = k->next) {
    if (strcmp(k->name, name) == 0) return k;
  }
  return nullptr;
}

void setSeed(uint64_t value) {
  seed = value;
  launches = 0;
}

// splitmix64 (Steele, Lea, Flood 2014).
uint32_t randomBelow(uint32_t limit) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return static_cast<uint32_t>((z ^ z >> 31) >> 32) % limit;
}

void launch(const Kernel& kernel, Index3 grid, Index3 block, uint32_t sharedBytes, void** params) {
  if (runningKernel) fail("%s is launched while another kernel runs", kernel.name);
  const FaultHandler handler;
  findShared();
  runningKernel = &kernel;
  state = seed + (launches++ << 32);
  launchParams = params;
  gridDim = grid;
  blockDim = block;
  count = block.x * block.y * block.z;
  if (count == 0 || count > kernel.maxThreads) fail("launched with %u threads, at most %u are allowed", count, kernel.maxThreads);
  if (fibers.size() < count) fibers.resize(count);
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  // i → (start + i · stride) mod blocks passes every block once where both have no common factor.
  uint64_t stride = blocks > 2 ? 1 + randomBelow(static_cast<uint32_t>(std::min<uint64_t>(blocks - 1, 0xffffffff))) : 1;
  while (std::gcd(stride, blocks) != 1) stride++;
  uint64_t at = randomBelow(static_cast<uint32_t>(std::min<uint64_t>(blocks, 0xffffffff)));
  for (uint64_t i = 0; i < blocks; i++, at = (at + stride) % blocks) {
    blockIdx = {static_cast<uint32_t>(at % grid.x), static_cast<uint32_t>(at / grid.x % grid.y),
                static_cast<uint32_t>(at / grid.x / grid.y)};
    prepareShared(sharedBytes);
    runBlock();
    checkShared();
  }
  runningKernel = nullptr;
}

void fail(const char* pattern, ...) {
  char text[1024];
  va_list list;
  va_start(list, pattern);
  vsnprintf(text, sizeof text, pattern, list);
  va_end(list);
  fprintf(stderr, "emulated CUDA: ");
  if (runningKernel) fprintf(stderr, "%s, block (%u, %u, %u)", runningKernel->name, blockIdx.x, blockIdx.y, blockIdx.z);
  if (running) fprintf(stderr, ", thread (%u, %u, %u)", running->index.x, running->index.y, running->index.z);
  fprintf(stderr, "%s%s\n", runningKernel ? ": " : "", text);
  fflush(stderr);
  abort();
}

void failStuck(const std::vector<Fiber>& fibers, uint32_t count) {
  char text[900];
  size_t used = 0;
  text[0] = 0;
  // Threads in a row that do the same are told together.
  for (uint32_t i = 0; i < count && used < sizeof text - 200;) {
    const Fiber& f = fibers[i];
    uint32_t end = i + 1;
    const auto same = [&](const Fiber& g) {
      return g.state == f.state && (f.state == Fiber::kExited || (g.site.line == f.site.line && strcmp(g.site.file, f.site.file) == 0));
    };
    while (end < count && same(fibers[end])) end++;
    const char* sep = used ? "; " : "";
    if (f.state == Fiber::kExited) used += snprintf(text + used, sizeof text - used, "%sthreads %u to %u have exited", sep, i, end - 1);
    else if (f.state == Fiber::kAtWarp)
      used += snprintf(text + used, sizeof text - used, "%sthreads %u to %u wait in %s (%s:%d, mask %08x)", sep, i, end - 1, f.waitsIn,
                       f.site.file, f.site.line, f.mask);
    else
      used += snprintf(text + used, sizeof text - used, "%sthreads %u to %u wait in %s (%s:%d)", sep, i, end - 1, f.waitsIn, f.site.file,
                       f.site.line);
    i = end;
  }
  fail("nobody can go on: %s", text);
}

void pause() {
  if (randomBelow(4) == 0) back();
}

void awaitBlock(Site site) {
  running->state = Fiber::kAtBlock;
  running->site = site;
  running->waitsIn = "__syncthreads";
  atBlock++;
  back();
}

void awaitWarp(const char* name, uint32_t mask, Site site, WarpOp op, Lane lane) {
  if (!(mask >> running->number % kLanes & 1)) fail("%s (%s:%d): the lane is not in its mask %08x", name, site.file, site.line, mask);
  running->state = Fiber::kAtWarp;
  running->site = site;
  running->waitsIn = name;
  running->mask = mask;
  running->op = op;
  running->lane = lane;
  releaseWarp();
  if (running->state != Fiber::kReady || randomBelow(2)) back();
}

}  // namespace emulated
}  // namespace cuda
}  // namespace weft

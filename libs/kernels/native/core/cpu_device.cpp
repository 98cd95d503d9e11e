#include "cpu_device.h"

#include <chrono>

#include "error.h"
#include "system.h"

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

double nsBetween(Clock::time_point from, Clock::time_point to) { return std::chrono::duration<double, std::nano>(to - from).count(); }

const Kernel* kernelsOf(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2: return kKernelsAvx2;
    case Isa::kAvx512: return kKernelsAvx512;
    case Isa::kAvx512Bf16: return kKernelsAvx512Bf16;
    case Isa::kAmx: return kKernelsAmx;
#elif defined(__aarch64__)
    case Isa::kNeon: return kKernelsNeon;
    case Isa::kNeonDot: return kKernelsNeonDot;
    case Isa::kNeonBf16: return kKernelsNeonBf16;
#endif
    default: return kKernelsPortable;
  }
}

struct TileContext {
  const Kernel& kernel;
  const void* args;
  uint32_t threads;
  std::atomic<uint64_t>* staged;      // where an op that reads adapters is held to copying none of them
};

void mergeTile(const void* context, uint32_t tile, Scratch& scratch) {
  const TileContext& c = *static_cast<const TileContext*>(context);
  c.kernel.merge(c.args, tile, c.threads, scratch);
}

void runTile(const void* context, uint32_t tile, Scratch& scratch) {
  const TileContext& c = *static_cast<const TileContext*>(context);
  scratch.staged = 0;
  c.kernel.run(c.args, tile, c.threads, scratch);
  if (c.staged && scratch.staged) c.staged->fetch_add(scratch.staged, std::memory_order_relaxed);
}

}  // namespace

CpuDevice::CpuDevice(uint32_t threads, Isa isa, const Tuning& tuning) : isa_(isa), pool_(threads ? threads : usableProcessors(), tuning) {
  const Kernel* best = kernelsOf(isa);
  for (uint32_t code = 0; code < kOpCount; code++) kernels_[code] = best[code].run ? best[code] : kKernelsPortable[code];
}

RunResult CpuDevice::run(const LinkedProgram& linked, bool timed) {
  const Program& program = *linked.program;
  const int32_t* header = reinterpret_cast<const int32_t*>(linked.bases[kBindingFrame]);
  RunResult result;
  if (timed) result.opNs.reserve(program.ops().size());
  const ThreadPool::List list(pool_);
  verified_.clear();
  counters_.lists.fetch_add(1, std::memory_order_relaxed);
  const Clock::time_point begin = Clock::now();
  Clock::time_point last = begin;
  for (uint32_t i = 0; i < program.ops().size(); i++) {
    const ProgramOp& op = program.ops()[i];
    alignas(8) uint8_t args[kMaxArgsBytes];
    program.resolve(i, linked, header, args);
    if (op.code == kOpLinear && reinterpret_cast<const LinearArgs*>(args)->layout) program.site(i).fail("layout = 1: this device reads panels");
    const uint64_t adapterBytes = checkIndices(op.code, args, program.site(i), verified_);
    runKernel(op.code, args);
    if (op.writesIndices || linked.aliased) verified_.clear();
    counters_.ops.fetch_add(1, std::memory_order_relaxed);
    if (adapterBytes) counters_.adapterBytesRead.fetch_add(adapterBytes, std::memory_order_relaxed);
    if (!timed) continue;
    const Clock::time_point now = Clock::now();
    result.opNs.push_back(nsBetween(last, now));
    last = now;
  }
  result.elapsedNs = nsBetween(begin, timed ? last : Clock::now());
  return result;
}

void CpuDevice::runKernel(uint32_t code, const void* args) {
  const Kernel& kernel = kernels_[code];
  if (!kernel.run) throw Error("device_error", format("%s has no kernel on this device.", kOps[code].name));
  const bool readsAdapters = code == kOpLoraShrink || code == kOpLoraExpand || code == kOpExpertLinear || code == kOpExpertShrink ||
                             code == kOpExpertExpand || code == kOpLatentLora;
  const TileContext context{kernel, args, pool_.threads(), readsAdapters ? &counters_.adapterBytesStaged : nullptr};
  pool_.run(kernel.tiles(args, context.threads), runTile, &context);
  if (kernel.merge) pool_.run(kernel.mergeTiles(args, context.threads), mergeTile, &context);
}

}  // namespace weft

// What the card does at best: against this all else is held.
#include <dlfcn.h>

#include <algorithm>

#include "core/error.h"
#include "cuda/device_memory.h"
#include "gpu/llama.h"
#include "gpu/parts.h"

namespace weft {
namespace gpu {
namespace {

using cuda::DevicePointer;
using CopyInside = cuda::Result (*)(DevicePointer to, DevicePointer from, size_t bytes, cuda::Stream stream);

// Copies on a stream, timed by the device.
class Copies {
 public:
  Copies(const cuda::CudaOptions& options, uint64_t bytes)
      : gpu_(std::make_shared<cuda::Gpu>(options.driver, options.ordinal)), stream_(gpu_), memory_(gpu_), bytes_(bytes),
        host_(gpu_, std::min<uint64_t>(bytes, 256u << 20)),
        from_(memory_.allocate(0, bytes, "copies", total_)), to_(memory_.allocate(0, bytes, "copies", total_)) {
    for (cuda::Event& event : events_) (*gpu_)->check((*gpu_)->cuEventCreate(&event, 0), "timing");
  }
  ~Copies() {
    for (const cuda::Event event : events_) (*gpu_)->cuEventDestroy_v2(event);
  }

  Timing inside(CopyInside copy) { return timed([&] { return copy(at(to_), at(from_), bytes_, stream_); }); }
  Timing toDevice() { return timed([&] { return (*gpu_)->cuMemcpyHtoDAsync_v2(at(to_), host_.data(), host_.bytes, stream_); }); }
  Timing toHost() { return timed([&] { return (*gpu_)->cuMemcpyDtoHAsync_v2(host_.data(), at(from_), host_.bytes, stream_); }); }
  uint64_t hostBytes() const { return host_.bytes; }

 private:
  static DevicePointer at(const BufferRef& buffer) { return reinterpret_cast<DevicePointer>(buffer->data()); }
  template <typename Copy>
  Timing timed(const Copy& copy) {
    return measure([&] {
      float ms = 0;
      const cuda::Gpu& gpu = *gpu_;
      gpu->check(gpu->cuEventRecord(events_[0], stream_), "timing");
      gpu->check(copy(), "copying");
      gpu->check(gpu->cuEventRecord(events_[1], stream_), "timing");
      gpu->check(gpu->cuEventSynchronize(events_[1]), "copying");
      gpu->check(gpu->cuEventElapsedTime(&ms, events_[0], events_[1]), "timing");
      return ms * 1e6;
    }, 0.5);
  }

  std::shared_ptr<std::atomic<uint64_t>> total_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::shared_ptr<cuda::Gpu> gpu_;
  cuda::OwnedStream stream_;
  cuda::DeviceMemory memory_;
  uint64_t bytes_;
  cuda::Pinned host_;
  BufferRef from_, to_;
  cuda::Event events_[2] = {};
};

void rowOf(Sink& sink, const std::string& what, const Timing& timing, double amount, const char* unit) {
  sink.row({{"what", what}, {"rate", number(amount / timing.median)}, {"lowest", number(amount / timing.max)},
            {"highest", number(amount / timing.min)}, {"unit", unit}, {"runs", std::to_string(timing.runs)}});
}

// Several of them in a list, so that what a list costs by itself does not count.
double benchGemm(const cuda::CudaOptions& options, uint32_t size, double seconds, Sink& sink) {
  Machine machine(options);
  constexpr uint32_t kMaps = 6;
  const Rows x = allocateRows(machine, size, size, "x", kDTypeBf16), y = allocateRows(machine, size, size, "y");
  const Ref w = machine.allocate(uint64_t{size} * size * 2, "w");
  machine.fill(x.ref, kDTypeBf16, 1);
  machine.fill(w, kDTypeBf16, 1);
  ListBuilder builder;
  for (uint32_t i = 0; i < kMaps; i++) {
    builder.add(kOpLinear, {{"x", x.ref}, {"w", w}, {"b", {}}, {"y", y.ref}},
                {{"count", kHeaderNone}, {"countFrom", 0u}, {"rows", size}, {"n", size}, {"k", size}, {"ldx", x.ld}, {"ldy", y.ld},
                 {"dtype", kDTypeBf16}, {"accumulate", 0u}, {"xType", kDTypeBf16}, {"layout", 1u}});
  }
  const List list = machine.list(builder.words());
  const Timing timing = measure([&] { return machine.device.run(*list, false).elapsedNs / kMaps; }, seconds);
  const double flops = 2.0 * size * size * size;
  const char* by = machine.device.cublasLtVersion() ? ", cuBLASLt" : ", own kernels";
  rowOf(sink, format("linear, bf16, %u x %u x %u%s", size, size, size, by), timing, flops / 1e3, "TFLOP/s");
  return flops / 1e3 / timing.median;
}

}  // namespace

void benchCeilings(const Bench& bench, Sink& sink) {
  bool hasBlas;
  {
    const cuda::CudaDevice device(bench.device);
    const uint64_t blas = device.cublasLtVersion();
    sink.note(format("%s, %s, %u multiprocessors, %.1f GB free, %s, %s", device.name().c_str(), device.isa().c_str(),
                     device.multiprocessors(), device.freeBytes() / 1e9, device.isVirtual() ? "virtual memory" : "no virtual memory",
                     blas ? ("cuBLASLt " + std::to_string(blas)).c_str() : "no cuBLASLt"));
    hasBlas = blas != 0;
  }
  {
    Copies copies(bench.device, bench.sizes.copyBytes);
    void* library = dlopen(bench.device.driver.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (const auto inside = reinterpret_cast<CopyInside>(library ? dlsym(library, "cuMemcpyDtoDAsync_v2") : nullptr)) {
      const Timing timing = copies.inside(inside);
      rowOf(sink, "copy in the device, bytes read and written", timing, 2.0 * bench.sizes.copyBytes, "GB/s");
      sink.fact("copyGBs", 2.0 * bench.sizes.copyBytes / timing.median);
    } else {
      sink.note("This driver has no copies in the device.");
    }
    rowOf(sink, "pinned memory to device", copies.toDevice(), copies.hostBytes(), "GB/s");
    rowOf(sink, "device to pinned memory", copies.toHost(), copies.hostBytes(), "GB/s");
  }
  double best = 0;
  for (const uint32_t size : bench.sizes.gemms) {
    cuda::CudaOptions own = bench.device;
    own.ownGemm = true;
    best = std::max(best, benchGemm(own, size, bench.sizes.seconds, sink));
    if (hasBlas) best = std::max(best, benchGemm(bench.device, size, bench.sizes.seconds, sink));
    sink.fact("gemmTflops", best);
  }
}

}  // namespace gpu
}  // namespace weft

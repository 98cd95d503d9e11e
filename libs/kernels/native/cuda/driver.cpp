#include "cuda/driver.h"

#include <dlfcn.h>

#include "core/error.h"

namespace weft {
namespace cuda {
namespace {

// The context is lost with everything in it: every later call fails in the same way.
bool isSticky(Result result) {
  return result == kEccUncorrectable || result == kIllegalAddress || result == kLaunchTimeout || result == kContextDestroyed ||
         result == kAssert || (result >= kHardwareStackError && result <= kLaunchFailed);
}

std::string versionText(int version) { return format("%d.%d", version / 1000, version % 1000 / 10); }

}  // namespace

Driver::Driver(const std::string& path) : library_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!library_) {
    throw Error("device_unavailable", format("no NVIDIA driver: %s. Install the driver of this GPU, or give the container its GPUs "
                                             "(docker run --gpus all).", dlerror()));
  }
#define WEFT_FIND(NAME, PARAMS) NAME = reinterpret_cast<decltype(NAME)>(dlsym(library_, #NAME));
  WEFT_DRIVER_CALLS(WEFT_FIND)
#undef WEFT_FIND
  if (cuDriverGetVersion) cuDriverGetVersion(&version_);
  const char* missing = nullptr;
#define WEFT_MISSING(NAME, PARAMS) if (!NAME && !missing) missing = #NAME;
  WEFT_DRIVER_CALLS(WEFT_MISSING)
#undef WEFT_MISSING
  if (missing || version_ < kMinDriverVersion) {
    const std::string found = missing ? format("%s is missing in it", missing) : "this is older";
    dlclose(library_);
    throw Error("device_unavailable", format("the NVIDIA driver supports CUDA %s: CUDA %s is needed, and %s. Update the driver.",
                                             versionText(version_).c_str(), versionText(kMinDriverVersion).c_str(), found.c_str()));
  }
  check(cuInit(0), "starting the driver");
}

Driver::~Driver() { dlclose(library_); }

void Driver::check(Result result, const std::string& doing) const {
  if (result == kSuccess) return;
  const char *name = nullptr, *text = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &text);
  const std::string what = format("%s: %s (%s)", doing.c_str(), text ? text : "unknown error", name ? name : std::to_string(result).c_str());
  switch (result) {
    case kOutOfMemory: throw Error("out_of_memory", what + ". Other processes on this GPU and a large pool take its memory.");
    case kNoDevice:
      throw Error("device_unavailable", what + ". `nvidia-smi` lists the GPUs; CUDA_VISIBLE_DEVICES may hide them.");
    case kInvalidDevice: throw Error("device_unavailable", what + ". `nvidia-smi` lists the GPUs, from 0 on.");
    case kNoBinary: case kInvalidPtx: case kUnsupportedPtx:
      throw Error("device_unavailable", what + ". The kernels were built for other GPUs, or the driver is too old for them: "
                                               "`npm run build:cuda` with a CUDA toolkit that the driver supports makes them anew.");
    case kDriverMismatch:
      throw Error("device_unavailable", what + ". The driver's kernel module and its library differ: restart the machine.");
    default: break;
  }
  if (isSticky(result)) throw Error("device_lost", what + ". All that was on the GPU is lost; a new process starts afresh. `dmesg` has the driver's words (Xid).");
  throw Error("device_error", what + ".");
}

Gpu::Gpu(const std::string& driverPath, int ordinal) : driver_(driverPath) {
  int count = 0;
  driver_.check(driver_.cuDeviceGetCount(&count), "looking for GPUs");
  if (count == 0) driver_.check(kNoDevice, "looking for GPUs");
  driver_.check(driver_.cuDeviceGet(&device_, ordinal), format("opening cuda:%d of %d", ordinal, count));
  driver_.check(driver_.cuDevicePrimaryCtxRetain(&context_, device_), format("opening cuda:%d", ordinal));
  enter();
}

Gpu::~Gpu() { driver_.cuDevicePrimaryCtxRelease_v2(device_); }

int Gpu::attribute(int which) const {
  int value = 0;
  driver_.check(driver_.cuDeviceGetAttribute(&value, which, device_), "asking the GPU what it is");
  return value;
}

std::string Gpu::name() const {
  char text[256] = {};
  driver_.check(driver_.cuDeviceGetName(text, sizeof text - 1, device_), "asking the GPU its name");
  return text;
}

DriverInfo inspectDriver(const std::string& path) {
  const Driver driver(path);
  DriverInfo info;
  info.version = driver.version();
  int count = 0;
  driver.check(driver.cuDeviceGetCount(&count), "looking for GPUs");
  if (count == 0) driver.check(kNoDevice, "looking for GPUs");
  for (int ordinal = 0; ordinal < count; ordinal++) {
    DeviceId id = 0;
    int major = 0, minor = 0;
    size_t bytes = 0;
    char name[256] = {};
    const char* doing = "asking a GPU what it is";
    driver.check(driver.cuDeviceGet(&id, ordinal), doing);
    driver.check(driver.cuDeviceGetName(name, sizeof name - 1, id), doing);
    driver.check(driver.cuDeviceGetAttribute(&major, kComputeMajor, id), doing);
    driver.check(driver.cuDeviceGetAttribute(&minor, kComputeMinor, id), doing);
    driver.check(driver.cuDeviceTotalMem_v2(&bytes, id), doing);
    info.gpus.push_back({name, format("sm_%d%d", major, minor), bytes});
  }
  return info;
}

OwnedStream::OwnedStream(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {
  (*gpu_)->check((*gpu_)->cuStreamCreate(&stream_, kNonBlocking), "making a stream");
}

OwnedStream::~OwnedStream() {
  gpu_->enter();
  (*gpu_)->cuStreamSynchronize(stream_);
  (*gpu_)->cuStreamDestroy_v2(stream_);
}

OwnedModule::OwnedModule(std::shared_ptr<Gpu> gpu, const void* image, const std::string& doing) : gpu_(std::move(gpu)) {
  (*gpu_)->check((*gpu_)->cuModuleLoadData(&module_, image), doing);
}

OwnedModule::~OwnedModule() {
  gpu_->enter();
  (*gpu_)->cuModuleUnload(module_);
}

}  // namespace cuda
}  // namespace weft

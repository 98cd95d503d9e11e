// The CUDA driver as far as it is used, opened when a CUDA device is asked for: nothing here needs CUDA to compile or to run
// elsewhere. Declarations follow cuda.h of CUDA 12; names are those that libcuda.so.1 exports. Source: CUDA Driver API.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace weft {
namespace cuda {

using Result = int;
using DeviceId = int;
using DevicePointer = unsigned long long;
using Context = struct ContextHandle*;
using Stream = struct StreamHandle*;
using Event = struct EventHandle*;
using Module = struct ModuleHandle*;
using Function = struct FunctionHandle*;
using Graph = struct GraphHandle*;
using GraphExec = struct GraphExecHandle*;
using Allocation = unsigned long long;

constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kInvalidPtx = 218, kUnsupportedPtx = 222,
                 kNoBinary = 209, kEccUncorrectable = 214, kNotPermitted = 800, kNotSupported = 801, kDriverMismatch = 803;
constexpr Result kIllegalAddress = 700, kLaunchTimeout = 702, kContextDestroyed = 709, kAssert = 710, kHardwareStackError = 714, kLaunchFailed = 719;

constexpr int kMultiprocessors = 16, kComputeMajor = 75, kComputeMinor = 76, kSharedBytesOptIn = 97, kVirtualMemory = 102;
constexpr int kMaxDynamicSharedBytes = 8;
constexpr unsigned kNonBlocking = 1, kDisableTiming = 2, kCaptureRelaxed = 2;
// The oldest driver that has all of this: that of CUDA 12.0.
constexpr int kMinDriverVersion = 12000;

struct Location { int type = 1, id = 0; };                 // 1: a device
struct AllocationProperties {
  int type = 1, handles = 0;                               // pinned, not exported
  Location location;
  void* reserved = nullptr;
  uint8_t flags[8] = {};
};
struct AccessDescription {
  Location location;
  int flags = 3;                                           // read and write
};

#define WEFT_DRIVER_CALLS(CALL)                                                                                                      \
  CALL(cuInit, (unsigned flags))                                                                                                     \
  CALL(cuDriverGetVersion, (int* version))                                                                                           \
  CALL(cuDeviceGetCount, (int* count))                                                                                               \
  CALL(cuDeviceGet, (DeviceId * device, int ordinal))                                                                                \
  CALL(cuDeviceGetName, (char* name, int length, DeviceId device))                                                                   \
  CALL(cuDeviceGetAttribute, (int* value, int attribute, DeviceId device))                                                           \
  CALL(cuDeviceTotalMem_v2, (size_t * bytes, DeviceId device))                                                                       \
  CALL(cuDevicePrimaryCtxRetain, (Context * context, DeviceId device))                                                               \
  CALL(cuDevicePrimaryCtxRelease_v2, (DeviceId device))                                                                              \
  CALL(cuCtxSetCurrent, (Context context))                                                                                           \
  CALL(cuMemGetInfo_v2, (size_t * free, size_t * total))                                                                             \
  CALL(cuMemAlloc_v2, (DevicePointer * pointer, size_t bytes))                                                                       \
  CALL(cuMemFree_v2, (DevicePointer pointer))                                                                                        \
  CALL(cuMemHostAlloc, (void** pointer, size_t bytes, unsigned flags))                                                               \
  CALL(cuMemFreeHost, (void* pointer))                                                                                               \
  CALL(cuMemAddressReserve, (DevicePointer * pointer, size_t bytes, size_t alignment, DevicePointer wanted, unsigned long long flags)) \
  CALL(cuMemAddressFree, (DevicePointer pointer, size_t bytes))                                                                      \
  CALL(cuMemCreate, (Allocation * handle, size_t bytes, const AllocationProperties* properties, unsigned long long flags))           \
  CALL(cuMemRelease, (Allocation handle))                                                                                            \
  CALL(cuMemMap, (DevicePointer pointer, size_t bytes, size_t offset, Allocation handle, unsigned long long flags))                  \
  CALL(cuMemUnmap, (DevicePointer pointer, size_t bytes))                                                                            \
  CALL(cuMemSetAccess, (DevicePointer pointer, size_t bytes, const AccessDescription* access, size_t count))                         \
  CALL(cuMemGetAllocationGranularity, (size_t * bytes, const AllocationProperties* properties, int option))                          \
  CALL(cuMemcpyHtoDAsync_v2, (DevicePointer to, const void* from, size_t bytes, Stream stream))                                      \
  CALL(cuMemcpyDtoHAsync_v2, (void* to, DevicePointer from, size_t bytes, Stream stream))                                            \
  CALL(cuMemsetD8Async, (DevicePointer to, unsigned char value, size_t bytes, Stream stream))                                        \
  CALL(cuStreamCreate, (Stream * stream, unsigned flags))                                                                            \
  CALL(cuStreamDestroy_v2, (Stream stream))                                                                                          \
  CALL(cuStreamSynchronize, (Stream stream))                                                                                         \
  CALL(cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))                                                              \
  CALL(cuEventCreate, (Event * event, unsigned flags))                                                                               \
  CALL(cuEventDestroy_v2, (Event event))                                                                                             \
  CALL(cuEventRecord, (Event event, Stream stream))                                                                                  \
  CALL(cuEventSynchronize, (Event event))                                                                                            \
  CALL(cuEventElapsedTime, (float* milliseconds, Event begin, Event end))                                                            \
  CALL(cuModuleLoadData, (Module * module, const void* image))                                                                       \
  CALL(cuModuleUnload, (Module module))                                                                                              \
  CALL(cuModuleGetFunction, (Function * function, Module module, const char* name))                                                  \
  CALL(cuFuncSetAttribute, (Function function, int attribute, int value))                                                            \
  CALL(cuLaunchKernel, (Function function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,         \
                        unsigned blockZ, unsigned sharedBytes, Stream stream, void** params, void** extra))                          \
  CALL(cuStreamBeginCapture_v2, (Stream stream, int mode))                                                                           \
  CALL(cuStreamEndCapture, (Stream stream, Graph * graph))                                                                           \
  CALL(cuGraphInstantiateWithFlags, (GraphExec * exec, Graph graph, unsigned long long flags))                                       \
  CALL(cuGraphLaunch, (GraphExec exec, Stream stream))                                                                               \
  CALL(cuGraphExecDestroy, (GraphExec exec))                                                                                         \
  CALL(cuGraphDestroy, (Graph graph))                                                                                                \
  CALL(cuGetErrorName, (Result result, const char** name))                                                                           \
  CALL(cuGetErrorString, (Result result, const char** text))

class Driver {
 public:
  // Throws device_unavailable when there is no such library, or it is too old: with what to install.
  explicit Driver(const std::string& path);
  ~Driver();
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // Throws what a failed call means: device_unavailable, out_of_memory, device_lost or device_error, naming `doing`.
  void check(Result result, const std::string& doing) const;

  int version() const { return version_; }

#define WEFT_DECLARE(NAME, PARAMS) Result(*NAME) PARAMS = nullptr;
  WEFT_DRIVER_CALLS(WEFT_DECLARE)
#undef WEFT_DECLARE

 private:
  void* library_ = nullptr;
  int version_ = 0;
};

// One GPU and this process's context on it. What lies there holds it.
class Gpu {
 public:
  // Throws device_unavailable or device_lost.
  Gpu(const std::string& driverPath, int ordinal);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  const Driver* operator->() const { return &driver_; }
  // Lets the calling thread's calls go to this GPU.
  void enter() const { driver_.cuCtxSetCurrent(context_); }
  int attribute(int which) const;
  std::string name() const;
  DeviceId id() const { return device_; }

 private:
  Driver driver_;
  DeviceId device_ = 0;
  Context context_ = nullptr;
};

struct GpuInfo {
  std::string name, isa;                 // "NVIDIA H100 80GB HBM3", "sm_90"
  uint64_t bytes = 0;
};
// What a driver has, without opening any of it. Throws device_unavailable when there is no driver or no GPU.
struct DriverInfo {
  int version = 0;                       // 13000: CUDA 13.0
  std::vector<GpuInfo> gpus;
};
DriverInfo inspectDriver(const std::string& path);

// A stream that waits for no other, gone when its work is done.
class OwnedStream {
 public:
  explicit OwnedStream(std::shared_ptr<Gpu> gpu);
  ~OwnedStream();
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  operator Stream() const { return stream_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  Stream stream_ = nullptr;
};

// Kernels, loaded from an image. Throws device_unavailable where it has none for this GPU.
class OwnedModule {
 public:
  OwnedModule(std::shared_ptr<Gpu> gpu, const void* image, const std::string& doing);
  ~OwnedModule();
  OwnedModule(const OwnedModule&) = delete;
  OwnedModule& operator=(const OwnedModule&) = delete;
  operator Module() const { return module_; }

 private:
  std::shared_ptr<Gpu> gpu_;
  Module module_ = nullptr;
};

}  // namespace cuda
}  // namespace weft

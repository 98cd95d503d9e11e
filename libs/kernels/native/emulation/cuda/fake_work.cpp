// Modules of the fake driver, and the calls that put copies and kernels on streams.
#include <algorithm>
#include <cstring>

#include "emulation/cuda/fake_driver.h"

namespace weft {
namespace cuda {
namespace fake {
namespace {

struct Module { std::vector<void*> functions; };
Handles<Module> modules("module");
Handles<Function> functions("function");

std::vector<uint64_t> wordsOf(const void* value, size_t bytes) {
  std::vector<uint64_t> words((bytes + 7) / 8);
  memcpy(words.data(), value, bytes);
  return words;
}

}  // namespace

std::string leakedModules() { return modules.leaked(); }

}  // namespace fake
}  // namespace cuda
}  // namespace weft

using namespace weft::cuda::fake;

WEFT_EXPORT Result cuModuleLoadData(void** module, const void* image) {
  BEGIN(kContext);
  forbidCapture("loading a module");
  if (!image) misuse("no image");
  *module = modules.add(std::make_unique<Module>());
  return kSuccess;
}

WEFT_EXPORT Result cuModuleUnload(void* module) {
  BEGIN(kContext);
  if (isKernelQueued()) misuse("kernels are queued");
  for (void* function : modules.at(module).functions) functions.remove(function);
  modules.remove(module);
  return kSuccess;
}

WEFT_EXPORT Result cuModuleGetFunction(void** function, void* module, const char* name) {
  BEGIN(kContext);
  Module& from = modules.at(module);
  const weft::cuda::emulated::Kernel* kernel = weft::cuda::emulated::findKernel(name);
  if (!kernel) misuse("no kernel is named %s", name);
  for (void* known : from.functions) {
    if (functions.at(known).kernel == kernel) return *function = known, kSuccess;
  }
  *function = functions.add(std::make_unique<Function>(Function{kernel}));
  from.functions.push_back(*function);
  return kSuccess;
}

WEFT_EXPORT Result cuFuncSetAttribute(void* function, int attribute, int value) {
  BEGIN(kContext);
  if (attribute != 8) misuse("attribute %d is not known here", attribute);
  if (value < 0 || value > static_cast<int>(kMaxShared)) {
    misuse("%s: %d bytes of shared memory, at most %llu are allowed", functions.at(function).kernel->name, value, 0ull + kMaxShared);
  }
  functions.at(function).allowedShared = static_cast<uint32_t>(value);
  return kSuccess;
}

WEFT_EXPORT Result cuLaunchKernel(void* handle, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX, unsigned blockY,
                                  unsigned blockZ, unsigned sharedBytes, void* stream, void** params, void** extra) {
  BEGIN(kContext);
  const Function& function = functions.at(handle);
  const char* name = function.kernel->name;
  const uint64_t threads = uint64_t{blockX} * blockY * blockZ;
  if (!gridX || !gridY || !gridZ || gridX > 0x7fffffff || gridY > 0xffff || gridZ > 0xffff) {
    misuse("%s: a grid of %u × %u × %u", name, gridX, gridY, gridZ);
  }
  if (!threads || threads > function.kernel->maxThreads || blockX > 1024 || blockY > 1024 || blockZ > 64) {
    misuse("%s: blocks of %u × %u × %u threads, at most %u are allowed", name, blockX, blockY, blockZ, function.kernel->maxThreads);
  }
  if (sharedBytes > function.allowedShared) {
    misuse("%s: %u bytes of shared memory, %u are allowed", name, sharedBytes, function.allowedShared);
  }
  if (!params || extra) misuse("%s: no params", name);
  if (function.kernel->argsBytes + sizeof(weft::cuda::Step) > 4096) misuse("%s: params of more than 4 KiB", name);
  Work work{Work::kKernel};
  work.kernel = function.kernel;
  work.grid = {gridX, gridY, gridZ};
  work.block = {blockX, blockY, blockZ};
  work.sharedBytes = sharedBytes;
  work.params[0] = wordsOf(params[0], function.kernel->argsBytes);
  work.params[1] = wordsOf(params[1], sizeof(weft::cuda::Step));
  for (const auto& param : work.params) {
    for (size_t i = 0; i < param.size(); i++) {
      if (isPageable(param[i])) {
        misuse("%s: word %zu of %s is an address that the device does not know", name, i, &param == work.params ? "its Args" : "its Step");
      }
    }
  }
  enqueue(streamOf(stream), std::move(work));
  return kSuccess;
}

WEFT_EXPORT Result cuLaunchHostFunc(void* stream, void (*function)(void*), void* data) {
  BEGIN(kContext);
  Work work{Work::kHostFunction};
  work.function = function;
  work.data = data;
  enqueue(streamOf(stream), std::move(work));
  return kSuccess;
}

static Result copy(Work::Kind kind, Address to, Address from, uint64_t bytes, void* stream) {
  Work work{kind};
  work.to = to;
  work.from = from;
  work.bytes = bytes;
  Stream& on = streamOf(stream);
  if (bytes) enqueue(on, std::move(work));
  return kSuccess;
}

WEFT_EXPORT Result cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* stream) {
  BEGIN(kContext);
  return copy(Work::kToDevice, to, reinterpret_cast<Address>(from), bytes, stream);
}

WEFT_EXPORT Result cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* stream) {
  BEGIN(kContext);
  return copy(Work::kToHost, reinterpret_cast<Address>(to), from, bytes, stream);
}

WEFT_EXPORT Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void* stream) {
  BEGIN(kContext);
  return copy(Work::kOnDevice, to, from, bytes, stream);
}

WEFT_EXPORT Result cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void* stream) {
  BEGIN(kContext);
  Work work{Work::kFill};
  work.to = to;
  work.bytes = bytes;
  work.value = value;
  Stream& on = streamOf(stream);
  if (bytes) enqueue(on, std::move(work));
  return kSuccess;
}

// A libcuda.so.1 for machines without a GPU. Device memory is memory of the process that nobody may touch but kernels and
// copies; work on streams is put off until something waits for it, in any order that events allow, now and then earlier.
// It ends the process with a message when it is used wrongly: handles that are gone, ranges outside of live memory, async
// copies from memory that is not pinned or changes under way, memory given back while queued work names it, calls that a
// capture forbids, too much shared memory, what is left when the primary context goes. The kernels are those of the program
// that it is linked with (threads.h); a module's image is not looked at.
//
// Environment, read when the first call comes:
//   WEFT_FAKE_CUDA_DEVICES=0           there is no GPU
//   WEFT_FAKE_CUDA_VERSION=11040       the driver's version
//   WEFT_FAKE_CUDA_SMS=8               multiprocessors
//   WEFT_FAKE_CUDA_BYTES=N             memory of the GPU: 8 GiB otherwise
//   WEFT_FAKE_CUDA_PINNED_BYTES=N      pinned memory that there is
//   WEFT_FAKE_CUDA_NO_VMM=1            address ranges cannot be reserved (by the device's attribute)
//   WEFT_FAKE_CUDA_LOST_AT=N[:CODE]    the N-th kernel that runs loses the device: CODE (700) from every call from then on
//   WEFT_FAKE_CUDA_FAIL=CALL=CODE[@N],…   a call, by its exported name, fails, the N-th time or always: cuModuleLoadData=209
//   WEFT_CUDA_SEED=N                   the order of fibers, blocks and streams
#include "emulation/cuda/fake_driver.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace weft {
namespace cuda {
namespace fake {
namespace {

std::mutex lock;
std::atomic<pthread_t> owner{};                          // of the lock
const char* calling = "?";
Result lostCode = kSuccess;
uint32_t contextUses = 0;
char context;                                            // its address is the primary context's handle
std::map<std::string, uint64_t> calls;
uint64_t randomState = 0;

// No thread-local variables here: those of this module are the kernels' shared memory.
pthread_key_t currentKey() {
  static const pthread_key_t key = [] {
    pthread_key_t k;
    pthread_key_create(&k, nullptr);
    return k;
  }();
  return key;
}

const char* text(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value && *value ? value : otherwise;
}

Config readConfig() {
  Config c;
  c.devices = atoi(text("WEFT_FAKE_CUDA_DEVICES", "1")) > 0;
  c.version = atoi(text("WEFT_FAKE_CUDA_VERSION", "13000"));
  c.multiprocessors = atoi(text("WEFT_FAKE_CUDA_SMS", "8"));
  c.bytes = strtoull(text("WEFT_FAKE_CUDA_BYTES", "8589934592"), nullptr, 0);
  c.pinnedBytes = strtoull(text("WEFT_FAKE_CUDA_PINNED_BYTES", "0xffffffffffffffff"), nullptr, 0);
  c.virtualMemory = atoi(text("WEFT_FAKE_CUDA_NO_VMM", "0")) == 0;
  char* end;
  c.lostAt = strtoull(text("WEFT_FAKE_CUDA_LOST_AT", "0"), &end, 0);
  if (*end == ':') c.lostCode = atoi(end + 1);
  std::string list = text("WEFT_FAKE_CUDA_FAIL", "");
  while (!list.empty()) {
    const std::string item = list.substr(0, list.find(','));
    list.erase(0, item.size() + 1);
    const size_t equals = item.find('='), at = item.find('@');
    if (equals == std::string::npos) misuse("WEFT_FAKE_CUDA_FAIL: %s is not CALL=CODE", item.c_str());
    c.failures.push_back({item.substr(0, equals), atoi(item.c_str() + equals + 1),
                          at == std::string::npos ? 0 : strtoull(item.c_str() + at + 1, nullptr, 0)});
  }
  return c;
}

// The host uses device memory: told, and then handled as before.
struct sigaction before;
void onFault(int signal, siginfo_t* info, void* data) {
  if (isDevice(info->si_addr)) {
    char where[300] = "";
    describe(info->si_addr, where, sizeof where);
    fprintf(stderr, "fake CUDA driver: the host uses device memory at %p (%s)\n", info->si_addr, where);
    abort();
  }
  if (before.sa_flags & SA_SIGINFO) return before.sa_sigaction(signal, info, data);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(signal);
  sigaction(SIGSEGV, &before, nullptr);
}

bool readBeforeInit(const char* name) { return !strcmp(name, "cuInit") || !strcmp(name, "cuDriverGetVersion"); }
bool initialized = false;

}  // namespace

void misuse(const char* pattern, ...) {
  char what[1200];
  va_list list;
  va_start(list, pattern);
  vsnprintf(what, sizeof what, pattern, list);
  va_end(list);
  fprintf(stderr, "fake CUDA driver: %s: %s\n", calling, what);
  fflush(stderr);
  abort();
}

const Config& config() {
  static const Config read = readConfig();
  return read;
}

Result lost() { return lostCode; }
void lose(Result code) {
  lostCode = code;
  dropWork();
}

uint32_t randomBelow(uint32_t limit) {
  if (randomState == 0) randomState = strtoull(text("WEFT_CUDA_SEED", "1"), nullptr, 0) | 1ull << 40;
  randomState = randomState * 6364136223846793005u + 1442695040888963407u;   // Knuth's MMIX
  return static_cast<uint32_t>(randomState >> 33) % limit;
}

Call::Call(const char* name, Needs needs) {
  if (owner == pthread_self()) misuse("a host function calls %s", name);
  lock.lock();
  owner = pthread_self();
  calling = name;
  const uint64_t count = ++calls[name];
  for (const Config::Failure& failure : config().failures) {
    if (failure.call != name || (failure.at && failure.at != count)) continue;
    result = failure.code;
    if (result >= 700 && result < 720) lose(result);
  }
  if (!readBeforeInit(name) && !initialized) misuse("cuInit was not called");
  if (lostCode && !readBeforeInit(name)) result = lostCode;
  if (!result && needs == kContext && (contextUses == 0 || pthread_getspecific(currentKey()) != &context)) {
    misuse("no context is current on this thread");
  }
}

Call::~Call() {
  closeMemory();
  owner = pthread_t{};
  lock.unlock();
}

}  // namespace fake
}  // namespace cuda
}  // namespace weft

using namespace weft::cuda::fake;

WEFT_EXPORT Result cuInit(unsigned flags) {
  BEGIN(kNothing);
  if (flags) misuse("flags are 0");
  if (!config().devices) return kNoDevice;
  if (!initialized) {
    struct sigaction action{};
    action.sa_sigaction = onFault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &before);
    weft::cuda::emulated::describeAddress = describe;
    Dl_info own;                                         // the handler stays, and so does this library
    if (dladdr(reinterpret_cast<void*>(&cuInit), &own)) dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  }
  initialized = true;
  return kSuccess;
}

WEFT_EXPORT Result cuDriverGetVersion(int* version) {
  BEGIN(kNothing);
  *version = config().version;
  return kSuccess;
}

WEFT_EXPORT Result cuDeviceGetCount(int* count) {
  BEGIN(kNothing);
  *count = config().devices;
  return kSuccess;
}

WEFT_EXPORT Result cuDeviceGet(int* device, int ordinal) {
  BEGIN(kNothing);
  if (ordinal < 0 || ordinal >= config().devices) return kInvalidDevice;
  *device = ordinal;
  return kSuccess;
}

WEFT_EXPORT Result cuDeviceGetName(char* name, int length, int device) {
  BEGIN(kNothing);
  if (device != 0) misuse("no device %d", device);
  snprintf(name, static_cast<size_t>(length), "Emulated GPU");
  return kSuccess;
}

WEFT_EXPORT Result cuDeviceGetAttribute(int* value, int attribute, int device) {
  BEGIN(kNothing);
  if (device != 0) misuse("no device %d", device);
  switch (attribute) {
    case 1: *value = 1024; break;                        // threads of a block
    case 8: *value = kSharedUnasked; break;
    case 10: *value = 32; break;                         // lanes of a warp
    case 16: *value = config().multiprocessors; break;
    case 38: *value = 50 << 20; break;                   // bytes of L2
    case 41: *value = 1; break;                          // one address space with the host
    case 75: *value = 9; break;                          // compute capability
    case 76: *value = 0; break;
    case 81: *value = 228 << 10; break;                  // shared memory of a multiprocessor
    case 97: *value = kMaxShared; break;
    case 102: *value = config().virtualMemory; break;
    default: misuse("attribute %d is not known here", attribute);
  }
  return kSuccess;
}

WEFT_EXPORT Result cuDeviceTotalMem_v2(size_t* bytes, int device) {
  BEGIN(kNothing);
  if (device != 0) misuse("no device %d", device);
  *bytes = config().bytes;
  return kSuccess;
}

WEFT_EXPORT Result cuDevicePrimaryCtxRetain(void** handle, int device) {
  BEGIN(kNothing);
  if (device != 0) misuse("no device %d", device);
  contextUses++;
  *handle = &context;
  return kSuccess;
}

WEFT_EXPORT Result cuDevicePrimaryCtxRelease_v2(int device) {
  BEGIN(kNothing);
  if (device != 0 || contextUses == 0) misuse("device %d has no primary context", device);
  if (--contextUses > 0) return kSuccess;
  const std::string left = leakedMemory() + leakedWork() + leakedModules();
  if (!left.empty()) misuse("the context goes and leaves %s", left.c_str());
  return kSuccess;
}

WEFT_EXPORT Result cuCtxSetCurrent(void* handle) {
  BEGIN(kNothing);
  if (handle && (handle != &context || contextUses == 0)) misuse("%p is no context", handle);
  pthread_setspecific(currentKey(), handle);
  return kSuccess;
}

namespace {
struct Meaning { Result code; const char *name, *text; };
const Meaning kMeanings[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {214, "CUDA_ERROR_ECC_UNCORRECTABLE", "uncorrectable ECC error encountered"},
    {218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the provided PTX was compiled with an unsupported toolchain."},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {702, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"},
};
}  // namespace

WEFT_EXPORT Result cuGetErrorName(Result code, const char** name) {
  *name = nullptr;
  for (const Meaning& m : kMeanings) if (m.code == code) *name = m.name;
  return *name ? kSuccess : 1;
}

WEFT_EXPORT Result cuGetErrorString(Result code, const char** string) {
  *string = nullptr;
  for (const Meaning& m : kMeanings) if (m.code == code) *string = m.text;
  return *string ? kSuccess : 1;
}

// By the name without a version, the newest that there is.
WEFT_EXPORT Result cuGetProcAddress_v2(const char* symbol, void** function, int, unsigned long long, int* status) {
  Dl_info own;
  *function = nullptr;
  if (dladdr(reinterpret_cast<void*>(&cuInit), &own)) {
    if (void* library = dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD)) {
      *function = dlsym(library, (std::string(symbol) + "_v2").c_str());
      if (!*function) *function = dlsym(library, symbol);
      dlclose(library);
    }
  }
  if (status) *status = *function ? 0 : 1;               // found, or not in this driver
  return *function ? kSuccess : 500;
}

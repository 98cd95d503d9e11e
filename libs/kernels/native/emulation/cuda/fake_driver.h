// The fake driver's state, for its own files. All calls hold one lock; kernels and copies run within calls that wait.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulation/cuda/threads.h"

#define WEFT_EXPORT extern "C" __attribute__((visibility("default")))

namespace weft {
namespace cuda {
namespace fake {

using Result = int;
using Address = unsigned long long;
constexpr Result kSuccess = 0, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kNotReady = 600;
constexpr uint64_t kGranule = 2u << 20, kAlignment = 256, kMaxShared = 227u << 10, kSharedUnasked = 48u << 10;

// A misuse: what it is, on stderr, and the end.
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
[[noreturn]] void misuse(const char* pattern, ...);

struct Config {
  int devices = 1, version = 13000, multiprocessors = 8;
  uint64_t bytes = 8ull << 30, pinnedBytes = ~0ull;
  bool virtualMemory = true;
  uint64_t lostAt = 0;                                   // the kernel, from 1, that loses the device
  Result lostCode = 700;
  struct Failure { std::string call; Result code; uint64_t at; };
  std::vector<Failure> failures;
};

// Every call begins with one: it takes the lock, knows the call's name, and gives the result that the call must have at once.
class Call {
 public:
  enum Needs { kNothing, kContext };
  explicit Call(const char* name, Needs needs = kNothing);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  Result result = kSuccess;
};
#define BEGIN(NEEDS)                     \
  const Call call(__func__, Call::NEEDS); \
  if (call.result) return call.result

const Config& config();
Result lost();                                           // 0, or what every call returns from now on
void lose(Result code);
uint32_t randomBelow(uint32_t limit);                    // by WEFT_CUDA_SEED

// Memory (fake_memory.cpp).
void requireDevice(Address address, uint64_t bytes, const char* doing);        // allocated, or mapped with access
void requirePinned(const void* p, uint64_t bytes, const char* doing);
bool isPageable(uint64_t word);                          // an address of this process that no device reads
void openMemory();                                       // for what a device does
void closeMemory();                                      // the host may not touch it
void checkMargins(const char* after);
std::string leakedMemory();
void describe(const void* address, char* text, size_t bytes);
bool isDevice(const void* address);

// Work (fake_streams.cpp).
struct Record { bool done = false; uint64_t ns = 0; };
struct Function {
  const emulated::Kernel* kernel;
  uint32_t allowedShared = kSharedUnasked;
};
struct Work {
  enum Kind { kToDevice, kToHost, kOnDevice, kFill, kKernel, kHostFunction, kRecord, kWait };
  explicit Work(Kind kind) : kind(kind) {}
  Kind kind;
  Address to = 0, from = 0;
  uint64_t bytes = 0;
  uint8_t value = 0;
  const emulated::Kernel* kernel = nullptr;
  Index3 grid{}, block{};
  uint32_t sharedBytes = 0;
  std::vector<uint64_t> params[2];                       // Args and Step, by value
  void (*function)(void*) = nullptr;
  void* data = nullptr;
  std::shared_ptr<Record> record;
};
using WorkRef = std::shared_ptr<const Work>;
struct Graph { std::vector<WorkRef> nodes; };
struct Queued {
  WorkRef work;
  const Graph* exec;                                     // that it belongs to
  uint64_t hash;                                         // of host memory that it reads
};
struct Stream {
  std::deque<Queued> queue;
  std::unique_ptr<Graph> capture;
  int mode = 0;
  unsigned long thread = 0;                              // that captures
};
struct Event {
  unsigned flags;
  std::shared_ptr<Record> last;
};

Stream& streamOf(void* handle);
void enqueue(Stream& stream, Work work);
void launchGraph(Stream& stream, const Graph& graph);
void forbidUse(Address begin, uint64_t bytes, const char* doing);   // queued work that names the range
void forbidCapture(const char* doing);
bool isQueued(const Graph& graph);
bool isKernelQueued();
void dropWork();                                         // the device is lost
std::string leakedWork();
std::string leakedModules();

// Handles that calls take; a misuse for one that is not alive.
template <typename T>
class Handles {
 public:
  explicit Handles(const char* what) : what_(what) {}
  T* add(std::unique_ptr<T> object) {
    T* handle = object.get();
    alive_[handle] = std::move(object);
    return handle;
  }
  T& at(void* handle) {
    const auto found = alive_.find(handle);
    if (found == alive_.end()) misuse("%p is no %s", handle, what_);
    return *found->second;
  }
  void remove(void* handle) { at(handle), alive_.erase(handle); }
  std::string leaked() const { return alive_.empty() ? "" : std::to_string(alive_.size()) + " × " + what_ + "; "; }
  auto begin() { return alive_.begin(); }
  auto end() { return alive_.end(); }

 private:
  const char* what_;
  std::map<void*, std::unique_ptr<T>> alive_;
};

}  // namespace fake
}  // namespace cuda
}  // namespace weft

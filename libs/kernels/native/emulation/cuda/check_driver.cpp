// check-fake-driver: that the fake driver does what is right, in many orders, and ends a child process with the message that
// it should for what is wrong. Exits with 1 when anything is otherwise.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/driver.h"
#include "cuda/platform.h"

namespace weft {
namespace cuda {

struct AddArgs {
  uint32_t* to;
  const uint32_t* from;
  uint32_t count, more;
};
// to += from + more
WEFT_KERNEL_BOUNDS(add, AddArgs, 128, 1) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < a.count) a.to[i] += a.from[i] + a.more;
}
WEFT_KERNEL(useShared, AddArgs) {
  WEFT_DYNAMIC_SHARED(shared);
  if (threadIdx.x == 0) shared[a.count] = 1;
}

extern "C" {
#define DECLARE(NAME, PARAMS) Result NAME PARAMS;
WEFT_DRIVER_CALLS(DECLARE)
Result cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t bytes, Stream stream);
Result cuEventQuery(Event event);
Result cuLaunchHostFunc(Stream stream, void (*function)(void*), void* data);
}

namespace {

int failures = 0;
void expect(bool right, const std::string& what) {
  if (right) return;
  failures++;
  printf("wrong: %s\n", what.c_str());
}
void ok(Result result, const char* what = "a call") {
  if (result == 0) return;
  printf("%s failed: %d\n", what, result);
  exit(1);
}
#define OK(CALL) ok(CALL, #CALL)

// A device with a stream, a module, and two buffers of kCount words, one pinned.
constexpr uint32_t kCount = 1000, kBytes = kCount * 4;
struct World {
  Context context;
  Stream stream;
  Module module;
  Function add;
  DevicePointer to, from;
  uint32_t* pinned;
  World() {
    OK(cuInit(0));
    DeviceId device;
    OK(cuDeviceGet(&device, 0));
    OK(cuDevicePrimaryCtxRetain(&context, device));
    OK(cuCtxSetCurrent(context));
    OK(cuStreamCreate(&stream, kNonBlocking));
    OK(cuModuleLoadData(&module, "image"));
    OK(cuModuleGetFunction(&add, module, "add"));
    OK(cuMemAlloc_v2(&to, kBytes));
    OK(cuMemAlloc_v2(&from, kBytes));
    void* host;
    OK(cuMemHostAlloc(&host, 2 * kBytes, 0));
    pinned = static_cast<uint32_t*>(host);
  }
  void end() {
    OK(cuStreamDestroy_v2(stream));
    OK(cuModuleUnload(module));
    OK(cuMemFree_v2(to));
    OK(cuMemFree_v2(from));
    OK(cuMemFreeHost(pinned));
    OK(cuDevicePrimaryCtxRelease_v2(0));
  }
  Result launch(uint32_t more, uint32_t count = kCount, uint32_t threads = 128) {
    AddArgs args{reinterpret_cast<uint32_t*>(to), reinterpret_cast<const uint32_t*>(from), count, more};
    Step step{};
    void* params[] = {&args, &step};
    return cuLaunchKernel(add, (count + threads - 1) / threads, 1, 1, threads, 1, 1, 0, stream, params, nullptr);
  }
};

void checkStreams() {
  World w;
  for (uint32_t i = 0; i < kCount; i++) w.pinned[i] = i;
  OK(cuMemcpyHtoDAsync_v2(w.from, w.pinned, kBytes, w.stream));
  OK(cuMemsetD8Async(w.to, 0, kBytes, w.stream));
  Graph graph;
  GraphExec exec;
  OK(cuStreamBeginCapture_v2(w.stream, 1));
  OK(w.launch(1));
  OK(w.launch(2));
  OK(cuStreamEndCapture(w.stream, &graph));
  OK(cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuGraphDestroy(graph));
  Event begin, end, never;
  OK(cuEventCreate(&begin, 0));
  OK(cuEventCreate(&end, 0));
  OK(cuEventCreate(&never, kDisableTiming));
  OK(cuEventSynchronize(never));
  OK(cuEventRecord(begin, w.stream));
  OK(cuGraphLaunch(exec, w.stream));
  OK(cuGraphLaunch(exec, w.stream));
  OK(cuEventRecord(end, w.stream));
  Stream other;
  OK(cuStreamCreate(&other, kNonBlocking));
  OK(cuStreamWaitEvent(other, never, 0));
  OK(cuStreamWaitEvent(other, end, 0));
  uint32_t* back = w.pinned + kCount;
  OK(cuMemcpyDtoHAsync_v2(back, w.to, kBytes, other));
  int called = 0;
  OK(cuLaunchHostFunc(other, [](void* data) { ++*static_cast<int*>(data); }, &called));
  OK(cuStreamSynchronize(other));
  bool right = called == 1;
  for (uint32_t i = 0; i < kCount; i++) right &= back[i] == 2 * (2 * i + 3);
  expect(right, "a graph, twice, and its result on another stream");
  float ms = -1;
  expect(cuEventElapsedTime(&ms, begin, end) == 0 && ms >= 0, "times");
  OK(cuMemcpyDtoDAsync_v2(w.from, w.to, kBytes, other));
  OK(cuEventRecord(end, other));
  for (int i = 0; cuEventQuery(end) == 600; i++) expect(i < 100, "a query that goes on");
  for (const Event event : {begin, end, never}) OK(cuEventDestroy_v2(event));
  OK(cuStreamDestroy_v2(other));
  OK(cuGraphExecDestroy(exec));
  w.end();
}

AllocationProperties properties;
const AccessDescription readWrite;

// A range that grows by a second handle; a kernel's range passes from one to the other.
void checkVirtual() {
  World w;
  size_t granule;
  OK(cuMemGetAllocationGranularity(&granule, &properties, 0));
  DevicePointer range;
  OK(cuMemAddressReserve(&range, 4 * granule, 0, 0, 0));
  Allocation handles[2];
  for (uint32_t i = 0; i < 2; i++) {
    OK(cuMemCreate(&handles[i], granule, &properties, 0));
    OK(cuMemMap(range + i * granule, granule, 0, handles[i], 0));
    OK(cuMemRelease(handles[i]));
    OK(cuMemSetAccess(range + i * granule, granule, &readWrite, 1));
  }
  const DevicePointer own = w.to;
  w.to = range + granule - 2048;
  OK(cuMemsetD8Async(w.to, 0, kBytes, w.stream));
  OK(cuMemsetD8Async(w.from, 1, kBytes, w.stream));
  OK(w.launch(5));
  OK(cuMemcpyDtoHAsync_v2(w.pinned, w.to, kBytes, w.stream));
  OK(cuStreamSynchronize(w.stream));
  expect(w.pinned[0] == 0x01010106 && w.pinned[kCount - 1] == 0x01010106, "a range of two mappings");
  w.to = own;
  OK(cuMemUnmap(range + granule, granule));
  OK(cuMemUnmap(range, granule));
  OK(cuMemAddressFree(range, 4 * granule));
  w.end();
}

void checkFaults() {
  setenv("WEFT_FAKE_CUDA_LOST_AT", "2", 1);
  setenv("WEFT_FAKE_CUDA_BYTES", "1000000", 1);
  setenv("WEFT_FAKE_CUDA_FAIL", "cuEventCreate=801@2,cuModuleGetFunction=500@2", 1);
  World w;
  size_t free, all;
  DevicePointer more;
  Function function;
  Event event;
  expect(cuMemGetInfo_v2(&free, &all) == 0 && all == 1000000 && free == 1000000 - 2 * kBytes, "free memory");
  expect(cuMemAlloc_v2(&more, free + 1) == kOutOfMemory && cuMemAlloc_v2(&more, free) == 0, "out of memory");
  expect(cuEventCreate(&event, 0) == 0 && cuEventCreate(&event, 0) == 801, "the second call fails");
  expect(cuModuleGetFunction(&function, w.module, "add") == 500, "a call fails");
  expect(w.launch(1) == 0 && cuStreamSynchronize(w.stream) == 0, "the first kernel runs");
  w.launch(1);
  expect(cuStreamSynchronize(w.stream) == 700 && w.launch(1) == 700 && cuMemFree_v2(more) == 700 && cuStreamSynchronize(w.stream) == 700,
         "the device is lost");
  const char* name;
  expect(cuGetErrorName(700, &name) == 0 && !strcmp(name, "CUDA_ERROR_ILLEGAL_ADDRESS"), "names of errors");
}

// Runs it in a child; what that writes on stderr, and whether it ended by itself.
std::string inChild(const std::function<void()>& run, bool& ended) {
  int ends[2];
  if (pipe(ends)) abort();
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], 2);
    run();
    fflush(stdout);
    _exit(failures != 0);
  }
  close(ends[1]);
  std::string text;
  char part[512];
  for (ssize_t got; (got = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  ended = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return text;
}

void expectRight(const char* what, void (*run)()) {
  bool ended;
  const std::string text = inChild(run, ended);
  expect(ended && text.empty(), std::string(what) + " " + text);
}

void expectMisuse(const char* message, const std::function<void(World&)>& use) {
  bool ended;
  const std::string text = inChild([&] {
    World w;
    use(w);
    cuStreamSynchronize(w.stream);
    w.end();
  }, ended);
  expect(!ended && text.find(message) != std::string::npos, "not told as «" + std::string(message) + "» but as: " + text);
}

void checkMisuse() {
  expectMisuse("not all pinned", [](World& w) { static char pageable[64]; cuMemcpyHtoDAsync_v2(w.to, pageable, 64, w.stream); });
  expectMisuse("not all device memory: 0 bytes behind a piece of 4000", [](World& w) { cuMemsetD8Async(w.to + 4, 0, kBytes, w.stream); });
  expectMisuse("changed between", [](World& w) { cuMemcpyHtoDAsync_v2(w.to, w.pinned, kBytes, w.stream); w.pinned[3]++; });
  expectMisuse("while add is queued", [](World& w) { w.launch(1); cuMemFree_v2(w.from); });
  expectMisuse("while a copy to the host is queued", [](World& w) {
    cuMemcpyDtoHAsync_v2(w.pinned, w.to, 4, w.stream);
    cuMemFreeHost(w.pinned);
  });
  expectMisuse("add, block (", [](World& w) { w.launch(1, 4 * kCount); });
  expectMisuse("in memory that was given back", [](World& w) { cuMemFree_v2(w.from); w.launch(1); });
  expectMisuse("behind a piece of 4000 bytes", [](World& w) { w.launch(3, kCount + 8); });
  expectMisuse("at most 128 are allowed", [](World& w) { w.launch(1, kCount, 256); });
  expectMisuse("the host uses device memory", [](World& w) { *reinterpret_cast<volatile char*>(w.to) = 1; });
  expectMisuse("word 0 of its Args is an address that the device does not know", [](World& w) {
    static uint32_t host[4];
    w.to = reinterpret_cast<DevicePointer>(host);
    w.launch(1);
  });
  expectMisuse("no kernel is named sub", [](World& w) { Function f; cuModuleGetFunction(&f, w.module, "sub"); });
  expectMisuse("it captures", [](World& w) { cuStreamBeginCapture_v2(w.stream, 1); cuStreamSynchronize(w.stream); });
  expectMisuse("allocating during a capture", [](World& w) {
    DevicePointer p;
    cuStreamBeginCapture_v2(w.stream, 1);
    cuMemAlloc_v2(&p, 4);
  });
  expectMisuse("is no stream", [](World& w) { cuStreamDestroy_v2(w.stream); cuStreamSynchronize(w.stream); });
  expectMisuse("the context goes and leaves 1 plain pieces of memory (16 bytes); 1 × event", [](World& w) {
    DevicePointer p;
    Event event;
    cuMemAlloc_v2(&p, 16);
    cuEventCreate(&event, 0);
    w.end();
  });
  const auto shared = [](World& w, uint32_t asked, uint32_t bytes, uint32_t at) {
    Function f;
    OK(cuModuleGetFunction(&f, w.module, "useShared"));
    if (asked) cuFuncSetAttribute(f, kMaxDynamicSharedBytes, static_cast<int>(asked));
    AddArgs args{nullptr, nullptr, at, 0};
    Step step{};
    void* params[] = {&args, &step};
    cuLaunchKernel(f, 1, 1, 1, 32, 1, 1, bytes, w.stream, params, nullptr);
  };
  expectMisuse("50000 bytes of shared memory, 49152 are allowed", [&](World& w) { shared(w, 0, 50000, 0); });
  expectMisuse("at most 232448 are allowed", [&](World& w) { shared(w, 300000, 300000, 0); });
  expectMisuse("a write behind the 60000 bytes", [&](World& w) { shared(w, 60000, 60000, 60010); });
  expectMisuse("without cuMemSetAccess", [](World& w) {
    DevicePointer range;
    Allocation handle;
    OK(cuMemAddressReserve(&range, 2 << 20, 0, 0, 0));
    OK(cuMemCreate(&handle, 2 << 20, &properties, 0));
    OK(cuMemMap(range, 2 << 20, 0, handle, 0));
    cuMemsetD8Async(range, 0, 16, w.stream);
  });
  expectMisuse("where nothing is mapped", [](World& w) {
    OK(cuMemAddressReserve(&w.to, 2 << 20, 0, 0, 0));
    w.launch(1);
  });
}

}  // namespace
}  // namespace cuda
}  // namespace weft

int main() {
  using namespace weft::cuda;
  for (int seed = 1; seed <= 30; seed++) {
    setenv("WEFT_CUDA_SEED", std::to_string(seed).c_str(), 1);
    expectRight("streams", checkStreams);
    expectRight("virtual memory", checkVirtual);
  }
  setenv("WEFT_CUDA_SEED", "3", 1);                      // nothing is run early
  checkMisuse();
  expectRight("faults", checkFaults);
  printf("%s\n", failures ? "failed" : "all as expected");
  return failures != 0;
}

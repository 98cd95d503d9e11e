// Streams, events and graphs of the fake driver.
#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "emulation/cuda/fake_driver.h"

namespace weft {
namespace cuda {
namespace fake {
namespace {

Handles<Stream> streams("stream");
Handles<Event> events("event");
Handles<Graph> graphs("graph"), execs("executable graph");
uint64_t kernelsRun = 0;

uint64_t now() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count());
}

// FNV-1a, on words.
uint64_t hashOf(Address address, uint64_t bytes) {
  const uint8_t* p = reinterpret_cast<const uint8_t*>(address);
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, p + i, std::min<uint64_t>(8, bytes - i));
    hash = (hash ^ word) * 0x100000001b3;
  }
  return hash | 1;                                       // 0: not known
}

bool overlap(Address a, uint64_t bytes, Address b, uint64_t others) { return a && b && a < b + others && b < a + bytes; }

bool names(const Work& work, Address begin, uint64_t bytes) {
  if (overlap(work.to, work.bytes, begin, bytes) || overlap(work.from, work.bytes, begin, bytes)) return true;
  for (const auto& param : work.params) {
    for (const uint64_t word : param) {
      if (word >= begin && word < begin + bytes) return true;
    }
  }
  return false;
}

const char* kindOf(const Work& work) {
  switch (work.kind) {
    case Work::kToDevice: return "a copy to the device";
    case Work::kToHost: return "a copy to the host";
    case Work::kOnDevice: return "a copy on the device";
    case Work::kFill: return "a fill";
    case Work::kKernel: return work.kernel->name;
    case Work::kHostFunction: return "a host function";
    case Work::kRecord: return "an event's record";
    case Work::kWait: return "a wait for an event";
  }
  return "?";
}

template <typename Is>
bool anyQueued(Is is) {
  for (const auto& [handle, stream] : streams) {
    if (std::any_of(stream->queue.begin(), stream->queue.end(), is)) return true;
  }
  return false;
}

// Queued work that uses memory of a range.
const Work* queuedWith(Address begin, uint64_t bytes) {
  const Work* found = nullptr;
  anyQueued([&](const Queued& queued) { return names(*queued.work, begin, bytes) && (found = queued.work.get()); });
  return found;
}

// What a call must have right, and the same again when a graph runs.
void validate(const Work& work) {
  const bool toDevice = work.kind == Work::kToDevice, toHost = work.kind == Work::kToHost, both = work.kind == Work::kOnDevice;
  if (toDevice) requirePinned(reinterpret_cast<const void*>(work.from), work.bytes, kindOf(work));
  if (toHost) requirePinned(reinterpret_cast<const void*>(work.to), work.bytes, kindOf(work));
  if (toDevice || both || work.kind == Work::kFill) requireDevice(work.to, work.bytes, kindOf(work));
  if (toHost || both) requireDevice(work.from, work.bytes, kindOf(work));
}

bool canRun(const Stream& stream) {
  if (stream.queue.empty()) return false;
  const Work& work = *stream.queue.front().work;
  return work.kind != Work::kWait || work.record->done;
}

void runHead(Stream& stream) {
  const Queued queued = stream.queue.front();
  const Work& work = *queued.work;
  void *to = reinterpret_cast<void*>(work.to), *from = reinterpret_cast<void*>(work.from);
  openMemory();
  validate(work);
  switch (work.kind) {
    case Work::kToDevice:
      if (queued.hash && queued.hash != hashOf(work.from, work.bytes)) {
        misuse("%llu bytes of pinned memory changed between the call that copies them to the device and the copy", 0ull + work.bytes);
      }
      [[fallthrough]];
    case Work::kToHost: memcpy(to, from, work.bytes); break;
    case Work::kOnDevice: memmove(to, from, work.bytes); break;
    case Work::kFill: memset(to, work.value, work.bytes); break;
    case Work::kKernel: {
      if (++kernelsRun == config().lostAt) return lose(config().lostCode);
      std::vector<uint64_t> args = work.params[0], step = work.params[1];
      void* params[] = {args.data(), step.data()};
      emulated::launch(*work.kernel, work.grid, work.block, work.sharedBytes, params);
      checkMargins(work.kernel->name);
      break;
    }
    case Work::kHostFunction: work.function(work.data); break;
    case Work::kRecord: *work.record = {true, now()}; break;
    case Work::kWait: break;
  }
  stream.queue.pop_front();
}

// Runs one piece of work, `wanted`'s more often than others'. False when there is none that can run.
bool runOne(Stream* wanted) {
  if (wanted && canRun(*wanted) && randomBelow(4)) return runHead(*wanted), true;
  std::vector<Stream*> able;
  for (const auto& [handle, stream] : streams) {
    if (canRun(*stream)) able.push_back(stream.get());
  }
  if (able.empty()) return false;
  runHead(*able[randomBelow(static_cast<uint32_t>(able.size()))]);
  return true;
}

template <typename Done>
void runUntil(Stream* wanted, Done done) {
  while (!lost() && !done()) {
    if (!runOne(wanted)) misuse("work waits for an event that never comes");
  }
}

void add(Stream& stream, WorkRef work, const Graph* exec) {
  validate(*work);
  uint64_t hash = 0;
  // What the host may not see yet is 0xff; what it may not change any more is known by its hash.
  if (work->kind == Work::kToHost && !queuedWith(work->to, work->bytes)) memset(reinterpret_cast<void*>(work->to), 0xff, work->bytes);
  if (work->kind == Work::kToDevice) {
    const Work* other = queuedWith(work->from, work->bytes);
    if (!other || other->kind == Work::kToDevice) hash = hashOf(work->from, work->bytes);
  }
  stream.queue.push_back({std::move(work), exec, hash});
}

// Sometimes work is done before anybody waits.
void hurry(Stream& stream) {
  switch (randomBelow(16)) {
    case 0: runUntil(&stream, [&] { return stream.queue.empty(); }); break;
    case 1: runOne(nullptr); break;
    default: break;
  }
}

}  // namespace

Stream& streamOf(void* handle) { return streams.at(handle); }

void enqueue(Stream& stream, Work work) {
  if (stream.capture) {
    if (stream.mode < 2 && stream.thread != pthread_self()) misuse("another thread captures on this stream");
    validate(work);
    if (work.kind == Work::kRecord || work.kind == Work::kWait) misuse("events in a capture are not known here");
    stream.capture->nodes.push_back(std::make_shared<Work>(std::move(work)));
    return;
  }
  add(stream, std::make_shared<Work>(std::move(work)), nullptr);
  hurry(stream);
}

void launchGraph(Stream& stream, const Graph& graph) {
  if (stream.capture) misuse("a graph in a capture is not known here");
  for (const WorkRef& node : graph.nodes) add(stream, node, &graph);
  hurry(stream);
}

void forbidUse(Address begin, uint64_t bytes, const char* doing) {
  if (const Work* work = queuedWith(begin, bytes)) misuse("%s while %s is queued that uses it", doing, kindOf(*work));
}

void forbidCapture(const char* doing) {
  for (const auto& [handle, stream] : streams) {
    if (!stream->capture || stream->mode == 2) continue;
    if (stream->mode == 0 || stream->thread == pthread_self()) misuse("%s during a capture", doing);
  }
}

bool isQueued(const Graph& graph) {
  return anyQueued([&](const Queued& queued) { return queued.exec == &graph; });
}
bool isKernelQueued() {
  return anyQueued([](const Queued& queued) { return queued.work->kind == Work::kKernel; });
}

void dropWork() {
  for (const auto& [handle, stream] : streams) stream->queue.clear();
}

std::string leakedWork() { return streams.leaked() + events.leaked() + graphs.leaked() + execs.leaked(); }

}  // namespace fake
}  // namespace cuda
}  // namespace weft

using namespace weft::cuda::fake;

WEFT_EXPORT Result cuStreamCreate(void** stream, unsigned flags) {
  BEGIN(kContext);
  if (flags > 1) misuse("flags %u", flags);
  *stream = streams.add(std::make_unique<Stream>());
  return kSuccess;
}

WEFT_EXPORT Result cuStreamDestroy_v2(void* handle) {
  BEGIN(kNothing);
  Stream& stream = streams.at(handle);
  if (stream.capture) misuse("it captures");
  runUntil(&stream, [&] { return stream.queue.empty(); });
  streams.remove(handle);
  return lost();
}

WEFT_EXPORT Result cuStreamSynchronize(void* handle) {
  BEGIN(kNothing);
  Stream& stream = streams.at(handle);
  if (stream.capture) misuse("it captures");
  runUntil(&stream, [&] { return stream.queue.empty(); });
  return lost();
}

WEFT_EXPORT Result cuStreamQuery(void* handle) {
  BEGIN(kNothing);
  Stream& stream = streams.at(handle);
  if (stream.capture) misuse("it captures");
  runOne(&stream);
  if (lost()) return lost();
  return stream.queue.empty() ? kSuccess : kNotReady;
}

WEFT_EXPORT Result cuStreamWaitEvent(void* handle, void* event, unsigned flags) {
  BEGIN(kContext);
  if (flags) misuse("flags %u", flags);
  Work work{Work::kWait};
  work.record = events.at(event).last;
  Stream& stream = streams.at(handle);
  if (work.record) enqueue(stream, std::move(work));      // one that was never recorded is waited for by nobody
  return kSuccess;
}

WEFT_EXPORT Result cuEventCreate(void** event, unsigned flags) {
  BEGIN(kContext);
  if (flags & ~3u) misuse("flags %u", flags);
  *event = events.add(std::make_unique<Event>(Event{flags, nullptr}));
  return kSuccess;
}

WEFT_EXPORT Result cuEventDestroy_v2(void* event) {
  BEGIN(kNothing);
  events.remove(event);
  return kSuccess;
}

WEFT_EXPORT Result cuEventRecord(void* event, void* stream) {
  BEGIN(kContext);
  Work work{Work::kRecord};
  work.record = std::make_shared<Record>();
  events.at(event).last = work.record;
  enqueue(streams.at(stream), std::move(work));
  return kSuccess;
}

WEFT_EXPORT Result cuEventQuery(void* handle) {
  BEGIN(kNothing);
  const std::shared_ptr<Record> record = events.at(handle).last;
  if (record && !record->done) runOne(nullptr);
  if (lost()) return lost();
  return !record || record->done ? kSuccess : kNotReady;
}

WEFT_EXPORT Result cuEventSynchronize(void* handle) {
  BEGIN(kNothing);
  const std::shared_ptr<Record> record = events.at(handle).last;
  if (record) runUntil(nullptr, [&] { return record->done; });
  return lost();
}

WEFT_EXPORT Result cuEventElapsedTime_v2(float* milliseconds, void* begin, void* end) {
  BEGIN(kNothing);
  const Event &a = events.at(begin), &b = events.at(end);
  if (!a.last || !b.last || ((a.flags | b.flags) & 2)) misuse("an event was never recorded, or does not time");
  if (!a.last->done || !b.last->done) return kNotReady;
  *milliseconds = static_cast<float>(static_cast<double>(b.last->ns) - static_cast<double>(a.last->ns)) * 1e-6f;
  return kSuccess;
}
WEFT_EXPORT Result cuEventElapsedTime(float* ms, void* begin, void* end) { return cuEventElapsedTime_v2(ms, begin, end); }

WEFT_EXPORT Result cuStreamBeginCapture_v2(void* handle, int mode) {
  BEGIN(kContext);
  Stream& stream = streams.at(handle);
  if (stream.capture) misuse("it captures already");
  if (mode < 0 || mode > 2) misuse("mode %d", mode);
  stream.capture = std::make_unique<Graph>();
  stream.mode = mode;
  stream.thread = pthread_self();
  return kSuccess;
}

WEFT_EXPORT Result cuStreamEndCapture(void* handle, void** graph) {
  BEGIN(kContext);
  Stream& stream = streams.at(handle);
  if (!stream.capture) misuse("it does not capture");
  if (stream.mode < 2 && stream.thread != pthread_self()) misuse("another thread began the capture");
  *graph = graphs.add(std::move(stream.capture));
  return kSuccess;
}

WEFT_EXPORT Result cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags) {
  BEGIN(kContext);
  if (flags) misuse("flags %llu", flags);
  *exec = execs.add(std::make_unique<Graph>(graphs.at(graph)));
  return kSuccess;
}

WEFT_EXPORT Result cuGraphLaunch(void* exec, void* stream) {
  BEGIN(kContext);
  launchGraph(streams.at(stream), execs.at(exec));
  return kSuccess;
}

WEFT_EXPORT Result cuGraphExecDestroy(void* exec) {
  BEGIN(kNothing);
  if (isQueued(execs.at(exec))) misuse("it is queued");
  execs.remove(exec);
  return kSuccess;
}

WEFT_EXPORT Result cuGraphDestroy(void* graph) {
  BEGIN(kNothing);
  graphs.remove(graph);
  return kSuccess;
}

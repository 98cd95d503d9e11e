#include "thread_pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace weft {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint32_t kMaxThreads = 1024;

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

// Whether `ready` became true within a time of waiting awake.
template <typename Ready>
bool spinUntil(uint32_t microseconds, Ready ready) {
  const auto deadline = Clock::now() + std::chrono::microseconds(microseconds);
  do {
    for (int i = 0; i < 32; i++) {
      if (ready()) return true;
      relax();
    }
  } while (Clock::now() < deadline);
  return ready();
}

constexpr uint32_t tilesOf(uint64_t work) { return static_cast<uint32_t>(work >> 32); }
constexpr uint32_t nextOf(uint64_t work) { return static_cast<uint32_t>(work); }
constexpr bool hasTile(uint64_t work) { return nextOf(work) < tilesOf(work); }

}  // namespace

ThreadPool::ThreadPool(uint32_t threads, const Tuning& tuning) : tuning_(tuning) {
  if (threads == 0 || threads > kMaxThreads) {
    throw Error("device_error", format("threads %u: a device runs on 1 to %u threads.", threads, kMaxThreads));
  }
  workers_.reserve(threads - 1);
  for (uint32_t i = 1; i < threads; i++) workers_.emplace_back([this] { workerLoop(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wakeWorkers_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(uint32_t tiles, Task task, const void* context) {
  if (tiles == 0) return;
  if (tiles == 1 || workers_.empty()) {
    for (uint32_t tile = 0; tile < tiles; tile++) task(context, tile, callerScratch_);
    return;
  }
  task_ = task;
  context_ = context;
  done_.store(0, std::memory_order_relaxed);
  work_.store(uint64_t{tiles} << 32, std::memory_order_seq_cst);
  wake(tiles - 1);
  while (takeTile(callerScratch_)) {
  }
  awaitDone(tiles);
  if (failed_.exchange(false, std::memory_order_relaxed)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

bool ThreadPool::takeTile(Scratch& scratch) {
  uint64_t work = work_.load(std::memory_order_acquire);
  do {
    if (!hasTile(work)) return false;
  } while (!work_.compare_exchange_weak(work, work + 1, std::memory_order_acq_rel, std::memory_order_acquire));
  try {
    task_(context_, nextOf(work), scratch);
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
  }
  finishTile(tilesOf(work));
  return true;
}

// The caller may return from `run` as soon as the count is full, so nothing of this run is touched after counting.
void ThreadPool::finishTile(uint32_t tiles) {
  if (done_.fetch_add(1, std::memory_order_seq_cst) + 1 != tiles) return;
  if (!callerSleeps_.load(std::memory_order_seq_cst)) return;
  { std::lock_guard<std::mutex> lock(mutex_); }
  wakeCaller_.notify_one();
}

void ThreadPool::awaitDone(uint32_t tiles) {
  const auto done = [&] { return done_.load(std::memory_order_seq_cst) == tiles; };
  if (spinUntil(tuning_.spinUs, done)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  callerSleeps_.store(true, std::memory_order_seq_cst);
  wakeCaller_.wait(lock, done);
  callerSleeps_.store(false, std::memory_order_relaxed);
}

void ThreadPool::beginList() {
  lists_.fetch_add(1, std::memory_order_seq_cst);
  wake(static_cast<uint32_t>(workers_.size()));
}

void ThreadPool::wake(uint32_t wanted) {
  const uint32_t sleepers = sleepers_.load(std::memory_order_seq_cst);
  if (sleepers == 0) return;
  { std::lock_guard<std::mutex> lock(mutex_); }  // whoever is about to sleep has seen what there is, or waits by now
  for (uint32_t i = std::min(wanted, sleepers); i > 0; i--) wakeWorkers_.notify_one();
}

void ThreadPool::workerLoop() {
  threadTuning = &tuning_;
  Scratch scratch;
  uint32_t lists = 0;
  const auto called = [&] {
    return hasTile(work_.load(std::memory_order_seq_cst)) || lists_.load(std::memory_order_seq_cst) != lists ||
           stopping_.load(std::memory_order_relaxed);
  };
  for (;;) {
    while (takeTile(scratch)) {
    }
    lists = lists_.load(std::memory_order_seq_cst);
    if (!spinUntil(tuning_.lingerUs, called)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wakeWorkers_.wait(lock, called);
      sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    if (stopping_.load(std::memory_order_relaxed)) return;
  }
}

}  // namespace weft

// Shares out tiles of work. The thread that calls `run` takes tiles like every other. Workers are woken when a list begins
// and stay awake for longer than any gap between its ops and most gaps between lists, so that no op waits for a sleeper;
// then they sleep, and an idle device costs nothing. Who waits long for a thread that was descheduled sleeps as well, and
// does not yield: the processor is free for that thread, and the scheduler favours who slept when the wait is over.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels.h"
#include "tuning.h"

namespace weft {

class ThreadPool {
 public:
  using Task = void (*)(const void* context, uint32_t tile, Scratch& scratch);

  // threads: how many work at once, the caller of `run` included.
  explicit ThreadPool(uint32_t threads, const Tuning& tuning = {});
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  const Tuning& tuning() const { return tuning_; }
  uint32_t threads() const { return static_cast<uint32_t>(workers_.size()) + 1; }

  // Runs that follow each other: workers are woken when it begins, and the caller's tuning is the pool's. One at a time.
  class List {
   public:
    explicit List(ThreadPool& pool) : outside_(threadTuning) {
      threadTuning = &pool.tuning_;
      pool.beginList();
    }
    ~List() { threadTuning = outside_; }
    List(const List&) = delete;
    List& operator=(const List&) = delete;

   private:
    const Tuning* outside_;
  };

  // Runs tiles 0 … tiles - 1, each once, on whatever threads are awake, and returns when all are done. One caller at a
  // time. Rethrows the first exception of a tile; the others are run all the same.
  void run(uint32_t tiles, Task task, const void* context);

 private:
  void beginList();
  bool takeTile(Scratch& scratch);
  void finishTile(uint32_t tiles);
  void workerLoop();
  void wake(uint32_t wanted);
  void awaitDone(uint32_t tiles);

  const Tuning tuning_;

  // Tiles of the current run in the upper half, the next one to take in the lower. A thread that was descheduled between
  // reading it and taking a tile either fails to swap, or takes a tile that really is free: it reads the task only after
  // that, and the task stays until all tiles are done. So nobody ever waits for a thread that holds no tile.
  alignas(64) std::atomic<uint64_t> work_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  Task task_ = nullptr;
  const void* context_ = nullptr;

  alignas(64) std::mutex mutex_;
  std::condition_variable wakeWorkers_, wakeCaller_;
  std::atomic<uint32_t> sleepers_{0}, lists_{0};  // lists begun
  std::atomic<bool> callerSleeps_{false}, stopping_{false};
  std::atomic<bool> failed_{false};
  std::exception_ptr failure_;  // written by the thread that set failed_

  Scratch callerScratch_;
  std::vector<std::thread> workers_;
};

}  // namespace weft

// One thread that does one job after another, in the order in which they were put.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace weft {

class WorkQueue {
 public:
  // A job is called once: to work, or with `cancelled` when the queue closed before its turn. It must not throw.
  using Job = std::function<void(bool cancelled)>;

  WorkQueue() : thread_([this] { loop(); }) {}
  ~WorkQueue() { close(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False when the queue is closed; the job is not called then.
  bool put(Job job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return false;
      jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
    return true;
  }

  // Waits for the job that is at work and cancels those behind it.
  void close() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void loop() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return closed_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      Job job = std::move(jobs_.front());
      jobs_.pop_front();
      const bool cancelled = closed_;
      lock.unlock();
      job(cancelled);
      job = nullptr;  // what it holds goes before the next one runs
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace weft

// One thread that does one job after another, in the order in which they were put.
#pragma once
#include <condition_variable>
#include <mutex>
#include <thread>

namespace weft {

class WorkQueue {
 public:
  // A job hangs in the queue by itself: putting it allocates nothing.
  class Job {
   public:
    virtual ~Job() = default;
    // Called once for each put: to work, or with `cancelled` when the queue closed before its turn. Must not throw. The
    // queue does not touch the job from then on.
    virtual void run(bool cancelled) = 0;

   private:
    friend WorkQueue;
    Job* next_ = nullptr;
  };

  WorkQueue() : thread_([this] { loop(); }) {}
  ~WorkQueue() { close(); }
  WorkQueue(const WorkQueue&) = delete;
  WorkQueue& operator=(const WorkQueue&) = delete;

  // False when the queue is closed; the job is not called then.
  bool put(Job& job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return false;
      job.next_ = nullptr;
      (last_ ? last_->next_ : first_) = &job;
      last_ = &job;
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
      wake_.wait(lock, [this] { return closed_ || first_; });
      if (!first_) return;
      Job& job = *first_;
      first_ = job.next_;
      if (!first_) last_ = nullptr;
      const bool cancelled = closed_;
      lock.unlock();
      job.run(cancelled);
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  Job *first_ = nullptr, *last_ = nullptr;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace weft

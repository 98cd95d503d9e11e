// The device as JavaScript sees it: src/native.ts describes every method.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <unordered_map>
#include <vector>

#include "completions.h"
#include "core/backend.h"
#include "core/work_queue.h"

namespace weft {

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit DeviceObject(const Napi::CallbackInfo& info);
  ~DeviceObject() override;

 private:
  // Work for a native thread, whose end is a promise.
  class Task : public Completions::Open, public WorkQueue::Job {
   public:
    void run(bool cancelled) final;

   private:
    virtual void work() = 0;
    // Gives back what only the work needed.
    virtual void release() = 0;
  };
  class Submission;
  class Errand;

  struct Slot {
    BufferRef buffer;
    Napi::Reference<Napi::ArrayBuffer> view;  // the one view that JavaScript gets of it
  };

  Napi::Value isa(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value alloc(const Napi::CallbackInfo& info);
  Napi::Value free(const Napi::CallbackInfo& info);
  Napi::Value freeBytes(const Napi::CallbackInfo& info);
  Napi::Value describe(const Napi::CallbackInfo& info);
  Napi::Value upload(const Napi::CallbackInfo& info);
  Napi::Value download(const Napi::CallbackInfo& info);
  Napi::Value host(const Napi::CallbackInfo& info);
  Napi::Value compile(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value submit(const Napi::CallbackInfo& info);
  Napi::Value copy(const Napi::CallbackInfo& info, void (Backend::*way)(const BufferRef&, uint64_t, uint64_t));
  Napi::Value pack(const Napi::CallbackInfo& info);
  Napi::Value loadBuffer(const Napi::CallbackInfo& info);
  Napi::Value storeSpan(const Napi::CallbackInfo& info);
  Napi::Value loadPages(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  void requireOpen() const;
  BufferRef allocate(uint64_t bytes, const std::string& label);
  Napi::Value publish(Napi::Env env, const BufferRef& buffer);
  // A buffer that `fill` fills on the native thread: JavaScript gets it when it is full.
  Napi::Value filled(Napi::Env env, const BufferRef& out, std::function<bool()> fill);
  const BufferRef& buffer(const Napi::Value& id, const char* name) const;
  void forget(Slot& slot);
  void stop();
  // Puts a task on a queue and returns the promise of its end.
  Napi::Value start(Napi::Env env, WorkQueue& queue, Task& task);
  // The same for work on a native thread, and the value of the promise.
  Napi::Value run(Napi::Env env, WorkQueue& queue, std::function<void()> work, std::function<Napi::Value(Napi::Env)> value = nullptr);

  bool closed_ = false;
  std::shared_ptr<std::atomic<uint64_t>> allocatedBytes_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::shared_ptr<std::atomic<uint64_t>> pageBytesLoaded_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::unordered_map<uint32_t, Slot> buffers_;
  std::unordered_map<uint32_t, std::shared_ptr<const Program>> programs_;
  std::vector<std::unique_ptr<Submission>> idle_;  // touched on JavaScript's thread only
  uint32_t nextBuffer_ = kFirstBufferId, nextProgram_ = 1;

  // Threads last: they are gone before what they use.
  std::unique_ptr<Backend> device_;
  std::unique_ptr<Completions> completions_;
  std::unique_ptr<WorkQueue> lists_, files_;
};

}  // namespace weft

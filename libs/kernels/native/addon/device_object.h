// The device as JavaScript sees it: src/native.ts describes every method.
#pragma once
#include <napi.h>

#include <memory>
#include <unordered_map>
#include <vector>

#include "completions.h"
#include "core/cpu_device.h"
#include "core/pack.h"
#include "core/work_queue.h"

namespace weft {

class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env);

  explicit DeviceObject(const Napi::CallbackInfo& info);
  ~DeviceObject() override;

 private:
  struct Slot {
    BufferRef buffer;
    Napi::Reference<Napi::ArrayBuffer> view;  // the one view that JavaScript gets of it
  };

  Napi::Value isa(const Napi::CallbackInfo& info);
  Napi::Value threads(const Napi::CallbackInfo& info);
  Napi::Value alloc(const Napi::CallbackInfo& info);
  Napi::Value free(const Napi::CallbackInfo& info);
  Napi::Value host(const Napi::CallbackInfo& info);
  Napi::Value compile(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value submit(const Napi::CallbackInfo& info);
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
  // Puts work on a queue and returns the promise of its end. `work` may fill in the value.
  Napi::Value run(Napi::Env env, WorkQueue& queue, std::function<void(Completions::Open&)> work);

  bool closed_ = false;
  std::shared_ptr<std::atomic<uint64_t>> allocatedBytes_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::shared_ptr<std::atomic<uint64_t>> pageBytesLoaded_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::unordered_map<uint32_t, Slot> buffers_;
  std::unordered_map<uint32_t, std::shared_ptr<const Program>> programs_;
  uint32_t nextBuffer_ = kFirstBufferId, nextProgram_ = 1;

  // Threads last: they are gone before what they use.
  std::unique_ptr<CpuDevice> device_;
  std::unique_ptr<Completions> completions_;
  std::unique_ptr<WorkQueue> lists_, files_;
};

}  // namespace weft

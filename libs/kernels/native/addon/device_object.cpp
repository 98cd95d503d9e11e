#include "device_object.h"

#include <cmath>

#include "core/allocations.h"
#include "core/cpu_backend.h"
#include "cuda/cuda_backend.h"

namespace weft {
namespace {

// What an ArrayBuffer can hold on every Node that we run on.
constexpr uint64_t kMaxViewBytes = uint64_t{1} << 32;

std::vector<TensorSource> toSources(const Napi::Value& value) {
  if (!value.IsArray()) throw wrongArgument("sources", "an array is needed.");
  const auto array = value.As<Napi::Array>();
  std::vector<TensorSource> sources;
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::Value item = array.Get(i);
    if (!item.IsObject()) throw wrongArgument("sources", "an object is needed.");
    const auto object = item.As<Napi::Object>();
    sources.push_back({toString(object.Get("path"), "path"), toString(object.Get("name"), "name"),
                       toInteger(object.Get("offset"), "offset"), static_cast<uint32_t>(toInteger(object.Get("dtype"), "dtype", kDTypeF16)),
                       toInteger(object.Get("rows"), "rows"), toInteger(object.Get("cols"), "cols"), toInteger(object.Get("pad"), "pad"),
                       toInteger(object.Get("transposed"), "transposed", 1) != 0});
  }
  return sources;
}

// The fields that are given, over those that fit the instruction set.
Tuning toTuning(const Napi::Value& value, Isa isa) {
  Tuning tuning = defaultTuning(isa);
  if (value.IsUndefined()) return tuning;
  if (!value.IsObject()) throw wrongArgument("tuning", "an object is needed.");
  const auto object = value.As<Napi::Object>();
  const Napi::Array names = object.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = names.Get(i).ToString().Utf8Value();
    const Napi::Value number = object.Get(name);
    setTuning(tuning, name, number.IsNumber() ? number.As<Napi::Number>().DoubleValue() : NAN);
  }
  return tuning;
}

std::unique_ptr<Backend> openBackend(const Napi::Value& value) {
  if (!value.IsObject()) throw wrongArgument("options", "an object is needed.");
  const auto options = value.As<Napi::Object>();
  const uint32_t threads = toU32(options.Get("threads"), "threads");
  if (toString(options.Get("kind"), "kind") == "cuda") {
    cuda::CudaOptions cuda;
    cuda.ordinal = static_cast<int>(toInteger(options.Get("ordinal"), "ordinal", 255));
    cuda.driver = toString(options.Get("driver"), "driver");
    cuda.module = toString(options.Get("module"), "module");
    cuda.deterministic = options.Get("deterministic").ToBoolean();
    const std::string blas = toString(options.Get("cublasLt"), "cublasLt");
    if (!blas.empty()) cuda.cublasLt.push_back(blas);
    return std::make_unique<cuda::CudaBackend>(cuda, threads);
  }
  const Isa isa = isaByName(toString(options.Get("isa"), "isa"));
  return std::make_unique<CpuBackend>(threads, isa, toTuning(options.Get("tuning"), isa));
}

}  // namespace

void DeviceObject::Task::run(bool cancelled) {
  try {
    if (cancelled) throw Error("device_error", "the device was closed before this ran.");
    work();
  } catch (...) {
    error = asError(std::current_exception());
  }
  release();  // the buffers that it held: whoever awaits the promise finds them given back
  Completions::settle(*this);
}

// A submitted list. Taken from those that are idle: steps allocate nothing.
class DeviceObject::Submission : public Task {
 public:
  explicit Submission(DeviceObject& device) : device_(device) {}

  Napi::Value value(Napi::Env env) override {
    Napi::Object object = Napi::Object::New(env);
    object.Set("elapsedNs", result_.elapsedNs);
    if (timed) {
      auto opNs = Napi::Float64Array::New(env, result_.opNs.size());
      std::copy(result_.opNs.begin(), result_.opNs.end(), opNs.Data());
      object.Set("opNs", opNs);
    }
    return object;
  }
  void done() override { device_.idle_.emplace_back(this); }

  LinkedProgram linked;
  bool timed = false;

 private:
  void work() override { result_ = device_.device_->run(linked, timed); }
  void release() override { linked.release(); }

  DeviceObject& device_;
  RunResult result_;
};

// Anything else.
class DeviceObject::Errand : public Task {
 public:
  Errand(std::function<void()> work, std::function<Napi::Value(Napi::Env)> value) : work_(std::move(work)), value_(std::move(value)) {}
  Napi::Value value(Napi::Env env) override { return value_ ? value_(env) : env.Undefined(); }

 private:
  void work() override { work_(); }
  void release() override { work_ = nullptr; }

  std::function<void()> work_;
  std::function<Napi::Value(Napi::Env)> value_;
};

Napi::Function DeviceObject::define(Napi::Env env) {
  return DefineClass(env, "Device", {
    InstanceAccessor<&DeviceObject::isa>("isa"),
    InstanceAccessor<&DeviceObject::threads>("threads"),
    InstanceAccessor<&DeviceObject::describe>("description"),
    InstanceMethod<&DeviceObject::freeBytes>("freeBytes"),
    InstanceMethod<&DeviceObject::alloc>("alloc"),
    InstanceMethod<&DeviceObject::free>("free"),
    InstanceMethod<&DeviceObject::host>("host"),
    InstanceMethod<&DeviceObject::upload>("upload"),
    InstanceMethod<&DeviceObject::download>("download"),
    InstanceMethod<&DeviceObject::compile>("compile"),
    InstanceMethod<&DeviceObject::release>("release"),
    InstanceMethod<&DeviceObject::submit>("submit"),
    InstanceMethod<&DeviceObject::pack>("pack"),
    InstanceMethod<&DeviceObject::loadBuffer>("loadBuffer"),
    InstanceMethod<&DeviceObject::storeSpan>("storeSpan"),
    InstanceMethod<&DeviceObject::loadPages>("loadPages"),
    InstanceMethod<&DeviceObject::stats>("stats"),
    InstanceMethod<&DeviceObject::close>("close"),
  });
}

DeviceObject::DeviceObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceObject>(info) {
  guarded(info.Env(), [&] {
    device_ = openBackend(info[0]);
    completions_ = std::make_unique<Completions>(info.Env());
    lists_ = std::make_unique<WorkQueue>();
    files_ = std::make_unique<WorkQueue>();
  });
}

DeviceObject::~DeviceObject() { stop(); }

Napi::Value DeviceObject::isa(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), device_->isa()); }

Napi::Value DeviceObject::describe(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), device_->describe()); }

Napi::Value DeviceObject::threads(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), device_->threads()); }

Napi::Value DeviceObject::alloc(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    return publish(info.Env(), allocate(toInteger(info[0], "bytes"), toString(info[1], "label")));
  });
}

Napi::Value DeviceObject::free(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    if (closed_) return info.Env().Undefined();  // closing freed it
    const auto slot = buffers_.find(buffer(info[0], "buffer")->id);
    forget(slot->second);
    buffers_.erase(slot);
    return info.Env().Undefined();
  });
}

Napi::Value DeviceObject::host(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    const BufferRef& memory = buffer(info[0], "buffer");
    Slot& slot = buffers_.at(memory->id);
    if (!slot.view.IsEmpty()) return slot.view.Value();
    if (memory->bytes > kMaxViewBytes) {
      throw Error("device_error",
          format("%s: %llu bytes are more than a view of the host can have.", memory->label.c_str(), (unsigned long long)memory->bytes));
    }
    // The view holds the memory: JavaScript may keep it longer than the device lives.
    auto holder = std::make_unique<std::shared_ptr<uint8_t>>(device_->view(memory));
    const auto view = Napi::ArrayBuffer::New(info.Env(), holder->get(), memory->bytes,
        [](Napi::Env, void*, std::shared_ptr<uint8_t>* held) { delete held; }, holder.get());
    holder.release();
    slot.view = Napi::Persistent(view);
    return view;
  });
}

Napi::Value DeviceObject::freeBytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value { return Napi::Number::New(info.Env(), double(device_->freeBytes())); });
}

Napi::Value DeviceObject::upload(const Napi::CallbackInfo& info) { return copy(info, &Backend::upload); }

Napi::Value DeviceObject::download(const Napi::CallbackInfo& info) { return copy(info, &Backend::download); }

Napi::Value DeviceObject::copy(const Napi::CallbackInfo& info, void (Backend::*way)(const BufferRef&, uint64_t, uint64_t)) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    const BufferRef memory = buffer(info[0], "buffer");
    const uint64_t offset = toInteger(info[1], "offset"), bytes = toInteger(info[2], "bytes");
    if (offset > memory->bytes || bytes > memory->bytes - offset) throw wrongArgument("bytes", "they reach beyond the buffer's end.");
    return run(info.Env(), *lists_, [this, way, memory, offset, bytes] { (device_.get()->*way)(memory, offset, bytes); });
  });
}

Napi::Value DeviceObject::compile(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    const auto find = [this](uint32_t id) {
      const auto slot = buffers_.find(id);
      return slot == buffers_.end() ? nullptr : slot->second.buffer;
    };
    auto program = std::make_shared<const Program>(toVector<uint32_t>(info[0], "words", napi_uint32_array), find);
    programs_[nextProgram_] = std::move(program);
    return Napi::Number::New(info.Env(), nextProgram_++);
  });
}

Napi::Value DeviceObject::release(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    programs_.erase(toU32(info[0], "program"));
    return info.Env().Undefined();
  });
}

Napi::Value DeviceObject::submit(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    const auto program = programs_.find(toU32(info[0], "program"));
    if (program == programs_.end()) throw wrongArgument("program", "there is none of this number.");
    const View<uint32_t> ids(info[1], "bindings", napi_uint32_array);
    Bindings bindings;
    for (size_t i = 0; i < bindings.size() && i < ids.size; i++) {
      const auto slot = buffers_.find(ids.data[i]);
      if (slot != buffers_.end()) bindings[i] = slot->second.buffer;
    }
    if (idle_.empty()) idle_.push_back(std::make_unique<Submission>(*this));
    Submission& submission = *idle_.back();
    try {
      Program::link(program->second, bindings, submission.linked);
    } catch (...) {
      submission.linked.release();
      throw;
    }
    submission.timed = info[2].ToBoolean();
    idle_.back().release();  // its own until it is done
    idle_.pop_back();
    return start(info.Env(), *lists_, submission);
  });
}

Napi::Value DeviceObject::pack(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    auto sources = toSources(info[0]);
    const auto target = static_cast<uint32_t>(toInteger(info[1], "target", kDTypeBf12));
    const auto layout = toInteger(info[2], "layout", 1) == 0 ? PackLayout::kPanels : PackLayout::kRows;
    const BufferRef out = allocate(packedBytes(sources, target, layout), toString(info[3], "label"));
    return filled(info.Env(), out, [this, out, sources = std::move(sources), target, layout] {
      return device_->pack(sources, target, layout, out);
    });
  });
}

Napi::Value DeviceObject::loadBuffer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    BufferFile file{toString(info[0], "path"), toInteger(info[1], "fileOffset"), toInteger(info[2], "bytes"), toU32(info[3], "spanBytes"),
                    toVector<uint32_t>(info[4], "crc32c", napi_uint32_array)};
    checkBufferFile(file);
    const BufferRef out = allocate(file.bytes, toString(info[5], "label"));
    return filled(info.Env(), out, [this, out, file = std::move(file)] {
      device_->loadBuffer(file, out);
      return true;
    });
  });
}

Napi::Value DeviceObject::storeSpan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    const BufferRef from = buffer(info[0], "buffer");
    const uint64_t offset = toInteger(info[1], "offset"), bytes = toInteger(info[2], "bytes");
    if (offset > from->bytes || bytes > from->bytes - offset) throw wrongArgument("bytes", "they reach beyond the buffer's end.");
    std::string path = toString(info[3], "path");
    const uint64_t fileOffset = toInteger(info[4], "fileOffset");
    const auto checksum = std::make_shared<uint32_t>(0);
    return run(info.Env(), *files_, [this, from, offset, bytes, path = std::move(path), fileOffset, checksum] {
      *checksum = device_->storeSpan(path, fileOffset, from, offset, bytes);
    }, [checksum](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, *checksum); });
  });
}

Napi::Value DeviceObject::loadPages(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    requireOpen();
    PageLoad load{toString(info[0], "path"), toInteger(info[1], "fileOffset"), toInteger(info[2], "totalBytes"),
                  buffer(info[3], "arena"), toU32(info[4], "pageBytes"), toVector<int32_t>(info[5], "pages", napi_int32_array),
                  toVector<uint32_t>(info[6], "crc32c", napi_uint32_array)};
    checkPageLoad(load);
    return run(info.Env(), *files_, [this, counter = pageBytesLoaded_, load = std::move(load)] {
      device_->loadPages(load);
      counter->fetch_add(load.totalBytes, std::memory_order_relaxed);
    });
  });
}

Napi::Value DeviceObject::stats(const Napi::CallbackInfo& info) {
  Napi::Object stats = Napi::Object::New(info.Env());
  const RunCounters& counters = device_->counters();
  stats.Set("submits", double(counters.lists.load()));
  stats.Set("opsRun", double(counters.ops.load()));
  stats.Set("adapterBytesRead", double(counters.adapterBytesRead.load()));
  stats.Set("adapterBytesCopied", double(counters.adapterBytesStaged.load()));
  stats.Set("pageBytesLoaded", double(pageBytesLoaded_->load()));
  stats.Set("allocatedBytes", double(allocatedBytes_->load()));
  stats.Set("allocations", double(allocations.load()));
  return stats;
}

Napi::Value DeviceObject::close(const Napi::CallbackInfo& info) {
  stop();
  for (auto& [id, slot] : buffers_) forget(slot);
  buffers_.clear();
  programs_.clear();
  return info.Env().Undefined();
}

void DeviceObject::requireOpen() const {
  if (closed_) throw Error("device_error", "the device is closed.");
}

BufferRef DeviceObject::allocate(uint64_t bytes, const std::string& label) {
  return device_->allocate(nextBuffer_++, bytes, label, allocatedBytes_);
}

// From here on JavaScript names the buffer by its id.
Napi::Value DeviceObject::publish(Napi::Env env, const BufferRef& buffer) {
  buffers_[buffer->id].buffer = buffer;
  return Napi::Number::New(env, buffer->id);
}

Napi::Value DeviceObject::filled(Napi::Env env, const BufferRef& out, std::function<bool()> fill) {
  const auto whole = std::make_shared<bool>(false);
  return run(env, *lists_, [whole, fill = std::move(fill)] { *whole = fill(); }, [this, out, whole](Napi::Env env) -> Napi::Value {
    requireOpen();
    return *whole ? publish(env, out) : env.Null();
  });
}

const BufferRef& DeviceObject::buffer(const Napi::Value& id, const char* name) const {
  const uint32_t number = toU32(id, name);
  const auto slot = buffers_.find(number);
  if (slot == buffers_.end()) throw wrongArgument(name, format("there is no buffer %u.", number));
  return slot->second.buffer;
}

// Lists on their way keep the memory; JavaScript's view of it ends here.
void DeviceObject::forget(Slot& slot) {
  slot.buffer->freed = true;
  if (slot.view.IsEmpty()) return;
  slot.view.Value().Detach();
  slot.view.Reset();
}

void DeviceObject::stop() {
  if (std::exchange(closed_, true)) return;
  if (lists_) lists_->close();
  if (files_) files_->close();
  if (completions_) completions_->close();
}

Napi::Value DeviceObject::start(Napi::Env env, WorkQueue& queue, Task& task) {
  const Napi::Promise promise = completions_->begin(env, Value(), task);
  queue.put(task);
  return promise;
}

Napi::Value DeviceObject::run(Napi::Env env, WorkQueue& queue, std::function<void()> work, std::function<Napi::Value(Napi::Env)> value) {
  return start(env, queue, *new Errand(std::move(work), std::move(value)));
}

}  // namespace weft

// What the addon exports: src/native.ts describes it.
#include <napi.h>

#include "core/crc32c.h"
#include "core/pack.h"
#include "core/system.h"
#include "cuda/driver.h"
#include "device_object.h"
#include "stamp.h"

namespace {

Napi::Value crc32c(const Napi::CallbackInfo& info) {
  return weft::guarded(info.Env(), [&]() -> Napi::Value {
    if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      throw weft::wrongArgument("bytes", "a Uint8Array is needed.");
    }
    const auto bytes = info[0].As<Napi::Uint8Array>();
    return Napi::Number::New(info.Env(), weft::crc32c(bytes.Data(), bytes.ByteLength()));
  });
}

Napi::Value usableThreads(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), weft::usableProcessors());
}

Napi::Value inspectDriver(const Napi::CallbackInfo& info) {
  return weft::guarded(info.Env(), [&]() -> Napi::Value {
    const weft::cuda::DriverInfo found = weft::cuda::inspectDriver(weft::toString(info[0], "driver"));
    const auto gpus = Napi::Array::New(info.Env());
    for (const weft::cuda::GpuInfo& gpu : found.gpus) {
      const auto entry = Napi::Object::New(info.Env());
      entry.Set("name", gpu.name);
      entry.Set("isa", gpu.isa);
      entry.Set("bytes", double(gpu.bytes));
      gpus.Set(gpus.Length(), entry);
    }
    const auto driver = Napi::Object::New(info.Env());
    driver.Set("version", found.version);
    driver.Set("gpus", gpus);
    return driver;
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Device", weft::DeviceObject::define(env));
  exports.Set("stamp", Napi::String::New(env, weft::sourceStamp()));
  exports.Set("usableThreads", Napi::Function::New(env, usableThreads, "usableThreads"));
  exports.Set("inspectDriver", Napi::Function::New(env, inspectDriver, "inspectDriver"));
  exports.Set("packLayoutVersion", Napi::Number::New(env, weft::kPackLayoutVersion));
  exports.Set("crc32c", Napi::Function::New(env, crc32c, "crc32c"));
  return exports;
}

}  // namespace

NODE_API_MODULE(weft_kernels, init)

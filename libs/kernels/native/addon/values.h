// JavaScript values in, errors out. Nothing that comes from JavaScript is trusted: a value of the wrong type or out of
// range is refused by the name of the argument.
#pragma once
#include <napi.h>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "core/error.h"

namespace weft {

inline constexpr uint64_t kMaxSafeInteger = (uint64_t{1} << 53) - 1;

inline Error wrongArgument(const char* name, const std::string& what) {
  return Error("option_invalid", std::string(name) + ": " + what);
}

inline uint64_t toInteger(const Napi::Value& value, const char* name, uint64_t max = kMaxSafeInteger) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > static_cast<double>(max) || number != static_cast<double>(static_cast<uint64_t>(number))) {
    throw wrongArgument(name, format("an integer between 0 and %llu is needed.", (unsigned long long)max));
  }
  return static_cast<uint64_t>(number);
}

inline uint32_t toU32(const Napi::Value& value, const char* name) { return static_cast<uint32_t>(toInteger(value, name, UINT32_MAX)); }

inline std::string toString(const Napi::Value& value, const char* name) {
  if (!value.IsString()) throw wrongArgument(name, "a string is needed.");
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) throw wrongArgument(name, "it holds a NUL.");
  return text;
}

// A typed array where it lies: only for as long as JavaScript does not run.
template <typename T>
struct View {
  View(const Napi::Value& value, const char* name, napi_typedarray_type type) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
      throw wrongArgument(name, "it is no typed array of the right type.");
    }
    const auto array = value.As<Napi::TypedArrayOf<T>>();
    data = array.Data();
    size = data ? array.ElementLength() : 0;
  }

  const T* data;
  size_t size;
};

// A copy of a typed array: what JavaScript does with it afterwards is no matter.
template <typename T>
std::vector<T> toVector(const Napi::Value& value, const char* name, napi_typedarray_type type) {
  const View<T> view(value, name, type);
  return std::vector<T>(view.data, view.data + view.size);
}

// An Error with `code`, and `file` and `tensor` where it is about one: native.ts makes a WeftError of it.
inline Napi::Error toJs(Napi::Env env, const Error& error) {
  Napi::Error value = Napi::Error::New(env, error.what());
  value.Set("code", Napi::String::New(env, error.code));
  if (!error.file.empty()) value.Set("file", Napi::String::New(env, error.file));
  if (!error.tensor.empty()) value.Set("tensor", Napi::String::New(env, error.tensor));
  return value;
}

// Our code for whatever native code threw.
inline Error asError(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error("out_of_memory", "the system gave no memory.");
  } catch (const std::exception& error) {
    return Error("device_error", error.what());
  } catch (...) {
    return Error("device_error", "an unknown exception.");
  }
}

// Runs a method's body; what it throws becomes an exception of JavaScript.
template <typename Body>
auto guarded(Napi::Env env, Body body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJs(env, asError(std::current_exception()));
  }
}

}  // namespace weft

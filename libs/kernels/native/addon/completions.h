// Promises that native threads settle. The event loop stays alive while one is open and no longer.
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <optional>

#include "values.h"

namespace weft {

class Completions {
  struct Shared;

 public:
  // A promise and what becomes of it: made on JavaScript's thread, filled in by a native one, settled on JavaScript's.
  struct Open {
    Napi::Promise::Deferred deferred;
    std::shared_ptr<Shared> shared;
    Napi::ObjectReference keepAlive;
    std::optional<Error> error;
    // Called on JavaScript's thread; none: undefined. What it throws rejects the promise.
    std::function<Napi::Value(Napi::Env)> value;
  };

  explicit Completions(Napi::Env env);
  ~Completions() { close(); }
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  // On JavaScript's thread. keepAlive: what must not be collected before the promise is settled.
  Open* begin(Napi::Env env, Napi::Object keepAlive);
  // Once for each begin, on any thread; the pointer is given away.
  static void settle(Open* open);
  // On JavaScript's thread, when no native thread will settle any more. What is settled already still arrives.
  void close();

 private:
  static void callJs(Napi::Env env, Napi::Function callback, std::nullptr_t* context, Open* open);
  using Channel = Napi::TypedThreadSafeFunction<std::nullptr_t, Open, callJs>;
  struct Shared {
    Channel channel;
    uint32_t open = 0;  // counted on JavaScript's thread
    bool closed = false;
  };

  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace weft

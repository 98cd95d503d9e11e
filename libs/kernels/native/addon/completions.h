// Promises that native threads settle. The event loop stays alive while one is open and no longer.
#pragma once
#include <napi.h>

#include <memory>
#include <optional>

#include "values.h"

namespace weft {

class Completions {
  struct Shared;

 public:
  // A promise and what becomes of it: begun on JavaScript's thread, filled in by a native one, settled on JavaScript's.
  class Open {
   public:
    virtual ~Open() = default;
    // What it resolves with, asked for on JavaScript's thread. What this throws rejects the promise.
    virtual Napi::Value value(Napi::Env env) { return env.Undefined(); }
    // It is settled, and may be used for the next promise.
    virtual void done() { delete this; }

    // Set by a native thread: rejects the promise.
    std::optional<Error> error;

   private:
    friend Completions;
    std::optional<Napi::Promise::Deferred> deferred_;
    std::shared_ptr<Shared> shared_;
    Napi::ObjectReference keepAlive_;
  };

  explicit Completions(Napi::Env env);
  ~Completions() { close(); }
  Completions(const Completions&) = delete;
  Completions& operator=(const Completions&) = delete;

  // On JavaScript's thread. keepAlive: what must not be collected before the promise is settled.
  Napi::Promise begin(Napi::Env env, Napi::Object keepAlive, Open& open);
  // Once for each begin, on any thread; `open` is given away until it is `done`.
  static void settle(Open& open);
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

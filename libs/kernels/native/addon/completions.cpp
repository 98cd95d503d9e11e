#include "completions.h"

#include <utility>

namespace weft {

Completions::Completions(Napi::Env env) {
  shared_->channel = Channel::New(env, "weft", 0, 1);
  shared_->channel.Unref(env);
}

Napi::Promise Completions::begin(Napi::Env env, Napi::Object keepAlive, Open& open) {
  open.deferred_.emplace(Napi::Promise::Deferred::New(env));
  open.shared_ = shared_;
  open.keepAlive_ = Napi::Persistent(keepAlive);
  open.error.reset();
  if (shared_->open++ == 0) shared_->channel.Ref(env);
  return open.deferred_->Promise();
}

void Completions::settle(Open& open) {
  // Refused only while the environment is torn down. Nobody waits any more, and what the promise refers to may be gone:
  // it is left to the end of the process.
  const Channel channel = open.shared_->channel;
  channel.NonBlockingCall(&open);
}

void Completions::close() {
  if (std::exchange(shared_->closed, true)) return;
  shared_->channel.Release();
}

void Completions::callJs(Napi::Env env, Napi::Function, std::nullptr_t*, Open* open) {
  if (env == nullptr) return;  // as in `settle`
  Shared& shared = *open->shared_;
  if (--shared.open == 0 && !shared.closed) shared.channel.Unref(env);
  const Napi::Promise::Deferred deferred = *open->deferred_;
  try {
    if (open->error) throw *open->error;
    deferred.Resolve(open->value(env));
  } catch (const Napi::Error& error) {
    deferred.Reject(error.Value());
  } catch (const Error& error) {
    deferred.Reject(toJs(env, error).Value());
  }
  const Napi::ObjectReference kept = std::move(open->keepAlive_);  // lives until `open` is given back to what it keeps
  open->done();
}

}  // namespace weft

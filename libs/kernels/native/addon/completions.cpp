#include "completions.h"

namespace weft {

Completions::Completions(Napi::Env env) {
  shared_->channel = Channel::New(env, "weft", 0, 1);
  shared_->channel.Unref(env);
}

Completions::Open* Completions::begin(Napi::Env env, Napi::Object keepAlive) {
  Open* open = new Open{Napi::Promise::Deferred::New(env), shared_, Napi::Persistent(keepAlive), std::nullopt, nullptr};
  if (shared_->open++ == 0) shared_->channel.Ref(env);
  return open;
}

void Completions::settle(Open* open) {
  // Refused only while the environment is torn down. Nobody waits any more, and what the promise refers to may be gone:
  // it is left to the end of the process.
  const Channel channel = open->shared->channel;
  channel.NonBlockingCall(open);
}

void Completions::close() {
  if (std::exchange(shared_->closed, true)) return;
  shared_->channel.Release();
}

void Completions::callJs(Napi::Env env, Napi::Function, std::nullptr_t*, Open* open) {
  if (env == nullptr) return;  // as in `settle`
  const std::unique_ptr<Open> owned(open);
  Shared& shared = *open->shared;
  if (--shared.open == 0 && !shared.closed) shared.channel.Unref(env);
  try {
    if (open->error) throw *open->error;
    open->deferred.Resolve(open->value ? open->value(env) : env.Undefined());
  } catch (const Napi::Error& error) {
    open->deferred.Reject(error.Value());
  } catch (const Error& error) {
    open->deferred.Reject(toJs(env, error).Value());
  }
}

}  // namespace weft

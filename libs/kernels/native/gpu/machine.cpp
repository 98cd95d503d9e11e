#include "gpu/machine.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace weft {
namespace gpu {

Ref Machine::allocate(uint64_t bytes, const char* label) {
  const uint32_t id = next_++;
  buffers_[id] = device.allocate(id, (bytes + 15) / 16 * 16, label, total_);
  return {id, 0};
}

List Machine::list(const std::vector<uint32_t>& words, const std::map<uint32_t, Ref>& bindings) const {
  const auto find = [this](uint32_t id) {
    const auto found = buffers_.find(id);
    return found == buffers_.end() ? nullptr : found->second;
  };
  Bindings bound;
  for (const auto& [binding, ref] : bindings) bound[binding] = buffer(ref);
  auto linked = std::make_unique<LinkedProgram>();
  Program::link(std::make_shared<const Program>(words, find), bound, *linked);
  return linked;
}

void Machine::fill(const Ref& ref, uint32_t dtype, float scale) { device.fill(buffer(ref), 0, buffer(ref)->bytes, dtype, seed_++, scale); }

Timing measure(const std::function<double()>& once, double seconds, uint32_t most) {
  constexpr uint32_t kLeast = 5, kWarmUps = 2;
  const double budget = seconds * 1e9;
  double spent = 0;
  for (uint32_t i = 0; i < kWarmUps; i++) {
    const double last = once();
    if (last > budget) return {last, last, last, 1};
    spent += last;
  }
  std::vector<double> runs;
  do {
    runs.push_back(once());
    spent += runs.back();
  } while (runs.size() < kLeast || (runs.size() < most && spent < budget));
  std::sort(runs.begin(), runs.end());
  return {runs[runs.size() / 2], runs.front(), runs.back(), static_cast<uint32_t>(runs.size())};
}

double clocked(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace gpu
}  // namespace weft

#include "core/cpu_device.h"
#include "device.h"

namespace weft {
namespace {

class CpuReplay : public ReplayDevice {
 public:
  CpuReplay(uint32_t threads, Isa isa) : device_(threads, isa, defaultTuning(isa)) {}

  std::string isa() const override { return isaName(device_.isa()); }
  std::string describe() const override { return std::to_string(device_.pool().threads()) + " threads"; }

  RunResult run(const std::vector<uint32_t>& words, const HostBuffers& buffers, const std::map<uint32_t, uint32_t>& bindings,
                bool timed) override {
    const auto find = [&](uint32_t id) {
      const auto found = buffers.find(id);
      return found == buffers.end() ? nullptr : found->second;
    };
    Bindings bound;
    for (const auto& [binding, buffer] : bindings) bound[binding] = buffers.at(buffer);
    LinkedProgram linked;
    Program::link(std::make_shared<const Program>(words, find), bound, linked);
    return device_.run(linked, timed);
  }

 private:
  mutable CpuDevice device_;
};

}  // namespace

std::unique_ptr<ReplayDevice> makeCpuReplay(uint32_t threads, const std::string& isa) {
  return std::make_unique<CpuReplay>(threads, isaByName(isa));
}

}  // namespace weft

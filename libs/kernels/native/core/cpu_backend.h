// The processor as a backend: buffers are host memory, so that nothing is copied.
#pragma once
#include "backend.h"
#include "cpu_device.h"

namespace weft {

class CpuBackend : public Backend {
 public:
  CpuBackend(uint32_t threads, Isa isa, const Tuning& tuning) : device_(threads, isa, tuning) {}

  std::string isa() const override { return isaName(device_.isa()); }
  std::string describe() const override { return isa(); }
  uint32_t threads() const override { return device_.threads(); }
  uint64_t freeBytes() const override { return 0; }

  BufferRef allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) override {
    return std::make_shared<Buffer>(id, bytes, label, std::move(total));
  }
  std::shared_ptr<uint8_t> view(const BufferRef& buffer) override { return {buffer, buffer->data()}; }
  void upload(const BufferRef&, uint64_t, uint64_t) override {}
  void download(const BufferRef&, uint64_t, uint64_t) override {}

  RunResult run(const LinkedProgram& linked, bool timed) override { return device_.run(linked, timed); }
  const RunCounters& counters() const override { return device_.counters(); }

  bool pack(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, const BufferRef& out) override {
    return weft::pack(device_.pool(), sources, target, layout, out->data());
  }
  void loadBuffer(const BufferFile& file, const BufferRef& out) override { weft::loadBuffer(device_.pool(), file, out->data()); }
  uint32_t storeSpan(const std::string& path, uint64_t fileOffset, const BufferRef& from, uint64_t offset, uint64_t bytes) override {
    return weft::storeSpan(path, fileOffset, from->data() + offset, bytes);
  }
  void loadPages(const PageLoad& load) override {
    weft::loadPages(load, [&](uint64_t page) { return load.arena->data() + page * load.pageBytes; }, [](uint64_t) {});
  }

 private:
  CpuDevice device_;
};

}  // namespace weft

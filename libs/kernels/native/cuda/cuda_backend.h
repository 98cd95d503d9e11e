// A CUDA device as a backend: files are read and packed by this processor, then copied.
#pragma once
#include "core/backend.h"
#include "core/thread_pool.h"
#include "cuda/cuda_device.h"

namespace weft {
namespace cuda {

class CudaBackend : public Backend {
 public:
  // threads 0: as many as this process may use.
  CudaBackend(const CudaOptions& options, uint32_t threads);

  std::string isa() const override { return device_.isa(); }
  std::string describe() const override { return device_.name(); }
  uint32_t threads() const override { return pool_.threads(); }
  uint64_t freeBytes() const override { return device_.freeBytes(); }

  BufferRef allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) override;
  std::shared_ptr<uint8_t> view(const BufferRef& buffer) override;
  void upload(const BufferRef& buffer, uint64_t offset, uint64_t bytes) override;
  void download(const BufferRef& buffer, uint64_t offset, uint64_t bytes) override;

  RunResult run(const LinkedProgram& linked, bool timed) override;
  const RunCounters& counters() const override { return counters_; }

  bool pack(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, const BufferRef& out) override;
  void loadBuffer(const BufferFile& file, const BufferRef& out) override;
  uint32_t storeSpan(const std::string& path, uint64_t fileOffset, const BufferRef& from, uint64_t offset, uint64_t bytes) override;
  void loadPages(const PageLoad& load) override;

 private:
  CudaDevice device_;
  ThreadPool pool_;
  RunCounters counters_;
};

}  // namespace cuda
}  // namespace weft

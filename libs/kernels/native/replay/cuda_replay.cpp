#include "cuda/cuda_device.h"
#include "device.h"
#include "plain_rows.h"

namespace weft {
namespace {

class CudaReplay : public ReplayDevice {
 public:
  explicit CudaReplay(const cuda::CudaOptions& options) : device_(options) {}

  std::string isa() const override { return device_.isa(); }
  std::string describe() const override {
    const uint64_t blas = device_.cublasLtVersion();
    return device_.name() + (blas ? ", cuBLASLt " + std::to_string(blas) : "") + (device_.isVirtual() ? "" : ", without virtual memory");
  }
  Recording adapted(Recording recording) const override { return withPlainRows(std::move(recording)); }

  // The same list of the same buffers is compiled once: it is a graph from then on.
  RunResult run(const std::vector<uint32_t>& words, const HostBuffers& buffers, const std::map<uint32_t, uint32_t>& bindings,
                bool timed) override {
    mirror(buffers);
    for (const auto& [id, buffer] : buffers) device_.write(onDevice_.at(id), 0, buffer->data(), buffer->bytes);
    if (!program_ || program_->words() != words) {
      const auto find = [this](uint32_t id) {
        const auto found = onDevice_.find(id);
        return found == onDevice_.end() ? nullptr : found->second;
      };
      program_ = std::make_shared<const Program>(words, find);
    }
    Bindings bound;
    for (const auto& [binding, buffer] : bindings) bound[binding] = onDevice_.at(buffer);
    LinkedProgram linked;
    Program::link(program_, bound, linked);
    const RunResult result = device_.run(linked, timed);
    for (const auto& [id, buffer] : buffers) device_.read(onDevice_.at(id), 0, buffer->data(), buffer->bytes);
    return result;
  }

 private:
  // Buffers of the recording that is replayed; those of the one before go.
  void mirror(const HostBuffers& buffers) {
    bool same = onDevice_.size() == buffers.size();
    for (const auto& [id, buffer] : buffers) same = same && onDevice_.count(id) && onDevice_[id]->bytes == buffer->bytes && hosts_[id] == buffer.get();
    if (same) return;
    program_ = nullptr;
    onDevice_.clear();
    hosts_.clear();
    for (const auto& [id, buffer] : buffers) {
      onDevice_[id] = device_.allocate(id, buffer->bytes, buffer->label, total_);
      hosts_[id] = buffer.get();
    }
  }

  cuda::CudaDevice device_;
  std::shared_ptr<std::atomic<uint64_t>> total_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::map<uint32_t, BufferRef> onDevice_;
  std::map<uint32_t, const Buffer*> hosts_;
  std::shared_ptr<const Program> program_;
};

}  // namespace

std::unique_ptr<ReplayDevice> makeCudaReplay(const CudaReplayOptions& options) {
  cuda::CudaOptions cuda;
  cuda.ordinal = options.ordinal;
  if (!options.driver.empty()) cuda.driver = options.driver;
  cuda.module = options.module;
  cuda.deterministic = options.deterministic;
  cuda.ownGemm = options.ownGemm;
  cuda.cublasLt = options.cublasLt;
  return std::make_unique<CudaReplay>(cuda);
}

}  // namespace weft

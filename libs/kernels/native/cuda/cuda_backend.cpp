#include "cuda/cuda_backend.h"

#include "core/cpu_features.h"
#include "core/system.h"

namespace weft {
namespace cuda {

CudaBackend::CudaBackend(const CudaOptions& options, uint32_t threads)
    : device_(options), pool_(threads ? threads : usableProcessors(), defaultTuning(isaByName(""))) {}

BufferRef CudaBackend::allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) {
  return device_.allocate(id, bytes, label, std::move(total));
}

std::shared_ptr<uint8_t> CudaBackend::view(const BufferRef& buffer) {
  const std::shared_ptr<Pinned> pinned = device_.mirror(buffer);
  return {pinned, pinned->data()};
}

void CudaBackend::upload(const BufferRef& buffer, uint64_t offset, uint64_t bytes) {
  device_.write(buffer, offset, device_.mirror(buffer)->data() + offset, bytes);
}

void CudaBackend::download(const BufferRef& buffer, uint64_t offset, uint64_t bytes) {
  device_.read(buffer, offset, device_.mirror(buffer)->data() + offset, bytes);
}

RunResult CudaBackend::run(const LinkedProgram& linked, bool timed) {
  counters_.lists.fetch_add(1, std::memory_order_relaxed);
  counters_.ops.fetch_add(linked.program->ops().size(), std::memory_order_relaxed);
  return device_.run(linked, timed);
}

bool CudaBackend::pack(const std::vector<TensorSource>& sources, uint32_t target, PackLayout layout, const BufferRef& out) {
  std::vector<uint8_t> packed(out->bytes);
  if (!weft::pack(pool_, sources, target, layout, packed.data())) return false;
  device_.write(out, 0, packed.data(), packed.size());
  return true;
}

void CudaBackend::loadBuffer(const BufferFile& file, const BufferRef& out) {
  std::vector<uint8_t> bytes(file.bytes);
  weft::loadBuffer(pool_, file, bytes.data());
  device_.write(out, 0, bytes.data(), bytes.size());
}

uint32_t CudaBackend::storeSpan(const std::string& path, uint64_t fileOffset, const BufferRef& from, uint64_t offset, uint64_t bytes) {
  std::vector<uint8_t> span(bytes);
  device_.read(from, offset, span.data(), bytes);
  return weft::storeSpan(path, fileOffset, span.data(), bytes);
}

void CudaBackend::loadPages(const PageLoad& load) {
  std::vector<uint8_t> page(load.pageBytes);
  weft::loadPages(load, [&](uint64_t) { return page.data(); },
                  [&](uint64_t at) { device_.write(load.arena, at * load.pageBytes, page.data(), page.size()); });
}

}  // namespace cuda
}  // namespace weft

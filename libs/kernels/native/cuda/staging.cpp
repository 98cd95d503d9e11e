#include "cuda/staging.h"

#include <algorithm>
#include <cstring>

namespace weft {
namespace cuda {
namespace {

DevicePointer addressOf(const BufferRef& buffer, uint64_t offset) { return reinterpret_cast<DevicePointer>(buffer->data()) + offset; }

}  // namespace

Staging::Staging(std::shared_ptr<Gpu> gpu, uint64_t halfBytes) : gpu_(std::move(gpu)), stream_(gpu_) {
  for (Half& half : halves_) {
    half.memory = std::make_unique<Pinned>(gpu_, halfBytes);
    check((*gpu_)->cuEventCreate(&half.copied, kDisableTiming));
  }
}

Staging::~Staging() {
  gpu_->enter();
  (*gpu_)->cuStreamSynchronize(stream_);
  for (Half& half : halves_) (*gpu_)->cuEventDestroy_v2(half.copied);
}

void Staging::write(const BufferRef& to, uint64_t offset, const void* from, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(lock_);
  const uint64_t part = halves_[0].memory->bytes;
  for (uint64_t at = 0, turn = 0; at < bytes; at += part, turn = 1 - turn) {
    Half& half = halves_[turn];
    const uint64_t now = std::min(part, bytes - at);
    check((*gpu_)->cuEventSynchronize(half.copied));
    memcpy(half.memory->data(), static_cast<const uint8_t*>(from) + at, now);
    check((*gpu_)->cuMemcpyHtoDAsync_v2(addressOf(to, offset + at), half.memory->data(), now, stream_));
    check((*gpu_)->cuEventRecord(half.copied, stream_));
  }
  finish();
}

void Staging::read(const BufferRef& from, uint64_t offset, void* to, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(lock_);
  const uint64_t part = halves_[0].memory->bytes;
  const auto fetch = [&](uint64_t at, uint64_t turn) {
    if (at >= bytes) return;
    check((*gpu_)->cuMemcpyDtoHAsync_v2(halves_[turn].memory->data(), addressOf(from, offset + at), std::min(part, bytes - at), stream_));
    check((*gpu_)->cuEventRecord(halves_[turn].copied, stream_));
  };
  fetch(0, 0);
  for (uint64_t at = 0, turn = 0; at < bytes; at += part, turn = 1 - turn) {
    fetch(at + part, 1 - turn);
    check((*gpu_)->cuEventSynchronize(halves_[turn].copied));
    memcpy(static_cast<uint8_t*>(to) + at, halves_[turn].memory->data(), std::min(part, bytes - at));
  }
}

void Staging::zero(const BufferRef& buffer) {
  const std::lock_guard<std::mutex> lock(lock_);
  check((*gpu_)->cuMemsetD8Async(addressOf(buffer, 0), 0, buffer->bytes, stream_));
  finish();
}

void Staging::finish() { check((*gpu_)->cuStreamSynchronize(stream_)); }

}  // namespace cuda
}  // namespace weft

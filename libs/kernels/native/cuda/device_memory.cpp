#include "cuda/device_memory.h"

#include "core/error.h"

namespace weft {
namespace cuda {
namespace {

DevicePointer addressOf(const uint8_t* data) { return reinterpret_cast<DevicePointer>(data); }
uint8_t* pointerTo(DevicePointer address) { return reinterpret_cast<uint8_t*>(address); }

}  // namespace

Pinned::Pinned(std::shared_ptr<Gpu> gpu, uint64_t bytes) : bytes(bytes), gpu_(std::move(gpu)) {
  void* data;
  (*gpu_)->check((*gpu_)->cuMemHostAlloc(&data, bytes, 0), format("taking %llu bytes of pinned memory", (unsigned long long)bytes));
  data_ = static_cast<uint8_t*>(data);
}

Pinned::~Pinned() {
  gpu_->enter();
  (*gpu_)->cuMemFreeHost(data_);
}

DeviceMemory::DeviceMemory(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {
  properties_.location.id = gpu_->id();
  int supported = 0;
  size_t granule = 0;
  if ((*gpu_)->cuDeviceGetAttribute(&supported, kVirtualMemory, gpu_->id()) != kSuccess || !supported) return;
  if ((*gpu_)->cuMemGetAllocationGranularity(&granule, &properties_, 0) == kSuccess) granule_ = granule;
}

BufferRef DeviceMemory::allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) {
  const auto gpu = gpu_;
  if (bytes >= kVirtualBytes && granule_) {
    const uint64_t whole = (bytes + granule_ - 1) / granule_ * granule_;
    if (uint8_t* data = map(whole)) {
      return std::make_shared<Buffer>(id, bytes, label, std::move(total), data, [gpu, data, whole] {
        gpu->enter();
        (*gpu)->cuMemUnmap(addressOf(data), whole);
        (*gpu)->cuMemAddressFree(addressOf(data), whole);
      });
    }
  }
  DevicePointer address;
  const Result result = bytes ? (*gpu_)->cuMemAlloc_v2(&address, bytes) : kOutOfMemory;
  if (result == kOutOfMemory) failAllocation(bytes, label);
  (*gpu_)->check(result, label);
  return std::make_shared<Buffer>(id, bytes, label, std::move(total), pointerTo(address), [gpu, address] {
    gpu->enter();
    (*gpu)->cuMemFree_v2(address);
  });
}

// nullptr where the system refuses; then nothing is left behind, and it is not asked again.
uint8_t* DeviceMemory::map(uint64_t bytes) {
  DevicePointer address = 0;
  Allocation handle = 0;
  const AccessDescription access{properties_.location};
  Result result = (*gpu_)->cuMemAddressReserve(&address, bytes, 0, 0, 0);
  const bool reserved = result == kSuccess;
  if (reserved) result = (*gpu_)->cuMemCreate(&handle, bytes, &properties_, 0);
  const bool created = reserved && result == kSuccess;
  if (created) result = (*gpu_)->cuMemMap(address, bytes, 0, handle, 0);
  const bool mapped = created && result == kSuccess;
  if (created) (*gpu_)->cuMemRelease(handle);              // the mapping keeps it
  if (mapped) result = (*gpu_)->cuMemSetAccess(address, bytes, &access, 1);
  if (result == kSuccess) return pointerTo(address);
  if (mapped) (*gpu_)->cuMemUnmap(address, bytes);
  if (reserved) (*gpu_)->cuMemAddressFree(address, bytes);
  if (result != kOutOfMemory) granule_ = 0;
  return nullptr;
}

void DeviceMemory::failAllocation(uint64_t bytes, const std::string& label) {
  size_t free = 0, all = 0;
  (*gpu_)->cuMemGetInfo_v2(&free, &all);
  throw Error("out_of_memory", format("%s needs %llu bytes of GPU memory; %zu of %zu are free. A smaller pool (--pool-bytes) or int8 "
                                      "weights take less.", label.c_str(), (unsigned long long)bytes, free, all));
}

}  // namespace cuda
}  // namespace weft

// Runs linked programs on a CUDA device: every list becomes a graph of kernel launches when it is first run with its
// bindings, and one launch from then on.
#pragma once
#include <map>
#include <mutex>

#include "core/program.h"
#include "core/run_result.h"
#include "cuda/cublaslt.h"
#include "cuda/device_memory.h"
#include "cuda/launch.h"
#include "cuda/staging.h"
#include "cuda/step.h"

namespace weft {
namespace cuda {

constexpr char kUsualDriver[] = "libcuda.so.1";

struct CudaOptions {
  int ordinal = 0;
  std::string driver = kUsualDriver;     // one that stands in for it knows no cuBLASLt
  std::string module;                    // the kernels: what `npm run build:cuda` made
  bool deterministic = false;            // a row has the same bits in every batch
  bool ownGemm = false;                  // no linear map by cuBLASLt
  std::vector<std::string> cublasLt;     // files to try before what the loader finds
};

// A file of the kernels' images, one for each architecture and PTX for later ones. Throws device_unavailable when it is not there.
std::vector<uint8_t> readModule(const std::string& path);

class CudaDevice {
 public:
  // Throws device_unavailable, out_of_memory, device_lost or device_error.
  explicit CudaDevice(const CudaOptions& options);
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  // A zeroed buffer.
  BufferRef allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total);

  // Copies through pinned staging memory, on a stream of their own; back when the bytes are there. Any thread may call them.
  void write(const BufferRef& to, uint64_t offset, const void* from, uint64_t bytes);
  void read(const BufferRef& from, uint64_t offset, void* to, uint64_t bytes);

  // Random values over [-scale, scale), made on the device: for measurements. offset and bytes are multiples of 16.
  void fill(const BufferRef& to, uint64_t offset, uint64_t bytes, uint32_t dtype, uint32_t seed, float scale);

  // The buffer as the host sees it: what it holds at the first call. A bound frame and bound masks go to the device before a list runs, results and hidden
  // rows come back after it; anything else by `write` and `read`.
  std::shared_ptr<Pinned> mirror(const BufferRef& buffer);

  // One list at a time. Throws list_invalid when a count or an index was out of its bounds: the ops that met it left out
  // what depends on it, those behind them have run.
  RunResult run(const LinkedProgram& linked, bool timed);

  const std::string& name() const { return name_; }        // as the driver names it
  const std::string& isa() const { return isa_; }          // "sm_90"
  bool isVirtual() const { return memory_->isVirtual(); }  // large buffers have address ranges of their own
  uint64_t freeBytes() const;
  uint64_t cublasLtVersion() const { return blas_ ? blas_->version() : 0; }   // 0: it is not used
  uint32_t multiprocessors() const { return limits_.multiprocessors; }

 private:
  struct Plan;

  void check(Result result, const char* doing) const { (*gpu_)->check(result, doing); }
  Plan& planOf(const LinkedProgram& linked);
  std::unique_ptr<Plan> makePlan(const LinkedProgram& linked);
  void growScratch(uint64_t bytes);
  Function functionOf(const char* kernel, uint32_t sharedBytes);
  void launchOp(Plan& plan, size_t op);
  void record(Plan& plan);
  void copyMirrors(const LinkedProgram& linked, bool toDevice);
  double elapsed(Event begin, Event end) const;
  void requireNoFault(const Program& program) const;

  std::shared_ptr<Gpu> gpu_;
  std::string name_, isa_;
  std::unique_ptr<OwnedModule> module_;
  std::unique_ptr<OwnedStream> stream_;
  LaunchLimits limits_;
  std::unique_ptr<DeviceMemory> memory_;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<CublasLt> blas_;                         // nullptr: all linear maps by our kernels
  BufferRef workspace_;                                    // its
  std::unique_ptr<Pinned> fault_;                          // as the last list left it
  BufferRef deviceFault_, scratch_;
  std::map<std::string, std::pair<Function, uint32_t>> functions_;   // and the dynamic shared memory that each may have
  std::vector<std::unique_ptr<Plan>> plans_;
  std::mutex mirrorsLock_;
  std::map<uint32_t, std::pair<std::weak_ptr<Buffer>, std::shared_ptr<Pinned>>> mirrors_;   // by buffer id
  std::vector<Event> events_;                              // timing only
  const std::shared_ptr<std::atomic<uint64_t>> own_ = std::make_shared<std::atomic<uint64_t>>(0);
};

}  // namespace cuda
}  // namespace weft

#include "cuda/cuda_device.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "core/error.h"
#include "core/file.h"
#include "cuda/fault.h"
#include "cuda/fill.h"
#include "cuda/staging.h"

namespace weft {
namespace cuda {
namespace {

constexpr uint64_t kStagingBytes = 8u << 20;
// What cuBLASLt is given for a matmul: NVIDIA's advice for Hopper.
constexpr uint64_t kWorkspaceBytes = 32u << 20;
// What a block may have without asking.
constexpr uint32_t kSharedBytes = 48u << 10;

DevicePointer addressOf(const BufferRef& buffer, uint64_t offset = 0) { return reinterpret_cast<DevicePointer>(buffer->data()) + offset; }

bool goesToDevice(uint32_t binding) { return binding == kBindingFrame || binding == kBindingMasks; }
bool comesBack(uint32_t binding) { return binding == kBindingResults || binding == kBindingHidden; }

}  // namespace

std::vector<uint8_t> readModule(const std::string& path) {
  if (access(path.c_str(), R_OK) != 0) {
    throw Error("device_unavailable", "the kernels for GPUs are not built: there is no " + path + ". `npm run build:cuda` makes it.");
  }
  const File file(path);
  std::vector<uint8_t> image(file.bytes());
  if (!file.read(image.data(), image.size(), 0)) throw Error("io_error", path + ": it became shorter.");
  return image;
}

// A list with its bindings, as launches.
struct CudaDevice::Plan {
  struct Op {
    size_t args;                         // index in `args`
    Step step;
    std::vector<Launch> launches;
    std::vector<Function> functions;     // by launch
    CublasLt::PlanRef dense;             // instead of them
  };
  std::weak_ptr<const Program> program;
  std::vector<uint8_t*> bases;
  std::vector<std::array<uint8_t, kMaxArgsBytes>> args;
  std::vector<Op> ops;
  std::shared_ptr<Gpu> gpu;
  GraphExec graph = nullptr;

  ~Plan() {
    if (graph) (*gpu)->cuGraphExecDestroy(graph);
  }
  bool isFor(const LinkedProgram& linked) const { return program.lock() == linked.program && bases == linked.bases; }
};

CudaDevice::CudaDevice(const CudaOptions& options) {
  const std::vector<uint8_t> image = readModule(options.module);
  gpu_ = std::make_shared<Gpu>(options.driver, options.ordinal);
  const Gpu& gpu = *gpu_;
  name_ = gpu.name();
  isa_ = format("sm_%d%d", gpu.attribute(kComputeMajor), gpu.attribute(kComputeMinor));
  module_ = std::make_unique<OwnedModule>(gpu_, image.data(), format("loading kernels for %s (%s)", name_.c_str(), isa_.c_str()));
  stream_ = std::make_unique<OwnedStream>(gpu_);
  limits_.multiprocessors = static_cast<uint32_t>(gpu.attribute(kMultiprocessors));
  limits_.sharedBytes = static_cast<uint32_t>(gpu.attribute(kSharedBytesOptIn));
  limits_.deterministic = options.deterministic;
  memory_ = std::make_unique<DeviceMemory>(gpu_);
  staging_ = std::make_unique<Staging>(gpu_, kStagingBytes);
  if (!options.deterministic && !options.ownGemm && options.driver == kUsualDriver) blas_ = CublasLt::find(options.cublasLt, kWorkspaceBytes);
  if (blas_) workspace_ = memory_->allocate(0, kWorkspaceBytes, "cuBLASLt", own_);
  fault_ = std::make_unique<Pinned>(gpu_, sizeof(Fault));
  deviceFault_ = memory_->allocate(0, sizeof(Fault), "fault", own_);
}

CudaDevice::~CudaDevice() {
  gpu_->enter();
  (*gpu_)->cuStreamSynchronize(*stream_);
  plans_.clear();
  for (const Event event : events_) (*gpu_)->cuEventDestroy_v2(event);
}

BufferRef CudaDevice::allocate(uint32_t id, uint64_t bytes, const std::string& label, std::shared_ptr<std::atomic<uint64_t>> total) {
  gpu_->enter();
  BufferRef buffer = memory_->allocate(id, bytes, label, std::move(total));
  staging_->zero(buffer);
  return buffer;
}

void CudaDevice::write(const BufferRef& to, uint64_t offset, const void* from, uint64_t bytes) {
  gpu_->enter();
  staging_->write(to, offset, from, bytes);
}

void CudaDevice::read(const BufferRef& from, uint64_t offset, void* to, uint64_t bytes) {
  gpu_->enter();
  staging_->read(from, offset, to, bytes);
}

void CudaDevice::fill(const BufferRef& to, uint64_t offset, uint64_t bytes, uint32_t dtype, uint32_t seed, float scale) {
  gpu_->enter();
  FillArgs args{to->data() + offset, bytes / 16, dtype, scale, seed};
  Step step{nullptr, reinterpret_cast<Fault*>(deviceFault_->data()), nullptr, 0};
  void* params[] = {&args, &step};
  const Function fillRandom = functionOf("fillRandom", 0);
  const Result result =
      (*gpu_)->cuLaunchKernel(fillRandom, 8 * limits_.multiprocessors, 1, 1, kFillThreads, 1, 1, 0, *stream_, params, nullptr);
  check(result, "filling memory");
  check((*gpu_)->cuStreamSynchronize(*stream_), "filling memory");
}

std::shared_ptr<Pinned> CudaDevice::mirror(const BufferRef& buffer) {
  gpu_->enter();
  const std::lock_guard<std::mutex> lock(mirrorsLock_);
  auto& [owner, pinned] = mirrors_[buffer->id];
  if (owner.lock() != buffer) {
    owner = buffer;
    pinned = std::make_shared<Pinned>(gpu_, buffer->bytes);
    staging_->read(buffer, 0, pinned->data(), buffer->bytes);
    for (auto it = mirrors_.begin(); it != mirrors_.end();) it = it->second.first.expired() ? mirrors_.erase(it) : std::next(it);
  }
  return mirrors_.at(buffer->id).second;
}

uint64_t CudaDevice::freeBytes() const {
  gpu_->enter();
  size_t free = 0, all = 0;
  check((*gpu_)->cuMemGetInfo_v2(&free, &all), "asking for free memory");
  return free;
}

RunResult CudaDevice::run(const LinkedProgram& linked, bool timed) {
  using Clock = std::chrono::steady_clock;
  gpu_->enter();
  Plan& plan = planOf(linked);
  const Clock::time_point begin = Clock::now();
  const Gpu& gpu = *gpu_;
  copyMirrors(linked, true);
  check(gpu->cuMemsetD8Async(addressOf(deviceFault_), 0, sizeof(Fault), *stream_), "clearing the fault");
  if (timed) {
    while (events_.size() <= plan.ops.size()) {
      events_.push_back(nullptr);
      check(gpu->cuEventCreate(&events_.back(), 0), "making an event");
    }
    check(gpu->cuEventRecord(events_[0], *stream_), "timing");
    for (size_t i = 0; i < plan.ops.size(); i++) {
      launchOp(plan, i);
      check(gpu->cuEventRecord(events_[i + 1], *stream_), "timing");
    }
  } else {
    if (!plan.graph) record(plan);
    check(gpu->cuGraphLaunch(plan.graph, *stream_), "launching a list");
  }
  check(gpu->cuMemcpyDtoHAsync_v2(fault_->data(), addressOf(deviceFault_), sizeof(Fault), *stream_), "reading the fault");
  copyMirrors(linked, false);
  check(gpu->cuStreamSynchronize(*stream_), "running a list");
  RunResult result;
  result.elapsedNs = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
  for (size_t i = 0; timed && i < plan.ops.size(); i++) result.opNs.push_back(elapsed(events_[i], events_[i + 1]));
  requireNoFault(*linked.program);
  return result;
}

CudaDevice::Plan& CudaDevice::planOf(const LinkedProgram& linked) {
  for (const auto& plan : plans_) {
    if (plan->isFor(linked)) return *plan;
  }
  plans_.erase(std::remove_if(plans_.begin(), plans_.end(), [](const auto& plan) { return plan->program.expired(); }), plans_.end());
  auto plan = makePlan(linked);
  plans_.push_back(std::move(plan));
  return *plans_.back();
}

std::unique_ptr<CudaDevice::Plan> CudaDevice::makePlan(const LinkedProgram& linked) {
  const Program& program = *linked.program;
  auto plan = std::make_unique<Plan>();
  plan->program = linked.program;
  plan->bases = linked.bases;
  plan->gpu = gpu_;
  plan->args.resize(program.ops().size());
  uint64_t scratchBytes = 0;
  for (uint32_t i = 0; i < program.ops().size(); i++) {
    program.place(i, linked, plan->args[i].data());
    Launches launches = launchesOf(program.ops()[i].code, plan->args[i].data(), limits_);
    scratchBytes = std::max(scratchBytes, launches.scratchBytes);
    CublasLt::PlanRef dense = launches.dense && blas_ ? blas_->plan(*reinterpret_cast<const LinearArgs*>(plan->args[i].data())) : nullptr;
    std::vector<Function> functions;
    for (const Launch& launch : launches.steps) functions.push_back(functionOf(launch.kernel, launch.sharedBytes));
    plan->ops.push_back({i, {}, std::move(launches.steps), std::move(functions), std::move(dense)});
  }
  growScratch(scratchBytes);
  for (uint32_t i = 0; i < plan->ops.size(); i++) {
    plan->ops[i].step = {reinterpret_cast<const int32_t*>(linked.bases[kBindingFrame]), reinterpret_cast<Fault*>(deviceFault_->data()),
                         scratch_ ? scratch_->data() : nullptr, i};
  }
  return plan;
}

// Plans made before hold the old address: they are made again.
void CudaDevice::growScratch(uint64_t bytes) {
  if (bytes == 0 || (scratch_ && scratch_->bytes >= bytes)) return;
  plans_.clear();
  scratch_ = nullptr;
  scratch_ = memory_->allocate(0, bytes, "scratch", own_);
}

Function CudaDevice::functionOf(const char* kernel, uint32_t sharedBytes) {
  auto& [function, allowed] = functions_[kernel];
  if (!function) {
    check((*gpu_)->cuModuleGetFunction(&function, *module_, kernel), kernel);
    allowed = kSharedBytes;
  }
  if (sharedBytes > allowed) {
    check((*gpu_)->cuFuncSetAttribute(function, kMaxDynamicSharedBytes, static_cast<int>(sharedBytes)), kernel);
    allowed = sharedBytes;
  }
  return function;
}

void CudaDevice::launchOp(Plan& plan, size_t index) {
  Plan::Op& op = plan.ops[index];
  if (op.dense) return blas_->run(*op.dense, *stream_, workspace_->data());
  for (size_t i = 0; i < op.launches.size(); i++) {
    const Launch& launch = op.launches[i];
    void* params[] = {plan.args[op.args].data(), &op.step};
    const Result result = (*gpu_)->cuLaunchKernel(op.functions[i], launch.grid.x, launch.grid.y, launch.grid.z, launch.threads, 1, 1,
                                                  launch.sharedBytes, *stream_, params, nullptr);
    (*gpu_)->check(result, launch.kernel);
  }
}

void CudaDevice::record(Plan& plan) {
  const Gpu& gpu = *gpu_;
  Graph graph = nullptr;
  check(gpu->cuStreamBeginCapture_v2(*stream_, kCaptureRelaxed), "recording a list");
  try {
    for (size_t i = 0; i < plan.ops.size(); i++) launchOp(plan, i);
  } catch (...) {
    if (gpu->cuStreamEndCapture(*stream_, &graph) == kSuccess && graph) gpu->cuGraphDestroy(graph);
    throw;
  }
  check(gpu->cuStreamEndCapture(*stream_, &graph), "recording a list");
  const Result result = gpu->cuGraphInstantiateWithFlags(&plan.graph, graph, 0);
  gpu->cuGraphDestroy(graph);
  check(result, "making a graph of a list");
}

void CudaDevice::copyMirrors(const LinkedProgram& linked, bool toDevice) {
  const std::lock_guard<std::mutex> lock(mirrorsLock_);
  for (const BufferRef& buffer : linked.held) {
    const auto found = mirrors_.find(buffer->id);
    if (found == mirrors_.end() || found->second.first.lock() != buffer) continue;
    const auto& pinned = found->second.second;
    for (uint32_t binding = 1; binding < kFirstBufferId; binding++) {
      if (linked.bases[binding] != buffer->data()) continue;
      const uint64_t bytes = std::max<uint64_t>(linked.program->boundBytes(binding), binding == kBindingFrame ? kHeaderWords * 4 : 0);
      if (toDevice && goesToDevice(binding)) {
        check((*gpu_)->cuMemcpyHtoDAsync_v2(addressOf(buffer), pinned->data(), bytes, *stream_), "sending the frame");
      }
      if (!toDevice && comesBack(binding)) {
        check((*gpu_)->cuMemcpyDtoHAsync_v2(pinned->data(), addressOf(buffer), bytes, *stream_), "fetching results");
      }
    }
  }
}

double CudaDevice::elapsed(Event begin, Event end) const {
  float milliseconds = 0;
  check((*gpu_)->cuEventElapsedTime(&milliseconds, begin, end), "timing");
  return static_cast<double>(milliseconds) * 1e6;
}

void CudaDevice::requireNoFault(const Program& program) const {
  Fault fault;
  memcpy(&fault, fault_->data(), sizeof fault);
  if (fault.raised) program.site(fault.op).fail(describe(fault));
}

}  // namespace cuda
}  // namespace weft

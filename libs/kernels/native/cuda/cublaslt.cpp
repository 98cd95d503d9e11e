#include "cuda/cublaslt.h"

#include <dlfcn.h>

#include "core/error.h"
#include "cuda/linear_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr const char* kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};
constexpr uint32_t kAlignment = 16, kMaxAlignment = 256;   // least, for tensor cores; most that an algorithm asks for

uint32_t alignmentOf(const void* p) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(p) | kMaxAlignment;
  return static_cast<uint32_t>(bits & -bits);
}

// An object of the library.
template <typename T>
class Owned {
 public:
  explicit Owned(BlasStatus (*destroy)(T)) : destroy_(destroy) {}
  ~Owned() { if (value_) destroy_(value_); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  T* made() { return &value_; }
  operator T() const { return value_; }

 private:
  BlasStatus (*destroy_)(T);
  T value_ = nullptr;
};

}  // namespace

// Matrices are column by column there: rows [n][k] of weights are a k × n matrix, to be transposed; y is n × rows.
class CublasLt::Plan {
 public:
  explicit Plan(const CublasLt& lt)
      : matmul(lt.cublasLtMatmulDescDestroy), w(lt.cublasLtMatrixLayoutDestroy), x(lt.cublasLtMatrixLayoutDestroy),
        y(lt.cublasLtMatrixLayoutDestroy) {}
  Owned<BlasMatmul> matmul;
  Owned<BlasLayout> w, x, y;
  BlasHeuristic found = {};
  LinearArgs args;
};

void CublasLt::PlanDeleter::operator()(Plan* plan) const { delete plan; }

CublasLt::CublasLt(const std::string& path, uint64_t workspaceBytes) : workspaceBytes_(workspaceBytes) {
  library_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_) throw Error("device_error", format("no cuBLASLt: %s", dlerror()));
  const char* missing = nullptr;
#define WEFT_FIND(TYPE, NAME, PARAMS)                                \
  NAME = reinterpret_cast<decltype(NAME)>(dlsym(library_, #NAME));   \
  if (!NAME && !missing) missing = #NAME;
  WEFT_CUBLASLT_CALLS(WEFT_FIND)
#undef WEFT_FIND
  try {
    if (missing) throw Error("device_error", format("%s is not cuBLASLt of CUDA 12 or 13: %s is missing in it", path.c_str(), missing));
    check(cublasLtCreate(&handle_), "starting it");
  } catch (...) {
    dlclose(library_);
    throw;
  }
}

CublasLt::~CublasLt() {
  cublasLtDestroy(handle_);
  dlclose(library_);
}

std::unique_ptr<CublasLt> CublasLt::find(const std::vector<std::string>& paths, uint64_t workspaceBytes) {
  std::vector<std::string> all = paths;
  all.insert(all.end(), std::begin(kNames), std::end(kNames));
  for (const std::string& path : all) {
    if (void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      auto found = std::make_unique<CublasLt>(path, workspaceBytes);
      dlclose(library);
      return found;
    }
  }
  return nullptr;
}

void CublasLt::check(BlasStatus status, const char* doing) const {
  if (status != kBlasSuccess) throw Error("device_error", format("cuBLASLt, %s: %s (%d).", doing, cublasLtGetStatusString(status), status));
}

bool CublasLt::takes(const LinearArgs& a) {
  const auto aligned = [](const void* p, uint64_t rowBytes) { return (reinterpret_cast<uintptr_t>(p) | rowBytes) % kAlignment == 0; };
  return a.layout == 1 && a.dtype == kDTypeBf16 && a.xType == kDTypeBf16 && a.rows > kFewRows && aligned(a.w, uint64_t{a.k} * 2) &&
         aligned(a.x, uint64_t{a.ldx} * 2) && aligned(a.y, uint64_t{a.ldy} * 4) && aligned(a.b, 0);
}

CublasLt::PlanRef CublasLt::plan(const LinearArgs& a) const {
  PlanRef plan(new Plan(*this));
  plan->args = a;
  const auto set = [&](int attribute, const auto& value) {
    check(cublasLtMatmulDescSetAttribute(plan->matmul, attribute, &value, sizeof value), "describing a linear map");
  };
  check(cublasLtMatmulDescCreate(plan->matmul.made(), kBlasComputeF32, kBlasF32), "describing a linear map");
  set(kMatmulTransposeA, int32_t{kBlasTransposed});
  if (a.b) {                                             // of y's type, f32
    set(kMatmulEpilogue, kEpilogueBias);
    set(kMatmulBias, a.b);
  }
  check(cublasLtMatrixLayoutCreate(plan->w.made(), kBlasBf16, a.k, a.n, a.k), "describing weights");
  check(cublasLtMatrixLayoutCreate(plan->x.made(), kBlasBf16, a.k, a.rows, a.ldx), "describing rows");
  check(cublasLtMatrixLayoutCreate(plan->y.made(), kBlasF32, a.n, a.rows, a.ldy), "describing rows");

  Owned<BlasPreference> preference(cublasLtMatmulPreferenceDestroy);
  check(cublasLtMatmulPreferenceCreate(preference.made()), "asking for an algorithm");
  const auto prefer = [&](int attribute, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "asking for an algorithm");
  };
  prefer(kPreferWorkspace, workspaceBytes_);
  prefer(kPreferAlignmentA, alignmentOf(a.w));
  prefer(kPreferAlignmentB, alignmentOf(a.x));
  prefer(kPreferAlignmentC, alignmentOf(a.y));
  prefer(kPreferAlignmentD, alignmentOf(a.y));
  int count = 0;
  const BlasStatus status = cublasLtMatmulAlgoGetHeuristic(handle_, plan->matmul, plan->w, plan->x, plan->y, plan->y, preference, 1,
                                                           &plan->found, &count);
  if (status == kBlasNotSupported || (status == kBlasSuccess && (count == 0 || plan->found.state != kBlasSuccess))) return nullptr;
  check(status, "asking for an algorithm");
  return plan;
}

void CublasLt::run(const Plan& plan, Stream stream, void* workspace) const {
  const LinearArgs& a = plan.args;
  const float alpha = 1, beta = a.accumulate ? 1 : 0;
  const BlasStatus status = cublasLtMatmul(handle_, plan.matmul, &alpha, a.w, plan.w, a.x, plan.x, &beta, a.y, plan.y, a.y, plan.y,
                                           &plan.found.algorithm, workspace, plan.found.workspaceBytes, stream);
  check(status, "running a linear map");
}

}  // namespace cuda
}  // namespace weft

// cuBLASLt, opened where it is installed: it runs the linear maps of bf16 rows and weights that have many rows. Nothing here
// needs it to compile or to run without. Declarations follow cublasLt.h of CUDA 12 and 13. Source: cuBLAS, «Using the cuBLASLt API».
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/ops.gen.h"
#include "cuda/driver.h"

namespace weft {
namespace cuda {

using BlasStatus = int;
using BlasHandle = struct BlasContext*;
using BlasMatmul = struct BlasMatmulDescriptor*;
using BlasLayout = struct BlasLayoutDescriptor*;
using BlasPreference = struct BlasPreferenceDescriptor*;

struct BlasAlgorithm { uint64_t data[8]; };
struct BlasHeuristic {
  BlasAlgorithm algorithm;
  size_t workspaceBytes;
  BlasStatus state;
  float waves;
  int reserved[4];
};

constexpr BlasStatus kBlasSuccess = 0, kBlasNotSupported = 15;
constexpr int kBlasF32 = 0, kBlasBf16 = 14;              // CUDA_R_…
constexpr int kBlasComputeF32 = 68, kBlasTransposed = 1; // CUBLAS_COMPUTE_32F, CUBLAS_OP_T
constexpr int kMatmulTransposeA = 3, kMatmulEpilogue = 7, kMatmulBias = 8;   // CUBLASLT_MATMUL_DESC_…
constexpr uint32_t kEpilogueBias = 4;
// CUBLASLT_MATMUL_PREF_…
constexpr int kPreferWorkspace = 1, kPreferAlignmentA = 5, kPreferAlignmentB = 6, kPreferAlignmentC = 7, kPreferAlignmentD = 8;

#define WEFT_CUBLASLT_CALLS(CALL)                                                                                                     \
  CALL(BlasStatus, cublasLtCreate, (BlasHandle * handle))                                                                             \
  CALL(BlasStatus, cublasLtDestroy, (BlasHandle handle))                                                                              \
  CALL(const char*, cublasLtGetStatusString, (BlasStatus status))                                                                     \
  CALL(size_t, cublasLtGetVersion, ())                                                                                                \
  CALL(BlasStatus, cublasLtMatmulDescCreate, (BlasMatmul * matmul, int computeType, int scaleType))                                   \
  CALL(BlasStatus, cublasLtMatmulDescSetAttribute, (BlasMatmul matmul, int attribute, const void* value, size_t bytes))               \
  CALL(BlasStatus, cublasLtMatmulDescDestroy, (BlasMatmul matmul))                                                                    \
  CALL(BlasStatus, cublasLtMatrixLayoutCreate, (BlasLayout * layout, int type, uint64_t rows, uint64_t columns, int64_t ld))          \
  CALL(BlasStatus, cublasLtMatrixLayoutDestroy, (BlasLayout layout))                                                                  \
  CALL(BlasStatus, cublasLtMatmulPreferenceCreate, (BlasPreference * preference))                                                     \
  CALL(BlasStatus, cublasLtMatmulPreferenceSetAttribute, (BlasPreference preference, int attribute, const void* value, size_t bytes)) \
  CALL(BlasStatus, cublasLtMatmulPreferenceDestroy, (BlasPreference preference))                                                      \
  CALL(BlasStatus, cublasLtMatmulAlgoGetHeuristic, (BlasHandle handle, BlasMatmul matmul, BlasLayout a, BlasLayout b, BlasLayout c,   \
                                                    BlasLayout d, BlasPreference preference, int wanted, BlasHeuristic* found,        \
                                                    int* count))                                                                      \
  CALL(BlasStatus, cublasLtMatmul, (BlasHandle handle, BlasMatmul matmul, const void* alpha, const void* a, BlasLayout layoutA,       \
                                    const void* b, BlasLayout layoutB, const void* beta, const void* c, BlasLayout layoutC, void* d,  \
                                    BlasLayout layoutD, const BlasAlgorithm* algorithm, void* workspace, size_t workspaceBytes,       \
                                    Stream stream))

// For the GPU whose context is current when it is made; all calls want that context. Throws device_error.
class CublasLt {
 public:
  class Plan;                                            // a matmul with the algorithm for it
  struct PlanDeleter { void operator()(Plan* plan) const; };
  using PlanRef = std::unique_ptr<Plan, PlanDeleter>;    // gone before its CublasLt is

  // workspaceBytes: what `run` will be given.
  CublasLt(const std::string& path, uint64_t workspaceBytes);
  ~CublasLt();
  CublasLt(const CublasLt&) = delete;
  CublasLt& operator=(const CublasLt&) = delete;

  // The first of `paths` that is there, or else what the loader finds by name; nullptr where there is none. Python's packages
  // have it in site-packages/nvidia/cublas/lib (CUDA 12) and site-packages/nvidia/cu13/lib.
  static std::unique_ptr<CublasLt> find(const std::vector<std::string>& paths, uint64_t workspaceBytes);

  // Whether a linear map with plain weights is one for this library: more rows than linearFew's, 16-byte aligned operands.
  static bool takes(const LinearArgs& a);

  // nullptr where the library has no algorithm for it.
  PlanRef plan(const LinearArgs& a) const;

  // Computes all a.rows rows, beyond those that the step counts too: what stands in y there is garbage of garbage.
  // workspace: 256-byte aligned. May be captured; a plan's first run may load its kernel, which a capture allows only in
  // relaxed mode, so run a plan once before a stricter one.
  void run(const Plan& plan, Stream stream, void* workspace) const;

  // As the library counts: major · 10,000 + minor · 100 + patch.
  uint64_t version() const { return cublasLtGetVersion(); }
  uint64_t workspaceBytes() const { return workspaceBytes_; }

 private:
  void check(BlasStatus status, const char* doing) const;

#define WEFT_DECLARE(TYPE, NAME, PARAMS) TYPE(*NAME) PARAMS = nullptr;
  WEFT_CUBLASLT_CALLS(WEFT_DECLARE)
#undef WEFT_DECLARE

  void* library_ = nullptr;
  BlasHandle handle_ = nullptr;
  uint64_t workspaceBytes_;
};

}  // namespace cuda
}  // namespace weft

// A libcublasLt.so for tests on machines without a GPU: has the functions that cuda/cublaslt.h calls, holds what it is asked
// against what cuBLASLt's manual demands, and multiplies on the host. It takes only what that file asks for: bf16 · bf16, the
// first matrix transposed, f32 sums. What it does not take it names on stderr and answers with CUBLAS_STATUS_INVALID_VALUE.
//
// Work on a stream: where the driver that is loaded (libcuda) has cuLaunchHostFunc, the product is a host function on that
// stream, and so may be captured; else it is done at once.
#include <dlfcn.h>
#include <link.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "core/float_formats.h"

namespace {

enum Status { kSuccess = 0, kNotInitialized = 1, kInvalidValue = 7, kNotSupported = 15 };

struct Context { uint32_t alive = 0xb1a5; };
struct Matmul {
  int transposeA = 0, transposeB = 0;
  uint32_t epilogue = 1;
  const float* bias = nullptr;
};
struct Layout { uint64_t rows, columns; int64_t ld; int type; };
struct Preference {
  uint64_t workspaceBytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};          // of a, b, c, d
};
struct Algorithm {
  uint64_t known;                                        // that it comes from here
  uint64_t shape[3];
  uint32_t alignment[4];
  uint64_t workspaceBytes;
};
struct Heuristic {
  uint64_t algorithm[8];
  size_t workspaceBytes;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Algorithm) <= sizeof(Heuristic::algorithm), "an algorithm is 64 bytes there");

constexpr uint64_t kKnown = 0xa190, kWorkspace = 4096;

int refuse(const char* what) {
  fprintf(stderr, "fake cuBLASLt: %s\n", what);
  return kInvalidValue;
}
#define REQUIRE(CONDITION, WHAT) if (!(CONDITION)) return refuse(WHAT)

template <typename T>
int take(T& to, const void* value, size_t bytes, const char* what) {
  if (bytes != sizeof to || !value) return refuse(what);
  memcpy(&to, value, bytes);
  return kSuccess;
}

struct Product {
  uint64_t n, rows, k, ldw, ldx, ldy;
  const uint16_t *w, *x;
  const float* bias;
  float *y, beta;
  void* workspace;
};

void multiply(void* data) {
  const Product& p = *static_cast<const Product*>(data);
  memset(p.workspace, 0xff, kWorkspace);
  for (uint64_t row = 0; row < p.rows; row++) {
    for (uint64_t out = 0; out < p.n; out++) {
      float sum = 0;
      for (uint64_t i = 0; i < p.k; i++) sum += weft::bf16ToF32(p.w[out * p.ldw + i]) * weft::bf16ToF32(p.x[row * p.ldx + i]);
      float& y = p.y[row * p.ldy + out];
      y = sum + (p.beta == 0 ? 0 : p.beta * y) + (p.bias ? p.bias[out] : 0);
    }
  }
}

using LaunchHost = int (*)(void* stream, void (*function)(void*), void* data);
LaunchHost driverLaunch() {
  static const LaunchHost found = [] {
    LaunchHost launch = nullptr;
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* to) {
      void* library = strstr(info->dlpi_name, "cuda") ? dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD) : nullptr;
      if (library) {
        if (void* symbol = dlsym(library, "cuLaunchHostFunc")) memcpy(to, &symbol, sizeof symbol);
        dlclose(library);
      }
      return 0;
    }, &launch);
    return launch;
  }();
  return found;
}

bool aligned(const void* p, uint32_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

const char* mismatch(const Matmul& m, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
  if (a.type != 14 || b.type != 14 || c.type != 0 || d.type != 0) return "types are not bf16, bf16, f32, f32";
  if (m.transposeA != 1 || m.transposeB != 0) return "the first matrix alone is to be transposed";
  if (a.rows != b.rows || a.columns != d.rows || b.columns != d.columns) return "dimensions do not fit";
  if (c.rows != d.rows || c.columns != d.columns || c.ld != d.ld) return "c and d differ";
  for (const Layout* l : {&a, &b, &c, &d}) {
    if (l->ld < static_cast<int64_t>(l->rows)) return "columns overlap";
    if (l->ld * (l->type ? 2 : 4) % 16) return "columns are not aligned for tensor cores";
  }
  if (m.epilogue != 1 && m.epilogue != 4) return "an epilogue other than none and bias";
  if ((m.epilogue == 4) != (m.bias != nullptr)) return "an epilogue without its bias";
  return nullptr;
}

}  // namespace

extern "C" {

int cublasLtCreate(Context** handle) {
  *handle = new Context();
  return kSuccess;
}
int cublasLtDestroy(Context* handle) {
  delete handle;
  return kSuccess;
}
const char* cublasLtGetStatusString(int status) {
  return status == kSuccess ? "success" : status == kNotSupported ? "not supported" : "invalid value";
}
size_t cublasLtGetVersion() { return 130000; }

int cublasLtMatmulDescCreate(Matmul** matmul, int computeType, int scaleType) {
  REQUIRE(computeType == 68 && scaleType == 0, "sums are not f32");
  *matmul = new Matmul();
  return kSuccess;
}
int cublasLtMatmulDescSetAttribute(Matmul* matmul, int attribute, const void* value, size_t bytes) {
  switch (attribute) {
    case 3: return take(matmul->transposeA, value, bytes, "TRANSA is an int32");
    case 4: return take(matmul->transposeB, value, bytes, "TRANSB is an int32");
    case 7: return take(matmul->epilogue, value, bytes, "EPILOGUE is a uint32");
    case 8: return take(matmul->bias, value, bytes, "BIAS_POINTER is a pointer");
    default: return refuse("an attribute of a matmul that is not known here");
  }
}
int cublasLtMatmulDescDestroy(Matmul* matmul) {
  delete matmul;
  return kSuccess;
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  REQUIRE(rows > 0 && columns > 0 && ld > 0, "an empty matrix");
  *layout = new Layout{rows, columns, ld, type};
  return kSuccess;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return kSuccess;
}
int cublasLtMatmulPreferenceCreate(Preference** preference) {
  *preference = new Preference();
  return kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t bytes) {
  if (attribute == 1) return take(preference->workspaceBytes, value, bytes, "MAX_WORKSPACE_BYTES is a uint64");
  if (attribute >= 5 && attribute <= 8) return take(preference->alignment[attribute - 5], value, bytes, "MIN_ALIGNMENT is a uint32");
  return refuse("a preference that is not known here");
}
int cublasLtMatmulPreferenceDestroy(Preference* preference) {
  delete preference;
  return kSuccess;
}

int cublasLtMatmulAlgoGetHeuristic(Context* handle, Matmul* matmul, Layout* a, Layout* b, Layout* c, Layout* d, Preference* preference,
                                   int wanted, Heuristic* found, int* count) {
  REQUIRE(handle && handle->alive == Context().alive, "no handle");
  REQUIRE(wanted > 0 && found && count, "no room for an algorithm");
  if (const char* what = mismatch(*matmul, *a, *b, *c, *d)) return refuse(what);
  *count = 0;
  if (preference->workspaceBytes < kWorkspace) return kNotSupported;
  Algorithm algorithm = {kKnown, {a->columns, b->columns, a->rows}, {}, kWorkspace};
  memcpy(algorithm.alignment, preference->alignment, sizeof algorithm.alignment);
  *found = {};
  memcpy(found->algorithm, &algorithm, sizeof algorithm);
  found->workspaceBytes = kWorkspace;
  found->waves = 1;
  *count = 1;
  return kSuccess;
}

int cublasLtMatmul(Context* handle, Matmul* matmul, const float* alpha, const void* a, Layout* layoutA, const void* b, Layout* layoutB,
                   const float* beta, const void* c, Layout* layoutC, void* d, Layout* layoutD, const void* chosen, void* workspace,
                   size_t workspaceBytes, void* stream) {
  REQUIRE(handle && handle->alive == Context().alive, "no handle");
  if (const char* what = mismatch(*matmul, *layoutA, *layoutB, *layoutC, *layoutD)) return refuse(what);
  Algorithm algorithm;
  memcpy(&algorithm, chosen, sizeof algorithm);
  REQUIRE(algorithm.known == kKnown, "an algorithm of elsewhere");
  const uint64_t shape[] = {layoutA->columns, layoutB->columns, layoutA->rows};
  REQUIRE(memcmp(shape, algorithm.shape, sizeof shape) == 0, "an algorithm for another shape");
  const void* operands[] = {a, b, c, d};
  for (int i = 0; i < 4; i++) {
    REQUIRE(operands[i] && aligned(operands[i], algorithm.alignment[i]), "an operand is less aligned than was said");
  }
  REQUIRE(aligned(matmul->bias, 16), "the bias is not aligned");
  REQUIRE(workspace && aligned(workspace, 256) && workspaceBytes >= algorithm.workspaceBytes, "the workspace is not aligned or too small");
  REQUIRE(*alpha == 1 && (*beta == 0 || *beta == 1), "alpha is not 1, or beta neither 0 nor 1");
  REQUIRE(c == d, "c is not d");
  // A graph may run it again and again.
  static std::vector<std::unique_ptr<Product>> products;
  products.push_back(std::make_unique<Product>(Product{
      layoutA->columns, layoutB->columns, layoutA->rows, static_cast<uint64_t>(layoutA->ld), static_cast<uint64_t>(layoutB->ld),
      static_cast<uint64_t>(layoutD->ld), static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), matmul->bias,
      static_cast<float*>(d), *beta, workspace}));
  if (const LaunchHost launch = driverLaunch()) return launch(stream, multiply, products.back().get()) == 0 ? kSuccess : kNotInitialized;
  multiply(products.back().get());
  return kSuccess;
}

}  // extern "C"

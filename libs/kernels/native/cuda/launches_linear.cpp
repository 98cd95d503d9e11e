// Which of kernels/linear.h run a linear map.
#include "core/error.h"
#include "cuda/cublaslt.h"
#include "cuda/launches.h"
#include "cuda/linear_shape.h"

namespace weft {
namespace cuda {
namespace {

constexpr const char* kFew[][4] = {
    {"linearFewF32x1", "linearFewF32x2", "linearFewF32x4", "linearFewF32x8"},
    {"linearFewBf16x1", "linearFewBf16x2", "linearFewBf16x4", "linearFewBf16x8"},
    {"linearFewF16x1", "linearFewF16x2", "linearFewF16x4", "linearFewF16x8"},
};
static_assert(kDTypeF32 == 0 && kDTypeBf16 == 1 && kDTypeF16 == 2, "the order of kFew");

template <class Shape>
uint32_t blocksOf(const LinearArgs& a) { return ceilDiv(a.n, Shape::kOuts) * ceilDiv(a.rows, Shape::kRows); }

template <class Shape>
Launch tiles(const char* kernel, const LinearArgs& a) { return {kernel, {blocksOf<Shape>(a), 1, 1}, Shape::kThreads, Shape::kSharedBytes}; }

// Large tiles read less, and more of them are idle: the largest that rows more than half fill and that keeps all multiprocessors busy.
template <class Shape>
bool suits(const LinearArgs& a, const LaunchLimits& limits) {
  return a.rows > Shape::kRows / 2 && blocksOf<Shape>(a) >= limits.multiprocessors && Shape::kSharedBytes <= limits.sharedBytes;
}

void requirePlain(const LinearArgs& a) {
  if (a.layout == 1 && (a.dtype == kDTypeF32 || a.dtype == kDTypeBf16 || a.dtype == kDTypeF16)) return;
  throw Error("device_error", format("linear: w has layout %u and dtype %u; this device takes plain rows (layout 1) of f32 (0), bf16 (1) "
                                     "or f16 (2).", a.layout, a.dtype));
}

}  // namespace

void launch(const LinearArgs& a, const LaunchLimits& limits, Launches& out) {
  requirePlain(a);
  if (a.rows == 0 || a.n == 0) return;
  if (!limits.deterministic && a.rows <= kFewRows) {
    const uint32_t size = a.rows > 4 ? 3 : a.rows > 2 ? 2 : a.rows - 1;
    out.steps.push_back({kFew[a.dtype][size], {ceilDiv(a.n, kFewOuts), 1, 1}, kFewThreads});
    return;
  }
  if (a.xType == kDTypeBf16 && a.dtype == kDTypeBf16) {
    // Later tiles of logits seldom run: ours count, the library does not.
    out.dense = !limits.deterministic && a.countFrom == 0 && CublasLt::takes(a);
    if (suits<Mma128x128>(a, limits)) out.steps.push_back(tiles<Mma128x128>("linearMma128x128", a));
    else if (suits<Mma64x64>(a, limits)) out.steps.push_back(tiles<Mma64x64>("linearMma64x64", a));
    else out.steps.push_back(tiles<Mma32x32>("linearMma32x32", a));
  } else if (a.rows > Fma64x16::kRows) {
    out.steps.push_back(tiles<Fma64x64>("linearFma64x64", a));
  } else {
    out.steps.push_back(tiles<Fma64x16>("linearFma64x16", a));
  }
}

}  // namespace cuda
}  // namespace weft

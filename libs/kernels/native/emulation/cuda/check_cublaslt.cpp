// check-cublaslt: cuda/cublaslt.h against a library that it is given (the fake one where there is no GPU), on random linear
// maps. Exits with 1 where a result is wrong or a call is refused.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "core/error.h"
#include "core/float_formats.h"
#include "cuda/cublaslt.h"

using namespace weft;
using namespace weft::cuda;

namespace {

constexpr uint64_t kWorkspaceBytes = 1 << 20;

std::mt19937 random_(1);
uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_()) % limit; }
float normal() { return std::normal_distribution<float>()(random_); }

struct Free { void operator()(void* p) const { free(p); } };
// Memory that begins `shift` bytes behind a multiple of 256.
template <typename T>
class Values {
 public:
  Values(size_t count, size_t shift)
      : base_(static_cast<uint8_t*>(aligned_alloc(256, (count * sizeof(T) + shift + 255) / 256 * 256))), shift_(shift) {}
  T* data() const { return reinterpret_cast<T*>(base_.get() + shift_); }
  T& operator[](size_t i) const { return data()[i]; }

 private:
  std::unique_ptr<uint8_t, Free> base_;
  size_t shift_;
};

void fill(const Values<uint16_t>& values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = static_cast<uint16_t>(bitsOf(normal()) >> 16);
}

int failures = 0;
void require(bool holds, const char* what) {
  if (holds) return;
  printf("%s\n", what);
  failures++;
}

void checkProduct(const CublasLt& lt, uint8_t* workspace) {
  LinearArgs a = {};
  a.rows = 9 + below(60);
  a.n = 1 + below(80);
  a.k = 8 * (1 + below(20));
  a.ldx = a.k + 8 * below(3);
  a.ldy = (a.n + 3) / 4 * 4 + 4 * below(3);
  a.dtype = a.xType = kDTypeBf16;
  a.layout = 1;
  a.accumulate = below(2);
  const size_t shift = 16 * below(16);
  const Values<uint16_t> w(size_t{a.n} * a.k, shift), x(size_t{a.rows} * a.ldx, 16 * below(16));
  const Values<float> y(size_t{a.rows} * a.ldy, 16 * below(16)), b(a.n, 0);
  fill(w, size_t{a.n} * a.k);
  fill(x, size_t{a.rows} * a.ldx);
  for (uint32_t i = 0; i < a.n; i++) b[i] = normal();
  std::vector<float> before(size_t{a.rows} * a.ldy);
  for (size_t i = 0; i < before.size(); i++) before[i] = y[i] = normal();
  a.w = reinterpret_cast<uint8_t*>(w.data());
  a.x = reinterpret_cast<uint8_t*>(x.data());
  a.y = y.data();
  a.b = below(2) ? b.data() : nullptr;

  require(CublasLt::takes(a), "an aligned map of bf16 is not taken");
  const auto plan = lt.plan(a);
  require(plan != nullptr, "there is no algorithm");
  if (!plan) return;
  lt.run(*plan, nullptr, workspace);
  for (size_t i = 0; i < before.size(); i++) {
    const size_t row = i / a.ldy, out = i % a.ldy;
    double sum = 0;
    for (uint32_t j = 0; out < a.n && j < a.k; j++) sum += double{bf16ToF32(w[out * a.k + j])} * bf16ToF32(x[row * a.ldx + j]);
    const double wanted = out >= a.n ? before[i] : sum + (a.b ? b[out] : 0) + (a.accumulate ? before[i] : 0);
    require(std::fabs(y[i] - wanted) < 1e-3, "a value is wrong");
  }
}

void checkTakes() {
  LinearArgs a = {};
  a.rows = 9, a.n = 5, a.k = 16, a.ldx = 16, a.ldy = 8, a.layout = 1, a.dtype = a.xType = kDTypeBf16;
  const auto refused = [&](auto change, const char* what) {
    LinearArgs changed = a;
    change(changed);
    require(!CublasLt::takes(changed), what);
  };
  require(CublasLt::takes(a), "what all others differ from is not taken");
  refused([](LinearArgs& c) { c.rows = 8; }, "few rows are taken");
  refused([](LinearArgs& c) { c.k = 12; }, "k that is not aligned is taken");
  refused([](LinearArgs& c) { c.ldx = 18; }, "ldx that is not aligned is taken");
  refused([](LinearArgs& c) { c.ldy = 9; }, "ldy that is not aligned is taken");
  refused([](LinearArgs& c) { c.x += 4; }, "x that is not aligned is taken");
  refused([](LinearArgs& c) { c.b += 1; }, "b that is not aligned is taken");
  refused([](LinearArgs& c) { c.dtype = kDTypeF16; }, "f16 is taken");
  refused([](LinearArgs& c) { c.xType = kDTypeF32; }, "f32 rows are taken");
  refused([](LinearArgs& c) { c.layout = 0; }, "panels are taken");
}

template <typename Call>
void requireError(Call call, const char* what) {
  try {
    call();
    require(false, what);
  } catch (const Error& e) {
    printf("%s: %s\n", e.code, e.what());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return printf("usage: check-cublaslt LIBRARY\n"), 2;
  checkTakes();
  requireError([] { CublasLt lt("/nowhere/libcublasLt.so.13", 0); }, "a library that is not there opens");
  requireError([] { CublasLt lt("libm.so.6", 0); }, "another library opens");
  const auto lt = CublasLt::find({"/nowhere/libcublasLt.so.13", argv[1]}, kWorkspaceBytes);
  if (!lt) return printf("%s does not open\n", argv[1]), 1;
  printf("version %llu\n", static_cast<unsigned long long>(lt->version()));
  const Values<uint8_t> workspace(kWorkspaceBytes, 0);
  try {
    for (int i = 0; i < 200; i++) checkProduct(*lt, workspace.data());
  } catch (const Error& e) {
    require(false, e.what());
  }
  {
    LinearArgs a = {};
    a.rows = 9, a.n = 5, a.k = 16, a.ldx = 16, a.ldy = 8, a.layout = 1, a.dtype = a.xType = kDTypeBf16;
    require(CublasLt(argv[1], 0).plan(a) == nullptr, "an algorithm without the workspace it needs");
  }
  printf("%d failures\n", failures);
  return failures != 0;
}

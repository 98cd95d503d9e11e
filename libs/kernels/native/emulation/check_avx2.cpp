// check-emulation: every emulated intrinsic against plain code written from the manual, on random and on edge operands,
// bit by bit; and against the processor itself where it has the instruction. Prints how many of each; exits with 1 when any
// differs.
#include "emulation/avx512.h"

#include <cpuid.h>
#include <random>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

namespace {

using Wide = __float128;                                 // holds any product of two f32

struct In {
  float a[16], b[16], c[16];
  uint16_t left[16 * 32], right[16 * 32];
  float sums[256];
  uint16_t k;
  int n, n2, pairs;                                      // n: 0 … 15; the others 1 … 16
  const uint8_t* end;                                    // nothing may be read from here on
};
struct Out {
  alignas(64) uint8_t bytes[1024];
  float& f(int i) { return reinterpret_cast<float*>(bytes)[i]; }
  int32_t& i(int i) { return reinterpret_cast<int32_t*>(bytes)[i]; }
  uint16_t& h(int i) { return reinterpret_cast<uint16_t*>(bytes)[i]; }
};
enum Feature { kAvx512, kVnni, kBf16, kAmx, kFeatures };
using Function = void (*)(const In&, Out&);

}  // namespace

namespace weft {
namespace emulated {
#define CASE(feature, name, ...) static void name([[maybe_unused]] const In& in, Out& out) { __VA_ARGS__; }
#include "emulation/cases.h"
}  // namespace emulated
}  // namespace weft

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16")
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define _tile_loadd(tile, base, stride) _tile_loadd_internal(tile, base, stride)
#define _tile_stored(tile, base, stride) _tile_stored_internal(tile, base, stride)
#define _tile_zero(tile) _tile_zero_internal(tile)
#define _tile_dpbf16ps(to, left, right) _tile_dpbf16ps_internal(to, left, right)
namespace hardware {
#include "emulation/cases.h"
}  // namespace hardware
#pragma GCC diagnostic pop
#pragma GCC pop_options

namespace {

// --- What the manual says, lane by lane.

uint32_t bits(float a) { uint32_t u; memcpy(&u, &a, 4); return u; }
float number(uint32_t u) { float a; memcpy(&a, &u, 4); return a; }
int32_t lane32(const float* v, int i) { return (int32_t)bits(v[i]); }
int16_t lane16(const float* v, int i) { return reinterpret_cast<const int16_t*>(v)[i]; }
int8_t lane8(const float* v, int i) { return reinterpret_cast<const int8_t*>(v)[i]; }
uint64_t lane64(const float* v, int i) { uint64_t u; memcpy(&u, v + 2 * i, 8); return u; }
bool isNan(float a) { return (bits(a) & 0x7fffffff) > 0x7f800000; }
float zeroDenormal(float a) { return bits(a) >> 23 & 255 ? a : number(bits(a) & 0x80000000); }
float bf16(uint16_t h) { return zeroDenormal(number((uint32_t)h << 16)); }

// a·b + c. What 113 bits don't hold shows in the last one, so that rounding again comes out as if all were there.
Wide fmaWide(float a, float b, float c) {
  const Wide product = (Wide)a * b, sum = product + c, part = sum - product;
  const Wide lost = (product - (sum - part)) + (c - part);
  if (!isfinite(a) || !isfinite(b) || !isfinite(c) || lost == 0) return sum;
  unsigned __int128 u;
  memcpy(&u, &sum, 16);
  if ((lost < 0) != (sum < 0)) u--;
  u |= 1;
  Wide odd;
  memcpy(&odd, &u, 16);
  return odd;
}
// a·b + c to 24 bits, nearest even, with any exponent; then to zero or to infinity where f32 has none.
float fmaManual(float a, float b, float c) {
  const Wide sum = fmaWide(a, b, c);
  if (!isfinite(a) || !isfinite(b) || !isfinite(c) || sum == 0) return (float)sum;
  Wide magnitude = sum < 0 ? -sum : sum, unit = 1;
  while (magnitude / unit >= 0x1p24f) unit *= 2;
  while (magnitude / unit < 0x1p23f) unit /= 2;
  const Wide scaled = magnitude / unit;
  int64_t whole = (int64_t)scaled;
  const Wide rest = scaled - whole;
  if (rest > 0.5 || (rest == 0.5 && whole & 1)) whole++;
  magnitude = whole * unit;
  const float sign = sum < 0 ? -1.0f : 1.0f;
  if (magnitude < (Wide)FLT_MIN) return 0 * sign;
  return sign * (float)magnitude;                        // exact, or infinite
}
float sumManual(float a, float b) { return zeroDenormal(a + b); }
float f16Value(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023, sign = h >> 15;
  if (exponent == 31) return number((uint32_t)sign << 31 | 0x7f800000 | (fraction ? 0x400000 | (uint32_t)fraction << 13 : 0));
  const double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
  return (float)(sign ? -value : value);
}
uint16_t f16Manual(float a) {
  const uint16_t sign = (uint16_t)(bits(a) >> 16 & 0x8000);
  if (isNan(a)) return (uint16_t)(sign | 0x7e00 | (bits(a) >> 13 & 1023));
  uint16_t best = 0;                                     // of all finite ones and 2^16 the nearest, even at a tie
  const double magnitude = fabs((double)a);
  uint16_t low = 0, high = 0x7c00;
  const auto value = [](uint16_t h) { return h == 0x7c00 ? 65536.0 : (double)f16Value(h); };
  if (magnitude >= 65536) return (uint16_t)(sign | 0x7c00);
  while (high - low > 1) {
    const uint16_t middle = (uint16_t)((low + high) / 2);
    (value(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - value(low), above = value(high) - magnitude;
  best = below < above || (below == above && !(low & 1)) ? low : high;
  return (uint16_t)(sign | best);
}
float scalefManual(float a, float n) {
  uint32_t bits;
  memcpy(&bits, &a, sizeof bits);
  if (isNan(a) && isinf(n) && bits / 0x400000 % 2) return n > 0 ? INFINITY : 0.0f;
  if (isNan(a) || isNan(n)) return NAN;
  const double whole = floor((double)n);
  if (isinf(n) && n > 0) return a == 0 ? NAN : a * INFINITY;
  if (isinf(n)) return isinf(a) ? NAN : copysignf(0, a);
  if (a == 0 || isinf(a)) return a;
  Wide value = a;
  for (int i = 0; i < 600 && i < whole; i++) value *= 2;
  for (int i = 0; i < 600 && i < -whole; i++) value /= 2;
  return (float)value;
}
int32_t nearestInt(float a) {
  if (!(a >= -2147483648.0f && a < 2147483648.0f)) return INT32_MIN;
  const double down = floor((double)a), rest = a - down;
  return (int32_t)(down + (rest > 0.5 || (rest == 0.5 && fmod(down, 2) != 0)));
}
int32_t pairManual(const float* a, const float* b, int i) {
  return (int32_t)((int64_t)lane16(a, 2 * i) * lane16(b, 2 * i) + (int64_t)lane16(a, 2 * i + 1) * lane16(b, 2 * i + 1));
}

#define EACH(count, ...) { for (int i = 0; i < count; i++) { __VA_ARGS__; } }
#define MANUAL(name, ...) void name([[maybe_unused]] const In& in, Out& out) { __VA_ARGS__; }
#define BYTE(v) reinterpret_cast<int8_t*>(out.bytes)[i] = (v)

namespace manual {
MANUAL(maskz_loadu_ps, EACH(16, out.i(i) = 0) memcpy(out.bytes, in.end - 4 * in.n, (size_t)(4 * in.n)))
MANUAL(mask_storeu_ps, EACH(16, if (in.k >> i & 1) out.f(i) = in.a[i]))
MANUAL(maskz_loadu_epi16, EACH(16, out.h(i) = 0) memcpy(out.bytes, in.end - 2 * in.n, (size_t)(2 * in.n)))
MANUAL(mask_storeu_epi16, EACH(16, if (in.k >> i & 1) out.h(i) = (uint16_t)lane16(in.a, i)))
MANUAL(setzero_ps, EACH(16, out.i(i) = 0))
MANUAL(setzero_si512, EACH(16, out.i(i) = 0))
MANUAL(set1_ps, EACH(16, out.f(i) = in.a[3]))
MANUAL(set1_epi32, EACH(16, out.i(i) = (int)in.k * 77777))
MANUAL(set1_epi8, EACH(64, BYTE((int8_t)in.k)))
MANUAL(setr_epi32, EACH(16, out.i(i) = i == 1 ? -1 : i))
MANUAL(setr_epi64, EACH(16, out.i(i) = i == 2 || i == 3 ? -1 : i & 1 ? 0 : i / 2))
MANUAL(castsi512_ps, memcpy(out.bytes, in.a, 64))
MANUAL(castps_si512, memcpy(out.bytes, in.a, 64))
MANUAL(castps512_ps256, memcpy(out.bytes, in.a, 32))
MANUAL(castsi256_si512, EACH(16, out.i(i) = i < 8 ? lane32(in.a, i) : 0))
MANUAL(extractf32x8_ps, memcpy(out.bytes, in.a + 8, 32))
MANUAL(broadcast_i32x4, EACH(16, out.f(i) = in.a[i % 4]))
MANUAL(mask_blend_ps, EACH(16, out.f(i) = in.k >> i & 1 ? in.b[i] : in.a[i]))
MANUAL(mask_blend_epi32, EACH(16, out.f(i) = in.k >> i & 1 ? in.b[i] : in.a[i]))
MANUAL(permutex2var_ps, EACH(16, const int at = lane32(in.c, i) & 31; out.f(i) = at < 16 ? in.a[at] : in.b[at - 16]))
MANUAL(permutexvar_epi64, EACH(16, out.f(i) = in.a[2 * (lane64(in.b, i / 2) % 8) + i % 2]))
MANUAL(shuffle_epi8, EACH(64, const int at = lane8(in.b, i); BYTE(at < 0 ? (int8_t)0 : lane8(in.a, i / 16 * 16 + at % 16))))
MANUAL(unpacklo_epi8, EACH(64, BYTE(lane8(i % 2 ? in.b : in.a, i / 16 * 16 + i % 16 / 2))))
MANUAL(unpackhi_epi8, EACH(64, BYTE(lane8(i % 2 ? in.b : in.a, i / 16 * 16 + 8 + i % 16 / 2))))
MANUAL(add_ps, EACH(16, out.f(i) = (float)((double)in.a[i] + in.b[i])))
MANUAL(sub_ps, EACH(16, out.f(i) = (float)((double)in.a[i] - in.b[i])))
MANUAL(mul_ps, EACH(16, out.f(i) = (float)((double)in.a[i] * in.b[i])))
MANUAL(div_ps, EACH(16, out.f(i) = (float)((double)in.a[i] / in.b[i])))
MANUAL(fmadd_ps, EACH(16, out.f(i) = (float)fmaWide(in.a[i], in.b[i], in.c[i])))
MANUAL(max_ps, EACH(16, out.f(i) = isNan(in.a[i]) || isNan(in.b[i]) || in.a[i] <= in.b[i] ? in.b[i] : in.a[i]))
MANUAL(min_ps, EACH(16, out.f(i) = isNan(in.a[i]) || isNan(in.b[i]) || in.a[i] >= in.b[i] ? in.b[i] : in.a[i]))
MANUAL(and_ps, EACH(16, out.i(i) = lane32(in.a, i) & lane32(in.b, i)))
MANUAL(or_ps, EACH(16, out.i(i) = lane32(in.a, i) | lane32(in.b, i)))
MANUAL(abs_ps, EACH(16, out.i(i) = lane32(in.a, i) & INT32_MAX))
MANUAL(cmp_lt, out.h(0) = 0; EACH(16, if (in.a[i] < in.b[i]) out.h(0) |= (uint16_t)(1 << i)))
MANUAL(cmp_gt, out.h(0) = 0; EACH(16, if (in.a[i] > in.b[i]) out.h(0) |= (uint16_t)(1 << i)))
MANUAL(cmp_unord, out.h(0) = 0; EACH(16, if (isNan(in.a[i]) || isNan(in.b[i])) out.h(0) |= (uint16_t)(1 << i)))
MANUAL(roundscale_ps, EACH(16, out.f(i) = fabsf(in.a[i]) < 0x1p23f ? copysignf((float)nearestInt(in.a[i]), in.a[i]) : in.a[i]))
MANUAL(scalef_ps, EACH(16, out.f(i) = scalefManual(in.a[i], in.b[i])))
MANUAL(add_epi32, EACH(16, out.i(i) = (int32_t)((int64_t)lane32(in.a, i) + lane32(in.b, i))))
MANUAL(and_si512, EACH(16, out.i(i) = lane32(in.a, i) & lane32(in.b, i)))
MANUAL(or_si512, EACH(16, out.i(i) = lane32(in.a, i) | lane32(in.b, i)))
MANUAL(slli_epi32, EACH(16, out.i(i) = (int32_t)((uint32_t)lane32(in.a, i) * 65536)))
MANUAL(srli_epi32, EACH(16, out.i(i) = (int32_t)((uint32_t)lane32(in.a, i) / 65536)))
MANUAL(srlv_epi64, EACH(8, const uint64_t mask = i < 5 ? 127 : i < 7 ? 63 : UINT64_MAX, n = lane64(in.b, i) & mask;
                        const uint64_t v = n < 64 ? lane64(in.a, i) >> n : 0; memcpy(out.bytes + 8 * i, &v, 8)))
MANUAL(madd_epi16, EACH(16, out.i(i) = pairManual(in.a, in.b, i)))
MANUAL(dpwssd_epi32, EACH(16, out.i(i) = (int32_t)((int64_t)lane32(in.c, i) + pairManual(in.a, in.b, i))))
MANUAL(cvtepu16_epi32, EACH(16, out.i(i) = (uint16_t)lane16(in.a, i)))
MANUAL(cvtepi8_epi16, EACH(32, out.h(i) = (uint16_t)(int16_t)lane8(in.a, i)))
MANUAL(cvtepi8_epi32, EACH(16, out.i(i) = lane8(in.a, i)))
MANUAL(cvtepi32_epi16, EACH(16, out.h(i) = (uint16_t)(lane32(in.a, i) & 0xffff)))
MANUAL(cvtsepi32_epi16, EACH(16, const int32_t v = lane32(in.a, i); out.h(i) = (uint16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v)))
MANUAL(cvtepi32_ps, EACH(16, out.f(i) = (float)(double)lane32(in.a, i)))
MANUAL(cvtps_epi32, EACH(16, out.i(i) = nearestInt(in.a[i])))
MANUAL(cvtph_ps, EACH(16, out.f(i) = f16Value((uint16_t)lane16(in.a, i))))
MANUAL(cvtps_ph, EACH(16, out.h(i) = f16Manual(in.a[i])))
MANUAL(dpbf16_ps, EACH(16, float sum = zeroDenormal(in.c[i]);
                       for (int half : {1, 0}) sum = fmaManual(bf16((uint16_t)lane16(in.a, 2 * i + half)), bf16((uint16_t)lane16(in.b, 2 * i + half)), sum);
                       out.f(i) = sum))
MANUAL(tiles, for (int m = 0; m <= in.n; m++) for (int n = 0; n < in.n2; n++) {
  float half[2] = {0, 0};
  for (int k = 0; k < 2 * in.pairs; k++) half[k % 2] = fmaManual(bf16(in.left[32 * m + k]), bf16(in.right[32 * (k / 2) + 2 * n + k % 2]), half[k % 2]);
  out.f(16 * m + n) = sumManual(in.k & 1 ? 0 : zeroDenormal(in.sums[16 * m + n]), sumManual(half[0], half[1]));
})
}  // namespace manual

// --- Which of them the processor has.

bool has(Feature feature) {
#if defined(__x86_64__)
  if (feature == kAvx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  }
  if (feature == kVnni) return has(kAvx512) && __builtin_cpu_supports("avx512vnni");
  if (feature == kBf16) return has(kAvx512) && __builtin_cpu_supports("avx512bf16");
#if defined(__linux__)
  uint32_t a, b, c, d;
  const bool amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1);
  return amx && has(kAvx512) && syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
#endif
#endif
  return false;
}

struct Case {
  const char* name;
  Feature feature;
  bool floats;                                           // a NaN is as good as another
  Function emulated, hardware, manual;
};
#undef CASE
#define CASE(feature, name, ...) \
  {#name, feature, strstr(#__VA_ARGS__, "HALF_OUT") == nullptr && strstr(#__VA_ARGS__, "INTS") == nullptr, weft::emulated::name, hardware::name, manual::name},
const Case kCases[] = {
#include "emulation/cases.h"
};

// Edges of f32, bf16 and f16, and whole numbers near half of them; otherwise any bits.
struct Operands {
  std::mt19937 random{12345};
  uint32_t any() { return (uint32_t)random(); }
  float edge() {
    static const uint32_t kEdges[] = {0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x00800001, 0x80800000, 0x3f800000, 0xbf800000, 0x3f000000,
      0x40200000, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x477fe000, 0x477ff000, 0x477fefff, 0x33000000,
      0x33000001, 0x387fc000, 0x4effffff, 0x4f000000, 0xcf000000, 0xcf000001, 0x3f808000, 0x3f818000, 0x7f7f8000, 0x80008000, 0x7fff7fff, 0x20002000, 0x9fff9fff};
    return number(kEdges[any() % (sizeof kEdges / 4)]);
  }
  // Values whose products and sums come near the smallest normal number.
  float small() { return number((any() & 0x80ffffff) | (any() % 3 + 61) << 23); }
  float one(int style) {
    switch (style) {
      case 0: return number(any());
      case 1: return edge();
      case 2: return (float)((int)(any() % 2001) - 1000) / 4;
      case 3: return small();
      case 4: return number((any() & 0x81ff0000) | 0x1f800000 | ((any() & 0x01ff) | 0x1f80 | (any() & 0x8000)));   // pairs of such bf16
      default: return any() % 4 ? number((any() & 0x807fffff) | (any() % 40 + 107) << 23) : edge();
    }
  }
  void fill(float* v, int count, int style) {
    for (int i = 0; i < count; i++) v[i] = one(style);
  }
};

bool same(const Case& c, const Out& x, const Out& y) {
  if (memcmp(x.bytes, y.bytes, sizeof x.bytes) == 0) return true;
  if (!c.floats) return false;
  for (int i = 0; i < 256; i++) {
    float a, b;
    memcpy(&a, x.bytes + 4 * i, 4), memcpy(&b, y.bytes + 4 * i, 4);
    if (bits(a) != bits(b) && !(isNan(a) && isNan(b))) return false;
  }
  return true;
}

void explain(const char* against, const Case& c, const In& in, const Out& got, const Out& wanted) {
  printf("%s differs from %s\n", c.name, against);
  for (int i = 0; i < 16; i++) {
    uint32_t g, w;
    memcpy(&g, got.bytes + 4 * i, 4), memcpy(&w, wanted.bytes + 4 * i, 4);
    if (g != w) printf("  lane %d: a %08x b %08x c %08x  got %08x  wanted %08x\n", i, bits(in.a[i]), bits(in.b[i]), bits(in.c[i]), g, w);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 2000;
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  uint8_t* pages = (uint8_t*)mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE) != 0) return 2;
  bool features[kFeatures];
  for (int f = 0; f < kFeatures; f++) features[f] = has((Feature)f);

  Operands operands;
  static In in;
  in.end = pages + page;
  int failures = 0, compared = 0;
  for (const Case& c : kCases) {
    for (int round = 0; round < rounds; round++) {
      const int style = round % 6;
      operands.fill(in.a, 16, style), operands.fill(in.b, 16, style), operands.fill(in.c, 16, style);
      operands.fill((float*)in.left, 256, style), operands.fill((float*)in.right, 256, style), operands.fill(in.sums, 256, style);
      operands.fill((float*)(in.end - 64), 16, style);
      in.k = (uint16_t)operands.any();
      in.n = (int)(operands.any() % 16), in.n2 = (int)(operands.any() % 16) + 1, in.pairs = (int)(operands.any() % 16) + 1;
      static Out got, wanted;
      memset(got.bytes, 0x77, sizeof got.bytes);
      wanted = got;
      Out native = got;
      c.emulated(in, got);
      c.manual(in, wanted);
      if (!same(c, got, wanted)) {
        explain("the manual", c, in, got, wanted);
        failures++;
        break;
      }
      if (!features[c.feature]) continue;
      c.hardware(in, native);
      if (!same(c, got, native)) {
        explain("the processor", c, in, got, native);
        failures++;
        break;
      }
    }
    compared += features[c.feature];
  }
  printf("%zu intrinsics against the manual, %d against this processor, %d differ\n", sizeof kCases / sizeof *kCases, compared, failures);
  return failures ? 1 : 0;
}

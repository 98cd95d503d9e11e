#include "cpu_features.h"

#include "error.h"
#include "kernels.h"
#include "system.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace weft {
namespace {

#if defined(__x86_64__)

struct X86 {
  bool sse42 = false, avx2 = false, avx512 = false, avx512bf16 = false, amx = false;

  X86() {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    sse42 = c >> 20 & 1;
    const bool fma = c >> 12 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1, f16c = c >> 29 & 1;
    // A register set may be used only where the system saves it: XCR0 tells which ones it does.
    if (!osxsave || !avx) return;
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    const bool ymm = (low & 0x6) == 0x6, zmm = (low & 0xe6) == 0xe6;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    avx2 = ymm && fma && f16c && (b >> 5 & 1);
    const bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
    avx512 = avx2 && zmm && f && dq && bw && vl;
    const bool vnni = c >> 11 & 1, amxBf16 = d >> 22 & 1, amxTile = d >> 24 & 1, tiles = (low & 0x60000) == 0x60000;
    avx512bf16 = avx512 && vnni && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
    amx = avx512bf16 && amxBf16 && amxTile && tiles && mayUseAmxTiles();
  }
};

const X86& x86() {
  static const X86 features;
  return features;
}

#endif

}  // namespace

const char* isaName(Isa isa) {
  switch (isa) {
    case Isa::kPortable: return "portable";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Bf16: return "avx512bf16";
    case Isa::kAmx: return "amx";
    case Isa::kNeon: return "neon";
    case Isa::kNeonDot: return "neondot";
    case Isa::kNeonBf16: return "neonbf16";
  }
  return "unknown";
}

bool supports(Isa isa) {
#if defined(WEFT_EMULATE) && defined(__x86_64__)         // emulation/avx512.h
  if (isa != Isa::kPortable && isa < Isa::kNeon) return x86().avx2;
#endif
  switch (isa) {
    case Isa::kPortable: return true;
#if defined(__x86_64__)
    case Isa::kAvx2: return x86().avx2;
    case Isa::kAvx512: return x86().avx512 && kKernelsAvx512;
    case Isa::kAvx512Bf16: return x86().avx512bf16 && kKernelsAvx512Bf16;
    case Isa::kAmx: return x86().amx && kKernelsAmx;
#elif defined(__aarch64__)
    case Isa::kNeon: return true;
    case Isa::kNeonDot: return armFeatures().dotProducts && kKernelsNeonDot;
    case Isa::kNeonBf16: return armFeatures().dotProducts && armFeatures().bf16 && kKernelsNeonBf16;
#endif
    default: return false;
  }
}

Isa bestIsa() {
  for (Isa isa : {Isa::kAmx, Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kNeonBf16, Isa::kNeonDot, Isa::kNeon}) {
    if (supports(isa)) return isa;
  }
  return Isa::kPortable;
}

Isa isaByName(const std::string& name) {
  if (name.empty()) return bestIsa();
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx, Isa::kNeon, Isa::kNeonDot, Isa::kNeonBf16}) {
    if (name != isaName(isa)) continue;
    if (supports(isa)) return isa;
    throw Error("device_error",
        format("isa %s: this machine has no %s; the best it has is %s.", name.c_str(), name.c_str(), isaName(bestIsa())));
  }
  throw Error("device_error", format("isa %.40s: unknown; there are portable, avx2, avx512, avx512bf16, amx, neon, neondot and neonbf16.", name.c_str()));
}

bool hasSse42() {
#if defined(__x86_64__)
  return x86().sse42;
#else
  return false;
#endif
}

}  // namespace weft

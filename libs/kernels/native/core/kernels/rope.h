// Rotary embedding in place: (a, b) -> (a cos - b sin, b cos + a sin).     bound by memory: 1 read, 1 write a value
#pragma once

namespace weft {
namespace WEFT_ISA {

// half = rotary/2 pairs (i, i + half).
WEFT_INLINE void rotateHalves(float* x, const float* cosines, const float* sines, uint32_t half) {
  for (uint32_t i = 0; i < half; i += kLanes) {
    const int n = half - i < (uint32_t)kLanes ? half - i : kLanes;
    F c = loadN(cosines + i, n), s = loadN(sines + i, n), a = loadN(x + i, n), b = loadN(x + half + i, n);
    storeN(x + i, sub(mul(a, c), mul(b, s)), n);
    storeN(x + half + i, add(mul(b, c), mul(a, s)), n);
  }
}

// Pairs (2i, 2i + 1).
WEFT_INLINE void rotateInterleaved(float* x, const float* cosines, const float* sines, uint32_t half) {
  for (uint32_t i = 0; i < half; i++) {
    float a = x[2 * i], b = x[2 * i + 1];
    x[2 * i] = a * cosines[i] - b * sines[i];
    x[2 * i + 1] = b * cosines[i] + a * sines[i];
  }
}

WEFT_INLINE void rotate(float* x, const float* cosSin, uint32_t rotary, bool interleaved) {
  if (interleaved) rotateInterleaved(x, cosSin, cosSin + rotary / 2, rotary / 2);
  else rotateHalves(x, cosSin, cosSin + rotary / 2, rotary / 2);
}

static uint32_t ropeTiles(const void* p, uint32_t threads) {
  const RopeArgs& a = *static_cast<const RopeArgs*>(p);
  return Split(a.count, a.heads * a.rotary * 0.3, threads).tiles();
}

static void ropeRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const RopeArgs& a = *static_cast<const RopeArgs*>(p);
  Split split(a.count, a.heads * a.rotary * 0.3, threads);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    const float* cosSin = a.cosSin + (size_t)a.positions[t] * a.rotary;
    for (uint32_t h = 0; h < a.heads; h++) rotate(a.x + t * a.ldx + h * a.dim, cosSin, a.rotary, a.interleaved);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

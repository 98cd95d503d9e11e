// Around latent attention: what a token leaves in its page, and linear maps of heads.
#pragma once

namespace weft {
namespace WEFT_ISA {

// latentKv: norm, RoPE and the write while a row is in L1.     bound by cache lines: a token touches one for every two values
static double latentKvNs(const LatentKvArgs& a) { return a.dim * 1.2 + a.heads * a.rope * 0.5; }

static uint32_t latentKvTiles(const void* p, uint32_t threads) {
  const LatentKvArgs& a = *static_cast<const LatentKvArgs*>(p);
  return Split(a.count, latentKvNs(a), threads).tiles();
}

static void latentKvRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const LatentKvArgs& a = *static_cast<const LatentKvArgs*>(p);
  Split split(a.count, latentKvNs(a), threads);
  float* row = static_cast<float*>(scratch.take((a.dim + ceilDiv(a.dim, kLanes) * kLanes) * sizeof(float)));
  uint16_t* halves = reinterpret_cast<uint16_t*>(row + a.dim);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    const float *kv = a.kv + t * a.ldkv, *cosSin = a.cosSin + (size_t)a.positions[t] * a.rope;
    scaleRow<F32>(kv, a.w, 0, normFactor(sumOfSquares(kv, a.latent), a.latent, a.eps), row, a.latent);
    memcpy(row + a.latent, kv + a.latent, a.rope * sizeof(float));
    rotate(row + a.latent, cosSin, a.rope, a.interleaved);
    narrowRow(row, a.dim, halves);
    const uint32_t position = a.positions[t];
    const int32_t* segment = a.segments + (size_t)a.rowSegments[t] * kSegmentWords;
    uint16_t* column = reinterpret_cast<uint16_t*>(pageOf(a, segment, position / kBlockTokens)) + position % kBlockTokens;
    for (uint32_t i = 0; i < a.dim; i++) column[i * kBlockTokens] = halves[i];
    for (uint32_t h = 0; h < a.heads; h++) {
      float* turned = a.query + t * a.ldQuery + h * a.dim + a.latent;
      memcpy(turned, a.q + t * a.ldq + (h + 1) * a.qDim - a.rope, a.rope * sizeof(float));
      rotate(turned, cosSin, a.rope, a.interleaved);
    }
  }
}

// headLinear: op `linear` of each head in turn.
static LinearArgs headArgs(const HeadLinearArgs& a, size_t head) {
  size_t panel = (size_t)kOuts * a.k * (a.dtype == kDTypeF32 ? 4 : 2);
  if (a.dtype == kDTypeBf16) panel = (size_t)kOuts * ceilDiv(a.k, 2) * 4;
  if (a.dtype == kDTypeBf12) panel = bf12PanelBytes(a.k);
  LinearArgs one{};
  one.x = reinterpret_cast<uint8_t*>(a.x + head * a.xStride);
  one.w = a.w + head * ceilDiv(a.n, kOuts) * panel;
  one.y = a.y + head * a.yStride;
  one.count = a.count;
  one.rows = a.rows;
  one.n = a.n;
  one.k = a.k;
  one.ldx = a.ldx;
  one.ldy = a.ldy;
  one.dtype = a.dtype;
  return one;
}

static uint32_t headLinearTiles(const void* p, uint32_t) {
  const HeadLinearArgs& a = *static_cast<const HeadLinearArgs*>(p);
  const LinearArgs one = headArgs(a, 0);
  return a.heads * linearTiles(&one, 1);
}

static void headLinearRun(const void* p, uint32_t tile, uint32_t, Scratch& scratch) {
  const HeadLinearArgs& a = *static_cast<const HeadLinearArgs*>(p);
  const LinearArgs first = headArgs(a, 0);
  const uint32_t tiles = linearTiles(&first, 1);
  const LinearArgs one = headArgs(a, tile / tiles);
  linearRun(&one, tile % tiles, 1, scratch);
}

}  // namespace WEFT_ISA
}  // namespace weft

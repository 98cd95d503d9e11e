// KV pages: where a block lies, and writing rows into it.
#pragma once

namespace weft {
namespace WEFT_ISA {

// The page of `block` of a segment, for KV group `group` (frame.ts: SEGMENT).
template <class Args>
WEFT_INLINE uint8_t* pageOf(const Args& a, const int32_t* segment, uint32_t block) {
  const int32_t* group = segment + kSegmentFirstBlock + 3 * a.kvGroup;
  return a.arena + (size_t)a.pages[group[1] + (int32_t)block - group[0]] * a.pageBytes + a.layerOffset;
}

// Scales of kv head 0 of a plane: they stand behind its heads, 16 f16 of each (int8 alone).
template <class Args>
WEFT_INLINE uint8_t* scalesOf(const Args& a, uint8_t* plane) { return plane + (size_t)a.kvHeads * a.headStride; }

// f16 values of a row, `dim` rounded up to whole vectors.
WEFT_INLINE void narrowRow(const float* row, uint32_t dim, uint16_t* halves) {
  for (uint32_t i = 0; i < dim; i += kLanes) storeF16(halves + i, dim - i < (uint32_t)kLanes ? loadN(row + i, dim - i) : load(row + i));
}

// A row as int8 and the f16 scale that they return: row[i] is about scale · bytes[i]. Symmetric, the largest becomes ±127.
// A row that is not finite gets the scale NaN, so that whoever sees it becomes NaN.
WEFT_INLINE uint16_t quantizeRow(const float* row, uint32_t dim, int8_t* bytes) {
  F high = zero(), poison = zero();
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const F x = dim - i < (uint32_t)kLanes ? loadN(row + i, dim - i) : load(row + i);
    high = maxOf(magnitude(x), high);
    poison = add(poison, mul(x, zero()));                // 0, or NaN
  }
  uint16_t halves[kLanes];
  storeF16(halves, splat(maxOver(high) / 127.0f + sumOf(poison)));
  float scale[kLanes];
  store(scale, loadF16(halves));
  const F inverse = splat(scale[0] > 0 ? 1.0f / scale[0] : 0.0f);
  for (uint32_t i = 0; i < dim; i += kLanes) {
    const F x = dim - i < (uint32_t)kLanes ? loadN(row + i, dim - i) : load(row + i);
    float rounded[kLanes];
    store(rounded, maxOf(splat(-127.0f), minOf(splat(127.0f), nearest(mul(x, inverse)))));
    for (uint32_t l = 0; l < (uint32_t)kLanes && i + l < dim; l++) bytes[i + l] = rounded[l] == rounded[l] ? (int8_t)rounded[l] : 0;
  }
  return halves[0];
}

// kvWrite.   bound by cache lines: V is one run of dim values, K touches dim/2 lines (tokens lie in lanes for attention)
static uint32_t kvWriteTiles(const void* p, uint32_t threads) {
  const KvWriteArgs& a = *static_cast<const KvWriteArgs*>(p);
  return Split(a.count, a.kvHeads * a.dim * 1.0, threads).tiles();
}

template <class Stored>
static void kvWriteHead(uint8_t* keys, uint8_t* values, const Stored* key, const Stored* value, uint32_t dim, uint32_t token) {
  Stored* column = reinterpret_cast<Stored*>(keys) + token;
  for (uint32_t i = 0; i < dim; i++) column[i * kBlockTokens] = key[i];
  memcpy(reinterpret_cast<Stored*>(values) + token * dim, value, dim * sizeof(Stored));
}

// Pairs of dimensions of the key, and the value as one half of its pair of tokens; the other half may be another thread's.
static void kvWritePairs(uint8_t* keys, uint8_t* values, const uint16_t* key, const uint16_t* value, uint32_t dim, uint32_t token) {
  for (uint32_t i = 0; i < dim; i += 2) memcpy(keys + (i / 2 * kBlockTokens + token) * 4, key + i, 4);
  uint16_t* half = reinterpret_cast<uint16_t*>(values) + token / 2 * dim * 2 + token % 2;
  for (uint32_t i = 0; i < dim; i++) half[2 * i] = value[i];
}

// Key and value rows of a token for every kv head, into its page. stored: 2·dim values of room, dim rounded up to whole vectors.
template <class Args>
WEFT_INLINE void writeToken(const Args& a, size_t t, const float* k, const float* v, uint16_t* stored) {
  const uint32_t position = a.positions[t], token = position % kBlockTokens;
  uint8_t* page = pageOf(a, a.segments + (size_t)a.rowSegments[t] * kSegmentWords, position / kBlockTokens);
  uint16_t *key = stored, *value = key + ceilDiv(a.dim, kLanes) * kLanes;
  for (uint32_t h = 0; h < a.kvHeads; h++, k += a.dim, v += a.dim) {
    uint8_t *keys = page + (size_t)h * a.headStride, *values = keys + a.planeStride;
    if (a.kvType == kDTypeInt8) {
      int8_t *keyBytes = reinterpret_cast<int8_t*>(key), *valueBytes = reinterpret_cast<int8_t*>(value);
      const uint16_t scales[] = {quantizeRow(k, a.dim, keyBytes), quantizeRow(v, a.dim, valueBytes)};
      memcpy(scalesOf(a, page) + (h * kBlockTokens + token) * 2, scales, 2);
      memcpy(scalesOf(a, page + a.planeStride) + (h * kBlockTokens + token) * 2, scales + 1, 2);
      kvWriteHead(keys, values, keyBytes, valueBytes, a.dim, token);
    } else if (a.kvType == kDTypeBf16) {
      roundRow(k, key, a.dim);
      roundRow(v, value, a.dim);
      kvWritePairs(keys, values, key, value, a.dim, token);
    } else {
      narrowRow(k, a.dim, key);
      narrowRow(v, a.dim, value);
      kvWriteHead(keys, values, key, value, a.dim, token);
    }
  }
}

static void kvWriteRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const KvWriteArgs& a = *static_cast<const KvWriteArgs*>(p);
  Split split(a.count, a.kvHeads * a.dim * 1.0, threads);
  uint16_t* stored = static_cast<uint16_t*>(scratch.take(ceilDiv(a.dim, kLanes) * kLanes * 4));
  for (size_t t = split.begin(tile); t < split.end(tile); t++) writeToken(a, t, a.k + t * a.ldk, a.v + t * a.ldv, stored);
}

// headNorm, rope and kvWrite while a row is in L1.
static uint32_t ropeKvTiles(const void* p, uint32_t threads) {
  const RopeKvArgs& a = *static_cast<const RopeKvArgs*>(p);
  return Split(a.count, a.width * 0.6, threads).tiles();
}

static void ropeKvRun(const void* p, uint32_t tile, uint32_t threads, Scratch& scratch) {
  const RopeKvArgs& a = *static_cast<const RopeKvArgs*>(p);
  Split split(a.count, a.width * 0.6, threads);
  const float plus = a.plusOne ? 1.0f : 0.0f;
  uint16_t* stored = static_cast<uint16_t*>(scratch.take(ceilDiv(a.dim, kLanes) * kLanes * 4));
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    float* row = a.x + t * a.ldx;
    const float* cosSin = a.cosSin + (size_t)a.positions[t] * a.rotary;
    for (uint32_t h = 0; h < a.heads + a.kvHeads; h++) {
      const float* norm = h < a.heads ? a.qNorm : a.kNorm;
      float* x = row + h * a.dim;
      if (norm) scaleRow<F32>(x, norm, plus, normFactor(sumOfSquares(x, a.dim), a.dim, a.eps), x, a.dim);
      rotate(x, cosSin, a.rotary, a.interleaved);
    }
    const float* k = row + a.heads * a.dim;
    writeToken(a, t, k, k + a.kvHeads * a.dim, stored);
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

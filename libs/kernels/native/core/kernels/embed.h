// x[t] = scale · table[tokens[t]], 0 for tokens behind the table.    bound by memory: layout 1 reads dim values in a row, layout
// 0 (the packed head) reads one value of each of dim 64-byte lines, which is still little beside one linear op.
#pragma once

namespace weft {
namespace WEFT_ISA {

static double embedNs(const EmbedArgs& a) { return a.dim * (a.layout == 0 ? 1.0 : 0.3); }

static uint32_t embedTiles(const void* p, uint32_t threads) {
  const EmbedArgs& a = *static_cast<const EmbedArgs*>(p);
  return Split(a.count, embedNs(a), threads).tiles();
}

template <class W>
static void embedRow(const EmbedArgs& a, uint32_t token, float* x) {
  const auto* table = reinterpret_cast<const typename W::Stored*>(a.table);
  const F scale = splat(a.scale);
  if (a.layout == 1) {
    const auto* row = table + (size_t)token * a.dim;
    uint32_t i = 0;
    for (; i + kLanes <= a.dim; i += kLanes) store(x + i, mul(scale, W::vector(row + i)));
    if (i < a.dim) storeN(x + i, mul(scale, W::vectorN(row + i, a.dim - i)), a.dim - i);
    return;
  }
  constexpr size_t D = W::kDepth;
  const auto* column = table + (token / 32 * ((a.dim + D - 1) / D) * 32 + token % 32) * D;
  typename W::Stored values[kLanes] = {};
  for (uint32_t i = 0; i < a.dim; i += kLanes) {
    const int n = a.dim - i < (uint32_t)kLanes ? a.dim - i : kLanes;
    for (int l = 0; l < n; l++) values[l] = column[(i + l) / D * 32 * D + (i + l) % D];
    storeN(x + i, mul(scale, W::vector(values)), n);
  }
}

// The packed head in bf12 (bf12.h): a row is one output of its panel.
static void embedBf12(const EmbedArgs& a, uint32_t token, float* x) {
  const uint8_t* panel = a.table + token / 32 * bf12PanelBytes(a.dim);
  const uint8_t* stream = panel + bf12StreamAt(a.dim);
  const uint32_t output = token % 32;
  auto put = [&](uint32_t k, uint8_t high, uint8_t low) { x[k] = a.scale * wordAsFloat((int32_t)((uint32_t)high << 24 | (uint32_t)low << 16)); };
  for (uint32_t k = 0; k < a.dim; k++) {
    const uint8_t* unit = stream + k / 2 * kBf12PairBytes;
    const uint32_t at = bf12LowByteOf(2 * output + k % 2), code = unit[kBf12CodesAt + bf12CodeByteOf(at)] >> bf12CodeShiftOf(at) & 15;
    put(k, panel[code], unit[at]);
  }
  const uint32_t* exceptions = bf12Exceptions(panel);
  for (uint32_t i = 0; i < bf12ExceptionCount(panel, a.dim); i++) {
    const Bf12Exception e(exceptions[i]);
    if (e.output == output && e.k < a.dim) put(e.k, e.high, stream[e.k / 2 * kBf12PairBytes + bf12LowByteOf(2 * output + e.k % 2)]);
  }
}

// From panels of int8.
static void embedInt8(const EmbedArgs& a, uint32_t token, float* x) {
  const uint32_t lane = token % kInt8Outs;
  const uint8_t* panel = a.table + token / kInt8Outs * int8PanelBytes(a.dim);
  for (uint32_t i = 0; i < a.dim; i++) {
    const uint32_t group = i / kInt8Group, inside = i % kInt8Group;
    uint16_t stored;
    memcpy(&stored, panel + int8ScalesAt(group, a.dim) + 2 * lane, sizeof stored);
    const uint32_t bits = (uint32_t)stored << 16;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    x[i] = a.scale * (scale * (float)(int8_t)panel[int8GroupAt(group) + inside / 2 * kInt8Line + 2 * lane + inside % 2]);
  }
}

static void embedRun(const void* p, uint32_t tile, uint32_t threads, Scratch&) {
  const EmbedArgs& a = *static_cast<const EmbedArgs*>(p);
  Split split(a.count, embedNs(a), threads);
  for (size_t t = split.begin(tile); t < split.end(tile); t++) {
    const uint32_t token = a.tokens[t];
    float* x = a.x + t * a.ldx;
    if (token >= a.vocab) memset(x, 0, a.dim * sizeof *x);
    else if (a.dtype == kDTypeBf12) embedBf12(a, token, x);
    else if (a.dtype == kDTypeInt8) embedInt8(a, token, x);
    else withFormat(a.dtype, [&](auto format) { embedRow<decltype(format)>(a, token, x); });
  }
}

}  // namespace WEFT_ISA
}  // namespace weft

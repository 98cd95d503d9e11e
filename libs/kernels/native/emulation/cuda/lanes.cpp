// Operations of whole warps. Sources: PTX ISA, «shfl.sync», «Matrix fragments for mma.m16n8k16» and «… for mma.m16n8k32»,
// «ldmatrix».
#include "core/float_formats.h"
#include "emulation/cuda/block.h"

namespace weft {
namespace cuda {
namespace emulated {
namespace {

constexpr uint32_t kLanes = 32;

// sourceOf: the lane whose value a lane gets, by lane, argument and the first and last lane of its segment; beyond the
// segment a lane keeps its own value.
template <typename SourceOf>
void shuffleBy(Lane* const (&lanes)[kLanes], SourceOf sourceOf) {
  for (uint32_t i = 0; i < kLanes; i++) {
    if (!lanes[i]) continue;
    const uint32_t width = lanes[i]->width;
    if (width == 0 || width > kLanes || (width & (width - 1))) fail("a shuffle of width %u", width);
    const uint32_t first = i & ~(width - 1), last = first + width - 1;
    const uint32_t source = sourceOf(i, lanes[i]->argument, first, last);
    if (source >= kLanes || !lanes[source]) fail("lane %u takes the value of lane %u, which is not in the mask", i, source);
    memcpy(lanes[i]->out, lanes[source]->in, 8);
  }
}


// By lane l with group g = l / 4 and t = l % 4: register r of A holds row g + 8 · (r % 2) and columns `per` · t + 0 … per - 1,
// plus 4 · per from r = 2 on; of B the same as rows, by r, and column g; of the sums row g + 8 · (r / 2), column 2t + r % 2.
template <uint32_t per, typename Value, typename Sum, typename Decode>
void multiply(Lane* const (&lanes)[kLanes], Decode decode) {
  constexpr uint32_t kDepth = 8 * per;
  Value a[16][kDepth], b[8][kDepth];
  for (uint32_t l = 0; l < kLanes; l++) {
    if (!lanes[l]) fail("mma without lane %u", l);
    const uint32_t* const* in = static_cast<const uint32_t* const*>(lanes[l]->in);
    const uint32_t g = l / 4, t = l % 4;
    for (uint32_t r = 0; r < 4; r++) {
      for (uint32_t i = 0; i < per; i++) a[g + 8 * (r % 2)][per * t + i + 4 * per * (r / 2)] = decode(in[0][r], i);
    }
    for (uint32_t r = 0; r < 2; r++) {
      for (uint32_t i = 0; i < per; i++) b[g][per * t + i + 4 * per * r] = decode(in[1][r], i);
    }
  }
  using Out = std::conditional_t<std::is_same<Sum, double>::value, float, int32_t>;
  for (uint32_t l = 0; l < kLanes; l++) {
    Out* d = static_cast<Out*>(lanes[l]->out);
    for (uint32_t r = 0; r < 4; r++) {
      const Value *x = a[l / 4 + 8 * (r / 2)], *y = b[2 * (l % 4) + r % 2];
      Sum sum = static_cast<Sum>(d[r]);
      for (uint32_t k = 0; k < kDepth; k++) sum += static_cast<Sum>(x[k]) * static_cast<Sum>(y[k]);
      d[r] = static_cast<Out>(sum);
    }
  }
}

void mmaBf16Op(Lane* const (&lanes)[kLanes], uint32_t) {
  multiply<2, float, double>(lanes, [](uint32_t word, uint32_t i) { return bf16ToF32(static_cast<uint16_t>(word >> 16 * i)); });
}
void mmaF16Op(Lane* const (&lanes)[kLanes], uint32_t) {
  multiply<2, float, double>(lanes, [](uint32_t word, uint32_t i) { return f16ToF32(static_cast<uint16_t>(word >> 16 * i)); });
}
void mmaInt8Op(Lane* const (&lanes)[kLanes], uint32_t) {
  multiply<4, int8_t, int32_t>(lanes, [](uint32_t word, uint32_t i) { return static_cast<int8_t>(word >> 8 * i); });
}

template <bool transposed>
void loadMatricesOp(Lane* const (&lanes)[kLanes], uint32_t) {
  for (uint32_t l = 0; l < kLanes; l++) {
    if (!lanes[l]) fail("ldmatrix without lane %u", l);
  }
  for (uint32_t l = 0; l < kLanes; l++) {
    uint32_t* r = static_cast<uint32_t*>(lanes[l]->out);
    for (uint32_t m = 0; m < 4; m++) {
      const auto at = [&](uint32_t row, uint32_t column) -> uint32_t {
        return static_cast<const uint16_t*>(lanes[m * 8 + row]->in)[column];
      };
      const uint32_t row = l / 4, column = 2 * (l % 4);
      r[m] = transposed ? at(column, row) | at(column + 1, row) << 16 : at(row, column) | at(row, column + 1) << 16;
    }
  }
}

}  // namespace

void shuffleXor(Lane* const (&lanes)[kLanes], uint32_t) {
  shuffleBy(lanes, [](uint32_t lane, uint32_t bits, uint32_t, uint32_t last) { return (lane ^ bits) <= last ? lane ^ bits : lane; });
}
void shuffleDown(Lane* const (&lanes)[kLanes], uint32_t) {
  shuffleBy(lanes, [](uint32_t lane, uint32_t by, uint32_t, uint32_t last) { return by <= last - lane ? lane + by : lane; });
}
void shuffleUp(Lane* const (&lanes)[kLanes], uint32_t) {
  shuffleBy(lanes, [](uint32_t lane, uint32_t by, uint32_t first, uint32_t) { return by <= lane - first ? lane - by : lane; });
}
void shuffleFrom(Lane* const (&lanes)[kLanes], uint32_t) {
  shuffleBy(lanes, [](uint32_t, uint32_t index, uint32_t first, uint32_t last) { return first | (index & (last - first)); });
}

void ballot(Lane* const (&lanes)[kLanes], uint32_t) {
  uint32_t bits = 0;
  for (uint32_t i = 0; i < kLanes; i++) bits |= lanes[i] && lanes[i]->argument ? 1u << i : 0u;
  for (uint32_t i = 0; i < kLanes; i++) {
    if (lanes[i]) *static_cast<uint32_t*>(lanes[i]->out) = bits;
  }
}

void barrier(Lane* const (&)[kLanes], uint32_t) {}

}  // namespace emulated

using namespace emulated;

void emulatedMma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool f16, const char* file, int line) {
  const uint32_t* const in[] = {a, b};
  awaitWarp("mma", 0xffffffffu, {file, line}, f16 ? mmaF16Op : mmaBf16Op, {in, d, 0, 32});
}

void emulatedMmaInt8(int32_t (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const char* file, int line) {
  const uint32_t* const in[] = {a, b};
  awaitWarp("mma", 0xffffffffu, {file, line}, mmaInt8Op, {in, d, 0, 32});
}

void emulatedLoadMatrices(uint32_t (&r)[4], const void* row, bool transposed, const char* file, int line) {
  requireShared(row, 16, "ldmatrix");
  awaitWarp("ldmatrix", 0xffffffffu, {file, line}, transposed ? loadMatricesOp<true> : loadMatricesOp<false>, {row, r, 0, 32});
}

float emulatedFromF16(uint16_t half) { return f16ToF32(half); }

// Nearest even (IEEE 754).
uint32_t emulatedToF16(float value) {
  const uint32_t bits = bitsOf(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return 0x7fff;             // NaN, as the device stores it
  if (magnitude >= 0x477ff000) return sign | 0x7c00;     // from 65520 on it is infinity
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (exponent < -25) return sign;
  const uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
  const int dropped = exponent >= -14 ? 13 : -1 - exponent;   // bits of the mantissa that the format has no place for
  const uint32_t kept = mantissa >> dropped, rest = mantissa & ((1u << dropped) - 1), half = 1u << (dropped - 1);
  const uint32_t rounded = kept + (rest > half || (rest == half && (kept & 1)));
  // The hidden bit adds one to the exponent, and so does a mantissa that overflows.
  return sign | (exponent >= -14 ? (static_cast<uint32_t>(exponent + 14) << 10) + rounded : rounded);
}

}  // namespace cuda
}  // namespace weft

// Elementary functions over vectors: the same bits for a value in whichever lane and op it stands.
#pragma once

namespace weft {
namespace WEFT_ISA {

// e^(x - n ln2) for |x - n ln2| <= ln2/2.
WEFT_INLINE F expOfRest(F x, F n) {
  F r = fma(n, splat(-0.693145752f), x);                                  // ln2 in two parts, the first exact in 16 bits
  r = fma(n, splat(-1.42860677e-6f), r);
  F q = splat(1.3814539e-3f);
  q = fma(q, r, splat(8.368745e-3f));
  q = fma(q, r, splat(4.166839e-2f));
  q = fma(q, r, splat(0.16666521f));
  q = fma(q, r, splat(0.49999994f));
  return add(fma(mul(r, r), q, r), splat(1.0f));
}

// e^x to 2 ulp, through e^x = 2^n e^r with |r| <= ln2/2 and a minimax polynomial (relative error 3e-9 before rounding).
// Subnormal results where the instruction set scales through them, 0 below -104, infinity above 88.8; NaN stays NaN.
WEFT_INLINE F expOf(F x) {
  x = minOf(splat(89.0f), maxOf(splat(-105.0f), x));                      // the bound first: NaN passes
  F n = nearest(mul(x, splat(1.44269504f)));
  return scaleByPower(expOfRest(x, n), n);
}

// e^x for x that is not above 0, and 0 below -86.9, where results end to be normal: two thirds of the steps.
WEFT_INLINE F expBelow(F x) {
  const F least = splat(-86.9f), z = maxOf(least, x);
  F n = nearest(mul(z, splat(1.44269504f)));
  return ifLess(x, least, zero(), scaleNormal(expOfRest(z, n), n));
}

// The same where the result becomes bf16: within 1.1e-4 of it, and 1 at 0.
WEFT_INLINE F expBelowForBf16(F x) {
  const F least = splat(-125.0f), y = mul(x, splat(1.44269504f)), z = maxOf(least, y), n = nearest(z), r = sub(z, n);
  const F q = fma(fma(splat(0.05500893f), r, splat(0.24221097f)), r, splat(0.69328293f));
  return ifLess(y, least, zero(), scaleNormal(fma(q, r, splat(1.0f)), n));
}

WEFT_INLINE float expOf(float x) {
  float lanes[kLanes];
  store(lanes, expOf(splat(x)));
  return lanes[0];
}

// tanh: an odd polynomial near 0, where 1 - 2/(e^2z + 1) would cancel.
WEFT_INLINE F tanhOf(F x) {
  F z = magnitude(x), z2 = mul(z, z);
  F t = splat(-5.5151633e-3f);
  t = fma(t, z2, splat(2.046942e-2f));
  t = fma(t, z2, splat(-5.3688023e-2f));
  t = fma(t, z2, splat(0.1333083f));
  t = fma(t, z2, splat(-0.3333326f));
  F small = fma(mul(t, z2), z, z);
  F large = sub(splat(1.0f), divide(splat(2.0f), add(expOf(add(z, z)), splat(1.0f))));
  return copySign(ifLess(z, splat(0.65f), small, large), x);
}

// x · sigmoid(x)
WEFT_INLINE F siluOf(F x) { return divide(x, add(splat(1.0f), expOf(sub(zero(), x)))); }

// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) = x · sigmoid(2√(2/π) (x + 0.044715 x³)): nothing cancels
WEFT_INLINE F geluTanhOf(F x) {
  F inner = mul(x, fma(mul(x, x), splat(0.044715f), splat(1.0f)));
  return divide(x, add(splat(1.0f), expOf(mul(inner, splat(-1.595769122f)))));
}

// x/2 erfc(-x/√2), erfc after Abramowitz & Stegun 7.1.26 (absolute error 1.5e-7).
WEFT_INLINE F geluOf(F x) {
  F z = mul(magnitude(x), splat(0.707106781f));
  F t = divide(splat(1.0f), fma(z, splat(0.3275911f), splat(1.0f)));
  F p = splat(1.061405429f);
  p = fma(p, t, splat(-1.453152027f));
  p = fma(p, t, splat(1.421413741f));
  p = fma(p, t, splat(-0.284496736f));
  p = fma(p, t, splat(0.254829592f));
  F tail = mul(mul(p, t), expOf(sub(zero(), mul(z, z))));                  // erfc(|x|/√2)
  F cdf2 = ifLess(x, zero(), tail, sub(splat(2.0f), tail));
  return mul(mul(splat(0.5f), x), cdf2);
}

}  // namespace WEFT_ISA
}  // namespace weft

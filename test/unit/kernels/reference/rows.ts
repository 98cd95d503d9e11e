/** Ops on rows, in float64. */

export function rmsNormReference(x: ArrayLike<number>, w: Float32Array, eps: number, plusOne: number): Float64Array {
  let squares = 0;
  for (let i = 0; i < w.length; i++) squares += x[i]! * x[i]!;
  const factor = 1 / Math.sqrt(squares / w.length + eps);
  return Float64Array.from(w, (weight, i) => (weight + (plusOne ? 1 : 0)) * x[i]! * factor);
}

/** One head, in place of its first `rotary` values. cosSin: the row of its position. */
export function ropeReference(x: ArrayLike<number>, cosSin: ArrayLike<number>, rotary: number, interleaved: number): Float64Array {
  const out = Float64Array.from(x as Float32Array), half = rotary / 2;
  for (let i = 0; i < half; i++) {
    const [first, second] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    const a = x[first]!, b = x[second]!, cos = cosSin[i]!, sin = cosSin[half + i]!;
    out[first] = a * cos - b * sin;
    out[second] = b * cos + a * sin;
  }
  return out;
}

/** erfc by its continued fraction (Lentz) beyond 2, by the series of erf below: 1e-14 either way. */
function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 2) {
    let term = x, sum = x;
    for (let n = 1; n < 60; n++) { term *= -x * x / n; sum += term / (2 * n + 1); }
    return 1 - 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 80; n > 0; n--) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / (x + fraction);
}

/** In the order of `Activation`. */
export const activations: readonly ((x: number) => number)[] = [
  x => x / (1 + Math.exp(-x)),
  x => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  x => 0.5 * x * erfc(-x / Math.SQRT2),
];

/** From one row of logits to a token, in float64 where the kernel's own rounding is not part of the meaning. */

/** Philox4x32-10. */
export function philox(key: readonly [number, number], counter: readonly [number, number, number, number]): number[] {
  let [k0, k1] = key as [number, number];
  let [c0, c1, c2, c3] = counter as [number, number, number, number];
  for (let round = 0; round < 10; round++) {
    const p0 = BigInt(c0 >>> 0) * 0xd2511f53n, p1 = BigInt(c2 >>> 0) * 0xcd9e8d57n;
    const high = (p: bigint): number => Number(p >> 32n), low = (p: bigint): number => Number(p & 0xffffffffn);
    [c0, c1, c2, c3] = [(high(p1) ^ c1 ^ k0) >>> 0, low(p1), (high(p0) ^ c3 ^ k1) >>> 0, low(p0)];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** 53 bits of words 0 and 1, in [0, 1). */
export function uniform(seedLo: number, seedHi: number, choice: number, position: number): number {
  const [high, low] = philox([seedLo >>> 0, seedHi >>> 0], [choice, position, 0, 0]);
  return Number(((BigInt(high!) << 32n) | BigInt(low!)) >> 11n) / 2 ** 53;
}

export interface Drawing {
  temperature: number; topK: number; topP: number; minP: number; repetition: number; presence: number; frequency: number;
  seedLo: number; seedHi: number; choice: number; promptLen: number; history: number[]; bias: [number, number][]; allowed: ((token: number) => boolean) | null;
}

/** decided: false where the choice hangs on less than the kernel's f32 weights can tell. */
export interface Drawn { token: number; status: number; decided: boolean }

const f32 = Math.fround;

export function logSoftmax(logits: Float32Array): Float64Array {
  const max = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - max);
  return Float64Array.from(logits, logit => logit - max - Math.log(sum));
}

/** Token ids, most likely first, equal ones by id. */
export const ranked = (logits: Float32Array): number[] =>
  [...logits.keys()].filter(id => logits[id]! > -Infinity).sort((a, b) => logits[b]! - logits[a]! || a - b);

/** Penalties, bias and mask, rounded to f32 after each step as the kernel does. */
export function alteredLogits(logits: Float32Array, s: Drawing): Float32Array {
  const l = logits.slice();
  if (s.repetition !== 1 || s.presence !== 0 || s.frequency !== 0) {
    const generated = new Map<number, number>();
    s.history.forEach((token, i) => generated.set(token, (generated.get(token) ?? 0) + (i >= s.promptLen ? 1 : 0)));
    for (const [token, count] of generated) {
      const repetition = f32(s.repetition);
      l[token] = l[token]! > 0 ? l[token]! / repetition : l[token]! * repetition;
      if (count > 0) l[token] = l[token]! - f32(f32(s.presence) + f32(count * f32(s.frequency)));
    }
  }
  for (const [token, value] of s.bias) l[token] = l[token]! + f32(value);
  if (s.allowed) for (let i = 0; i < l.length; i++) if (!s.allowed(i)) l[i] = -Infinity;
  return l;
}

export function drawReference(logits: Float32Array, s: Drawing): Drawn {
  const l = alteredLogits(logits, s), max = l.reduce((a, b) => Math.max(a, b), -Infinity);
  if (max === -Infinity) return { token: 0, status: 2, decided: true };
  if (s.temperature === 0) return { token: l.indexOf(max), status: 0, decided: true };

  const weight = (id: number): number => Math.exp((l[id]! - max) / f32(s.temperature));
  const sum = (ids: number[]): number => ids.reduce((total, id) => total + weight(id), 0);
  const near = (a: number, b: number): boolean => Math.abs(a - b) < 1e-5 * Math.abs(b);
  const least = s.minP > 0 ? f32(s.minP) : 1e-45;
  const order = ranked(l);
  let decided = s.minP === 0 || !order.some(id => near(weight(id), least));
  let kept = order.filter(id => weight(id) >= least);
  if (s.topK > 0) kept = kept.slice(0, s.topK);
  if (s.topP < 1) {
    const wanted = f32(s.topP) * sum(kept);
    let mass = 0, count = 0;
    while (count < kept.length) {
      mass += weight(kept[count++]!);
      if (near(mass, wanted)) decided = false;
      if (mass >= wanted) break;
    }
    kept = kept.slice(0, count);
  }
  kept.sort((a, b) => a - b);
  const total = sum(kept), target = uniform(s.seedLo, s.seedHi, s.choice, s.history.length) * total;
  let mass = 0;
  for (const id of kept) {
    mass += weight(id);
    if (Math.abs(mass - target) < 1e-5 * total) decided = false;
    if (mass > target) return { token: id, status: 0, decided };
  }
  return { token: kept.at(-1)!, status: 0, decided };
}

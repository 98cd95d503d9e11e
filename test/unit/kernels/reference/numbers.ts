/** Seeded numbers, stored formats and comparisons for op tests. */
import { DType } from '@weft/kernels';

/** A small counter-based generator: the same seed, the same numbers, whatever the machine. */
export class Random {
  #state: number;
  constructor(seed: number) { this.#state = seed >>> 0; }
  u32(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }
  /** In [0, 1). */
  unit(): number { return this.u32() / 2 ** 32; }
  /** Both ends included. */
  int(low: number, high: number): number { return low + (this.u32() % (high - low + 1)); }
  chance(probability: number): boolean { return this.unit() < probability; }
  pick<T>(from: readonly T[]): T { return from[this.u32() % from.length]!; }
  normal(): number { return Math.sqrt(-2 * Math.log(1 - this.unit())) * Math.cos(2 * Math.PI * this.unit()); }
  normals(count: number, scale = 1): Float32Array { return Float32Array.from({ length: count }, () => this.normal() * scale); }
  shuffled<T>(items: Iterable<T>): T[] {
    const all = [...items];
    for (let i = all.length - 1; i > 0; i--) {
      const j = this.int(0, i);
      [all[i], all[j]] = [all[j]!, all[i]!];
    }
    return all;
  }
}

const word = new DataView(new ArrayBuffer(4));
export const bitsOf = (value: number): number => { word.setFloat32(0, value); return word.getInt32(0); };
export const floatOf = (bits: number): number => { word.setInt32(0, bits); return word.getFloat32(0); };

/** Round to nearest, ties to even. */
export function toBf16(value: number): number {
  const bits = bitsOf(value) >>> 0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
export const fromBf16 = (half: number): number => floatOf(half << 16);

/** Of an f32, to nearest, ties to even; beyond 65504 infinite. */
export function toF16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = bitsOf(value) < 0 ? 0x8000 : 0, size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -30)));
  const step = 2 ** (exponent - 10), units = size / step, down = Math.floor(units);
  const rest = units - down, rounded = down + (rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? 1 : 0);
  return sign | (exponent === -14 ? rounded : ((exponent + 15) << 10) + rounded - 1024);
}
export function fromF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1, exponent = (half >>> 10) & 31, mantissa = half & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + mantissa) * 2 ** (exponent - 25) : mantissa * 2 ** -24);
}

export const halfCodec = (dtype: DType) =>
  dtype === DType.bf16 ? { encode: toBf16, decode: fromBf16 } : { encode: toF16, decode: fromF16 };

/** Values as they lie in memory, and what they are after the rounding of their format. */
export interface Stored { bytes: Uint8Array; values: Float64Array }

export function stored(values: Float32Array, dtype: DType): Stored {
  if (dtype === DType.f32) return { bytes: new Uint8Array(values.slice().buffer), values: Float64Array.from(values) };
  const { encode, decode } = halfCodec(dtype), halves = Uint16Array.from(values, encode);
  return { bytes: new Uint8Array(halves.buffer), values: Float64Array.from(halves, decode) };
}

/** Every |actual - expected| ≤ tolerance · (1 + |expected|); NaN and infinities where they are expected. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number, what: string): void {
  if (actual.length !== expected.length) throw new Error(`${what}: ${actual.length} values, not ${expected.length}`);
  for (let i = 0; i < expected.length; i++) {
    const a = actual[i]!, e = expected[i]!;
    const fits = Number.isFinite(e) ? Math.abs(a - e) <= tolerance * (1 + Math.abs(e)) : Object.is(a, e);
    if (!fits) throw new Error(`${what}: value ${i} is ${a}, expected ${e}`);
  }
}

/** Bit for bit, NaN included. */
export function expectSameBits(actual: Float32Array, expected: Float32Array, what: string): void {
  const a = new Int32Array(actual.buffer, actual.byteOffset, actual.length), e = new Int32Array(expected.buffer, expected.byteOffset, expected.length);
  if (a.length !== e.length) throw new Error(`${what}: ${a.length} values, not ${e.length}`);
  for (let i = 0; i < e.length; i++) if (a[i] !== e[i]) throw new Error(`${what}: value ${i} is ${actual[i]}, not bit for bit ${expected[i]}`);
}

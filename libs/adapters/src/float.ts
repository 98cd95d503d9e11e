/** 16-bit floats as bits: decoding, and rounding to nearest even. */
import { DTYPE_BYTES, type FloatDtype, type StoredDtype } from './types.js';

/** Bits of an f32 → bits of the nearest f16; beyond 65,519 an infinity, below 2^-25 a zero. */
export function f16Bits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x47800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  if (magnitude < 0x33000000) return sign;
  // Subnormal: the significand counts units of 2^-24.
  const significand = (magnitude & 0x7fffff) | 0x800000;
  const shift = 126 - (magnitude >>> 23);
  const quotient = significand >>> shift;
  const rest = significand & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return sign | (quotient + (rest > half || (rest === half && (quotient & 1) === 1) ? 1 : 0));
}

/** Bits of a finite f32 → bits of the nearest bf16. */
export function bf16Bits(bits: number): number {
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The value of every f16. */
export const F16_VALUES: Float32Array = Float32Array.from({ length: 0x10000 }, (_, bits) => {
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  const magnitude = exponent === 0x1f ? (fraction ? NaN : Infinity) : exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
});

/** Values of a tensor's bytes, little-endian, into `out`; returns how many. */
export function decode(bytes: Uint8Array, dtype: FloatDtype, out: Float32Array): number {
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  if (dtype === 'F32') {
    new Uint8Array(out.buffer, out.byteOffset, bytes.byteLength).set(bytes);
  } else {
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count);
    if (dtype === 'F16') for (let i = 0; i < count; i++) out[i] = F16_VALUES[halves[i]!]!;
    else decodeBf16(halves, out);
  }
  return count;
}

function decodeBf16(halves: Uint16Array, out: Float32Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i]! << 16;
}

/** A tensor's bytes as stored values. 16-bit dtypes are stored as they are; f32 is rounded into `out`. */
export function encode(bytes: Uint8Array, dtype: FloatDtype, stored: StoredDtype, out: Uint16Array): Uint16Array {
  const count = bytes.byteLength / DTYPE_BYTES[dtype];
  if (dtype !== 'F32') return new Uint16Array(bytes.buffer, bytes.byteOffset, count);
  const values = new Uint32Array(bytes.buffer, bytes.byteOffset, count);
  const round = stored === 'f16' ? f16Bits : bf16Bits;
  for (let i = 0; i < count; i++) out[i] = round(values[i]!);
  return out.subarray(0, count);
}

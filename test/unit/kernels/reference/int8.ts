/** int8 weights and 16-bit activations as the formats say (DType and `quantizeRows` in ops.ts), and what they stand for. */
import { INT8_GROUP, panelBytes, quantizedWords } from '@weft/kernels';
import { fromBf16, bitsOf, type Stored } from './numbers.js';

const PANEL = 32, LINE = 2 * PANEL;

/** The least bf16 that takes no value of a group beyond 127. */
export function int8Scale(most: number): number {
  let half = bitsOf(Math.fround(most / 127)) >>> 16;
  while (fromBf16(half) * 127 < most) half++;
  return half;
}

/** To nearest, ties to even. */
export function nearest(value: number): number {
  const down = Math.floor(value), rest = value - down;
  return down + (rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? 1 : 0);
}

/** W [n][k] in panels; `values`: what it has become. */
export function packInt8(weights: Float32Array, n: number, k: number): Stored {
  const bytes = new Uint8Array(panelBytes(n, k, 'int8')), view = new DataView(bytes.buffer), values = new Float64Array(n * k);
  const pairs = Math.ceil(k / 2), groups = Math.ceil(k / INT8_GROUP), panel = (pairs + groups) * LINE;
  for (let o = 0; o < n; o++) {
    for (let g = 0; g < groups; g++) {
      const at = Math.floor(o / PANEL) * panel + g * (INT8_GROUP / 2 + 1) * LINE;
      const row = weights.subarray(o * k + g * INT8_GROUP, o * k + Math.min(k, (g + 1) * INT8_GROUP));
      const half = int8Scale(Math.max(...row.map(Math.abs))), scale = fromBf16(half);
      row.forEach((value, i) => {
        const q = nearest(scale ? Math.fround(value / scale) : 0);
        view.setInt8(at + Math.floor(i / 2) * LINE + 2 * (o % PANEL) + i % 2, q);
        values[o * k + g * INT8_GROUP + i] = q * scale;
      });
      view.setUint16(at + Math.ceil(row.length / 2) * LINE + 2 * (o % PANEL), half, true);
    }
  }
  return { bytes, values };
}

/** x [rows][k] as `quantizeRows` leaves it. */
export function quantizeRowsReference(x: Float32Array, rows: number, k: number): { words: Float32Array } {
  const words = quantizedWords(k), out = new Float32Array(rows * words), q = new Int16Array(out.buffer), groups = Math.ceil(k / INT8_GROUP);
  for (let t = 0; t < rows; t++) for (let g = 0; g < groups; g++) {
    const group = x.subarray(t * k + g * INT8_GROUP, t * k + Math.min(k, (g + 1) * INT8_GROUP));
    const scale = Math.fround(Math.max(...group.map(Math.abs)) / 32767);
    out[t * words + groups * INT8_GROUP / 2 + g] = scale;
    group.forEach((value, i) => { q[2 * t * words + g * INT8_GROUP + i] = scale ? nearest(value / scale) : 0; });
  }
  return { words: out };
}

/** [rows][k] of what quantized rows stand for. */
export function dequantizedRows(words: Float32Array, rows: number, k: number, ld: number): Float64Array {
  const q = new Int16Array(words.buffer, words.byteOffset, 2 * words.length), groups = Math.ceil(k / INT8_GROUP);
  return Float64Array.from({ length: rows * k }, (_, at) => {
    const t = Math.floor(at / k), i = at % k;
    return q[2 * t * ld + i]! * words[t * ld + groups * INT8_GROUP / 2 + Math.floor(i / INT8_GROUP)]!;
  });
}

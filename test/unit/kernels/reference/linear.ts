/** y = W x + b in float64. */
import { DType } from '@weft/kernels';
import { stored, type Stored } from './numbers.js';

const PANEL = 32;

/** W [n][k] as [ceil(n/32)][ceil(k/depth)][32][depth], what is beyond n and k zero. `values` stays [n][k]. */
export function packPanels(weights: Float32Array, n: number, k: number, dtype: DType): Stored {
  const depth = dtype === DType.bf16 ? 2 : 1, steps = Math.ceil(k / depth);
  const panels = new Float32Array(Math.ceil(n / PANEL) * PANEL * steps * depth);
  const place = (o: number, i: number): number => ((Math.floor(o / PANEL) * steps + Math.floor(i / depth)) * PANEL + o % PANEL) * depth + i % depth;
  for (let o = 0; o < n; o++) for (let i = 0; i < k; i++) panels[place(o, i)] = weights[o * k + i]!;
  const { bytes, values } = stored(panels, dtype);
  return { bytes, values: Float64Array.from(weights, (_, at) => values[place(Math.floor(at / k), at % k)]!) };
}

export interface LinearShape { rows: number; n: number; k: number; ldx: number; ldy: number; accumulate: number }

/** Values of y between rows are left as they are. */
export function linearReference(s: LinearShape, x: Float32Array, w: Float64Array, b: Float32Array | null, y: Float32Array): Float64Array {
  const out = Float64Array.from(y);
  for (let t = 0; t < s.rows; t++) {
    for (let o = 0; o < s.n; o++) {
      let sum = b ? b[o]! : 0;
      for (let i = 0; i < s.k; i++) sum += w[o * s.k + i]! * x[t * s.ldx + i]!;
      out[t * s.ldy + o] = sum + (s.accumulate ? y[t * s.ldy + o]! : 0);
    }
  }
  return out;
}

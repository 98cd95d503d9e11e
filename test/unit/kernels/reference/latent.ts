/** Latent attention in float64, and what adapters add to the maps of its heads. */
import type { Part, RowGroup } from './lora.js';

/** Turns pairs (2i, 2i + 1), or (i, i + half). */
export function turned(values: Float64Array, cosSin: ArrayLike<number>, interleaved: boolean): Float64Array {
  const half = values.length / 2, out = values.slice();
  for (let i = 0; i < half; i++) {
    const [a, b] = interleaved ? [2 * i, 2 * i + 1] : [i, i + half];
    out[a] = values[a]! * cosSin[i]! - values[b]! * cosSin[half + i]!;
    out[b] = values[b]! * cosSin[i]! + values[a]! * cosSin[half + i]!;
  }
  return out;
}

/** A token's key: [latent, normed | rope, turned], before it is rounded. */
export function keyReference(kv: Float32Array, w: Float32Array, cosSin: ArrayLike<number>, eps: number, interleaved: boolean): Float64Array {
  const latent = w.length, values = Float64Array.from(kv);
  const mean = values.subarray(0, latent).reduce((sum, x) => sum + x * x, 0) / latent;
  return Float64Array.from([...values.subarray(0, latent).map((x, i) => w[i]! * x / Math.sqrt(mean + eps)), ...turned(values.slice(latent), cosSin, interleaved)]);
}

/** One row at `position`: [heads][latent]. keys: [tokens][dim]. */
export function latentReference(query: ArrayLike<number>, heads: number, latent: number, dim: number, keys: ArrayLike<number>, position: number, scale: number): Float64Array {
  const out = new Float64Array(heads * latent);
  for (let h = 0; h < heads; h++) {
    const scores = Array.from({ length: position + 1 }, (_, t) => {
      let dot = 0;
      for (let d = 0; d < dim; d++) dot += query[h * dim + d]! * keys[t * dim + d]!;
      return dot * scale;
    });
    const most = scores.reduce((a, b) => Math.max(a, b)), weights = scores.map(score => Math.exp(score - most)), sum = weights.reduce((a, b) => a + b, 0);
    for (let i = 0; i < latent; i++) out[h * latent + i] = weights.reduce((total, weight, t) => total + weight * keys[t * dim + i]!, 0) / sum;
  }
  return out;
}

export interface LatentLoraShape { heads: number; latent: number; headOuts: number; firstOut: number; outs: number; transposed: number; xStride: number; yStride: number; ldx: number; ldy: number }

/** y[t][h] += scale·weight · Aᵀ(B_hᵀ x[t][h]) where transposed, B_h(A x[t][h]) where not. */
export function latentLoraReference(s: LatentLoraShape, adapters: (Part | null)[], groups: RowGroup[], x: Float32Array, y: Float32Array): Float64Array {
  const out = Float64Array.from(y);
  for (const { slot, weight, rows } of groups) {
    const part = adapters[slot];
    if (!part) continue;
    const { rank, a, b, scale } = part;
    for (const t of rows) for (let h = 0; h < s.heads; h++) {
      const xAt = t * s.ldx + h * s.xStride, yAt = t * s.ldy + h * s.yStride, first = h * s.headOuts + s.firstOut;
      for (let j = 0; j < rank; j++) {
        let u = 0;
        if (s.transposed) for (let o = 0; o < s.outs; o++) u += b[(first + o) * rank + j]! * x[xAt + o]!;
        else for (let i = 0; i < s.latent; i++) u += a[j * s.latent + i]! * x[xAt + i]!;
        if (s.transposed) for (let i = 0; i < s.latent; i++) out[yAt + i]! += scale * weight * a[j * s.latent + i]! * u;
        else for (let o = 0; o < s.outs; o++) out[yAt + o]! += scale * weight * b[(first + o) * rank + j]! * u;
      }
    }
  }
  return out;
}

/**
 * W units: a whole matrix [n, k] of bf16 or f16 in pieces of 4 KiB, each 32 outputs × 64 k, zeros beyond n and k.
 *
 * A unit is a piece of a panel as op `linear` packs it: bf16 [k/2][32][2], f16 [k][32]. Units follow in the order [panel][block of
 * 64 k], so those of a matrix, side by side, are its panels with k padded to 64. Pages are multiples of 4 KiB: no holes.
 */
import { encode } from './float.js';
import { tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, type ExpertGeometry, type FloatDtype, type StoredDtype, type TensorRef } from './types.js';

export const W_UNIT_BYTES = 4096;
/** Outputs and k of a unit. */
export const W_OUTS = 32;
export const W_DEPTH = 64;

export const wUnits = (n: number, k: number): number => Math.ceil(n / W_OUTS) * Math.ceil(k / W_DEPTH);

/** Units of an expert: those of [gate; up], then those of down. */
export const expertUnits = ({ hidden, intermediate }: Pick<ExpertGeometry, 'hidden' | 'intermediate'>): number =>
  wUnits(2 * intermediate, hidden) + wUnits(hidden, intermediate);

/** Pages of an expert; unit u lies in page floor(u / unitsPerPage). */
export const expertPages = (sizes: Pick<ExpertGeometry, 'hidden' | 'intermediate'>, pageBytes: number): number =>
  Math.ceil(expertUnits(sizes) / (pageBytes / W_UNIT_BYTES));

/** The rows of tensors [·, k], one below the other, as panels of 32 rows [32][k padded to 64]. Each is only valid until the next. */
export async function* storedPanels(tensors: readonly TensorRef<FloatDtype>[], stored: StoredDtype, k: number): AsyncGenerator<Uint16Array, void, void> {
  const width = Math.ceil(k / W_DEPTH) * W_DEPTH;
  const panel = new Uint16Array(W_OUTS * width);
  let row = 0;
  for (const tensor of tensors) {
    let rounded = new Uint16Array(0);
    for await (const chunk of tensorChunks(tensor, k * DTYPE_BYTES[tensor.dtype])) {
      if (rounded.length === 0) rounded = new Uint16Array(chunk.byteLength / DTYPE_BYTES[tensor.dtype]);
      const values = encode(chunk, tensor.dtype, stored, rounded);
      for (let at = 0; at < values.length; at += k) {
        panel.set(values.subarray(at, at + k), row * width);
        if (++row === W_OUTS) { yield panel; row = 0; }
      }
    }
  }
  if (row > 0) yield panel.fill(0, row * width);
}

/** The unit of block `block` of a panel, into bytes that are aligned to it. */
export function putUnit(into: Uint8Array, panel: Uint16Array, block: number, stored: StoredDtype): void {
  const width = panel.length / W_OUTS;
  if (stored === 'bf16') {
    // Pairs of k stay together: 32 bits at a time.
    const from = new Uint32Array(panel.buffer, panel.byteOffset, panel.length / 2), to = new Uint32Array(into.buffer, into.byteOffset, W_UNIT_BYTES / 4);
    for (let o = 0; o < W_OUTS; o++) {
      const row = (o * width + block * W_DEPTH) / 2;
      for (let pair = 0; pair < W_DEPTH / 2; pair++) to[pair * W_OUTS + o] = from[row + pair]!;
    }
  } else {
    const to = new Uint16Array(into.buffer, into.byteOffset, W_UNIT_BYTES / 2);
    for (let o = 0; o < W_OUTS; o++) {
      const row = o * width + block * W_DEPTH;
      for (let i = 0; i < W_DEPTH; i++) to[i * W_OUTS + o] = panel[row + i]!;
    }
  }
}

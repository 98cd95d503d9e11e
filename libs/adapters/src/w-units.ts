/** A whole matrix as W units: see expert-table.ts in @weft/kernels. */
import { W_DEPTH, W_OUTS, W_UNIT_BYTES } from '@weft/kernels';
import { encode } from './float.js';
import { Room, tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, type FloatDtype, type StoredDtype, type TensorRef } from './types.js';

/** What packing works in. */
export interface PanelRooms { chunk: Room; rounded: Room; panel: Room }
export const panelRooms = (): PanelRooms => ({ chunk: new Room(), rounded: new Room(), panel: new Room() });

/** The rows of tensors [·, k], one below the other, as panels of 32 rows [32][k padded to 64]. Each is only valid until the next. */
export async function* storedPanels(tensors: readonly TensorRef<FloatDtype>[], stored: StoredDtype, k: number, rooms: PanelRooms): AsyncGenerator<Uint16Array, void, void> {
  const width = Math.ceil(k / W_DEPTH) * W_DEPTH;
  const panel = new Uint16Array(rooms.panel.bytes(W_OUTS * width * 2).buffer, 0, W_OUTS * width).fill(0);
  let row = 0;
  for (const tensor of tensors) {
    for await (const chunk of tensorChunks(tensor, k * DTYPE_BYTES[tensor.dtype], rooms.chunk)) {
      const values = storedValues(chunk, tensor.dtype, stored, rooms.rounded);
      for (let at = 0; at < values.length; at += k) {
        panel.set(values.subarray(at, at + k), row * width);
        if (++row === W_OUTS) { yield panel; row = 0; }
      }
    }
  }
  if (row > 0) yield panel.fill(0, row * width);
}

/** 16-bit values of the stored format; others are rounded to it. */
function storedValues(chunk: Uint8Array, dtype: FloatDtype, stored: StoredDtype, room: Room): Uint16Array {
  return encode(chunk, dtype, stored, new Uint16Array(room.bytes(dtype === 'F32' ? chunk.byteLength / 2 : 0).buffer));
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

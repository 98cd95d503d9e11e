/**
 * The floor of a step: the sum over its ops of max(bytes / read bandwidth, flops / peak). Bytes are what no engine can
 * leave out: weights once a step, the KV cache of every sequence, each distinct adapter's values. Activations are in cache.
 */
import type { Ceilings } from './machine.js';

/** What the floor depends on of a model as it is loaded. */
export interface Shape {
  layers: number; hidden: number; heads: number; kvHeads: number; headDim: number; intermediate: number; vocab: number;
  /** Bytes of a weight, scales included; of a token's KV in all layers; of an adapter's value. */
  weightBytes: number; tokenBytes: number; adapterBytes: number;
}

export interface Work {
  rows: number; logits: number;
  /** Σ over rows of the positions that they attend to; Σ over sequences of their positions. */
  attended: number; context: number;
  /** Σ of ranks: over distinct adapters, and over rows. Every linear module is targeted. */
  distinctRanks: number; rowRanks: number;
}

export interface OpWork { op: 'linear' | 'head' | 'attention' | 'lora'; bytes: number; flops: number }

/** Inputs and outputs of the linear ops of a layer; q, k, v and gate, up share their inputs. */
const maps = ({ hidden, heads, kvHeads, headDim, intermediate }: Shape): { dIn: number; dOut: number; parts: number }[] => [
  { dIn: hidden, dOut: (heads + 2 * kvHeads) * headDim, parts: 3 }, { dIn: heads * headDim, dOut: hidden, parts: 1 },
  { dIn: hidden, dOut: 2 * intermediate, parts: 2 }, { dIn: intermediate, dOut: hidden, parts: 1 },
];

export const weightCount = (s: Shape): number => s.layers * maps(s).reduce((sum, { dIn, dOut }) => sum + dIn * dOut, 0) + s.vocab * s.hidden;

export function opsOf(s: Shape, work: Work): OpWork[] {
  const layer: OpWork[] = maps(s).flatMap(({ dIn, dOut, parts }) => {
    const linear: OpWork = { op: 'linear', bytes: dIn * dOut * s.weightBytes, flops: 2 * work.rows * dIn * dOut };
    // Shrink and expand: they differ in width, not in what bounds them.
    const lora = [parts * dIn, dOut].map((width): OpWork => ({ op: 'lora', bytes: s.adapterBytes * width * work.distinctRanks, flops: 2 * width * work.rowRanks }));
    return work.rowRanks > 0 ? [linear, ...lora] : [linear];
  });
  layer.push({ op: 'attention', bytes: (work.context * s.tokenBytes) / s.layers, flops: 4 * work.attended * s.heads * s.headDim });
  const head: OpWork = { op: 'head', bytes: s.vocab * s.hidden * s.weightBytes, flops: 2 * work.logits * s.vocab * s.hidden };
  return [...Array.from({ length: s.layers }, () => layer).flat(), head];
}

export interface Floor {
  seconds: number;
  /** The part of it that bytes bound. */
  bytesShare: number;
  bytes: number; flops: number;
}

export function floorOf(ops: readonly OpWork[], { read, fma }: Pick<Ceilings, 'read' | 'fma'>): Floor {
  const floor: Floor = { seconds: 0, bytesShare: 0, bytes: 0, flops: 0 };
  let byBytes = 0;
  for (const { bytes, flops } of ops) {
    const seconds = Math.max(bytes / read, flops / fma);
    if (bytes / read >= flops / fma) byBytes += seconds;
    floor.seconds += seconds;
    floor.bytes += bytes;
    floor.flops += flops;
  }
  floor.bytesShare = floor.seconds > 0 ? byBytes / floor.seconds : 0;
  return floor;
}

/** A step in the middle of decoding: `rows` requests that began with `prompt` tokens and choose `fresh`. */
export function decodeWork(rows: number, prompt: number, fresh: number, ranks: { distinct: number; rows: number }): Work {
  const context = rows * (prompt + fresh / 2);
  return { rows, logits: rows, attended: context, context, distinctRanks: ranks.distinct, rowRanks: ranks.rows };
}

/** A whole prompt; only its last row needs the head. */
export function prefillWork(prompt: number): Work {
  return { rows: prompt, logits: 1, attended: (prompt * (prompt + 1)) / 2, context: prompt, distinctRanks: 0, rowRanks: 0 };
}

/** Attention over whole sequences in float64, and the paged form of the same sequences. */
import { BLOCK_TOKENS, DType, SEGMENT_WORDS, Segment } from '@weft/kernels';
import { fromF16, toF16, type Random } from './numbers.js';

export interface Heads { heads: number; kvHeads: number; dim: number }

/** One sequence: K and V of all its tokens, [tokens][kvHeads·dim], as f16 holds them, and where its pages are. */
export interface KvSequence { length: number; k: Float32Array; v: Float32Array; pages: number[]; firstBlock: number }

const asF16 = (values: Float32Array): Float32Array => values.map(value => fromF16(toF16(value)));

/** oldest: the first position that is still needed; blocks before it have no page. */
export function makeSequence(random: Random, { kvHeads, dim }: Heads, length: number, oldest: number, freePages: number[]): KvSequence {
  const firstBlock = Math.floor(oldest / BLOCK_TOKENS), blocks = Math.ceil(length / BLOCK_TOKENS) - firstBlock;
  const values = (): Float32Array => asF16(random.normals(length * kvHeads * dim));
  return { length, k: values(), v: values(), pages: freePages.splice(0, blocks), firstBlock };
}

/** What a head's row becomes as int8: bytes, the scale as f16 bits, and the values that they stand for. */
export function quantized(row: Float32Array): { bytes: Int8Array; scale: number; values: Float32Array } {
  const finite = row.every(Number.isFinite);
  const scale = finite ? toF16(Math.fround(row.reduce((high, x) => Math.max(high, Math.abs(x)), 0) / 127)) : 0x7e00;
  const width = fromF16(scale), inverse = width > 0 ? Math.fround(1 / width) : 0;
  const nearest = (x: number): number => { const down = Math.floor(x), rest = x - down; return down + (rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? 1 : 0); };
  const bytes = Int8Array.from(row, x => (finite ? Math.max(-127, Math.min(127, nearest(Math.fround(x * inverse)))) : 0));
  return { bytes, scale, values: Float32Array.from(bytes, byte => byte * width) };
}

/** Where a kv head's plane and scales lie inside a layer of a page. */
export function kvStrides({ kvHeads, dim }: Omit<Heads, 'heads'>, kvType: DType): { headStride: number; planeStride: number } {
  const int8 = kvType === DType.int8, headStride = dim * BLOCK_TOKENS * (int8 ? 1 : 2);
  return { headStride, planeStride: kvHeads * (headStride + (int8 ? BLOCK_TOKENS * 2 : 0)) };
}

/** Rows [start, start + count) of sequence `of`. */
export interface Chunk { of: number; start: number; count: number }

/** The frame's part of attention for chunks of sequences, in KV group `group`. */
export function segmentsOf(sequences: KvSequence[], chunks: Chunk[], group: number): { segments: Int32Array; pages: Int32Array; positions: Int32Array; rowSegments: Int32Array } {
  const segments = new Int32Array(chunks.length * SEGMENT_WORDS), pages: number[] = [], positions: number[] = [], rowSegments: number[] = [];
  chunks.forEach(({ of, start, count }, s) => {
    const sequence = sequences[of]!, at = s * SEGMENT_WORDS;
    segments[at + Segment.slot] = of;
    segments[at + Segment.rowStart] = positions.length;
    segments[at + Segment.rowCount] = count;
    segments[at + Segment.firstBlock + 3 * group] = sequence.firstBlock;
    segments[at + Segment.pageOffset + 3 * group] = pages.length;
    segments[at + Segment.pageCount + 3 * group] = sequence.pages.length;
    pages.push(...sequence.pages);
    for (let i = 0; i < count; i++) { positions.push(start + i); rowSegments.push(s); }
  });
  return { segments, pages: Int32Array.from(pages), positions: Int32Array.from(positions), rowSegments: Int32Array.from(rowSegments) };
}

/** One row at `position`: [heads·dim]. */
export function attentionReference(
  h: Heads, q: ArrayLike<number>, sequence: KvSequence, position: number, window: number, scale: number, softcap: number,
): Float64Array {
  const out = new Float64Array(h.heads * h.dim), width = h.kvHeads * h.dim;
  const first = window > 0 ? Math.max(0, position - window + 1) : 0;
  for (let head = 0; head < h.heads; head++) {
    const kv = Math.floor(head * h.kvHeads / h.heads) * h.dim, mine = head * h.dim;
    const scores: number[] = [];
    for (let t = first; t <= position; t++) {
      let dot = 0;
      for (let d = 0; d < h.dim; d++) dot += q[mine + d]! * sequence.k[t * width + kv + d]!;
      scores.push(softcap > 0 ? softcap * Math.tanh(dot * scale / softcap) : dot * scale);
    }
    const max = scores.reduce((a, b) => Math.max(a, b)), weights = scores.map(score => Math.exp(score - max));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let d = 0; d < h.dim; d++) {
      out[mine + d] = weights.reduce((total, weight, i) => total + weight * sequence.v[(first + i) * width + kv + d]!, 0) / sum;
    }
  }
  return out;
}

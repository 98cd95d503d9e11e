import { describe, expect, test } from 'vitest';
import { BLOCK_TOKENS, Header, kvWrite } from '@weft/kernels';
import { deviceOf, runOp, variants } from '../harness.js';
import { segmentsOf, type KvSequence } from '../reference/attention.js';
import { Random, toF16 } from '../reference/numbers.js';

const sequence = (firstBlock: number, pages: number[]): KvSequence => ({ length: 0, k: new Float32Array(), v: new Float32Array(), pages, firstBlock });

describe.each(variants)('kvWrite: $isa, $threads threads', variant => {
  test.each([[8, 0], [13, 1], [64, 2], [96, 0]])('K tokens in lanes, V in rows, both f16 to nearest even: heads of %i, KV group %i', async (dim, kvGroup) => {
    const random = new Random(51), kvHeads = 2, width = kvHeads * dim, ldk = width + 3, ldv = width + 1;
    const headStride = dim * 32 + 64, planeStride = kvHeads * headStride + 128, layerOffset = 384, pageBytes = 16384, nPages = 5;
    const sequences = [sequence(1, [4, 0]), sequence(0, [2])];
    const frame = segmentsOf(sequences, [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 2 }], kvGroup), rows = 7;
    const k = random.normals(rows * ldk), v = random.normals(rows * ldv, 1e-4);
    // Ties, subnormals, the largest finite, overflow, infinity, zeros.
    k.set([1.00048828125, 1.00146484375, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, 65504, 65519, 65520].slice(0, dim), 0);
    v.set([Infinity, -Infinity, 0, -0, -(2 ** -14), 6.1e-5, -1e-8, 3.4e38].slice(0, dim), 0);
    const { arena } = await runOp(deviceOf(variant), kvWrite, {
      k, v, ...frame, arena: new Uint8Array(nPages * pageBytes).fill(0xee), count: Header.tokens, rows, kvHeads, dim, width, ldk, ldv,
      nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, planeStride, headStride, kvGroup,
    }, { tokens: 6 });
    const expected = new Uint8Array(nPages * pageBytes).fill(0xee), halves = new Uint16Array(expected.buffer);
    for (let t = 0; t < 6; t++) {
      const position = frame.positions[t]!, { pages, firstBlock } = sequences[frame.rowSegments[t]!]!;
      const page = pages[Math.floor(position / BLOCK_TOKENS) - firstBlock]! * pageBytes + layerOffset;
      for (let h = 0; h < kvHeads; h++) for (let d = 0; d < dim; d++) {
        halves[(page + h * headStride) / 2 + d * BLOCK_TOKENS + position % BLOCK_TOKENS] = toF16(k[t * ldk + h * dim + d]!);
        halves[(page + planeStride + h * headStride) / 2 + (position % BLOCK_TOKENS) * dim + d] = toF16(v[t * ldv + h * dim + d]!);
      }
    }
    const wrong = new Uint16Array(arena.buffer).findIndex((half, i) => half !== halves[i]);
    expect(wrong, 'first half that differs').toBe(-1);
  });
});

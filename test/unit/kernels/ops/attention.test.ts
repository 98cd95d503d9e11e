import { describe, expect, test } from 'vitest';
import { ATTENTION_SPAN, BLOCK_TOKENS, DType, attention, kvWrite } from '@weft/kernels';
import { CUDA, deviceOf, isas, runOp, variants, type Variant } from '../harness.js';
import { attentionReference, kvStrides, makeSequence, quantized, segmentsOf, type Chunk, type Heads, type KvSequence } from '../reference/attention.js';
import { Random, expectClose, expectSameBits, fromBf16, toBf16 } from '../reference/numbers.js';

const kvTypesOf = (isa: string): DType[] => (isa === CUDA ? [DType.f16, DType.int8] : [DType.f16, DType.bf16, DType.int8]);

/** A device, and what keys and values are stored as. */
interface KvVariant extends Variant { kvType: DType }
const kvVariants: readonly KvVariant[] = variants.flatMap(variant => kvTypesOf(variant.isa).map(kvType => ({ ...variant, kvType })));

/** bf16 rounds weights: 2^-9 of each value that they weigh, of which the largest is below 5. */
const toleranceOf = ({ kvType }: KvVariant): number => (kvType === DType.bf16 ? 5 * 2 ** -9 : 1e-5);
const asBf16 = (value: number): number => fromBf16(toBf16(value));

interface Setup {
  kvType: DType;
  heads: Heads; sequences: KvSequence[]; chunks: Chunk[]; window: number; softcap: number; scale: number; kvGroup: number;
  q: Float32Array; arena: Uint8Array; layout: { nPages: number; pageBytes: number; layerOffset: number; planeStride: number; headStride: number };
}

/** Sequences in pages that hold NaN bits wherever no token was written. */
async function setUp(variant: KvVariant, seed: number, heads: Heads, chunks: { start: number; count: number }[], options: { window?: number; softcap?: number; kvGroup?: number } = {}): Promise<Setup> {
  const random = new Random(seed), { window = 0, softcap = 0, kvGroup = 0 } = options;
  const { headStride, planeStride } = kvStrides(heads, variant.kvType), layerOffset = 256;
  const pageBytes = Math.ceil((layerOffset + 2 * planeStride) / 4096) * 4096;
  const nPages = chunks.reduce((sum, { start, count }) => sum + Math.ceil((start + count) / BLOCK_TOKENS), 1);
  const free = random.shuffled(Array.from({ length: nPages }, (_, i) => i));
  const sequences = chunks.map(({ start, count }) => makeSequence(random, heads, start + count, window ? Math.max(0, start - window + 1) : 0, free));
  const layout = { nPages, pageBytes, layerOffset, planeStride, headStride };

  const whole = sequences.map(({ length, firstBlock }, of) => ({ of, start: firstBlock * BLOCK_TOKENS, count: length - firstBlock * BLOCK_TOKENS }));
  const frame = segmentsOf(sequences, whole, kvGroup), width = heads.kvHeads * heads.dim;
  const rowsOf = (plane: 'k' | 'v'): Float32Array =>
    Float32Array.from(whole.flatMap(({ of, start, count }) => [...sequences[of]![plane].subarray(start * width, (start + count) * width)]));
  const { arena } = await runOp(deviceOf(variant), kvWrite, {
    k: rowsOf('k'), v: rowsOf('v'), ...frame, arena: new Uint8Array(nPages * pageBytes).fill(0xff), count: 0, rows: frame.positions.length,
    kvHeads: heads.kvHeads, dim: heads.dim, width, ldk: width, ldv: width, nSegments: whole.length, tableSize: frame.pages.length, ...layout, kvGroup, kvType: variant.kvType,
  });
  if (variant.kvType === DType.int8) {
    for (const { k, v } of sequences) for (const plane of [k, v]) for (let at = 0; at < plane.length; at += heads.dim) plane.set(quantized(plane.slice(at, at + heads.dim)).values, at);
  }
  if (variant.kvType === DType.bf16) for (const { k, v } of sequences) for (const plane of [k, v]) plane.forEach((value, i) => { plane[i] = asBf16(value); });
  const mine = chunks.map((chunk, of) => ({ of, ...chunk }));
  const q = random.normals(mine.reduce((sum, { count }) => sum + count, 0) * heads.heads * heads.dim);
  return { kvType: variant.kvType, heads, sequences, chunks: mine, window, softcap, scale: heads.dim ** -0.5, kvGroup, q, arena, layout };
}

/** The same rows, cut into chunks in another way. With `partials` spans of a row may be computed side by side. */
async function attend(variant: KvVariant, s: Setup, chunks = s.chunks, q = s.q, nPartials = 0): Promise<Float32Array> {
  const frame = segmentsOf(s.sequences, chunks, s.kvGroup), width = s.heads.heads * s.heads.dim, rows = frame.positions.length;
  const ldPartials = Math.ceil(s.heads.dim / 16) * 16 + 2;
  const { out } = await runOp(deviceOf(variant), attention, {
    q, out: new Float32Array(rows * width), positions: frame.positions, segments: frame.segments, pages: frame.pages, arena: s.arena, partials: nPartials > 0 ? new Float32Array(nPartials * ldPartials) : null,
    count: 0, rows, segmentCount: 0, ...s.heads, width, ldq: width, ldo: width, nSegments: chunks.length, tableSize: frame.pages.length,
    ...s.layout, kvGroup: s.kvGroup, kvType: variant.kvType, window: s.window, scale: s.scale, softcap: s.softcap, outType: 0, nPartials, ldPartials,
  });
  return out;
}

function expected(s: Setup): Float64Array {
  const width = s.heads.heads * s.heads.dim;
  let row = 0;
  return Float64Array.from(s.chunks.flatMap(({ of, start, count }) => Array.from({ length: count }, (_, i) => {
    const q = s.q.subarray(row * width, (row + 1) * width), scale = Math.fround(s.scale);
    row++;
    const scaled = s.kvType === DType.bf16 ? q.map(value => asBf16(Math.fround(value * scale))) : q;
    return [...attentionReference(s.heads, scaled, s.sequences[of]!, start + i, s.window, s.kvType === DType.bf16 ? 1 : scale, s.softcap)];
  }).flat()));
}

const allShapes: [string, Heads, { start: number; count: number }[], Parameters<typeof setUp>[4]?][] = [
  ['decode rows, GQA', { heads: 9, kvHeads: 3, dim: 64 }, [{ start: 0, count: 1 }, { start: 15, count: 1 }, { start: 16, count: 1 }, { start: 70, count: 1 }]],
  ['a prompt', { heads: 6, kvHeads: 2, dim: 32 }, [{ start: 0, count: 75 }]],
  ['chunks and decode rows in one call', { heads: 4, kvHeads: 4, dim: 16 }, [{ start: 40, count: 37 }, { start: 9, count: 1 }, { start: 0, count: 3 }, { start: 31, count: 2 }]],
  ['one kv head for all', { heads: 8, kvHeads: 1, dim: 80 }, [{ start: 5, count: 20 }, { start: 33, count: 1 }]],
  ['heads of 256', { heads: 2, kvHeads: 1, dim: 256 }, [{ start: 17, count: 18 }]],
  ['heads of 8', { heads: 5, kvHeads: 5, dim: 8 }, [{ start: 0, count: 33 }]],
  ['heads of 24', { heads: 3, kvHeads: 1, dim: 24 }, [{ start: 12, count: 21 }, { start: 20, count: 1 }]],
  ['heads of 13', { heads: 2, kvHeads: 2, dim: 13 }, [{ start: 3, count: 30 }]],
  ['a sliding window', { heads: 4, kvHeads: 2, dim: 32 }, [{ start: 50, count: 30 }, { start: 99, count: 1 }, { start: 0, count: 9 }], { window: 20 }],
  ['a window of one token', { heads: 2, kvHeads: 1, dim: 16 }, [{ start: 30, count: 20 }], { window: 1 }],
  ['a window of a block, in KV group 1', { heads: 2, kvHeads: 1, dim: 16 }, [{ start: 40, count: 25 }], { window: 16, kvGroup: 1 }],
  ['several spans, GQA', { heads: 6, kvHeads: 2, dim: 64 }, [{ start: 3 * ATTENTION_SPAN - 3, count: 6 }, { start: ATTENTION_SPAN, count: 1 }, { start: 900, count: 1 }]],
  ['a prompt of two spans', { heads: 3, kvHeads: 1, dim: 16 }, [{ start: 200, count: 120 }]],
  ['a window over spans', { heads: 2, kvHeads: 1, dim: 24 }, [{ start: 750, count: 30 }, { start: 1030, count: 1 }], { window: 300 }],
  ['softcap', { heads: 4, kvHeads: 2, dim: 32 }, [{ start: 8, count: 20 }], { softcap: 2 }],
];

describe.each(kvVariants)('attention: $isa, $threads threads, KV in format $kvType', variant => {
  const shapes = allShapes.filter(([, { dim }]) => variant.kvType !== DType.bf16 || dim % 2 === 0);

  test.each(shapes)('equals softmax(q·K) V: %s', async (_, heads, chunks, options) => {
    const s = await setUp(variant, 11, heads, chunks, options);
    expectClose(await attend(variant, s), expected(s), toleranceOf(variant), 'out');
  });

  // Weights are 1 then, which bf16 keeps: sums alone are rounded.
  test.each(variant.kvType === DType.bf16 ? shapes : [])('gives the mean of the values where all scores are equal: %s', async (_, heads, chunks, options) => {
    const s = await setUp(variant, 19, heads, chunks, options);
    s.q.fill(0);
    expectClose(await attend(variant, s), expected(s), 1e-5, 'out');
  });

  test.each(shapes)('has the same bits however rows are cut into chunks: %s', async (_, heads, chunks, options) => {
    const s = await setUp(variant, 12, heads, chunks, options), whole = await attend(variant, s);
    for (const size of [1, 2, 7]) {
      const cut = s.chunks.flatMap(({ of, start, count }) =>
        Array.from({ length: Math.ceil(count / size) }, (_v, i) => ({ of, start: start + i * size, count: Math.min(size, count - i * size) })));
      expectSameBits(await attend(variant, s, cut), whole, `chunks of ${size}`);
    }
  });

  test.each(shapes)('has the same bits with spans side by side, as far as there is room: %s', async (_, heads, chunks, options) => {
    const s = await setUp(variant, 17, heads, chunks, options), whole = await attend(variant, s);
    const rows = s.chunks.flatMap(({ of, start, count }) => Array.from({ length: count }, (_v, i) => ({ of, start: start + i, count: 1 })));
    for (const nPartials of [heads.heads * 4, 4096]) {
      expectSameBits(await attend(variant, s, s.chunks, s.q, nPartials), whole, `${nPartials} states`);
      expectSameBits(await attend(variant, s, rows, s.q, nPartials), whole, `${nPartials} states, row by row`);
    }
  });

  test('one row with a long past equals softmax(q·K) V, cut or not', async () => {
    const s = await setUp(variant, 18, { heads: 8, kvHeads: 2, dim: 64 }, [{ start: 5000, count: 1 }]), whole = await attend(variant, s);
    expectClose(whole, expected(s), toleranceOf(variant), 'out');
    expectSameBits(await attend(variant, s, s.chunks, s.q, 8 * 20), whole, 'cut');
  });

  test('a token that is not finite reaches the rows that see it, and no others', async () => {
    const heads = { heads: 2, kvHeads: 1, dim: 16 }, s = await setUp(variant, 13, heads, [{ start: 0, count: 40 }, { start: 10, count: 6 }]);
    const clean = await attend(variant, s), width = 32, at = 21;
    const { pages } = s.sequences[0]!, page = pages[1]! * s.layout.pageBytes + s.layout.layerOffset;
    const halves = new Uint16Array(s.arena.buffer, page, s.layout.pageBytes / 2 - s.layout.layerOffset / 2);
    if (variant.kvType === DType.int8) {
      halves[s.layout.headStride / 2 + (at - 16)] = 0x7e00;
    } else if (variant.kvType === DType.bf16) {
      halves[2 * BLOCK_TOKENS + (at - 16) * 2 + 1] = 0x7fc0;                                 // the third value of a head of 16
      halves[s.layout.planeStride / 2 + Math.floor((at - 16) / 2) * 32 + 2 * 2 + (at - 16) % 2] = 0x7f80;
    } else {
      halves[3 * BLOCK_TOKENS + (at - 16)] = 0x7e00;
      halves[s.layout.planeStride / 2 + (at - 16) * 16 + 2] = 0x7c00;
    }
    const dirty = await attend(variant, s);
    expectSameBits(dirty.slice(0, at * width), clean.slice(0, at * width), 'rows before');
    expect(dirty.slice(at * width, 40 * width).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.slice(40 * width), clean.slice(40 * width), 'the other sequence');
  });

  test('a query that is not finite stays in its head', async () => {
    const s = await setUp(variant, 14, { heads: 4, kvHeads: 2, dim: 16 }, [{ start: 20, count: 10 }]), clean = await attend(variant, s);
    const q = s.q.slice();
    q[2 * 64 + 1 * 16 + 5] = NaN;
    const dirty = await attend(variant, s, s.chunks, q), at = 2 * 64 + 16;
    expect(dirty.slice(at, at + 16).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.map((value, i) => i >= at && i < at + 16 ? 0 : value), clean.map((value, i) => i >= at && i < at + 16 ? 0 : value), 'the rest');
  });

  test('scores far apart do not overflow', async () => {
    const s = await setUp(variant, 15, { heads: 2, kvHeads: 2, dim: 32 }, [{ start: 60, count: 3 }]);
    s.q.forEach((value, i) => { s.q[i] = value * 300; });
    expectClose(await attend(variant, s), expected(s), Math.max(toleranceOf(variant), 1e-4), 'out');
  });
});

test.each(isas.flatMap(isa => kvTypesOf(isa).map(kvType => ({ isa, kvType }))))('attention: one thread and two give the same bits ($isa, KV in format $kvType)', async ({ isa, kvType }) => {
  const two = { isa, threads: 2, kvType }, s = await setUp(two, 16, { heads: 6, kvHeads: 3, dim: 48 }, [{ start: 0, count: 130 }, { start: 200, count: 1 }, { start: 64, count: 20 }]);
  expectSameBits(await attend(two, s), await attend({ isa, threads: 1, kvType }, s), 'out');
});

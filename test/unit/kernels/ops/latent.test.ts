/** Latent attention: keys in pages, maps of heads, attention over keys that all heads share, and what adapters add. */
import { describe, expect, test } from 'vitest';
import { ATTENTION_SPAN, BLOCK_TOKENS, DType, Header, headLinear, latentAttention, latentKv, latentLora } from '@weft/kernels';
import { deviceOf, extremeTunings, isas, runOp, variants, type Variant } from '../harness.js';
import { segmentsOf, type Chunk, type KvSequence } from '../reference/attention.js';
import { keyReference, latentLoraReference, latentReference, turned } from '../reference/latent.js';
import { packPanels } from '../reference/linear.js';
import { PLACE, groupTables, makeAdapter, packAdapters, type RowGroup } from '../reference/lora.js';
import { Random, expectClose, expectSameBits, fromF16 } from '../reference/numbers.js';

/** Pages of 16 tokens in some order; no token is in them yet. */
function sequencesOf(random: Random, lengths: number[]): { sequences: KvSequence[]; nPages: number } {
  const blocks = lengths.map(length => Math.ceil(length / BLOCK_TOKENS)), nPages = blocks.reduce((a, b) => a + b, 1);
  const free = random.shuffled(Array.from({ length: nPages }, (_, i) => i));
  return { sequences: lengths.map((length, i) => ({ length, k: new Float32Array(), v: new Float32Array(), pages: free.splice(0, blocks[i]!), firstBlock: 0 })), nPages };
}

interface Shape { heads: number; latent: number; rope: number; nope: number }

describe.each(variants)('latentKv: $isa, $threads threads', variant => {
  test.each([
    [{ heads: 3, latent: 64, rope: 8, nope: 12 }, 1, 0], [{ heads: 1, latent: 32, rope: 2, nope: 5 }, 0, 1], [{ heads: 16, latent: 512, rope: 64, nope: 128 }, 1, 0],
    [{ heads: 5, latent: 96, rope: 10, nope: 1 }, 1, 2], [{ heads: 2, latent: 37, rope: 6, nope: 3 }, 0, 0],
  ] as [Shape, number, number][])('norms, turns and writes: %j, interleaved %i, KV group %i', async ({ heads, latent, rope, nope }, interleaved, kvGroup) => {
    const random = new Random(71), dim = latent + rope, qDim = nope + rope, qWidth = heads * qDim, width = heads * dim, rows = 8, maxPos = 48, layerOffset = 384;
    const pageBytes = Math.ceil((layerOffset + dim * 32) / 4096) * 4096, { sequences, nPages } = sequencesOf(random, [37, 3]);
    const frame = segmentsOf(sequences, [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 3 }], kvGroup);
    const kv = random.normals(rows * (dim + 3)), w = random.normals(latent), q = random.normals(rows * (qWidth + 1)), query = random.normals(rows * (width + 2));
    const angles = random.normals(maxPos * rope / 2, 3), cosSin = new Float32Array(maxPos * rope);
    for (let p = 0; p < maxPos; p++) for (let i = 0; i < rope / 2; i++) {
      cosSin[p * rope + i] = Math.cos(angles[p * rope / 2 + i]!);
      cosSin[p * rope + rope / 2 + i] = Math.sin(angles[p * rope / 2 + i]!);
    }
    kv[2 * (dim + 3) + 1] = NaN;                          // of row 2, which alone it reaches
    const args = {
      kv, w, q, query, ...frame, cosSin, arena: new Uint8Array(nPages * pageBytes).fill(0xee), rows, heads, qDim, latent, rope, dim, qWidth, width, ldkv: dim + 3, ldq: qWidth + 1,
      ldQuery: width + 2, eps: 1e-6, interleaved, maxPos, nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, kvGroup,
    };
    const found = await runOp(deviceOf(variant), latentKv, { ...args, count: Header.tokens }, { tokens: 7 });
    const halves = new Uint16Array(found.arena.buffer), expectedQuery = Float64Array.from(query), untouched = new Uint16Array(args.arena.slice().buffer);
    for (let t = 0; t < 7; t++) {
      const position = frame.positions[t]!, at = cosSin.subarray(position * rope, (position + 1) * rope), page = sequences[frame.rowSegments[t]!]!.pages[Math.floor(position / 16)]! * pageBytes + layerOffset;
      const place = (d: number): number => page / 2 + d * BLOCK_TOKENS + position % BLOCK_TOKENS;
      const key = keyReference(kv.slice(t * (dim + 3), t * (dim + 3) + dim), w, at, Math.fround(1e-6), interleaved === 1);
      expectClose(Float64Array.from({ length: dim }, (_, d) => fromF16(halves[place(d)]!)), key, 1e-3, `row ${t}`);
      for (let d = 0; d < dim; d++) untouched[place(d)] = halves[place(d)]!;
      for (let h = 0; h < heads; h++) {
        const from = t * (qWidth + 1) + h * qDim + nope;
        expectedQuery.set(turned(Float64Array.from(q.subarray(from, from + rope)), at, interleaved === 1), t * (width + 2) + h * dim + latent);
      }
    }
    expect(halves.findIndex((half, i) => half !== untouched[i]), 'what no token owns').toBe(-1);
    expectClose(found.query, expectedQuery, 1e-5, 'query');
    // Row 5 alone: the same bits.
    const alone = segmentsOf(sequences, [{ of: 1, start: 0, count: 1 }], kvGroup), ldQuery = width + 2;
    const one = await runOp(deviceOf(variant), latentKv, {
      ...args, ...alone, kv: kv.slice(5 * (dim + 3)), q: q.slice(5 * (qWidth + 1)), query: query.slice(5 * ldQuery, 6 * ldQuery), count: 0, rows: 1, nSegments: 1, tableSize: alone.pages.length,
    });
    expectSameBits(one.query.slice(0, width), found.query.slice(5 * ldQuery, 5 * ldQuery + width), 'query of row 5');
    const page = sequences[1]!.pages[0]! * pageBytes / 2 + layerOffset / 2, column = (from: Uint8Array): number[] => Array.from({ length: dim }, (_, d) => new Uint16Array(from.buffer)[page + d * BLOCK_TOKENS]!);
    expect(column(one.arena)).toEqual(column(found.arena));
  });
});

/** Each head's map in panels of its own. values: [heads][n][k]. */
function headPanels(random: Random, heads: number, n: number, k: number, dtype: DType): { bytes: Uint8Array; values: Float64Array } {
  const maps = Array.from({ length: heads }, () => packPanels(random.normals(n * k), n, k, dtype));
  return { bytes: Uint8Array.from(maps.flatMap(({ bytes }) => [...bytes])), values: Float64Array.from(maps.flatMap(({ values }) => [...values])) };
}

describe.each(variants)('headLinear: $isa, $threads threads', variant => {
  test.each([[1, 32, 1, DType.f32], [3, 70, 13, DType.bf16], [16, 128, 40, DType.f16], [5, 9, 65, DType.bf16], [2, 512, 128, DType.bf16]])('%i heads of [%i, %i] in format %i', async (heads, n, k, dtype) => {
    const random = new Random(72), device = deviceOf(variant);
    for (const rows of [1, 2, 7, 60]) {
      const xStride = k + 2, yStride = n + 3, ldx = heads * xStride + 1, ldy = heads * yStride;
      const w = headPanels(random, heads, n, k, dtype), x = random.normals(rows * ldx), y = random.normals(rows * ldy);
      const shape = { heads, outs: heads * Math.ceil(n / 32) * 32, n, k, xStride, yStride, xWidth: heads * xStride, yWidth: ldy, ldx, ldy, dtype };
      const found = (await runOp(device, headLinear, { ...shape, x, w: w.bytes, y, count: 0, rows })).y, expected = Float64Array.from(y);
      for (let t = 0; t < rows; t++) for (let h = 0; h < heads; h++) for (let o = 0; o < n; o++) {
        let sum = 0;
        for (let i = 0; i < k; i++) sum += w.values[(h * n + o) * k + i]! * x[t * ldx + h * xStride + i]!;
        expected[t * ldy + h * yStride + o] = sum;
      }
      expectClose(found, expected, 1e-4, `${rows} rows`);
      const last = rows - 1, one = (await runOp(device, headLinear, { ...shape, x: x.slice(last * ldx), w: w.bytes, y: y.slice(last * ldy), count: 0, rows: 1 })).y;
      expectSameBits(one, found.slice(last * ldy), `the last of ${rows} rows`);
    }
  });

  test('a value that is not finite stays in its head', async () => {
    const random = new Random(73), heads = 3, n = 32, k = 8, w = packPanels(random.normals(heads * n * k), heads * n, k, DType.bf16).bytes, x = random.normals(2 * heads * k);
    const shape = { heads, outs: heads * n, n, k, xStride: k, yStride: n, xWidth: heads * k, yWidth: heads * n, ldx: heads * k, ldy: heads * n, dtype: DType.bf16, count: 0, rows: 2 };
    const y = new Float32Array(2 * heads * n), clean = (await runOp(deviceOf(variant), headLinear, { ...shape, x, w, y })).y;
    x[heads * k + k + 3] = Infinity;
    const dirty = (await runOp(deviceOf(variant), headLinear, { ...shape, x, w, y })).y, at = heads * n + n;
    expect([...dirty.slice(at, at + n)].some(Number.isFinite)).toBe(false);
    expectSameBits(dirty.map((value, i) => i >= at && i < at + n ? 0 : value), clean.map((value, i) => i >= at && i < at + n ? 0 : value), 'the rest');
  });
});

interface Setup { heads: number; latent: number; rope: number; sequences: KvSequence[]; keys: Float32Array[]; chunks: Chunk[]; query: Float32Array; arena: Uint8Array; layout: { nPages: number; pageBytes: number; layerOffset: number }; kvGroup: number; scale: number }

/** Sequences in pages that hold NaN bits wherever no token was written. */
async function setUp(variant: Variant, seed: number, heads: number, latent: number, rope: number, chunks: { start: number; count: number }[], kvGroup = 0): Promise<Setup> {
  const random = new Random(seed), dim = latent + rope, layerOffset = 256, pageBytes = Math.ceil((layerOffset + dim * 32) / 4096) * 4096;
  const { sequences, nPages } = sequencesOf(random, chunks.map(({ start, count }) => start + count));
  const whole = sequences.map(({ length }, of) => ({ of, start: 0, count: length })), frame = segmentsOf(sequences, whole, kvGroup), rows = frame.positions.length;
  const kv = random.normals(rows * dim), layout = { nPages, pageBytes, layerOffset };
  const norms = Float32Array.from({ length: rows }, (_, t) => Math.sqrt(kv.subarray(t * dim, t * dim + latent).reduce((sum, x) => sum + x * x, 0) / latent));
  const { arena } = await runOp(deviceOf(variant), latentKv, {
    kv, w: new Float32Array(latent).fill(1), q: new Float32Array(rows * rope), query: new Float32Array(rows * dim), ...frame,
    cosSin: Float32Array.from({ length: 8192 * rope }, (_, i) => (i % rope < rope / 2 ? 1 : 0)), arena: new Uint8Array(nPages * pageBytes).fill(0xff),
    count: 0, rows, heads: 1, qDim: rope, latent, rope, dim, qWidth: rope, width: dim, ldkv: dim, ldq: rope, ldQuery: dim, eps: 0, interleaved: 0, maxPos: 8192,
    nSegments: whole.length, tableSize: frame.pages.length, ...layout, kvGroup,
  });
  const halves = new Uint16Array(arena.buffer);
  let row = 0;
  const keys = sequences.map(({ length, pages }) => Float32Array.from({ length: length * dim }, (_, i) => {
    const t = Math.floor(i / dim), d = i % dim, value = fromF16(halves[(pages[Math.floor(t / 16)]! * pageBytes + layerOffset) / 2 + d * BLOCK_TOKENS + t % BLOCK_TOKENS]!);
    const norm = norms[row + t]!, given = kv[(row + t) * dim + d]! / (d < latent ? norm : 1);
    if (Math.abs(value - given) > 2e-3 * (1 + Math.abs(given))) throw new Error(`key ${t}, ${d} is ${value}, not ${given}`);
    if (i === length * dim - 1) row += length;
    return value;
  }));
  const mine = chunks.map((chunk, of) => ({ of, ...chunk }));
  return { heads, latent, rope, sequences, keys, chunks: mine, query: random.normals(mine.reduce((sum, { count }) => sum + count, 0) * heads * dim), arena, layout, kvGroup, scale: 1.5 / Math.sqrt(dim) };
}

async function attend(variant: Variant, s: Setup, chunks = s.chunks, query = s.query, nPartials = 0): Promise<Float32Array> {
  const { heads, latent, rope } = s, frame = segmentsOf(s.sequences, chunks, s.kvGroup), rows = frame.positions.length, width = heads * (latent + rope), outWidth = heads * latent, ldPartials = Math.ceil(latent / 16) * 16 + 2;
  const { out } = await runOp(deviceOf(variant), latentAttention, {
    query, out: new Float32Array(rows * outWidth), positions: frame.positions, segments: frame.segments, pages: frame.pages, arena: s.arena, partials: nPartials > 0 ? new Float32Array(nPartials * ldPartials) : null,
    count: 0, rows, segmentCount: 0, heads, latent, rope, width, outWidth, ldq: width, ldo: outWidth, nSegments: chunks.length, tableSize: frame.pages.length, ...s.layout, kvGroup: s.kvGroup,
    scale: s.scale, nPartials, ldPartials,
  });
  return out;
}

function expected(s: Setup): Float64Array {
  const dim = s.latent + s.rope;
  let row = 0;
  return Float64Array.from(s.chunks.flatMap(({ of, start, count }) => Array.from({ length: count }, (_, i) => {
    const query = s.query.subarray(row * s.heads * dim, (row + 1) * s.heads * dim);
    row++;
    return [...latentReference(query, s.heads, s.latent, dim, s.keys[of]!, start + i, Math.fround(s.scale))];
  }).flat()));
}

const shapes: [string, number, number, number, { start: number; count: number }[], number?][] = [
  ['decode rows', 4, 64, 16, [{ start: 0, count: 1 }, { start: 15, count: 1 }, { start: 16, count: 1 }, { start: 70, count: 1 }]],
  ['a prompt', 3, 32, 8, [{ start: 0, count: 75 }]],
  ['one head', 1, 96, 2, [{ start: 5, count: 20 }, { start: 33, count: 1 }]],
  ['chunks and decode rows in one call, in KV group 1', 5, 32, 10, [{ start: 40, count: 37 }, { start: 9, count: 1 }, { start: 0, count: 3 }, { start: 31, count: 2 }], 1],
  ['more heads than go together', 100, 32, 4, [{ start: 30, count: 3 }, { start: 7, count: 1 }]],
  ['DeepSeek-V2-Lite', 16, 512, 64, [{ start: 40, count: 9 }, { start: 63, count: 1 }]],
  ['several spans', 6, 64, 16, [{ start: 3 * ATTENTION_SPAN - 3, count: 6 }, { start: ATTENTION_SPAN, count: 1 }, { start: 900, count: 1 }]],
  ['a prompt of two spans', 5, 32, 4, [{ start: 236, count: 40 }]],
  ['latents of no whole vector', 3, 37, 6, [{ start: 0, count: 20 }, { start: 3 * ATTENTION_SPAN - 3, count: 6 }, { start: 800, count: 1 }]],
  ['latents of less than a vector', 5, 3, 2, [{ start: 260, count: 5 }, { start: 600, count: 1 }]],
];

describe.each(variants)('latentAttention: $isa, $threads threads', variant => {
  test.each(shapes)('equals softmax(q·C) C: %s', async (_, heads, latent, rope, chunks, kvGroup) => {
    const s = await setUp(variant, 81, heads, latent, rope, chunks, kvGroup);
    expectClose(await attend(variant, s), expected(s), 2e-5, 'out');
  });

  test.each(shapes)('has the same bits however rows are cut into chunks, and spans side by side: %s', async (_, heads, latent, rope, chunks, kvGroup) => {
    const s = await setUp(variant, 82, heads, latent, rope, chunks, kvGroup), whole = await attend(variant, s);
    for (const size of [1, 2, 7]) {
      const cut = s.chunks.flatMap(({ of, start, count }) =>
        Array.from({ length: Math.ceil(count / size) }, (_v, i) => ({ of, start: start + i * size, count: Math.min(size, count - i * size) })));
      for (const nPartials of [0, heads * 4, 4096]) expectSameBits(await attend(variant, s, cut, s.query, nPartials), whole, `chunks of ${size}, ${nPartials} states`);
    }
    expectSameBits(await attend(variant, s, s.chunks, s.query, 4096), whole, '4096 states');
  });

  test('one row with a long past, cut or not', async () => {
    const s = await setUp(variant, 83, 16, 64, 16, [{ start: 5000, count: 1 }]), whole = await attend(variant, s);
    expectClose(whole, expected(s), 2e-5, 'out');
    expectSameBits(await attend(variant, s, s.chunks, s.query, 16 * 20), whole, 'cut');
  });

  test('a token that is not finite reaches the rows that see it, and no others', async () => {
    const heads = 2, latent = 32, s = await setUp(variant, 84, heads, latent, 8, [{ start: 0, count: 40 }, { start: 10, count: 6 }]), clean = await attend(variant, s), width = heads * latent, at = 21;
    new Uint16Array(s.arena.buffer)[(s.sequences[0]!.pages[1]! * s.layout.pageBytes + s.layout.layerOffset) / 2 + 3 * BLOCK_TOKENS + (at - 16)] = 0x7e00;
    const dirty = await attend(variant, s);
    expectSameBits(dirty.slice(0, at * width), clean.slice(0, at * width), 'rows before');
    expect(dirty.slice(at * width, 40 * width).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.slice(40 * width), clean.slice(40 * width), 'the other sequence');
  });

  test('a query that is not finite stays in its head; scores far apart do not overflow', async () => {
    const s = await setUp(variant, 85, 4, 32, 8, [{ start: 20, count: 10 }]), clean = await attend(variant, s), query = s.query.slice();
    query[(2 * 4 + 1) * 40 + 5] = NaN;
    const dirty = await attend(variant, s, s.chunks, query), at = (2 * 4 + 1) * 32;
    expect(dirty.slice(at, at + 32).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.map((value, i) => i >= at && i < at + 32 ? 0 : value), clean.map((value, i) => i >= at && i < at + 32 ? 0 : value), 'the rest');
    s.query.forEach((value, i) => { s.query[i] = value * 300; });
    expectClose(await attend(variant, s), expected(s), 1e-4, 'far apart');
  });
});

test.each(isas)('latentAttention: one thread and two give the same bits (%s)', async isa => {
  const s = await setUp({ isa, threads: 2 }, 86, 12, 96, 16, [{ start: 0, count: 130 }, { start: 600, count: 1 }, { start: 64, count: 20 }]);
  for (const nPartials of [0, 4096]) expectSameBits(await attend({ isa, threads: 2 }, s, s.chunks, s.query, nPartials), await attend({ isa, threads: 1 }, s), `${nPartials} states`);
});

const all = (rows: number): number[] => Array.from({ length: rows }, (_, i) => i);
const loraShapes: [string, { heads: number; latent: number; headOuts: number; firstOut: number; outs: number }, number[]][] = [
  ['units of one head', { heads: 3, latent: 64, headOuts: 128, firstOut: 0, outs: 64 }, [8, 1, 5]],
  ['outputs inside units', { heads: 5, latent: 96, headOuts: 26, firstOut: 11, outs: 15 }, [3, 16, 7]],
  ['outputs across units', { heads: 4, latent: 32, headOuts: 150, firstOut: 30, outs: 117 }, [13, 2, 64]],
  ['DeepSeek-V2-Lite', { heads: 16, latent: 512, headOuts: 256, firstOut: 128, outs: 128 }, [16]],
  ['latents of no whole vector', { heads: 3, latent: 37, headOuts: 20, firstOut: 4, outs: 13 }, [8, 3]],
  ['rank 256', { heads: 2, latent: 32, headOuts: 9, firstOut: 0, outs: 4 }, [256, 1]],
];

describe.each(variants.flatMap(variant => [0, 1].map(transposed => ({ ...variant, transposed }))))('latentLora: $isa, $threads threads, transposed $transposed', ({ transposed, ...variant }) => {
  async function apply(shape: (typeof loraShapes)[number][1], ranks: number[], rows: number, groups: RowGroup[], on: Variant = variant, seed = 91) {
    const random = new Random(seed), { heads, latent, headOuts, outs } = shape, site = { dIn: latent, outs: [heads * headOuts] }, maxRank = Math.max(...ranks);
    const adapters = ranks.map((rank, i) => makeAdapter(random, site, rank, i > 1 ? 0.5 : 0)), packed = packAdapters(random, site, adapters, Math.ceil(maxRank * 192 / 4096 + 1) * 4096);
    const [dIn, dOut] = transposed ? [outs, latent] : [latent, outs], xStride = dIn + 1, yStride = dOut + 2;
    const full = { ...shape, transposed, xStride, yStride, xWidth: heads * xStride, yWidth: heads * yStride, ldx: heads * xStride, ldy: heads * yStride };
    const x = random.normals(rows * full.ldx), y = random.normals(rows * full.ldy), tables = groupTables(groups);
    const run = async (values: Float32Array): Promise<Float32Array> => (await runOp(deviceOf(on), latentLora, {
      ...full, x: values, y, ...tables, tables: packed.tables, arena: packed.arena, groupCount: Header.groups, groupRowCount: Header.groupRows, rows, partStride: maxRank,
      maxGroups: Math.max(1, groups.length), maxGroupRows: tables.groupRows.length, nSlots: ranks.length, slotWords: packed.slotWords, nPages: packed.nPages, pageBytes: packed.pageBytes,
      layer: PLACE.layer, nSites: PLACE.nSites, site: PLACE.site,
    }, { groups: groups.length, groupRows: groups.reduce((sum, group) => sum + group.rows.length, 0) })).y;
    return { found: await run(x), run, x, y, full, expected: latentLoraReference(full, adapters.map(([part]) => part!), groups, x, y) };
  }

  test.each(loraShapes)('adds what the adapters say: %s', async (_, shape, ranks) => {
    for (const rows of [1, 5, 23]) {
      const groups: RowGroup[] = [{ slot: 0, weight: 1, rows: all(rows).filter(row => row % 2 === 0) }];
      ranks.slice(1).forEach((_rank, i) => groups.push({ slot: i + 1, weight: -0.7, rows: all(rows).filter(row => row % (i + 2) === 0) }));
      const { found, expected: wanted } = await apply(shape, ranks, rows, groups);
      expectClose(found, wanted, 2e-3, `${rows} rows`);
    }
    const { found, y } = await apply(shape, ranks, 3, []);
    expectSameBits(found, y, 'without groups');
  });

  test('a row has the same bits alone and in a group of any size, on any number of threads, with any tuning', async () => {
    const [, shape] = loraShapes[2]!, ranks = [24, 9];
    for (const rows of [2, 6, 13, 200]) {
      const groups = (mine: number[]): RowGroup[] => [{ slot: 0, weight: 1, rows: mine }, { slot: 1, weight: 0.3, rows: mine }];
      const { found, full } = await apply(shape, ranks, rows, groups(all(rows)));
      for (const tuning of extremeTunings) expectSameBits((await apply(shape, ranks, rows, groups(all(rows)), { ...variant, tuning })).found, found, 'another tuning');
      for (const row of [0, rows - 1]) {
        const alone = (await apply(shape, ranks, rows, groups([row]))).found;
        expectSameBits(alone.slice(row * full.ldy, (row + 1) * full.ldy), found.slice(row * full.ldy, (row + 1) * full.ldy), `row ${row} of ${rows}`);
      }
    }
  });

  test('a NaN stays in its row and head', async () => {
    const [, shape] = loraShapes[1]!, { found, run, x, full } = await apply(shape, [8], 9, [{ slot: 0, weight: 1, rows: all(9) }]);
    x[4 * full.ldx + full.xStride + 3] = NaN;
    const dirty = await run(x), at = 4 * full.ldy + full.yStride, end = at + full.yStride - 2;
    expect(dirty.slice(at, end).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.map((value, i) => i >= at && i < end ? 0 : value), found.map((value, i) => i >= at && i < end ? 0 : value), 'the rest');
  });
});

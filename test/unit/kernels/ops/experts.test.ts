import { describe, expect, test } from 'vitest';
import { DType, Header, combineExperts, expertLinear, groupExperts, routeExperts } from '@weft/kernels';
import { CUDA, deviceOf, isas, runOp, variants, type Variant } from '../harness.js';
import { packBf12 } from '../reference/bf12.js';
import { expertReference, groupReference, packExperts, pageExperts, routeReference, type PagedExperts, type Routing } from '../reference/experts.js';
import { packPanels } from '../reference/linear.js';
import { Random, expectClose, expectSameBits, fromBf16, toBf16 } from '../reference/numbers.js';

/** The last one is this processor's alone. */
const FORMATS = [DType.f32, DType.bf16, DType.f16, DType.bf12];

const ROUTINGS: Routing[] = [
  { experts: 8, topK: 2, nGroups: 1, topGroups: 1, normalize: 1, scale: 1 }, { experts: 60, topK: 4, nGroups: 1, topGroups: 1, normalize: 0, scale: 1 },
  { experts: 64, topK: 6, nGroups: 8, topGroups: 3, normalize: 0, scale: 16 }, { experts: 1, topK: 1, nGroups: 1, topGroups: 1, normalize: 1, scale: 2.5 },
  { experts: 37, topK: 37, nGroups: 1, topGroups: 1, normalize: 1, scale: 1 }, { experts: 128, topK: 8, nGroups: 2, topGroups: 2, normalize: 1, scale: 1 },
];

interface Adapters { rowAdapters: Int32Array; map: Int32Array; adapterSlots: number; expertSlots: number }
const noAdapters = { rowAdapters: null, map: null, adapterSlots: 0, expertSlots: 0 };

const route = (variant: Variant, r: Routing, logits: Float32Array, ldl: number, rows: number, adapters: Adapters | typeof noAdapters = noAdapters) =>
  runOp(deviceOf(variant), routeExperts, { ...r, ...adapters, logits, ldl, rows, count: 0, keys: new Int32Array(rows * r.topK).fill(-7), weights: new Float32Array(rows * r.topK) });

describe.each(variants)('experts: $isa, $threads threads', variant => {
  test.each(ROUTINGS)('rows go to the best of $experts experts, $topK of them, by groups of $nGroups', async r => {
    const random = new Random(r.experts), rows = 23, ldl = r.experts + 3, logits = random.normals(rows * ldl, 2);
    const { keys, weights } = await route(variant, r, logits, ldl, rows);
    for (let t = 0; t < rows; t++) {
      const expected = routeReference(r, logits.subarray(t * ldl, t * ldl + r.experts)), at = t * r.topK;
      if (expected.margin > 1e-6) expect([...keys.subarray(at, at + r.topK)].toSorted()).toEqual(expected.experts.toSorted());
      expectClose(weights.subarray(at, at + r.topK), expected.weights, 1e-5, `row ${t}`);
    }
  });

  test('equal logits go to lower experts first; a NaN or infinity stays in its row', async () => {
    const r = { ...ROUTINGS[2]!, scale: 1 }, logits = new Float32Array(4 * 64).fill(0.5);
    logits[64 + 9] = NaN;
    logits[128 + 63] = Infinity;
    logits[192 + 40] = 1;
    const { keys, weights } = await route(variant, r, logits, 64, 4);
    expect([...keys.subarray(0, 6)]).toEqual([0, 1, 2, 3, 4, 5]);
    expect([...weights.subarray(6, 18)].every(Number.isNaN)).toBe(true);
    expect([...keys.subarray(6, 18)].every(key => key >= 0 && key < 64)).toBe(true);
    expect([...keys.subarray(18)]).toEqual([40, 0, 1, 2, 3, 4]);
    expectClose(weights.subarray(0, 6), new Array<number>(6).fill(1 / 64), 1e-6, 'equal');
  });

  test('the map of a row\'s adapter sends its experts elsewhere', async () => {
    const r = ROUTINGS[1]!, random = new Random(7), rows = 12, logits = random.normals(rows * 60);
    const map = Int32Array.from({ length: 3 * 60 }, () => (random.chance(0.4) ? random.int(0, 20) : -1));
    const rowAdapters = Int32Array.from({ length: rows }, () => random.int(-1, 2));
    const base = await route(variant, r, logits, 60, rows), { keys, weights } = await route(variant, r, logits, 60, rows, { map, rowAdapters, adapterSlots: 3, expertSlots: 21 });
    expectSameBits(weights, base.weights, 'weights');
    base.keys.forEach((expert, pair) => {
      const adapter = rowAdapters[Math.floor(pair / 4)]!, slot = adapter < 0 ? -1 : map[adapter * 60 + expert]!;
      expect(keys[pair]).toBe(slot < 0 ? expert : 60 + slot);
    });
  });

  test('pairs are sorted by key, and by pair inside a key', async () => {
    const random = new Random(8);
    for (const [pairs, nKeys, count] of [[1, 1, 1], [40, 6, 40], [64, 200, 37], [300, 11, 300], [9, 9, 0]] as const) {
      const keys = Int32Array.from({ length: pairs }, () => random.int(0, nKeys - 1)), maxSpans = Math.min(pairs, nKeys);
      const found = await runOp(deviceOf(variant), groupExperts, {
        keys, order: new Int32Array(pairs).fill(-1), inverse: new Int32Array(pairs).fill(-1), spans: new Int32Array(maxSpans * 4).fill(-1), count: Header.pairs, pairs, nKeys, maxSpans,
      }, { pairs: count });
      const expected = groupReference([...keys.subarray(0, count)], maxSpans);
      expect([...found.order.subarray(0, count)]).toEqual(expected.order);
      expect([...found.inverse.subarray(0, count)]).toEqual(expected.inverse);
      expect(found.spans).toEqual(expected.spans);
    }
  });

  test.each(variant.isa === CUDA ? FORMATS.slice(0, 3) : FORMATS)('y = W x for the key of each row, base experts of type %i', async dtype => {
    const random = new Random(dtype);
    for (const [n, k, experts, rows, topK] of [[33, 65, 3, 5, 2], [64, 128, 5, 40, 2], [7, 1, 1, 1, 1], [130, 70, 4, 90, 3], [96, 64, 2, 1, 2]] as const) {
      const m = make(random, { n, k, experts, rows, topK, dtype, pageBytes: 8192 });
      expectClose(valuesOf(await run(variant, m), m), expectedOf(m), 3e-5, `${n}×${k}, ${rows} rows`);
      const down = make(random, { n, k, experts, rows, topK, dtype, pageBytes: 4096, gathers: false });
      expectClose(valuesOf(await run(variant, down), down), expectedOf(down), 3e-5, `${n}×${k}, ${rows} rows in their order`);
    }
  });

  test.each(['f32', 'bf16'] as const)('a row has the same bits alone and among others, in pages and in the base, rows of %s', async rowType => {
    const random = new Random(9);
    for (const rows of [2, 3, 7, 13, 60]) {
      const m = make(random, { n: 70, k: 130, experts: 3, rows, topK: 2, dtype: DType.bf16, pageBytes: 12288, rowType });
      const all = await run(variant, m);
      for (const t of [0, rows - 1]) {
        const alone = { ...m, rows: 1, x: m.x.slice(t * m.ldx, (t + 1) * m.ldx), keys: m.keys.slice(t * 2, t * 2 + 2) };
        const [one, many] = [valuesOf(await run(variant, alone), alone), valuesOf(all, m)];
        expectSameBits(many.slice(t * 2 * m.n, (t + 1) * 2 * m.n), one, `row ${t} of ${rows}`);
      }
    }
  });

  test('an expert has the same bits from pages as from the base', async () => {
    const random = new Random(10);
    for (const dtype of [DType.bf16, DType.f16]) {
      const m = make(random, { n: 70, k: 130, experts: 2, rows: 9, topK: 2, dtype, pageBytes: 8192 });
      const twin = { ...m, paged: pageExperts(random, 2, 70, 130, m.firstUnit, 8192, m.base.values.map(values => ({ values, dtype }))) };
      const keys = m.keys.map(key => key % 2);
      expectSameBits(valuesOf(await run(variant, { ...twin, keys: keys.map(key => key + 2) }), m), valuesOf(await run(variant, { ...m, keys }), m), `dtype ${dtype}`);
    }
  });

  test('a NaN stays in its row', async () => {
    const m = make(new Random(11), { n: 40, k: 64, experts: 2, rows: 8, topK: 1, dtype: DType.bf16, pageBytes: 4096 });
    const clean = valuesOf(await run(variant, m), m), x = m.x.slice();
    x[3 * m.ldx + 5] = NaN;
    const dirty = valuesOf(await run(variant, { ...m, x }), m);
    for (let t = 0; t < 8; t++) {
      const row = dirty.slice(t * 40, (t + 1) * 40);
      if (t === 3) expect(row.every(Number.isNaN)).toBe(true);
      else expectSameBits(row, clean.slice(t * 40, (t + 1) * 40), `row ${t}`);
    }
  });

  test('what experts give is added up by weight, on top of what is there', async () => {
    const random = new Random(12);
    for (const [rows, topK, dim, accumulate, gated] of [[5, 2, 33, 0, false], [3, 4, 64, 1, true], [40, 8, 20, 1, false], [1, 1, 1, 0, false]] as const) {
      const pairs = rows * topK, ldy = dim + 2, ldo = dim + 1, ldg = 3;
      const y = random.normals(pairs * ldy), weights = random.normals(pairs), gate = random.normals(rows * ldg), before = random.normals(rows * ldo);
      const inverse = Int32Array.from(random.shuffled(Array.from({ length: pairs }, (_, i) => i)));
      const { out } = await runOp(deviceOf(variant), combineExperts, { y, inverse, weights, gate: gated ? gate : null, out: before, count: 0, rows, topK, pairs, dim, ldy, ldg, ldo, accumulate });
      const expected = Float64Array.from(before);
      for (let t = 0; t < rows; t++) {
        for (let i = 0; i < dim; i++) {
          let sum = accumulate ? before[t * ldo + i]! * (gated ? 1 / (1 + Math.exp(-gate[t * ldg]!)) : 1) : 0;
          for (let c = 0; c < topK; c++) sum += weights[t * topK + c]! * y[inverse[t * topK + c]! * ldy + i]!;
          expected[t * ldo + i] = sum;
        }
      }
      expectClose(out, expected, 1e-5, `${rows} rows of ${topK}`);
    }
  });
});

test.each(isas)('expertLinear: one thread and two give the same bits (%s)', async isa => {
  const random = new Random(13);
  for (const rows of [1, 6, 130]) {
    const m = make(random, { n: 200, k: 96, experts: 4, rows, topK: 2, dtype: DType.bf16, pageBytes: 8192 });
    expectSameBits(await run({ isa, threads: 2 }, m), await run({ isa, threads: 1 }, m), `${rows} rows`);
  }
});

interface Shape { n: number; k: number; experts: number; rows: number; topK: number; dtype: DType; pageBytes: number; gathers?: boolean; rowType?: 'f32' | 'bf16' }
interface Made extends Required<Shape> { ldx: number; ldy: number; firstUnit: number; x: Float32Array; keys: number[]; base: { bytes: Uint8Array; values: Float64Array[] }; paged: PagedExperts }

/** Two thirds of the keys are the base's; the others name two expert slots. bf12 is made of bf16. */
function make(random: Random, shape: Shape): Made {
  const { n, k, experts, rows, topK, dtype, pageBytes } = shape, firstUnit = random.int(0, 3), gathers = shape.gathers ?? true;
  const base = dtype === DType.bf12 ? codedExperts(random, experts, n, k) : packExperts(random, experts, n, k, dtype);
  const ldx = k + 2 * random.int(0, 3) + k % 2, ldy = n + random.int(0, 5), xRows = gathers ? rows : rows * topK;
  const x = random.normals(xRows * ldx);
  return {
    ...shape, gathers, rowType: shape.rowType ?? 'f32', ldx, ldy, firstUnit, base, x: shape.rowType === 'bf16' ? x.map(value => fromBf16(toBf16(value))) : x,
    keys: Array.from({ length: rows * topK }, () => (random.chance(0.66) ? random.int(0, experts - 1) : experts + random.int(0, 1))),
    paged: pageExperts(random, 2, n, k, firstUnit, pageBytes),
  };
}

function codedExperts(random: Random, count: number, n: number, k: number): { bytes: Uint8Array; values: Float64Array[] } {
  const coded = Array.from({ length: count }, () => {
    const { bytes, values } = packPanels(random.normals(n * k), n, k, DType.bf16);
    return { bytes: packBf12(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), k), values };
  });
  return { bytes: Uint8Array.from(coded.flatMap(({ bytes }) => [...bytes])), values: coded.map(({ values }) => values) };
}

async function run(variant: Variant, m: Made): Promise<Float32Array> {
  const { n, k, experts, rows, topK, ldx, ldy, dtype, gathers, firstUnit, paged } = m, pairs = rows * topK, maxSpans = Math.min(pairs, experts + 2);
  const { order, spans } = groupReference(m.keys, maxSpans);
  const bf16 = m.rowType === 'bf16', x = gathers ? m.x : order.flatMap(pair => [...m.x.subarray(pair * ldx, (pair + 1) * ldx)]);
  const { y } = await runOp(deviceOf(variant), expertLinear, {
    x: bf16 ? new Uint8Array(Uint16Array.from(x, toBf16).buffer) : Float32Array.from(x), base: m.base.bytes, spans, order: gathers ? Int32Array.from(order) : null,
    types: paged.types, pages: paged.pages, arena: paged.arena, y: new Float32Array(pairs * ldy),
    count: 0, pairs, xRows: gathers ? rows : pairs, topK, experts, n, k, outs: experts * Math.ceil(n / 32) * 32, ldx, ldy, dtype, xType: bf16 ? 1 : 0, maxSpans,
    expertSlots: 2, slotPages: paged.slotPages, firstUnit, nPages: paged.nPages, pageBytes: paged.pageBytes,
  });
  return y;
}

/** Rows of y in the order of pairs, without what lies between them. */
function valuesOf(y: Float32Array, { keys, n, ldy }: Made): Float32Array {
  const { inverse } = groupReference(keys, keys.length);
  return Float32Array.from(inverse.flatMap(place => [...y.subarray(place * ldy, place * ldy + n)]));
}

function expectedOf(m: Made): number[] {
  return m.keys.flatMap((key, pair) => {
    const row = m.gathers ? Math.floor(pair / m.topK) : pair, w = key < m.experts ? m.base.values[key]! : m.paged.values[key - m.experts]!;
    return [...expertReference(w, m.x.subarray(row * m.ldx, row * m.ldx + m.k), m.n, m.k)];
  });
}

import { describe, expect, test } from 'vitest';
import { DType, Header, INT8_GROUP, embed, linear, linearInt8, quantizeRows, quantizedWords } from '@weft/kernels';
import { deviceOf, isas, runOp, variants, type Variant } from '../harness.js';
import { dequantizedRows, packInt8 } from '../reference/int8.js';
import { linearReference } from '../reference/linear.js';
import { Random, expectClose, expectSameBits, fromBf16, toBf16 } from '../reference/numbers.js';

async function quantize(variant: Variant, x: Float32Array, rows: number, k: number, ldx = k, ldq = quantizedWords(k)): Promise<Float32Array> {
  const args = { x, q: new Float32Array(rows * ldq), count: 0, countFrom: 0, rows, k, words: quantizedWords(k), ldx, ldq, xType: DType.f32 };
  return (await runOp(deviceOf(variant), quantizeRows, args)).q;
}

interface Made { rows: number; n: number; k: number; ldx: number; ldy: number; accumulate: number; x: Float32Array; w: Uint8Array; values: Float64Array; b: Float32Array | null; y: Float32Array }

/** Weights and activations whose groups differ by orders of magnitude. */
function make(random: Random, rows: number, n: number, k: number): Made {
  const spread = (values: Float32Array): Float32Array => values.map((value, i) => value * 2 ** ((Math.floor(i / INT8_GROUP) * 7) % 13 - 6));
  const { bytes, values } = packInt8(spread(random.normals(n * k)), n, k);
  const ldx = k + random.int(0, 3), ldy = n + random.int(0, 5);
  return {
    rows, n, k, ldx, ldy, accumulate: random.int(0, 1), w: bytes, values, x: spread(random.normals(rows * ldx)), y: random.normals(rows * ldy),
    b: random.chance(0.5) ? random.normals(n) : null,
  };
}

async function run(variant: Variant, m: Made, x = m.x, y = m.y, rows = m.rows): Promise<{ q: Float32Array; y: Float32Array }> {
  const { n, k, ldy, accumulate } = m, words = quantizedWords(k), q = await quantize(variant, x, rows, k, m.ldx);
  const out = await runOp(deviceOf(variant), linearInt8, { x: q, w: m.w, b: m.b, y, count: 0, countFrom: 0, rows, n, k, words, ldx: words, ldy, dtype: DType.int8, accumulate });
  return { q, y: out.y };
}

describe.each(variants)('int8: $isa, $threads threads', variant => {
  test('quantizeRows keeps 15 bits of the largest value of a group, and zeros behind k', async () => {
    const random = new Random(50);
    for (const [rows, k] of [[1, 1], [2, 63], [3, 64], [5, 65], [4, 200], [70, 577]] as const) {
      const ldx = k + random.int(0, 3), words = quantizedWords(k), ldq = words + random.int(0, 3), x = random.normals(rows * ldx);
      const q = await quantize(variant, x, rows, k, ldx, ldq), values = dequantizedRows(q, rows, k, ldq);
      const ints = new Int16Array(q.buffer), groups = Math.ceil(k / INT8_GROUP);
      for (let t = 0; t < rows; t++) for (let g = 0; g < groups; g++) {
        const group = x.subarray(t * ldx + g * INT8_GROUP, t * ldx + Math.min(k, (g + 1) * INT8_GROUP));
        const scale = q[t * ldq + groups * INT8_GROUP / 2 + g]!;
        expect(scale).toBe(Math.fround(Math.max(...group.map(Math.abs)) / 32767));
        expect(Math.max(...group.map((value, i) => Math.abs(values[t * k + g * INT8_GROUP + i]! - value)))).toBeLessThan(scale * 0.51);
        expect(ints.slice(2 * t * ldq + g * INT8_GROUP + group.length, 2 * t * ldq + (g + 1) * INT8_GROUP).every(value => value === 0)).toBe(true);
      }
    }
  });

  test('quantizeRows reads rows of bf16 as the values that they are', async () => {
    const random = new Random(49);
    for (const [rows, k] of [[1, 1], [3, 63], [4, 130]] as const) {
      const ldx = k + k % 2, halves = Uint16Array.from(random.normals(rows * ldx), toBf16), words = quantizedWords(k);
      const args = { x: halves, q: new Float32Array(rows * words), count: 0, countFrom: 0, rows, k, words, ldx, ldq: words, xType: DType.bf16 };
      expectSameBits((await runOp(deviceOf(variant), quantizeRows, args)).q, await quantize(variant, Float32Array.from(halves, fromBf16), rows, k, ldx), `${rows} x ${k}`);
    }
  });

  test('linearInt8 equals W x + b of the quantized values over odd shapes', async () => {
    const random = new Random(51);
    for (let i = 0; i < 45; i++) {
      const m = make(random, i % 5 === 0 ? random.int(49, 160) : random.int(1, 30), random.int(1, 150), i % 7 === 0 ? random.int(1, 6) : random.int(7, 400));
      const { q, y } = await run(variant, m), x = Float32Array.from(dequantizedRows(q, m.rows, m.k, quantizedWords(m.k)));
      const expected = linearReference({ ...m, ldx: m.k }, x, m.values, m.b, m.y);
      // What is rounded: groups in f32, against the sum of magnitudes.
      const sizes = linearReference({ ...m, ldx: m.k }, x.map(Math.abs), m.values.map(Math.abs), m.b && m.b.map(Math.abs), m.y.map(Math.abs));
      y.forEach((value, at) => { if (Math.abs(value - expected[at]!) > 1e-6 * sizes[at]!) throw new Error(`${m.rows} x [${m.n}, ${m.k}]: value ${at} is ${value}, expected ${expected[at]}`); });
    }
  });

  test('a row has the same bits alone and among any number of others', async () => {
    const random = new Random(52);
    for (const rows of [2, 3, 5, 6, 7, 11, 12, 13, 24, 33, 60, 100]) {
      const m = make(random, rows, random.int(30, 140), random.int(1, 300)), { ldx, ldy, n } = m, all = (await run(variant, m)).y;
      for (const t of [0, Math.floor(rows / 2), rows - 1]) {
        const alone = (await run(variant, m, m.x.slice(t * ldx, (t + 1) * ldx), m.y.slice(t * ldy, (t + 1) * ldy), 1)).y;
        expectSameBits(all.slice(t * ldy, t * ldy + n), alone.slice(0, n), `row ${t} of ${rows}`);
      }
    }
  });

  test('a NaN or infinity stays in its row; nothing comes of zeros', async () => {
    const m = { ...make(new Random(53), 14, 70, 150), b: null, accumulate: 0 }, clean = (await run(variant, m)).y, x = m.x.slice();
    x[3 * m.ldx + 7] = NaN;
    x[9 * m.ldx + 149] = -Infinity;
    x[12 * m.ldx + 70] = Infinity;
    x.fill(0, 5 * m.ldx, 6 * m.ldx);
    x.fill(1e-38, 6 * m.ldx, 7 * m.ldx);
    const dirty = (await run(variant, m, x)).y;
    for (let t = 0; t < 14; t++) {
      const row = dirty.slice(t * m.ldy, t * m.ldy + 70);
      if ([3, 9, 12].includes(t)) expect(row.every(Number.isNaN), `row ${t}`).toBe(true);
      else if (t === 5 || t === 6) expect(row.every(value => value === 0), `row ${t}`).toBe(true);
      else expectSameBits(row, clean.slice(t * m.ldy, t * m.ldy + 70), `row ${t}`);
    }
  });

  test('extremes of both formats add up without overflow', async () => {
    const k = 64, n = 33, w = new Float32Array(n * k).fill(-127), x = new Float32Array(k).fill(3e3);
    const { y } = await run(variant, { rows: 1, n, k, ldx: k, ldy: n, accumulate: 0, x, w: packInt8(w, n, k).bytes, values: new Float64Array(), b: null, y: new Float32Array(n) });
    expectClose(y, new Float64Array(n).fill(-127 * 3e3 * k), 1e-6, 'y');
  });

  test('only as many rows run as the frame counts, from countFrom on', async () => {
    const m = make(new Random(54), 9, 40, 100), words = quantizedWords(m.k), { q, y: all } = await run(variant, m);
    for (const [logits, countFrom, rows] of [[4, 0, 4], [0, 0, 0], [7, 5, 2], [3, 5, 0]] as const) {
      const counts = { count: Header.logits, countFrom, rows: 9, k: m.k, words };
      const out = await runOp(deviceOf(variant), quantizeRows, { ...counts, x: m.x, q: new Float32Array(9 * words), ldx: m.ldx, ldq: words, xType: DType.f32 }, { logits });
      expectSameBits(out.q, q.slice().fill(0, rows * words), `quantized ${logits} from ${countFrom}`);
      const { y } = await runOp(deviceOf(variant), linearInt8, { ...counts, x: q, w: m.w, b: m.b, y: m.y, n: m.n, ldx: words, ldy: m.ldy, dtype: DType.int8, accumulate: m.accumulate }, { logits });
      expectSameBits(y, Float32Array.from(m.y, (before, i) => (i % m.ldy < m.n && i < rows * m.ldy ? all[i]! : before)), `${logits} from ${countFrom}`);
    }
  });

  test.each([1, 45, 64, 131])('embed reads panels of int8: %i values', async dim => {
    const random = new Random(55), vocab = 70, ldx = dim + 3, tokens = Int32Array.of(0, 69, 31, 32, 5, 5);
    const { bytes, values } = packInt8(random.normals(vocab * dim), vocab, dim), expected = new Float64Array(6 * ldx);
    tokens.forEach((token, t) => { for (let i = 0; i < dim; i++) expected[t * ldx + i] = Math.fround(values[token * dim + i]! * 1.5); });
    const { x } = await runOp(deviceOf(variant), embed, { table: bytes, tokens, x: new Float32Array(6 * ldx), count: 0, rows: 6, vocab, limit: vocab, dim, dtype: DType.int8, layout: 0, ldx, scale: 1.5 });
    expectClose(x, expected, 0, 'x');
  });
});

test.each(isas)('int8: one thread and two give the same bits (%s)', async isa => {
  const random = new Random(56);
  for (const rows of [1, 6, 40, 130]) {
    const m = make(random, rows, 200, 96);
    expectSameBits((await run({ isa, threads: 2 }, m)).y, (await run({ isa, threads: 1 }, m)).y, `${rows} rows`);
  }
});

test('int8 is refused where there is no kernel for it, and other formats by linearInt8', async () => {
  const device = deviceOf({ isa: 'portable', threads: 1 }), f = (length: number): Float32Array => new Float32Array(length), bytes = new Uint8Array(1 << 14);
  const shape = { x: f(64), y: f(32), w: bytes, count: 0, countFrom: 0, rows: 1, n: 32, k: 32, ldx: 33, ldy: 32, accumulate: 0 };
  await expect(runOp(device, linear, { ...shape, dtype: DType.int8, xType: 0, layout: 0 })).rejects.toThrow("dtype is int8, which is linearInt8's");
  await expect(runOp(device, linearInt8, { ...shape, words: 33, dtype: DType.bf16 })).rejects.toThrow('dtype is not int8');
  await expect(runOp(device, linearInt8, { ...shape, words: 32, dtype: DType.int8 })).rejects.toThrow('words = 32 is less than the 33 that k = 32 takes');
  await expect(runOp(device, quantizeRows, { x: f(64), q: f(64), count: 0, countFrom: 0, rows: 1, k: 64, words: 32, ldx: 64, ldq: 64, xType: 0 })).rejects.toThrow('words = 32');
  const table = { table: bytes, tokens: Int32Array.of(0), x: f(32), count: 0, rows: 1, vocab: 32, limit: 32, dim: 32, ldx: 32, scale: 1 };
  await expect(runOp(device, embed, { ...table, dtype: DType.int8, layout: 1 })).rejects.toThrow('int8 has no plain rows');
  await expect(runOp(device, embed, { ...table, dtype: 5, layout: 0 })).rejects.toThrow('dtype = 5 is no dtype of table');
});

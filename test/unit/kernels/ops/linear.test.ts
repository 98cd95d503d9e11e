import { describe, expect, test } from 'vitest';
import { DType, Header, linear } from '@weft/kernels';
import { deviceOf, isas, runOp, variants } from '../harness.js';
import { linearReference, packPanels, type LinearShape } from '../reference/linear.js';
import { Random, expectClose, expectSameBits } from '../reference/numbers.js';

const formats = [DType.f32, DType.bf16, DType.f16];

interface Made { shape: LinearShape; dtype: DType; x: Float32Array; w: Uint8Array; values: Float64Array; b: Float32Array | null; y: Float32Array }

function make(random: Random, rows: number, n: number, k: number, dtype: DType): Made {
  const shape = { rows, n, k, ldx: k + random.int(0, 5), ldy: n + random.int(0, 5), accumulate: random.int(0, 1) };
  const { bytes, values } = packPanels(random.normals(n * k), n, k, dtype);
  return {
    shape, dtype, w: bytes, values, x: random.normals(rows * shape.ldx), y: random.normals(rows * shape.ldy),
    b: random.chance(0.5) ? random.normals(n) : null,
  };
}

const run = async (variant: { isa: string; threads: number }, m: Made, x = m.x, y = m.y, rows = m.shape.rows): Promise<Float32Array> =>
  (await runOp(deviceOf(variant), linear, { ...m.shape, rows, x, w: m.w, b: m.b, y, count: 0, countFrom: 0, dtype: m.dtype, xType: 0, layout: 0 })).y;

describe.each(variants)('linear: $isa, $threads threads', variant => {
  test('equals W x + b over odd shapes and all formats', async () => {
    const random = new Random(1);
    for (let i = 0; i < 45; i++) {
      const rows = i % 5 === 0 ? random.int(49, 160) : random.int(1, 30);
      const m = make(random, rows, random.int(1, 150), random.int(1, 200), formats[i % 3]!);
      expectClose(await run(variant, m), linearReference(m.shape, m.x, m.values, m.b, m.y), 2e-5, JSON.stringify(m.shape));
    }
  });

  test('a row has the same bits alone and among any number of others', async () => {
    const random = new Random(2);
    for (const rows of [2, 3, 5, 7, 11, 12, 13, 24, 33, 60, 100]) {
      const m = make(random, rows, random.int(30, 140), random.int(1, 150), formats[rows % 3]!);
      const { ldx, ldy, n } = m.shape, all = await run(variant, m);
      for (const t of [0, Math.floor(rows / 2), rows - 1]) {
        const alone = await run(variant, m, m.x.slice(t * ldx, (t + 1) * ldx), m.y.slice(t * ldy, (t + 1) * ldy), 1);
        expectSameBits(all.slice(t * ldy, t * ldy + n), alone.slice(0, n), `row ${t} of ${rows}`);
      }
    }
  });

  test('a NaN or infinity stays in its row', async () => {
    const m = make(new Random(3), 14, 70, 40, DType.bf16);
    const clean = await run(variant, m), x = m.x.slice();
    x[3 * m.shape.ldx + 7] = NaN;
    x[12 * m.shape.ldx] = Infinity;
    const dirty = await run(variant, m, x);
    for (let t = 0; t < 14; t++) {
      const row = dirty.slice(t * m.shape.ldy, t * m.shape.ldy + 70);
      if (t === 3) expect(row.every(Number.isNaN)).toBe(true);
      else if (t === 12) expect(row.every(value => !Number.isFinite(value))).toBe(true);
      else expectSameBits(row, clean.slice(t * m.shape.ldy, t * m.shape.ldy + 70), `row ${t}`);
    }
  });

  test('only as many rows run as the frame counts, from countFrom on', async () => {
    const m = make(new Random(4), 9, 40, 30, DType.f16), { shape } = m, all = await run(variant, m);
    const args = { ...shape, x: m.x, w: m.w, b: m.b, y: m.y, dtype: m.dtype, xType: 0, layout: 0, count: Header.logits };
    for (const [logits, countFrom, rows] of [[4, 0, 4], [0, 0, 0], [7, 5, 2], [3, 5, 0]] as const) {
      const { y } = await runOp(deviceOf(variant), linear, { ...args, countFrom }, { logits });
      expectSameBits(y, Float32Array.from(m.y, (before, i) => i % shape.ldy < shape.n && i < rows * shape.ldy ? all[i]! : before), `${logits} from ${countFrom}`);
    }
  });
});

test.each(isas)('linear: one thread and two give the same bits (%s)', async isa => {
  const random = new Random(5);
  for (const rows of [1, 6, 40, 130]) {
    const m = make(random, rows, 200, 96, DType.bf16);
    expectSameBits(await run({ isa, threads: 2 }, m), await run({ isa, threads: 1 }, m), `${rows} rows`);
  }
});

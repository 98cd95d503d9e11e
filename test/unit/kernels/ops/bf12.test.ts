import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DType, createCpuDevice, embed, linear, panelBytes, type Device, type TensorSource } from '@weft/kernels';
import { deviceOf, runOp, variants } from '../harness.js';
import { packBf12 } from '../reference/bf12.js';
import { packPanels } from '../reference/linear.js';
import { Random, expectSameBits } from '../reference/numbers.js';

/** Normally distributed values, some of them with exponents that no panel has a code for, zeros of both signs. */
function weights(random: Random, count: number): Float32Array {
  const values = random.normals(count);
  for (let i = 0; i < count; i++) {
    const kind = random.int(0, 2000);
    if (kind === 0) values[i] = 1e-30;
    if (kind === 1) values[i] = -3e20;
    if (kind === 2) values[i] = 2e-39;                   // subnormal
    if (kind === 3) values[i] = -0;
  }
  return values;
}

function make(random: Random, n: number, k: number): { bf16: Uint8Array; bf12: Uint8Array } {
  const { bytes } = packPanels(weights(random, n * k), n, k, DType.bf16);
  return { bf16: bytes, bf12: packBf12(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), k) };
}

describe.each(variants)('bf12: $isa, $threads threads', variant => {
  test.each([1000, 1_000_000])('linear gives bf16\'s own bits for every number of rows, with chunks of %i bytes of them', async rowBytes => {
    const random = new Random(1), device = deviceOf({ ...variant, tuning: { rowBytes } });
    for (const rows of [1, 1, 1, 2, 3, 4, 5, 6, 7, 12, 13, 31, 50, 80, 300]) {
      const n = random.int(1, 200), k = random.int(1, 300), ldx = k + random.int(0, 4) * 2, w = make(random, n, k);
      const shared = {
        x: random.normals(rows * ldx), b: random.chance(0.5) ? random.normals(n) : null, y: random.normals(rows * n),
        count: 0, countFrom: 0, rows, n, k, ldx, ldy: n, accumulate: random.int(0, 1), xType: DType.f32, layout: 0,
      };
      const plain = await runOp(device, linear, { ...shared, w: w.bf16, dtype: DType.bf16 });
      const coded = await runOp(device, linear, { ...shared, w: w.bf12, dtype: DType.bf12 });
      expectSameBits(coded.y as Float32Array, plain.y as Float32Array, `${rows} rows of [${n}, ${k}]`);
    }
  });

  test('plain rows are refused, and exceptions without end lead nowhere', async () => {
    const device = deviceOf(variant), w = make(new Random(6), 32, 64).bf12.slice();
    const shared = { tokens: Int32Array.of(3), x: new Float32Array(64), count: 0, rows: 1, vocab: 32, limit: 32, dim: 64, ldx: 64, scale: 1, dtype: DType.bf12 };
    await expect(runOp(device, embed, { ...shared, table: w, layout: 1 })).rejects.toThrow('dtype = 4 is no dtype of table');
    w.fill(0xff, 16, 64);
    await runOp(device, embed, { ...shared, table: w, layout: 0 });
    await runOp(device, linear, { x: new Float32Array(64 * 5), w, b: null, y: new Float32Array(32 * 5), count: 0, countFrom: 0, rows: 5, n: 32, k: 64, ldx: 64, ldy: 32, accumulate: 0, dtype: DType.bf12, xType: DType.f32, layout: 0 });
  });

  test('embed gives bf16\'s own bits', async () => {
    const random = new Random(2), device = deviceOf(variant);
    for (let i = 0; i < 10; i++) {
      const vocab = random.int(1, 150), dim = random.int(1, 90), rows = 9, w = make(random, vocab, dim);
      const shared = {
        tokens: Int32Array.from({ length: rows }, () => random.int(0, vocab - 1)), x: new Float32Array(rows * dim),
        count: 0, rows, vocab, limit: vocab, dim, layout: 0, ldx: dim, scale: 1.5,
      };
      const plain = await runOp(device, embed, { ...shared, table: w.bf16, dtype: DType.bf16 });
      const coded = await runOp(device, embed, { ...shared, table: w.bf12, dtype: DType.bf12 });
      expectSameBits(coded.x as Float32Array, plain.x as Float32Array, `[${vocab}, ${dim}]`);
    }
  });
});

describe('packing', () => {
  let device: Device, folder: string;
  beforeAll(async () => {
    device = createCpuDevice({ threads: 2 });
    folder = await mkdtemp(join(tmpdir(), 'weft-bf12-'));
  });
  afterAll(async () => {
    device.close();
    await rm(folder, { recursive: true });
  });

  const source = async (values: Float32Array, rows: number, cols: number): Promise<TensorSource> => {
    const path = join(folder, `${Math.random()}`);
    await writeFile(path, Buffer.from(Uint16Array.from(new Uint32Array(values.buffer), bits => bits >>> 16).buffer));
    return { path, offset: 0, dtype: 'bf16', rows, cols };
  };

  test('codes rows of several tensors as the reference does', async () => {
    const random = new Random(3);
    for (const [rows, more, k] of [[40, 30, 77], [32, 0, 64], [5, 1, 1], [64, 64, 300]] as const) {
      const a = weights(random, rows * k), b = weights(random, more * k);
      const packed = await device.packCoded(more ? [await source(a, rows, k), await source(b, more, k)] : [await source(a, rows, k)], 'w');
      const all = Float32Array.from([...a, ...b], value => new Float32Array(Uint32Array.of(new Uint32Array(Float32Array.of(value).buffer)[0]! & 0xffff0000).buffer)[0]!);
      const { bytes } = packPanels(all, rows + more, k, DType.bf16);
      expect(packed!.bytes).toBe(panelBytes(rows + more, k, 'bf12'));
      expect(Buffer.from(device.host(packed!)).equals(packBf12(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2), k))).toBe(true);
    }
  });

  test('values of too many exponents are left as they are', async () => {
    const random = new Random(4), values = Float32Array.from({ length: 64 * 128 }, () => 2 ** random.int(-100, 100));
    expect(await device.packCoded([await source(values, 64, 128)], 'w')).toBeNull();
  });

  test('a NaN is refused by its place', async () => {
    const values = new Random(5).normals(64 * 32);
    values[70] = NaN;
    await expect(device.packCoded([{ ...await source(values, 64, 32), name: 'q.weight' }], 'w')).rejects.toMatchObject({ code: 'checkpoint_not_finite', message: expect.stringContaining('q.weight') });
  });
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCpuDevice, type Device, type TensorSource } from '@weft/kernels';
import { int8Scale, packInt8 } from './reference/int8.js';
import { fromBf16 } from './reference/numbers.js';
import { random } from './tiny-step.js';

type Format = TensorSource['dtype'];

/** Numbers that all three formats hold: few mantissa bits, small exponents, both zeros. */
function numbers(count: number, seed: number): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: count }, () => (Math.floor(next() * 255) - 127) * 2 ** (Math.floor(next() * 12) - 12));
}

const f32Bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;
function f16Bits(value: number): number {
  const sign = Object.is(value, -0) || value < 0 ? 0x8000 : 0, size = Math.abs(value);
  if (size === 0) return sign;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  const mantissa = size / 2 ** exponent;
  return sign | (mantissa < 1 ? mantissa * 1024 : ((exponent + 15) << 10) + (mantissa - 1) * 1024);
}

function encode(values: Float32Array, format: Format): Uint8Array {
  if (format === 'f32') return new Uint8Array(values.slice().buffer);
  return new Uint8Array(Uint16Array.from(values, value => (format === 'bf16' ? f32Bits(value) >>> 16 : f16Bits(value))).buffer);
}

/** [n][k] → [ceil(n/32)][k][32], for bf16 [ceil(n/32)][ceil(k/2)][32][2]. */
function panels(values: Float32Array, n: number, k: number, to: Format): Float32Array {
  const depth = to === 'bf16' ? 2 : 1, steps = Math.ceil(k / depth);
  const packed = new Float32Array(Math.ceil(n / 32) * 32 * steps * depth);
  for (let row = 0; row < n; row++) {
    for (let i = 0; i < k; i++) packed[((Math.floor(row / 32) * steps + Math.floor(i / depth)) * 32 + row % 32) * depth + i % depth] = values[row * k + i]!;
  }
  return packed;
}

let device: Device, folder: string;
beforeAll(async () => {
  device = createCpuDevice({ threads: 2 });
  folder = await mkdtemp(join(tmpdir(), 'weft-pack-'));
});
afterAll(async () => {
  device.close();
  await rm(folder, { recursive: true });
});

/** Writes a matrix some bytes into a file of its own. */
async function source(values: Float32Array, rows: number, cols: number, dtype: Format, name = 'w'): Promise<TensorSource> {
  const path = join(folder, `${name}-${Math.random()}.safetensors`), offset = 24;
  await writeFile(path, Buffer.concat([Buffer.alloc(offset, 0xff), encode(values, dtype), Buffer.alloc(8, 0xff)]));
  return { path, offset, rows, cols, dtype, name };
}

const bytesOf = (buffer: { id: number; bytes: number; label: string }): Buffer => Buffer.from(device.host(buffer));
const FORMATS: Format[] = ['f32', 'bf16', 'f16'];
const PAIRS = FORMATS.flatMap(from => FORMATS.map(to => ({ from, to })));

describe.each(PAIRS)('$from to $to', ({ from, to }) => {
  test.each([[1, 1], [31, 7], [32, 64], [33, 65], [100, 3], [257, 129]])('panels of [%i, %i]', async (n, k) => {
    const values = numbers(n * k, n + k);
    const packed = await device.packLinear([await source(values, n, k, from)], to, 'w');
    expect(packed.bytes).toBe(encode(panels(values, n, k, to), to).length);
    expect(bytesOf(packed).equals(encode(panels(values, n, k, to), to))).toBe(true);
  });

  test('several sources stand one after another, also inside a panel', async () => {
    const k = 9, parts = [5, 40, 1, 64].map((n, i) => ({ n, values: numbers(n * k, i) }));
    const sources = await Promise.all(parts.map(({ n, values }) => source(values, n, k, from)));
    const all = Float32Array.from(parts.flatMap(({ values }) => [...values]));
    expect(bytesOf(await device.packLinear(sources, to, 'qkv')).equals(encode(panels(all, 110, k, to), to))).toBe(true);
  });

  test('experts are padded to whole panels, each for itself', async () => {
    const k = 9, experts = [0, 1, 2].map(e => [20, 15].map((n, i) => ({ n, values: numbers(n * k, 10 * e + i) })));
    const sources = await Promise.all(experts.map(parts => Promise.all(parts.map(({ n, values }) => source(values, n, k, from)))));
    const expected = experts.map(parts => encode(panels(Float32Array.from(parts.flatMap(({ values }) => [...values])), 35, k, to), to));
    expect(bytesOf((await device.packExperts(sources, to, 'experts'))!).equals(Buffer.concat(expected))).toBe(true);
  });

  test.each([[1, 1], [40, 7], [100, 33]])('matrices that lie transposed, each in panels of its own: [%i, %i]', async (n, k) => {
    const all = [1, 2, 3].map(seed => numbers(n * k, seed)), columns = all.map(values => Float32Array.from(values, (_, at) => values[at % n * k + Math.floor(at / n)]!));
    const sources = await Promise.all(columns.map(values => source(values, n, k, from)));
    const packed = await device.packExperts(sources.map(one => [{ ...one, transposed: true }]), to, 'heads');
    expect(bytesOf(packed!).equals(Buffer.concat(all.map(values => encode(panels(values, n, k, to), to))))).toBe(true);
  });

  test('rows', async () => {
    const values = numbers(300 * 501, 4);
    expect(bytesOf(await device.packRows(await source(values, 300, 501, from), to, 'table')).equals(encode(values, to))).toBe(true);
  });
});

describe.each(FORMATS)('%s to int8', from => {
  test.each([[1, 1], [31, 7], [32, 64], [33, 65], [100, 3], [257, 131]])('panels of [%i, %i]', async (n, k) => {
    const values = numbers(n * k, n + k), weights = packInt8(values, n, k);
    const packed = await device.packLinear([await source(values, n, k, from)], 'int8', 'w');
    expect(packed.bytes).toBe(weights.bytes.length);
    expect(bytesOf(packed).equals(weights.bytes)).toBe(true);
  });
});

test('int8 is at most half a scale away, whatever the size of a group', async () => {
  const next = random(9), n = 40, k = 192;
  const values = Float32Array.from({ length: n * k }, (_, at) => (next() - 0.5) * 2 ** (((at >> 6) * 29) % 250 - 140));
  values.fill(0, 64, 128);
  values[128] = 3.4e38;
  const { bytes, values: rounded } = packInt8(values, n, k);
  expect(bytesOf(await device.packLinear([await source(values, n, k, 'f32')], 'int8', 'w')).equals(bytes)).toBe(true);
  for (let at = 0; at < n * k; at += 64) {
    const group = values.subarray(at, at + 64), scale = fromBf16(int8Scale(Math.max(...group.map(Math.abs))));
    expect(scale * 127).toBeGreaterThanOrEqual(Math.max(...group.map(Math.abs)));
    group.forEach((value, i) => expect(Math.abs(rounded[at + i]! - value)).toBeLessThanOrEqual(scale * 0.500001));
  }
});

test('int8 has no plain rows; a NaN is refused as elsewhere', async () => {
  const values = numbers(64, 1);
  await expect(device.packRows(await source(values, 8, 8, 'f32'), 'int8' as never, 'w')).rejects.toMatchObject({ code: 'option_invalid' });
  values[9] = NaN;
  await expect(device.packLinear([await source(values, 8, 8, 'f32')], 'int8', 'w')).rejects.toMatchObject({ code: 'checkpoint_not_finite', message: expect.stringContaining('row 1, column 1') });
});

test('vectors become f32', async () => {
  const [a, b] = [numbers(70, 1), numbers(33, 2)];
  const packed = await device.packVector([await source(a, 1, 70, 'bf16'), await source(b, 33, 1, 'f16')], 'norms');
  expect([...new Float32Array(device.host(packed))]).toEqual([...a, ...b]);
});

test('the limits of f16 are exact', async () => {
  const values = Float32Array.of(65504, -65504, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, 3 * 2 ** -20, -0, 1 + 2 ** -10);
  expect(bytesOf(await device.packRows(await source(values, 1, 8, 'f32'), 'f16', 'w')).equals(encode(values, 'f16'))).toBe(true);
});

test.each<[Format, number]>([['f16', 65520], ['f16', 65536], ['f16', 2 ** -25], ['f16', 1 + 2 ** -11], ['f16', 1023.5 * 2 ** -24], ['f16', 1e30], ['bf16', 1 + 2 ** -8], ['bf16', 1e-45]])(
  '%s cannot hold %d: refused, with the place', async (to, value) => {
    const values = numbers(50 * 40, 1);
    values[37 * 40 + 5] = value;
    const weights = await source(values, 50, 40, 'f32', 'model.layers.0.w');
    const refused = { code: 'checkpoint_tensor_dtype', message: expect.stringMatching(/^model\.layers\.0\.w: the value in row 37, column 5 is .*exactly/), details: { tensor: 'model.layers.0.w', file: weights.path } };
    await expect(device.packLinear([weights], to, 'w')).rejects.toMatchObject(refused);
    await expect(device.packRows(weights, to, 'w')).rejects.toMatchObject(refused);
  });

test.each(FORMATS)('a NaN or infinity in %s is refused by tensor, row and column', async from => {
  for (const value of [NaN, Infinity, -Infinity]) {
    const values = numbers(70 * 33, 5);
    const weights = await source(values, 70, 33, from, 'model.norm');
    const bits = { f32: f32Bits(value), bf16: f32Bits(value) >>> 16, f16: Number.isNaN(value) ? 0x7e00 : value > 0 ? 0x7c00 : 0xfc00 }[from];
    const encoded = encode(values, from), size = from === 'f32' ? 4 : 2;
    new DataView(encoded.buffer).setUint32((69 * 33 + 31) * size, bits, true);
    await writeFile(weights.path, Buffer.concat([Buffer.alloc(24), encoded]));
    for (const pack of [device.packLinear([weights], from, 'w'), device.packRows(weights, 'f32', 'w'), device.packVector([weights], 'w')]) {
      await expect(pack).rejects.toMatchObject({ code: 'checkpoint_not_finite', details: { tensor: 'model.norm', file: weights.path } });
    }
    await expect(device.packLinear([weights], 'f32', 'w')).rejects.toThrow('row 69, column 31');
  }
});

test('files that are missing, too short or no files are refused', async () => {
  const weights = await source(numbers(64, 1), 8, 8, 'f32', 'w');
  const refused = (over: Partial<TensorSource>, code: string) => expect(device.packLinear([{ ...weights, ...over }], 'f32', 'w')).rejects.toMatchObject({ code });
  await refused({ path: join(folder, 'none') }, 'checkpoint_file_missing');
  await refused({ path: folder }, 'io_error');
  await refused({ path: '/dev/zero' }, 'io_error');
  await refused({ rows: 9 }, 'io_error');
  await refused({ offset: 2 ** 52 }, 'io_error');
  await refused({ rows: 2 ** 40 }, 'option_invalid');
  await refused({ rows: 0 }, 'option_invalid');
  await expect(device.packLinear([], 'f32', 'w')).rejects.toMatchObject({ code: 'option_invalid' });
  await expect(device.packLinear([weights, { ...weights, cols: 4 }], 'f32', 'w')).rejects.toMatchObject({ code: 'option_invalid' });
});

test('a refused matrix leaves no memory behind', async () => {
  const before = device.stats().allocatedBytes;
  const values = numbers(512 * 512, 1);
  values[77] = NaN;
  await expect(device.packLinear([await source(values, 512, 512, 'f32')], 'f32', 'w')).rejects.toThrow();
  expect(device.stats().allocatedBytes).toBe(before);
});

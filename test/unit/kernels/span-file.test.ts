import { createHash } from 'node:crypto';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc32c, createCpuDevice, type Device, type DeviceBuffer, type TensorSource } from '@weft/kernels';
import { isas } from './harness.js';
import { random } from './tiny-step.js';

const SPAN = 300_000, BYTES = 4 * SPAN + 17, OFFSET = 4096;

let device: Device, folder: string, path: string, bytes: Uint8Array, checksums: Uint32Array;
beforeAll(async () => {
  device = createCpuDevice({ threads: 2 });
  folder = await mkdtemp(join(tmpdir(), 'weft-spans-'));
  path = join(folder, 'buffer');
  const next = random(3);
  bytes = Uint8Array.from({ length: BYTES }, () => Math.floor(next() * 256));
  checksums = Uint32Array.from({ length: 5 }, (_, i) => crc32c(bytes.subarray(i * SPAN, (i + 1) * SPAN)));
  await writeFile(path, Buffer.concat([Buffer.alloc(OFFSET, 0xff), bytes]));
});
afterAll(async () => {
  device.close();
  await rm(folder, { recursive: true });
});

const load = (over: { path?: string; bytes?: number; span?: number; checksums?: Uint32Array } = {}): Promise<DeviceBuffer> =>
  device.loadBuffer(over.path ?? path, OFFSET, over.bytes ?? BYTES, over.span ?? SPAN, over.checksums ?? checksums, 'loaded');

test('a buffer is what stands in the file', async () => {
  const buffer = await load();
  expect(buffer).toMatchObject({ bytes: BYTES, label: 'loaded' });
  expect(Buffer.from(device.host(buffer)).equals(Buffer.from(bytes))).toBe(true);
  device.free(buffer);
});

test('what is stored loads again, and tells its checksums', async () => {
  const buffer = await load(), copy = join(folder, 'copy');
  await writeFile(copy, Buffer.alloc(OFFSET));
  for (const [i, checksum] of checksums.entries()) {
    expect(await device.storeSpan(buffer, i * SPAN, Math.min(SPAN, BYTES - i * SPAN), copy, OFFSET + i * SPAN)).toBe(checksum);
  }
  const again = await load({ path: copy });
  expect(Buffer.from(device.host(again)).equals(Buffer.from(bytes))).toBe(true);
  await expect(device.storeSpan(buffer, 1, BYTES, copy, 0)).rejects.toMatchObject({ code: 'option_invalid' });
  await expect(device.storeSpan(buffer, 0, 1, join(folder, 'none'), 0)).rejects.toMatchObject({ code: 'io_error' });
  for (const b of [buffer, again]) device.free(b);
});

test('a wrong checksum, a short file and no file are refused, and nothing is left', async () => {
  const before = device.stats().allocatedBytes;
  for (let i = 0; i < 5; i++) {
    const wrong = checksums.slice();
    wrong[i]! ^= 1;
    await expect(load({ checksums: wrong })).rejects.toMatchObject({ code: 'image_corrupt', details: { file: path }, message: expect.stringContaining(`bytes from ${OFFSET + i * SPAN} on`) });
  }
  const short = join(folder, 'short');
  await writeFile(short, Buffer.concat([Buffer.alloc(OFFSET, 0xff), bytes]));
  await truncate(short, OFFSET + BYTES - 1);
  await expect(load({ path: short })).rejects.toMatchObject({ code: 'image_corrupt', message: expect.stringContaining(`ends before byte ${OFFSET + BYTES}`) });
  await expect(load({ path: join(folder, 'none') })).rejects.toMatchObject({ code: 'io_error' });
  for (const over of [{ bytes: 0 }, { span: 0 }, { span: SPAN * 2 }, { checksums: checksums.subarray(1) }]) {
    await expect(load(over)).rejects.toMatchObject({ code: 'option_invalid' });
  }
  expect(device.stats().allocatedBytes).toBeLessThanOrEqual(before);          // less: collected meanwhile
});

describe('packed forms are kept on disk: when one changes, kPackLayoutVersion (core/pack.h) does, and this table with it', () => {
  const VERSION = 'v2';
  const SHA256: Record<string, string> = {
    'linear f32': 'e5c2da9f38eac921', 'linear bf16': '11019e5127608da4', 'linear f16': 'd2f0b7dd057225a0', 'linear int8': 'fe5d181bd4d5ff96',
    'rows f32': '30346fac08486f3c', 'rows bf16': '6b6e20184dbbae6f', 'rows f16': '7e597593dad0f352', 'vector': '30346fac08486f3c',
  };

  test.each(isas)('%s', async isa => {
    const packer = createCpuDevice({ isa, threads: 1 });
    const file = join(folder, 'tensor'), rows = 45, cols = 37;
    // Values that every format holds.
    await writeFile(file, new Uint8Array(Float32Array.from({ length: rows * cols }, (_, i) => (i * 7) % 101 - 50).buffer));
    const source: TensorSource = { path: file, offset: 0, dtype: 'f32', rows, cols };
    const found: Record<string, string> = {};
    const note = async (name: string, packed: Promise<DeviceBuffer>): Promise<void> => {
      found[name] = createHash('sha256').update(new Uint8Array(packer.host(await packed))).digest('hex').slice(0, 16);
    };
    for (const target of ['f32', 'bf16', 'f16'] as const) {
      await note(`linear ${target}`, packer.packLinear([source, source], target, 'w'));
      await note(`rows ${target}`, packer.packRows(source, target, 'w'));
    }
    await note('linear int8', packer.packLinear([source, source], 'int8', 'w'));
    await note('vector', packer.packVector([source], 'v'));
    expect([packer.packing, found]).toEqual([`${VERSION}-${isa}`, SHA256]);
    packer.close();
  });
});

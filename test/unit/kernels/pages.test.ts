import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { crc32c, createCpuDevice, type Device, type DeviceBuffer } from '@weft/kernels';
import { random } from './tiny-step.js';

const PAGE_BYTES = 8192, OFFSET = 512, TOTAL = 4 * PAGE_BYTES + 1000;
const PAGES = Int32Array.of(7, 2, 3, 0, 5);

let device: Device, folder: string, path: string, image: Uint8Array, checksums: Uint32Array, arena: DeviceBuffer;
beforeAll(async () => {
  device = createCpuDevice({ threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'weft-pages-'));
  path = join(folder, 'image');
  const next = random(9);
  image = Uint8Array.from({ length: TOTAL }, () => Math.floor(next() * 256));
  checksums = Uint32Array.from({ length: 5 }, (_, i) => crc32c(image.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES)));
  await writeFile(path, Buffer.concat([Buffer.alloc(OFFSET), image]));
  arena = device.alloc(8 * PAGE_BYTES, 'arena');
});
afterAll(async () => {
  device.close();
  await rm(folder, { recursive: true });
});

const load = (over: { path?: string; total?: number; pageBytes?: number; pages?: Int32Array; checksums?: Uint32Array; arena?: DeviceBuffer } = {}): Promise<void> =>
  device.loadPages(over.path ?? path, OFFSET, over.total ?? TOTAL, over.arena ?? arena, over.pageBytes ?? PAGE_BYTES, over.pages ?? PAGES, over.checksums ?? checksums);

test('crc32c is Castagnoli\'s', () => {
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(0))).toBe(0);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(() => crc32c('x' as never)).toThrow('Uint8Array');
});

test('spans go to their pages, what follows a short last one becomes zero', async () => {
  const memory = new Uint8Array(device.host(arena)).fill(0xee);
  await load();
  for (let i = 0; i < 5; i++) {
    const span = image.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES), page = memory.subarray(PAGES[i]! * PAGE_BYTES, (PAGES[i]! + 1) * PAGE_BYTES);
    expect(Buffer.from(page).equals(Buffer.concat([span, Buffer.alloc(PAGE_BYTES - span.length)]))).toBe(true);
  }
  for (const untouched of [1, 4, 6]) expect(memory.subarray(untouched * PAGE_BYTES, (untouched + 1) * PAGE_BYTES).every(byte => byte === 0xee)).toBe(true);
  expect(device.stats().pageBytesLoaded).toBe(TOTAL);
});

test('a span with another checksum is refused by its number', async () => {
  for (let i = 0; i < 5; i++) {
    const wrong = checksums.slice();
    wrong[i]! ^= 1;
    await expect(load({ checksums: wrong })).rejects.toMatchObject({ code: 'image_corrupt', details: { file: path }, message: expect.stringContaining(`span ${i} of 5`) });
  }
});

test('a file that is too short or missing is refused', async () => {
  const short = join(folder, 'short');
  await writeFile(short, Buffer.concat([Buffer.alloc(OFFSET), image]));
  await truncate(short, OFFSET + TOTAL - 1);
  await expect(load({ path: short })).rejects.toMatchObject({ code: 'image_corrupt', message: expect.stringContaining('ends inside span 4') });
  await expect(load({ path: join(folder, 'none') })).rejects.toMatchObject({ code: 'io_error', details: { file: join(folder, 'none') } });
  await expect(load({ path: folder })).rejects.toMatchObject({ code: 'io_error' });
});

test('pages outside the arena and numbers that do not fit are refused', async () => {
  for (const pages of [Int32Array.of(7, 2, 3, 0, 8), Int32Array.of(-1, 2, 3, 0, 5), Int32Array.of(0, 1, 2, 3)]) {
    await expect(load({ pages })).rejects.toMatchObject({ code: 'option_invalid' });
  }
  await expect(load({ total: 0 })).rejects.toMatchObject({ code: 'option_invalid' });
  await expect(load({ pageBytes: 0 })).rejects.toMatchObject({ code: 'option_invalid' });
  await expect(load({ pageBytes: 4096 })).rejects.toMatchObject({ code: 'option_invalid' });
});

test('an arena freed while pages load is kept until they are in', async () => {
  const other = device.alloc(8 * PAGE_BYTES, 'other');
  const loading = load({ arena: other });
  device.free(other);
  await loading;
  await expect(load({ arena: other })).rejects.toMatchObject({ code: 'option_invalid' });
});

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { createCpuDevice, readTuning, type Tuning } from '@weft/kernels';
import { extremeTunings, isas } from './harness.js';
import { chain } from './recordings.js';
import { tinyStep } from './tiny-step.js';

const folder = mkdtempSync(join(tmpdir(), 'weft-tuning-'));
afterAll(() => rmSync(folder, { recursive: true }));

test.each(isas)('a tuning changes no bit of a step or of ops with many tiles (%s)', async isa => {
  const run = async (tuning: Tuning | undefined): Promise<Uint8Array[]> => {
    const device = createCpuDevice({ isa, threads: 2, tuning }), step = tinyStep(device), long = chain(device);
    try {
      await device.submit(step.list, { bindings: step.bindings });
      await device.submit(long.list, { bindings: {} });
      return [...step.buffers.map(buffer => new Uint8Array(device.host(buffer)).slice()), new Uint8Array(long.result().buffer)];
    } finally {
      device.close();
    }
  };
  const usual = await run(undefined);
  for (const tuning of extremeTunings) expect(await run(tuning)).toEqual(usual);
});

test.each<[string, Tuning, RegExp]>([
  ['a field that there is not', { tileMs: 1 }, /tileMs: there is no such field; there are tileNs, /],
  ['a value below its limits', { tileNs: 999 }, /tileNs is 999: an integer between 1000 and 10000000/],
  ['a value above its limits', { spinUs: 10_001 }, /spinUs is 10001/],
  ['a fraction', { shrinkRows: 1.5 }, /shrinkRows is 1\.5/],
  ['no number', { lingerUs: 'long' as never }, /lingerUs is -?nan/],
])('%s is refused by name', (_, tuning, message) => {
  expect(() => createCpuDevice({ threads: 1, tuning })).toThrow(expect.objectContaining({ code: 'option_invalid', message: expect.stringMatching(message) as string }));
});

test('a file holds a tuning, or is refused by its name', async () => {
  const path = join(folder, 'tuning.json');
  writeFileSync(path, '{"tileNs": 20000}');
  expect(await readTuning(path)).toEqual({ tileNs: 20_000 });
  for (const text of ['{', '[]', 'null', '3']) {
    writeFileSync(path, text);
    await expect(readTuning(path)).rejects.toMatchObject({ code: 'option_invalid', message: expect.stringContaining(path) as string });
  }
  await expect(readTuning(join(folder, 'absent.json'))).rejects.toMatchObject({ code: 'option_invalid', details: { field: 'tuning' } });
});

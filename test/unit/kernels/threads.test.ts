import { afterEach, expect, test } from 'vitest';
import { createCpuDevice, type Device } from '@weft/kernels';
import { chain } from './recordings.js';
import { tinyStep } from './tiny-step.js';

const open: Device[] = [];
const device = (threads: number): Device => {
  const created = createCpuDevice({ threads });
  open.push(created);
  return created;
};
afterEach(() => open.splice(0).forEach(d => d.close()));

test('results are the same bits on 1 to 16 threads, however they are scheduled', async () => {
  const run = async (threads: number, times: number): Promise<Uint32Array[]> => {
    const d = device(threads), { list, result } = chain(d);
    const results: Uint32Array[] = [];
    for (let i = 0; i < times; i++) {
      await d.submit(list, { bindings: {} });
      results.push(result());
      // Long enough for the workers to fall asleep, now and then.
      if (i % 3 === 2) await new Promise(resolve => setTimeout(resolve, 2));
    }
    return results;
  };
  const expected = await run(1, 6);
  for (const threads of [2, 3, 4, 16]) expect(await run(threads, 6)).toEqual(expected);
});

test('devices share processors without waiting for each other forever', async () => {
  const devices = [device(4), device(4), device(4)];
  const steps = devices.map(d => tinyStep(d));
  await Promise.all(devices.flatMap((d, i) => Array.from({ length: 8 }, () => d.submit(steps[i]!.list, { bindings: steps[i]!.bindings }))));
});

test('an idle device burns nothing', async () => {
  const d = device(8), { list } = chain(d);
  await d.submit(list, { bindings: {} });
  await new Promise(resolve => setTimeout(resolve, 20));
  const before = process.cpuUsage();
  await new Promise(resolve => setTimeout(resolve, 300));
  const { user, system } = process.cpuUsage(before);
  expect(user + system).toBeLessThan(60_000);
});

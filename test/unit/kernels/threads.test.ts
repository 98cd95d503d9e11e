import { afterEach, expect, test } from 'vitest';
import { CommandList, at, createCpuDevice, linear, rmsNorm, type Device } from '@weft/kernels';
import { tinyStep } from './tiny-step.js';

const open: Device[] = [];
const device = (threads: number): Device => {
  const created = createCpuDevice({ threads });
  open.push(created);
  return created;
};
afterEach(() => open.splice(0).forEach(d => d.close()));

/** Many short ops that feed each other: a tile run twice, never, or before its op shows in the result. */
function chain(d: Device): { list: CommandList; result: () => Uint32Array } {
  const n = 640, rows = 3;
  const alloc = (values: number, label: string) => {
    const buffer = d.alloc(values * 4, label);
    new Float32Array(d.host(buffer)).forEach((_, i, all) => { all[i] = Math.sin(i * 0.37) * 0.1; });
    return buffer;
  };
  const w = alloc(n * n, 'w'), norm = alloc(n, 'norm'), x = alloc(rows * n, 'x'), y = alloc(rows * n, 'y');
  const list = new CommandList();
  for (let i = 0; i < 150; i++) {
    list.add(linear, { x: at(x), w: at(w), y: at(y), count: 0, countFrom: 0, rows, n, k: n, ldx: n, ldy: n, dtype: 0, accumulate: i % 2 });
    list.add(rmsNorm, { r: at(y), w: at(norm), y: at(x), count: 0, rows, srcRows: rows, dim: n, ldr: n, ldAdd: n, ldy: n, eps: 1e-5, plusOne: 1 });
  }
  return { list, result: () => new Uint32Array(d.host(x)).slice() };
}

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

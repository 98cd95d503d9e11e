import { afterEach, describe, expect, test } from 'vitest';
import { CommandList, at, copyRows, createCpuDevice, linear, type Device, type DeviceBuffer } from '@weft/kernels';
import { tinyStep } from './tiny-step.js';

const open: Device[] = [];
const device = (threads = 2): Device => {
  const created = createCpuDevice({ threads });
  open.push(created);
  return created;
};
afterEach(() => open.splice(0).forEach(d => d.close()));

const floats = (d: Device, buffer: DeviceBuffer): Float32Array => new Float32Array(d.host(buffer));
const copy = (list: CommandList, from: DeviceBuffer, to: DeviceBuffer, values: number): CommandList =>
  list.add(copyRows, { from: at(from), to: at(to), count: 0, countFrom: 0, rows: 1, dim: values, ldFrom: values, ldTo: values, toType: 0 });

/** A list that takes about `ms` on one thread. */
function slowList(d: Device, ms: number): CommandList {
  const n = 1024, x = d.alloc(n * 4, 'x'), w = d.alloc(n * n * 4, 'w'), y = d.alloc(n * 4, 'y');
  const list = new CommandList();
  for (let i = 0; i < ms * 4; i++) list.add(linear, { x: at(x), w: at(w), y: at(y), count: 0, countFrom: 0, rows: 1, n, k: n, ldx: n, ldy: n, dtype: 0, accumulate: 0, xType: 0, layout: 0 });
  return list;
}

describe('buffers', () => {
  test('are zeroed, aligned, counted, and share memory with the host', () => {
    const d = device();
    const before = d.stats().allocatedBytes;
    const buffer = d.alloc(5_000_000, 'b');
    expect(d.stats().allocatedBytes - before).toBeGreaterThanOrEqual(5_000_000);
    expect(new Uint8Array(d.host(buffer)).every(byte => byte === 0)).toBe(true);
    expect(d.host(buffer)).toBe(d.host(buffer));
    expect(d.host(buffer).byteLength).toBe(5_000_000);
    expect(d.buffer(buffer.id)).toBe(buffer);
  });

  test('views end when their buffer is freed, and its id is gone', () => {
    const d = device();
    const buffer = d.alloc(64, 'b');
    const view = floats(d, buffer);
    d.free(buffer);
    expect(view.length).toBe(0);
    expect(() => d.host(buffer)).toThrow('there is no buffer');
    expect(() => d.free(buffer)).toThrow('there is no buffer');
    expect(d.alloc(64, 'c').id).not.toBe(buffer.id);
  });

  test('of impossible sizes are refused', () => {
    const d = device();
    for (const bytes of [0, -1, 1.5, NaN, 2 ** 60]) expect(() => d.alloc(bytes, 'b')).toThrow();
    expect(() => d.alloc(2 ** 52, 'b')).toThrow(expect.objectContaining({ code: 'out_of_memory' }));
    const large = d.alloc(2 ** 33, 'large');   // backed when touched
    expect(() => d.host(large)).toThrow(expect.objectContaining({ code: 'device_error' }));
  });
});

describe('submit', () => {
  test('runs lists in the order of their submission', async () => {
    const d = device();
    const buffers = Array.from({ length: 200 }, (_, i) => d.alloc(4, `b${i}`));
    floats(d, buffers[0]!)[0] = 42;
    const settled: number[] = [];
    await Promise.all(buffers.slice(1).map((to, i) => d.submit(copy(new CommandList(), buffers[i]!, to, 1), { bindings: {} }).then(() => settled.push(i))));
    expect(floats(d, buffers.at(-1)!)[0]).toBe(42);
    expect(settled).toEqual(settled.map((_, i) => i));
  });

  test('a list may grow between submits', async () => {
    const d = device();
    const [a, b, c] = [d.alloc(4, 'a'), d.alloc(4, 'b'), d.alloc(4, 'c')];
    floats(d, a)[0] = 7;
    const list = copy(new CommandList(), a, b, 1);
    await d.submit(list, { bindings: {} });
    await d.submit(copy(list, b, c, 1), { bindings: {} });
    expect(floats(d, c)[0]).toBe(7);
  });

  test('a list that fails does not stop those behind it', async () => {
    const d = device();
    const [a, b] = [d.alloc(4, 'a'), d.alloc(4, 'b')];
    floats(d, a)[0] = 3;
    const bad = d.submit(copy(new CommandList(), a, b, 2), { bindings: {} });
    const good = d.submit(copy(new CommandList(), a, b, 1), { bindings: {} });
    await expect(bad).rejects.toMatchObject({ code: 'list_invalid', message: expect.stringContaining('from reaches byte 8 of a, which has 4') });
    await good;
    expect(floats(d, b)[0]).toBe(3);
  });

  test('freed buffers live on for lists that were submitted before, and are refused afterwards', async () => {
    const d = device();
    const [a, b] = [d.alloc(1 << 22, 'a'), d.alloc(1 << 22, 'b')];
    floats(d, a).fill(5);
    const slow = d.submit(slowList(d, 20), { bindings: {} });
    const list = copy(new CommandList(), a, b, 1 << 20);
    const done = d.submit(list, { bindings: {} });
    d.free(a);
    await Promise.all([slow, done]);
    expect(floats(d, b)[(1 << 20) - 1]).toBe(5);
    await expect(d.submit(list, { bindings: {} })).rejects.toMatchObject({ code: 'list_invalid', message: expect.stringContaining('freed') });
  });

  test('bindings that are missing, too small or unknown are named', async () => {
    const d = device();
    const step = tinyStep(d);
    const small = d.alloc(64, 'small');
    await expect(d.submit(step.list, { bindings: { ...step.bindings, results: undefined } })).rejects.toMatchObject({ message: expect.stringMatching(/op \d+ \(sample\): results is not bound/) });
    await expect(d.submit(step.list, { bindings: { ...step.bindings, hidden: small } })).rejects.toMatchObject({ message: expect.stringMatching(/\(copyRows\): hidden needs 512 bytes, small has 64/) });
    await expect(d.submit(step.list, { bindings: { ...step.bindings, other: small } as never })).rejects.toMatchObject({ message: expect.stringContaining('other') });
    // A frame that is also where results go: what `sample` reads would be what it wrote.
    await expect(d.submit(step.list, { bindings: { ...step.bindings, results: step.bindings.frame } })).rejects.toMatchObject({ message: expect.stringContaining('(sample): results overlaps') });
    await d.submit(step.list, { bindings: step.bindings });
  });

  test('times each op when asked', async () => {
    const d = device();
    const step = tinyStep(d);
    const { elapsedNs, opNs } = await d.submit(step.list, { bindings: step.bindings, timed: true });
    expect(opNs).toHaveLength(step.list.ops);
    expect(opNs!.reduce((sum, ns) => sum + ns, 0)).toBeCloseTo(elapsedNs, -2);
    expect((await d.submit(step.list, { bindings: step.bindings })).opNs).toBeUndefined();
    expect(d.stats()).toMatchObject({ submits: 2, opsRun: 2 * step.list.ops, adapterBytesCopied: 0 });
    expect(d.stats().adapterBytesRead).toBeGreaterThan(0);
  });

  test('leaves the event loop free', async () => {
    const d = device(1);
    const list = slowList(d, 100);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    await d.submit(list, { bindings: {} });
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(5);
  });

  test('costs little', async () => {
    const d = device();
    const [a, b] = [d.alloc(4, 'a'), d.alloc(4, 'b')];
    const list = new CommandList();
    for (let i = 0; i < 400; i++) copy(list, a, b, 1);
    const us: number[] = [];
    for (let i = 0; i < 500; i++) {
      const begin = performance.now();
      const { elapsedNs } = await d.submit(list, { bindings: {} });
      us.push((performance.now() - begin) * 1000 - elapsedNs / 1000);
    }
    us.sort((x, y) => x - y);
    expect(us[250]).toBeLessThan(500);   // about 20 on an idle machine
  });

  test('an unknown instruction set and too many threads are refused', () => {
    expect(() => createCpuDevice({ isa: 'mmx' })).toThrow(expect.objectContaining({ code: 'device_error', message: expect.stringContaining('mmx') }));
    expect(() => createCpuDevice({ isa: process.arch === 'x64' ? 'neon' : 'avx2' })).toThrow(expect.objectContaining({ code: 'device_error' }));
    expect(() => createCpuDevice({ threads: 100_000 })).toThrow(expect.objectContaining({ code: 'device_error' }));
    expect(device().threads).toBe(2);
    expect(createCpuDevice().threads).toBeGreaterThan(0);
  });
});

describe('close', () => {
  test('settles everything that was submitted', async () => {
    const d = device();
    const list = slowList(d, 5);
    const results = Array.from({ length: 50 }, () => d.submit(list, { bindings: {} }).then(() => 'ran', (error: { code: string }) => error.code));
    d.close();
    d.close();
    const settled = await Promise.all(results);
    expect(new Set(settled)).toEqual(new Set(['device_error', 'ran'].filter(kind => settled.includes(kind))));
    expect(settled).toContain('device_error');
  });

  test('ends views and refuses what comes after', async () => {
    const d = device();
    const buffer = d.alloc(64, 'b');
    const view = floats(d, buffer);
    d.close();
    expect(view.length).toBe(0);
    expect(() => d.alloc(64, 'c')).toThrow(expect.objectContaining({ code: 'device_error' }));
    expect(() => d.host(buffer)).toThrow('closed');
    await expect(d.submit(new CommandList(), { bindings: {} })).rejects.toMatchObject({ code: 'device_error' });
    expect(d.stats().allocatedBytes).toBeGreaterThanOrEqual(0);
  });
});

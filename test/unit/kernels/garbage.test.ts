/** Whatever JavaScript hands to the addon is run or refused. A crash ends the test process. */
import { expect, test } from 'vitest';
import { Binding, FIRST_BUFFER_ID, OPS } from '@weft/kernels';
import { nativeModule } from '../../../libs/kernels/src/native.js';
import { deviceOf, isas } from './harness.js';
import { random, tinyStep } from './tiny-step.js';

const EDGES = [0, 1, 2, 15, 16, 17, 31, 32, 64, 255, 0xffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x7fc00000];

test('random and changed lists are run or refused with their op named', async () => {
  const next = random(11);
  const below = (n: number): number => Math.floor(next() * n);
  const device = new (nativeModule().Device)({ kind: 'cpu', threads: 2, isa: '' });
  const sizes = [64, 4096, 1 << 16, 1 << 20];
  const buffers = Array.from({ length: 8 }, (_, i) => device.alloc(sizes[i % sizes.length]!, `b${i}`));
  const bindings = new Uint32Array(FIRST_BUFFER_ID);
  Object.values(Binding).forEach((binding, i) => { bindings[binding] = buffers[i % buffers.length]!; });
  const word = (): number => (next() < 0.6 ? below(64) : next() < 0.7 ? EDGES[below(EDGES.length)]! : below(2 ** 32));
  let ran = 0, refused = 0;
  for (let round = 0; round < 5000; round++) {
    const words: number[] = [];
    for (let i = below(4); i >= 0; i--) {
      const op = Object.values(OPS)[below(Object.keys(OPS).length)]!;
      const operands = Object.keys(op.operands).length, params = Object.keys(op.params).length;
      words.push(op.code, 2 + 2 * operands + params);
      for (let j = 0; j < operands; j++) words.push(next() < 0.9 ? buffers[below(buffers.length)]! : below(20), next() < 0.8 ? 0 : word());
      for (let j = 0; j < params; j++) words.push(word());
    }
    if (next() < 0.1) words.length = below(words.length);
    if (next() < 0.1) words[below(words.length)] = word();
    const view = new Int32Array(device.host(buffers[below(4)]!));
    view[below(Math.min(view.length, 64))] = word();
    try {
      const program = device.compile(Uint32Array.from(words));
      await device.submit(program, bindings, next() < 0.5);
      device.release(program);
      ran++;
    } catch (error) {
      expect(error).toMatchObject({ code: 'list_invalid', message: expect.stringMatching(/^op \d+/) });
      refused++;
    }
  }
  device.close();
  expect(ran + refused).toBe(5000);
  expect(refused).toBeGreaterThan(100);
});

test.each(isas)('changed words of a real step on %s', async isa => {
  const owner = deviceOf({ isa, threads: 2 });
  const step = tinyStep(owner);
  const device = new (nativeModule().Device)({ kind: 'cpu', threads: 2, isa });
  // The same buffers under the native device, contents included.
  const ids = new Map(step.buffers.map(buffer => {
    const id = device.alloc(buffer.bytes, buffer.label);
    return [buffer.id, id];
  }));
  const restore = (): void => step.buffers.forEach(buffer => new Uint8Array(device.host(ids.get(buffer.id)!)).set(new Uint8Array(owner.host(buffer))));
  const bindings = new Uint32Array(FIRST_BUFFER_ID);
  Object.entries(step.bindings).forEach(([name, buffer]) => { bindings[Binding[name as keyof typeof Binding]] = ids.get(buffer.id)!; });
  const words = step.list.words.map(word => ids.get(word) ?? word);
  const next = random(23);
  let ran = 0;
  for (let round = 0; round < 1500; round++) {
    restore();
    const changed = words.slice();
    const at = Math.floor(next() * changed.length);
    changed[at] = next() < 0.5 ? changed[at]! + (next() < 0.5 ? 1 : -1) : EDGES[Math.floor(next() * EDGES.length)]!;
    const frame = new Int32Array(device.host(bindings[Binding.frame]!));
    if (next() < 0.5) frame[Math.floor(next() * frame.length)] = EDGES[Math.floor(next() * EDGES.length)]! | 0;
    try {
      const program = device.compile(changed);
      await device.submit(program, bindings, false);
      device.release(program);
      ran++;
    } catch (error) {
      expect(error).toMatchObject({ code: 'list_invalid' });
    }
  }
  device.close();
  step.free();
  expect(ran).toBeGreaterThan(50);
});

test('arguments of wrong types are refused', async () => {
  const device = new (nativeModule().Device)({ kind: 'cpu', threads: 1, isa: '' }) as unknown as Record<string, (...args: unknown[]) => unknown>;
  const junk = (): unknown[] => [
    undefined, null, true, '', 'x\0y', -1, 1.5, NaN, Infinity, 2 ** 53, 2 ** 31, 16, 17, 1n, Symbol('s'), {}, [], [null], [{}], () => 1, new Uint8Array(3), new Uint32Array(16),
    new Int32Array(2), new Float64Array(1), new ArrayBuffer(8), new SharedArrayBuffer(8), new Proxy({}, { get: () => { throw new Error('no'); } }),
    [{ path: '/', name: '', offset: 0, dtype: 1, rows: 1, cols: 1 }], [{ path: '/dev/zero', name: 'n', offset: 2 ** 52, dtype: 0, rows: 2 ** 40, cols: 2 ** 40 }], device,
  ];
  const next = random(3);
  device.alloc!(4096, 'a');
  for (let round = 0; round < 4000; round++) {
    for (const method of ['alloc', 'free', 'host', 'upload', 'download', 'compile', 'release', 'submit', 'pack', 'loadPages', 'stats']) {
      const all = junk();
      const args = Array.from({ length: Math.floor(next() * 9) }, () => all[Math.floor(next() * all.length)]);
      try {
        await device[method]!(...args);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }
  }
  const { Device } = nativeModule();
  const call = Device as unknown as (...args: unknown[]) => unknown;
  expect(() => call({ kind: 'cpu', threads: 1, isa: '' })).toThrow();
  expect(() => device.alloc!.call({}, 1, 'x')).toThrow();
  expect(() => device.alloc!.call(Object.create(Device.prototype), 1, 'x')).toThrow();
  for (const value of junk()) expect(() => new Device({ kind: 'cpu', threads: value as number, isa: value as string })).toThrow();
  for (const value of junk()) expect(() => new Device(value as { kind: 'cpu'; threads: number; isa: string })).toThrow();
  device.close!();
});

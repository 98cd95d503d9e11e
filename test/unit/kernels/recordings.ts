/** Recordings for weft-replay: a whole step, every op alone, and a chain of ops with many tiles. */
import { join } from 'node:path';
import { CommandList, HEADER_WORDS, at, linear, record, rmsNorm, type Device, type DeviceBuffer, type Op } from '@weft/kernels';
import { CASES, copyArgs } from './cases.js';
import type { Values } from './harness.js';
import { tinyStep } from './tiny-step.js';

export function upload(device: Device, label: string, values: Values): DeviceBuffer {
  const buffer = device.alloc(values.byteLength, label);
  new Uint8Array(device.host(buffer)).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  return buffer;
}

export async function recordStep(device: Device, folder: string): Promise<string> {
  const path = join(folder, 'step.weft'), step = tinyStep(device);
  await record(device, step.list, step.bindings, path);
  step.free();
  return path;
}

/** One file for each op. All counts come from the frame, so that changes of it count. */
export function recordOps(device: Device, folder: string): Promise<string[]> {
  return Promise.all(CASES.map(async ({ op, args: shared }) => {
    const path = join(folder, `${op.name}.weft`), args = copyArgs(shared);
    const frame = device.alloc(HEADER_WORDS * 4, 'frame'), header = new Int32Array(device.host(frame));
    Object.entries(op.params as Op['params']).filter(([, param]) => param.kind === 'count').forEach(([name, { capacity, from }], i) => {
      header[i + 1] = (args[capacity!] as number) + (from ? args[from] as number : 0);
      args[name] = i + 1;
    });
    const refs = Object.keys(op.operands).flatMap(name => (args[name] ? [[name, at(upload(device, name, args[name] as Values))] as const] : []));
    await record(device, new CommandList().add(op, { ...args, ...Object.fromEntries(refs) } as never), { frame }, path);
    return path;
  }));
}

/**
 * Many short ops that feed each other, each of several tiles: a tile run twice, never, or before its op shows in `result`.
 */
export function chain(device: Device): { list: CommandList; result: () => Uint32Array } {
  const n = 640, rows = 3;
  const alloc = (count: number, label: string): DeviceBuffer => upload(device, label, Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.37) * 0.1));
  const w = alloc(n * n, 'w'), norm = alloc(n, 'norm'), x = alloc(rows * n, 'x'), y = alloc(rows * n, 'y');
  const list = new CommandList();
  for (let i = 0; i < 150; i++) {
    list.add(linear, { x: at(x), w: at(w), y: at(y), count: 0, countFrom: 0, rows, n, k: n, ldx: n, ldy: n, dtype: 0, accumulate: i % 2, xType: 0, layout: 0 });
    list.add(rmsNorm, { r: at(y), w: at(norm), y: at(x), count: 0, rows, srcRows: rows, dim: n, ldr: n, ldAdd: n, ldy: n, eps: 1e-5, plusOne: 1, yType: 0 });
  }
  return { list, result: () => new Uint32Array(device.host(x)).slice() };
}

export async function recordChain(device: Device, folder: string): Promise<string> {
  const path = join(folder, 'chain.weft');
  await record(device, chain(device).list, {}, path);
  return path;
}

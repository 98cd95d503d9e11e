/**
 * Kernels of arm64, by a cross compiler, run by an emulator: recordings of this machine, and rows of linear maps alone and among
 * others. Debian: g++-aarch64-linux-gnu and qemu-user.
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandList, DType, at, linear, linearInt8, quantizedWords, record, type Device, type DeviceBuffer } from '@weft/kernels';
import { deviceOf, isas } from '../unit/kernels/harness.js';
import { recordChain, recordOps, recordStep, upload } from '../unit/kernels/recordings.js';
import { packInt8, quantizeRowsReference } from '../unit/kernels/reference/int8.js';
import { packPanels } from '../unit/kernels/reference/linear.js';
import { Random, toBf16 } from '../unit/kernels/reference/numbers.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const isThere = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

describe.runIf(isThere('aarch64-linux-gnu-g++') && isThere('qemu-aarch64'))('arm64', () => {
  let program: string, folder: string;
  const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
  beforeAll(async () => {
    const { stdout } = await run(process.execPath, [join(root, 'scripts/weft.mjs'), 'native', '--arm64']);
    program = stdout.trim().split('\n').at(-1)!;
    folder = await mkdtemp(join(tmpdir(), 'weft-arm64-'));
  });
  afterAll(async () => { if (folder) await rm(folder, { recursive: true, force: true }); });

  const replay = async (isa: string, files: string[]): Promise<void> => {
    const { stdout } = await run('qemu-aarch64', [program, ...files, '--isa', isa, '--threads', '2'], { maxBuffer: 2 ** 24 });
    expect(stdout.match(/: ok {2}[1-9]\d* values/g), stdout).toHaveLength(files.length);
  };

  test.each(['neon', 'neondot', 'neonbf16'])('recordings of this machine come out within their tolerance: %s', async isa => {
    await replay(isa, [await recordStep(device, folder), await recordChain(device, folder), ...await recordOps(device, folder)]);
  });

  // For every number of rows that a register tile may have, and whatever is left of k.
  const shapes = [1, 2, 3, 4, 5, 6, 7, 13].flatMap(rows => [63, 64, 65, 66, 67, 190].map(k => ({ rows, k })));
  test.each(['neon', 'neondot', 'neonbf16'])('linear maps of bf16 and int8: %s', async isa => {
    const files: string[] = [];
    for (const [i, { rows, k }] of shapes.entries()) {
      for (const make of [bf16Maps, int8Maps]) {
        const { y, list } = make(device, new Random(i), rows, k);
        const value = join(folder, `value-${make.name}-${i}.weft`), difference = join(folder, `difference-${make.name}-${i}.weft`);
        await record(device, list(1), {}, value, { absolute: 0.05, relative: 0.01 });
        new Float32Array(device.host(y)).fill(0);
        // Less each row by itself: the same chain of additions with every sign turned, so nothing at all is left.
        const less = list(1);
        list(-1, less);
        await record(device, less, {}, difference, { absolute: 0, relative: 0 });
        expect(new Float32Array(device.host(y)).every(left => left === 0)).toBe(true);
        files.push(value, difference);
      }
    }
    await replay(isa, files);
  });
});

/** y, and what adds W x to it for all rows at once (sign 1), or −W x row by row. */
interface Maps { y: DeviceBuffer; list(sign: 1 | -1, to?: CommandList): CommandList }

const N = 70;

function bf16Maps(device: Device, random: Random, rows: number, k: number): Maps {
  const weights = random.normals(N * k), panels = (sign: number): DeviceBuffer => upload(device, 'w', packPanels(weights.map(value => value * sign), N, k, DType.bf16).bytes);
  const ldx = k + k % 2, x = upload(device, 'x', Uint16Array.from(random.normals(rows * ldx), toBf16)), y = upload(device, 'y', new Float32Array(rows * N));
  const more = panels(1), less = panels(-1), shared = { count: 0, countFrom: 0, n: N, k, ldx, ldy: N, dtype: DType.bf16, accumulate: 1, xType: DType.bf16, layout: 0 };
  return { y, list: (sign, list = new CommandList()) => {
    if (sign === 1) return list.add(linear, { ...shared, x: at(x), w: at(more), y: at(y), rows });
    for (let row = 0; row < rows; row++) list.add(linear, { ...shared, x: at(x, row * ldx * 2), w: at(less), y: at(y, row * N * 4), rows: 1 });
    return list;
  } };
}

function int8Maps(device: Device, random: Random, rows: number, k: number): Maps {
  const weights = random.normals(N * k), panels = (sign: number): DeviceBuffer => upload(device, 'w', packInt8(weights.map(value => value * sign), N, k).bytes);
  const words = quantizedWords(k), x = upload(device, 'x', quantizeRowsReference(random.normals(rows * k), rows, k).words), y = upload(device, 'y', new Float32Array(rows * N));
  const more = panels(1), less = panels(-1), shared = { count: 0, countFrom: 0, n: N, k, words, ldx: words, ldy: N, dtype: DType.int8, accumulate: 1 };
  return { y, list: (sign, list = new CommandList()) => {
    if (sign === 1) return list.add(linearInt8, { ...shared, x: at(x), w: at(more), y: at(y), rows });
    for (let row = 0; row < rows; row++) list.add(linearInt8, { ...shared, x: at(x, row * words * 4), w: at(less), y: at(y, row * N * 4), rows: 1 });
    return list;
  } };
}

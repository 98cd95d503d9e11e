/**
 * The CUDA device without a GPU: kernels as host code behind a driver that ends the process when it is called wrongly
 * (native/emulation/cuda). All op tests and models run on it in test/full; this is what every change has to pass.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CommandList, Header, OPS, at, createCudaDevice, inspectCudaDriver, type Device } from '@weft/kernels';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { loadModel } from '../../../libs/engine/src/models/index.js';
import { OneSequence } from '../models/one-sequence.js';
import { deviceOf, isas } from './harness.js';
import { recordOps, recordStep } from './recordings.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../..', import.meta.url));
const program = join(root, 'libs/kernels/build/weft-replay');
const model = join(root, 'test/fixtures/models/llama-tiny');

let driver: string, folder: string, files: string[];
beforeAll(async () => {
  const { stdout } = await run(process.execPath, [join(root, 'scripts/weft.mjs'), 'native', '--fake-cuda'], { env: { ...process.env, WEFT_PREPARED_CHECKOUT: '' } });
  driver = stdout.trim().split('\n').at(-1)!;
  folder = await mkdtemp(join(tmpdir(), 'weft-cuda-'));
  const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
  files = [await recordStep(device, folder), ...await recordOps(device, folder)];
}, 300_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

/** weft-replay on cuda:0. A module is read and not looked at by this driver. */
const replay = (args: string[], faults: Record<string, string> = {}): Promise<{ stdout: string }> =>
  run(program, [...args, '--device', 'cuda:0', '--driver', driver, '--module', join(folder, 'step.weft')], { env: { ...process.env, ...faults } });
const failure = async (faults: Record<string, string>, args = [files[0]!]): Promise<string> =>
  replay(args, faults).then(() => { throw new Error('it did not fail'); }, ({ stdout, stderr }: { stdout: string; stderr: string }) => stdout + stderr);

test.each([[[]], [['--deterministic']], [['--repeat', '3']], [['--time']]])('a step and every op come out as on the CPU, %j', async args => {
  const { stdout } = await replay([...files, ...args]);
  expect(stdout.match(/: ok /g)).toHaveLength(files.length);
  if (args.includes('--time')) expect(stdout).toMatch(/loraShrink +\d+\.\d µs/);
});

test('the order in which threads, blocks and streams run does not matter', async () => {
  for (const seed of ['2', '3', '4']) expect((await replay(files, { WEFT_CUDA_SEED: seed })).stdout.match(/: ok /g)).toHaveLength(files.length);
});

test('where address ranges are refused, memory is plain, and it says so', async () => {
  const refusals: Record<string, string>[] = [{ WEFT_FAKE_CUDA_NO_VMM: '1' }, { WEFT_FAKE_CUDA_FAIL: 'cuMemGetAllocationGranularity=801' }];
  for (const faults of refusals) {
    const { stdout } = await replay(files, faults);
    expect(stdout.match(/: ok /g)).toHaveLength(files.length);
    expect(stdout).toContain('without virtual memory');
  }
});

test('random changes of lists and metadata are run or refused', async () => {
  const { stdout } = await replay([files[0]!, '--fuzz', '60', '--seed', '3']);
  const [, ran, refused] = stdout.match(/(\d+) ran, (\d+) refused/)!.map(Number);
  expect(ran! + refused!).toBe(60);
  expect(refused).toBeGreaterThan(10);
});

describe('what is missing or breaks has a code, a cause and a remedy', () => {
  const cases: [string, Record<string, string>, RegExp][] = [
    ['no GPU', { WEFT_FAKE_CUDA_DEVICES: '0' }, /device_unavailable · .*CUDA_VISIBLE_DEVICES/],
    ['an old driver', { WEFT_FAKE_CUDA_VERSION: '11040' }, /device_unavailable · .*CUDA 11\.4: CUDA 12\.0 is needed.*Update the driver/],
    ['no kernels for this GPU', { WEFT_FAKE_CUDA_FAIL: 'cuModuleLoadData=209' }, /device_unavailable · loading kernels for Emulated GPU \(sm_90\).*npm run build:cuda/],
    ['a driver that differs from its module', { WEFT_FAKE_CUDA_FAIL: 'cuInit=803' }, /device_unavailable · .*restart the machine/],
    ['little memory', { WEFT_FAKE_CUDA_BYTES: '70000' }, /out_of_memory · .*bytes of GPU memory; \d+ of \d+ are free/],
    ['no pinned memory', { WEFT_FAKE_CUDA_PINNED_BYTES: '4096' }, /out_of_memory · .*pinned memory/],
    ['a lost device', { WEFT_FAKE_CUDA_LOST_AT: '9' }, /device_lost · .*a new process starts afresh/],
    ['an ECC error', { WEFT_FAKE_CUDA_LOST_AT: '3:214' }, /device_lost/],
    ['a graph that cannot be made', { WEFT_FAKE_CUDA_FAIL: 'cuGraphInstantiateWithFlags=801' }, /device_error · making a graph of a list/],
    ['a launch that fails while recording', { WEFT_FAKE_CUDA_FAIL: 'cuLaunchKernel=1@3' }, /device_error/],
  ];
  test.each(cases)('%s', async (_, faults, message) => { expect(await failure(faults)).toMatch(message); });

  test('no driver, and no kernels', async () => {
    expect(() => createCudaDevice({ driver: '/nowhere/libcuda.so.1', module: files[0] })).toThrow(expect.objectContaining({ code: 'device_unavailable', message: expect.stringMatching(/no NVIDIA driver.*docker run --gpus all/) as unknown }));
    expect(() => createCudaDevice({ driver, module: '/nowhere/weft-cuda.fatbin' })).toThrow(expect.objectContaining({ code: 'device_unavailable' }));
    expect(() => inspectCudaDriver('/nowhere/libcuda.so.1')).toThrow(expect.objectContaining({ code: 'device_unavailable' }));
    expect(() => createCudaDevice({ driver, module: files[0], ordinal: 7 })).toThrow(expect.objectContaining({ code: 'device_unavailable' }));
  });
});

describe('from JavaScript', () => {
  let device: Device;
  beforeAll(() => { device = createCudaDevice({ driver, module: files[0], deterministic: true }); });
  afterAll(() => device.close());

  test('it says what it is', () => {
    expect(device).toMatchObject({ name: 'cuda:0', isa: 'sm_90', description: 'Emulated GPU', linearLayout: 1, bucketed: true });
    expect(device.freeBytes()).toBeGreaterThan(2 ** 30);
    expect(inspectCudaDriver(driver).gpus).toMatchObject([{ name: 'Emulated GPU', isa: 'sm_90' }]);
  });

  test('a bound frame goes with the list; an index out of bounds is told by op and bound', async () => {
    const frame = device.alloc(64, 'frame'), tokens = device.alloc(16, 'tokens'), table = device.alloc(4 * 4 * 4, 'table'), x = device.alloc(4 * 4 * 4, 'x');
    const list = new CommandList().add(OPS.embed, { table: at(table), tokens: at(tokens), x: at(x), count: Header.tokens, rows: 4, vocab: 4, limit: 4, dim: 4, dtype: 0, layout: 1, ldx: 4, scale: 2 });
    new Float32Array(device.host(table)).set(Float32Array.from({ length: 16 }, (_, i) => i));
    await device.upload(table, 0, table.bytes);
    const run = async (rows: number, ids: number[]): Promise<Float32Array> => {
      new Int32Array(device.host(frame))[Header.tokens] = rows;
      new Int32Array(device.host(tokens)).set(ids);
      await device.upload(tokens, 0, tokens.bytes);
      await device.submit(list, { bindings: { frame } });
      await device.download(x, 0, x.bytes);
      return new Float32Array(device.host(x)).slice();
    };
    expect([...await run(2, [3, 1, 0, 0])].slice(0, 8)).toEqual([24, 26, 28, 30, 8, 10, 12, 14]);
    await expect(run(3, [0, 4, 1, 0])).rejects.toMatchObject({ code: 'list_invalid', message: expect.stringMatching(/op 0 \(embed\): a token at 1 is 4, not below 4/) as unknown });
    await expect(run(5, [0, 0, 0, 0])).rejects.toMatchObject({ code: 'list_invalid', message: expect.stringMatching(/a count of the frame's header/) as unknown });
    expect([...await run(1, [2, 0, 0, 0])].slice(0, 4)).toEqual([16, 18, 20, 22]);
    for (const buffer of [frame, tokens, table, x]) device.free(buffer);
  });

  test('a model with an adapter answers as on the CPU', { timeout: 120_000 }, async () => {
    const answers: number[][] = [];
    for (const on of [deviceOf({ isa: isas.at(-1)!, threads: 2 }), device]) {
      const sequence = new OneSequence(await loadModel(on, await openCheckpoint(join(model, 'base')), { partition: { rank: 0, size: 1 } }));
      await sequence.adapt(join(model, 'adapters', 'exclude'), folder);
      answers.push((await sequence.score([5, 9, 2, 31, 7, 7, 11, 3])).logprobs);
      sequence.close();
    }
    answers[0]!.forEach((logprob, i) => expect(Math.abs(logprob - answers[1]![i]!)).toBeLessThan(1e-4));
  });
});

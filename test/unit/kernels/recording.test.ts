import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deviceOf, isas } from './harness.js';
import { recordOps, recordStep } from './recordings.js';

const program = fileURLToPath(new URL('../../../libs/kernels/build/weft-replay', import.meta.url));
const replay = promisify(execFile);
const failing = (args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  replay(program, args).then(() => { throw new Error('it did not fail'); }, error => error as { code: number; stdout: string; stderr: string });

const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
let folder: string, file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-recording-'));
  file = await recordStep(device, folder);
});
afterAll(() => rm(folder, { recursive: true }));

test.each([1, 2, 3])('a recorded step leaves the same bits outside Node, on %i threads', async threads => {
  const { stdout } = await replay(program, [file, '--exact', '--isa', isas.at(-1)!, '--threads', String(threads)]);
  expect(stdout).toMatch(/: ok {2}\d+ values, 100\.0000 % bit-identical/);
});

test.each(isas)('on %s it stays within the tolerance', async isa => {
  const { stdout } = await replay(program, [file, '--device', 'cpu', '--isa', isa]);
  expect(stdout).toContain(': ok');
});

test('--time names every op', async () => {
  const { stdout } = await replay(program, [file, '--time', '--repeat', '3']);
  for (const name of ['resolve', 'attention', 'loraShrink', 'sample']) expect(stdout).toMatch(new RegExp(`\\d+ {2}${name} +\\d+\\.\\d µs`));
});

test('a difference is told and ends with 1; --write-expected takes it over', async () => {
  const changed = join(folder, 'changed.weft');
  const bytes = await readFile(file);
  bytes[bytes.length - 5]! ^= 0x40;
  await writeFile(changed, bytes);
  const error = await failing([changed, '--exact']);
  expect(error.code).toBe(1);
  expect(error.stdout).toContain('DIFFERS');
  await replay(program, [changed, '--write-expected']);
  await replay(program, [changed, '--exact']);
});

test('random changes of list and metadata are run or refused', async () => {
  const { stdout } = await replay(program, [file, '--fuzz', '3000', '--seed', '5', '--threads', '2']);
  const [, ran, refused] = stdout.match(/(\d+) ran, (\d+) refused/)!.map(Number);
  expect(ran! + refused!).toBe(3000);
  expect(ran).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(100);
});

test('recordings of single ops compare something', async () => {
  const files = await recordOps(device, folder);
  const { stdout } = await replay(program, [...files, '--exact', '--isa', isas.at(-1)!]);
  expect(stdout.match(/: ok {2}[1-9]\d* values/g), stdout).toHaveLength(files.length);
});

test('so are random changes of every op alone', async () => {
  const files = await recordOps(device, folder);
  const { stdout } = await replay(program, [...files, '--fuzz', '500', '--seed', '2', '--threads', '2']);
  expect(stdout.match(/ran/g)).toHaveLength(files.length);
});

test('files that are no recordings are refused', async () => {
  const bytes = await readFile(file);
  const broken = join(folder, 'broken.weft');
  for (const content of [Buffer.alloc(0), Buffer.from('WEFTREC1'), bytes.subarray(0, 100), bytes.subarray(0, bytes.length - 4096)]) {
    await writeFile(broken, content);
    expect((await failing([broken])).code).toBe(1);
  }
  // Tables that point anywhere.
  for (let at = 24; at < 400; at += 3) {
    await copyFile(file, broken);
    const changed = Buffer.from(bytes);
    changed.writeUInt32LE(0xffff_fff0, at);
    await writeFile(broken, changed);
    await replay(program, [broken]).catch((error: { code: number }) => expect(error.code).toBe(1));
  }
});

/** Recordings and random changes of them under the sanitizers: no byte outside a buffer, no undefined behaviour, no race. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deviceOf, isas } from '../unit/kernels/harness.js';
import { recordChain, recordOps, recordStep } from '../unit/kernels/recordings.js';

const run = promisify(execFile);
const weft = fileURLToPath(new URL('../../scripts/weft.mjs', import.meta.url));
/** Builds weft-replay with sanitizers and returns its path. */
const build = async (sanitizers: string): Promise<string> =>
  (await run(process.execPath, [weft, 'native', `--sanitize=${sanitizers}`])).stdout.trim().split('\n').at(-1)!;

let folder: string, step: string, chain: string, ops: string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-sanitized-'));
  const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
  step = await recordStep(device, folder);
  chain = await recordChain(device, folder);
  ops = await recordOps(device, folder);
});
afterAll(() => rm(folder, { recursive: true }));

describe('address and undefined behaviour', () => {
  let program: string;
  beforeAll(async () => { program = await build('address,undefined'); });

  test.each(isas)('replays and fuzzes on %s', async isa => {
    await run(program, [step, chain, ...ops, '--isa', isa, '--threads', '2']);
    await run(program, [step, '--isa', isa, '--threads', '2', '--fuzz', '20000', '--seed', '1']);
    const { stdout } = await run(program, [...ops, '--isa', isa, '--threads', '2', '--fuzz', '3000', '--seed', '1']);
    expect(stdout.match(/refused/g)).toHaveLength(ops.length);
  });
});

describe('races', () => {
  let program: string;
  beforeAll(async () => { program = await build('thread'); });

  test.each([2, 4, 8])('on %i threads', async threads => {
    await run(program, [step, chain, ...ops, '--exact', '--threads', String(threads), '--repeat', '3']);
    await run(program, [step, '--threads', String(threads), '--fuzz', '1000', '--seed', '4']);
  });
});

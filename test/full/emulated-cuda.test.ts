/**
 * The CUDA device on machines without a GPU: its kernels as host code, every thread a fiber, behind a driver that checks each
 * call. The same op tests, against the same float64 references, and the same models as on this processor.
 */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

interface Report { testResults: { assertionResults: { fullName: string; status: string; failureMessages: string[] }[] }[] }

/** Emulation takes its time: 10 minutes for all models on two cores with nothing else to do. */
const MINUTES = 40 * 60_000;

let driver: string, folder: string;
beforeAll(async () => {
  const { stdout } = await run(process.execPath, [join(root, 'scripts/weft.mjs'), 'native', '--fake-cuda']);
  driver = stdout.trim().split('\n').at(-1)!;
  folder = await mkdtemp(join(tmpdir(), 'weft-cuda-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Names of the unit tests of those files that passed with cuda:0 as the device; those that name it. */
async function unitTests(...files: string[]): Promise<string[]> {
  const outputFile = join(folder, 'report.json');
  const args = ['--run', '--project=unit', '--testTimeout=600000', '--reporter=json', `--outputFile=${outputFile}`, '--testNamePattern=\\bcuda\\b', ...files];
  // It fails when a test does; the report says which.
  await run(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
    cwd: root, env: { ...process.env, WEFT_TEST_CUDA_DRIVER: driver }, maxBuffer: 2 ** 28,
  }).catch(() => undefined);
  const report = JSON.parse(await readFile(outputFile, 'utf8')) as Report;
  const results = report.testResults.flatMap(file => file.assertionResults).filter(({ fullName }) => /\bcuda\b/.test(fullName));
  expect(results.filter(t => t.status !== 'passed').map(t => `${t.fullName}: ${t.status} ${t.failureMessages[0] ?? ''}`)).toEqual([]);
  console.log(`${results.length} tests on cuda`);
  return results.map(t => t.fullName);
}

/** bf12 is a format of this processor: a CUDA device refuses it. */
const OPS = readdirSync(join(root, 'test/unit/kernels/ops')).filter(name => name !== 'bf12.test.ts').map(name => `test/unit/kernels/ops/${name}`);

test('every op agrees with its reference', { timeout: MINUTES }, async () => {
  expect((await unitTests(...OPS)).length).toBeGreaterThan(300);
});

test('models answer as transformers do', { timeout: MINUTES }, async () => {
  expect((await unitTests('test/unit/models/parity.test.ts')).length).toBeGreaterThan(60);
});

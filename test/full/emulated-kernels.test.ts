/**
 * Kernels for instruction sets that this machine may lack (AVX-512, VNNI, BF16, AMX), compiled against their emulation: the
 * same op tests, recordings and bit comparisons that run on what the machine has. The emulation itself is held against plain
 * code, and against the processor where that has the instruction.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deviceOf, isas } from '../unit/kernels/harness.js';
import { recordChain, recordOps, recordStep } from '../unit/kernels/recordings.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const EMULATED = ['avx512', 'avx512bf16', 'amx'];

/**
 * Which modes of bits.test.ts run: all on AVX-512, on the others those whose kernels are their own; on two models, with norms of
 * heads and with f16 weights. Emulated, one takes as long as twelve on the processor: all of them would take half an hour.
 */
const OWN: Record<string, { modes: string; cases: number }> = {
  avx512: { modes: '', cases: 9 }, avx512bf16: { modes: "(weights 'int8'|activations 'bf16')", cases: 4 }, amx: { modes: "activations 'bf16'", cases: 2 },
};
const BITS = new RegExp(Object.entries(OWN).map(([isa, { modes }]) => `'(qwen3-tiny|llama3-rope)', '${isa}',.* ${modes}`).join('|'));

/** As whole words: avx512 is no part of avx512bf16. */
const NAMES = new RegExp(`\\b(${EMULATED.join('|')})\\b`);

interface Report { testResults: { assertionResults: { fullName: string; status: string; failureMessages: string[] }[] }[] }

/** Emulation stands on AVX2. */
describe.runIf(isas.includes('avx2'))('emulated instruction sets', () => {
  let build: string, folder: string;
  beforeAll(async () => {
    const { stdout } = await run(process.execPath, [join(root, 'scripts/weft.mjs'), 'native', '--emulate']);
    build = stdout.trim().split('\n').at(-1)!;
    folder = await mkdtemp(join(tmpdir(), 'weft-emulated-'));
  });
  afterAll(async () => { if (folder) await rm(folder, { recursive: true, force: true }); });

  /** Names of the unit tests of those files that passed with the emulated addon, of those that `names` matches. */
  async function unitTests(names: RegExp, ...files: string[]): Promise<string[]> {
    const outputFile = join(folder, 'report.json');
    const args = ['--run', '--project=unit', '--testTimeout=600000', '--reporter=json', `--outputFile=${outputFile}`, `--testNamePattern=${names.source}`, ...files];
    // It fails when a test does; the report says which.
    await run(process.execPath, [join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
      cwd: root, env: { ...process.env, WEFT_KERNELS_ADDON: join(build, 'weft_kernels.node') }, maxBuffer: 2 ** 28,
    }).catch(() => undefined);
    const report = JSON.parse(await readFile(outputFile, 'utf8')) as Report;
    await rm(outputFile);
    const results = report.testResults.flatMap(file => file.assertionResults).filter(t => names.test(t.fullName));
    expect(results.filter(t => t.status !== 'passed').map(t => `${t.fullName}: ${t.status} ${t.failureMessages[0] ?? ''}`)).toEqual([]);
    return results.map(t => t.fullName);
  }
  const naming = (names: string[], isa: string): number => names.filter(name => new RegExp(`\\b${isa}\\b`).test(name)).length;

  test('each intrinsic does what the manual says', async () => {
    const { stdout } = await run(join(build, 'check-emulation'));
    console.log(stdout.trim());
    expect(stdout).toMatch(/^[1-9]\d* intrinsics against the manual, \d+ against this processor, 0 differ$/m);
  });

  test('every op agrees with its reference', async () => {
    const passed = await unitTests(NAMES, 'test/unit/kernels/ops/', 'test/unit/kernels/harness.test.ts');
    for (const isa of EMULATED) {
      console.log(`${naming(passed, isa)} tests on ${isa}`);
      expect(naming(passed, isa), isa).toBeGreaterThan(150);
    }
  });

  test('a row has the same bits in any batch', async () => {
    const passed = await unitTests(BITS, 'test/unit/engine/bits.test.ts', 'test/unit/engine/bits-more.test.ts');
    for (const [isa, { cases }] of Object.entries(OWN)) expect(naming(passed, isa), isa).toBe(cases);
  });

  test.each(EMULATED)('recordings of this machine come out within their tolerance: %s', async isa => {
    const device = deviceOf({ isa: isas.at(-1)!, threads: 2 });
    const files = [await recordStep(device, folder), await recordChain(device, folder), ...await recordOps(device, folder)];
    const { stdout } = await run(join(build, 'weft-replay'), [...files, '--isa', isa, '--threads', '2']);
    expect(stdout.match(/: ok {2}[1-9]\d* values/g), stdout).toHaveLength(files.length);
  });
});

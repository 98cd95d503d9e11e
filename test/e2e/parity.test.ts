/** Answers against transformers + PEFT, through the public API, by the same script that anyone can run (test/parity/run.mjs). */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { Weft } from './weft.js';

const root = join(import.meta.dirname, '../..');
const fixtures = join(root, 'test/fixtures/models');

const parity = (cases: string, extra: string[] = []): Promise<Outcome> =>
  run(process.execPath, [join(root, 'test/parity/run.mjs'), '--model', join(cases, 'base'), '--cases', cases, ...extra]);

interface Outcome { code: number | null; output: string }

function run(command: string, args: string[]): Promise<Outcome> {
  return new Promise(resolve => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', chunk => { output += String(chunk); });
    child.once('close', code => resolve({ code, output }));
  });
}

test.each(readdirSync(fixtures))('%s and its adapters answer as the reference does', { timeout: 180_000 }, async name => {
  const { code, output } = await parity(join(fixtures, name));
  expect(output).toMatch(/\d+ passed, 0 failed/);
  expect(code, output).toBe(0);
});

test('the real SmolLM2-135M and its adapters answer as the reference does', { timeout: 600_000 }, async ctx => {
  const base = process.env['WEFT_SMOLLM2'];
  const cases = base ? dirname(base) : '';
  ctx.skip(!base || !existsSync(join(cases, 'adapters')), 'WEFT_SMOLLM2 names no folder DIR/base beside DIR/*.json and DIR/adapters (test/fixtures/README.md)');
  const { code, output } = await parity(cases, []);
  expect(output).toMatch(/\d+ passed, 0 failed/);
  expect(code, output).toBe(0);
});

/** What rounding the inputs of linear maps may cost; int8 weights and KV are held by divergence instead (test/unit/models). */
const OUTSIDE = [{ options: [], tolerance: '0.02' }, { options: ['--activations', 'bf16'], tolerance: '0.1' }];
test.for(OUTSIDE)('the real SmolLM2-135M, $options, answers a script that uploads its adapters and knows only the public API', { timeout: 600_000 }, async ({ options, tolerance }, ctx) => {
  const base = process.env['WEFT_SMOLLM2'];
  const script = process.env['WEFT_PARITY_SCRIPT'];
  ctx.skip(!base || !existsSync(base) || !script, 'WEFT_SMOLLM2 and WEFT_PARITY_SCRIPT name no checkpoint and no script that judges from outside');
  const weft = await Weft.start({ model: base!, adapters: null, options });
  const { code, output } = await run('python3', [script!, '--tolerance', tolerance, '--credentials', join(weft.dataDir, 'credentials.json'), '--cases', dirname(base!)]);
  expect(code, output).toBe(0);
  expect(await weft.stop()).toBe(0);
});

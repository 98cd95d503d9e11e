import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { expect, onTestFinished, test } from 'vitest';
import { availableMemoryBytes, leftIn, planPool } from '../../../libs/engine/src/memory.js';

const lines: string[] = [];
const log = (line: string): void => { lines.push(line); };
const refusal = (run: () => unknown): WeftError => {
  try { run(); } catch (error) { return error as WeftError; }
  throw new Error('accepted');
};

test('what is left lies between nothing and all of a large machine', () => {
  const bytes = availableMemoryBytes();
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThan(2 ** 50);
});

test('the default pool is half of what is left, said as a sum', () => {
  expect(planPool(4096, undefined, 2 ** 30, log)).toBe(2 ** 28 / 4096);
  expect(lines.at(-1)).toBe('pool: 65536 pages of 4 KiB = 256 MiB (half of the 1024 MiB that are left)');
});

test('a pool that was asked for is rounded down to pages', () => {
  expect(planPool(4096, 10_000, 2 ** 30, log)).toBe(2);
});

test('a pool beyond the machine is refused before anything is taken, with both figures', () => {
  const error = refusal(() => planPool(4096, 2 ** 31, 2 ** 30, log));
  expect([error.code, error.details.field]).toEqual(['out_of_memory', 'pool-bytes']);
  expect(error.message).toMatch(/2048 MiB; 1024 MiB/);
});

test('a pool of one page is refused', () => {
  expect(refusal(() => planPool(2 ** 20, 2 ** 20, 2 ** 30, log)).message).toMatch(/at least two pages/);
});

test.each<[string, Record<string, string>, number]>([
  ['v2', { 'memory.max': '1000000\n', 'memory.current': '700000\n', 'memory.stat': 'anon 500000\nfile 250000\nactive_file 50000\ninactive_file 100000\n' }, 450_000],
  ['v2 without a limit', { 'memory.max': 'max\n', 'memory.current': '700000\n' }, Infinity],
  ['v2 that is full', { 'memory.max': '1000\n', 'memory.current': '7000\n', 'memory.stat': '' }, 0],
  ['v1', { 'memory.limit_in_bytes': '1000000\n', 'memory.usage_in_bytes': '600000\n', 'memory.stat': 'cache 1\ninactive_file 1000\n' }, 401_000],
  ['none', {}, Infinity],
])('a cgroup: %s', (_, files, left) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-cgroup-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  expect(leftIn(folder)).toBe(left);
});

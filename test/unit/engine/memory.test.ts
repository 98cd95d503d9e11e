import { WeftError } from '@weft/contracts';
import { expect, test } from 'vitest';
import { availableMemoryBytes, planPool } from '../../../libs/engine/src/memory.js';

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

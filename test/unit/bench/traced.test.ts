import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { meanStep, secondsOf } from '../../bench/traced.js';

test('a mean step is that of the last decode steps of so many rows', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-traced-')), file = join(folder, 'trace.json');
  const op = (name: string, dur: number, bytes: number): object => ({ name, tid: 2, dur, args: { bytes, flops: 2 * bytes } });
  const step = (rows: number, sequences: number): object => ({ name: 'step', tid: 1, dur: 0, args: { rows, sequences } });
  const traceEvents = [op('attention', 900, 9), step(1, 1), op('attention', 500, 5), step(128, 1), op('linear', 10, 4), op('linear', 30, 4), op('attention', 100, 50), step(1, 1), op('linear', 20, 4), op('attention', 300, 70), step(1, 1)];
  writeFileSync(file, JSON.stringify({ traceEvents }));
  const ops = meanStep(file, 1, 2);
  expect(ops.get('linear')!.seconds).toBeCloseTo(30e-6, 12);
  expect(ops.get('linear')!.bytes).toBe(6);
  expect(ops.get('attention')!.seconds).toBeCloseTo(200e-6, 12);
  expect(ops.get('attention')!.flops).toBe(120);
  expect(secondsOf(ops)).toBeCloseTo(230e-6, 12);
  expect(() => meanStep(file, 32, 2)).toThrow(/32 rows/);
  rmSync(folder, { recursive: true });
});

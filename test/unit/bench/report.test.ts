import { expect, test } from 'vitest';
import { parseCeilings } from '../../bench/machine.js';
import { markdown, plain, Report, type Line } from '../../bench/report.js';
import { parseMode } from '../../bench/weft.js';
import { parseWorkload, spread } from '../../bench/workloads.js';

const line = (workload: string, contender: string, ...decode: number[]): Line =>
  ({ workload: parseWorkload(workload, 64, 32), contender, built: '', rounds: decode.map(d => ({ decode: d, prefill: null, total: d })) });
const aim = (report: Report, work: string, starts = ''): ReturnType<Report['aims']>[number] => report.aims().find(a => a.work === work && a.aim.startsWith(starts))!;

test('a ratio is one of medians, against the fastest peer of equal width', () => {
  const report = new Report([line('1-base', 'weft reference', 90, 100, 110), line('1-base', 'llama.cpp f16', 50, 60, 70), line('1-base', 'llama.cpp bf16', 80, 80, 20), line('1-base', 'llama.cpp q8_0', 200, 200, 200)], {});
  expect(aim(report, '1 stream')).toMatchObject({ reached: '1.25×', met: true, note: 'llama.cpp bf16; by rounds 1.13–5.50' });
});

test('what was not measured is neither met nor missed', () => {
  const failed: Line = { ...line('1-base', 'llama.cpp f16'), failed: 'failed: no answer in 300 s' };
  const report = new Report([line('1-base', 'weft reference', 100), failed], {});
  expect(aim(report, '1 stream').met).toBeNull();
  expect(report.table('1-base')[2]).toEqual(['llama.cpp f16', 'failed: no answer in 300 s', '', '', '', '']);
  expect(report.aims().every(a => a.met === null)).toBe(true);
});

test('the LoRA tax is what a mixed step takes longer, over its floor', () => {
  const floor = { seconds: 0.02, bytesShare: 1, bytes: 0, flops: 0 };
  const mixed: Line = { ...line('32-distinct', 'weft reference', 320), floors: { decode: { ...floor, seconds: 0.08 }, prefill: floor, lora: floor, ceilings: { read: 1, fma: 1, line: '' } } };
  const report = new Report([mixed, line('32-base', 'weft reference', 400)], {});
  expect(aim(report, 'LoRA tax, 32 rows')).toMatchObject({ reached: '1.00×', met: true, note: '20.0 ms a step; floor 20.0 ms' });
  expect(aim(report, '32 rows, 32 adapters', '≥ 75%')).toMatchObject({ reached: '80%', met: true, note: 'bound: bytes' });
});

test('a busy neighbour, memory and the rest of a step are held to their limits', () => {
  const report = new Report([], {
    busy: [{ contender: 'weft reference', slowdown: spread([2.4])!, fairShare: 1.5 }, { contender: 'llama.cpp f16', slowdown: spread([9])!, fairShare: 1.5 }],
    memory: { resident: 900e6, weights: 269e6, pool: 500e6 }, rest: { hostSeconds: 0.002, sampleSeconds: 0.001, stepSeconds: 0.06 },
  });
  expect(aim(report, 'a busy process beside us')).toMatchObject({ reached: '1.60×', met: false, note: 'slowdown 2.40, fair 1.50; llama.cpp f16 9.00' });
  expect(aim(report, 'resident memory')).toMatchObject({ reached: '+ 131 MB', met: true });
  expect(aim(report, 'rest of a step of 32')).toMatchObject({ reached: '5.0%', met: false });
});

test('workloads, modes and ceilings are read as they are written', () => {
  expect(parseWorkload('prefill-512', 64, 32)).toEqual({ name: 'prefill-512', requests: 1, kind: 'base', prompt: 512, fresh: 1 });
  expect(parseWorkload('long-8192', 64, 32)).toMatchObject({ requests: 1, prompt: 8160, fresh: 32 });
  expect(() => parseWorkload('8-mixed', 64, 32)).toThrow(/8-mixed/);
  expect(parseMode('int8+kv8')).toEqual({ name: 'int8+kv8', weights: 'int8', kv: 'int8' });
  expect(() => parseMode('int4')).toThrow(/int4/);
  expect(parseCeilings('avx2, 2 threads: reads 21.5 GB/s, multiply-adds 194 GFLOP/s')).toMatchObject({ read: 21.5e9, fma: 194e9 });
});

test('tables line up, and bars in cells stay cells', () => {
  expect(plain([['a', 'b'], ['ccc', 'd']])).toBe('a    b\nccc  d');
  expect(markdown([['a', 'b'], ['x|y', 'z']])).toBe('| a | b |\n| --- | --- |\n| x\\|y | z |');
});

import { expect, test } from 'vitest';
import { copyRows, gatedAct, Header } from '@weft/kernels';
import { deviceOf, isas, runOp, variants } from './harness.js';

test('portable kernels are everywhere', () => expect(isas).toContain('portable'));

test.each(variants)('rows are copied up to the count in the frame: $isa, $threads threads', async variant => {
  const from = Float32Array.of(1, 2, 3, 4, 5, 6);
  const { to } = await runOp(deviceOf(variant), copyRows, {
    from, to: new Float32Array(9), count: Header.tokens, countFrom: 0, rows: 3, dim: 2, ldFrom: 2, ldTo: 3, toType: 0,
  }, { tokens: 2 });
  expect([...to]).toEqual([1, 2, 0, 3, 4, 0, 0, 0, 0]);
});

test.each(variants)('gatedAct: $isa, $threads threads', async variant => {
  const x = Float32Array.of(0.5, -1, 2, 3);
  const { y } = await runOp(deviceOf(variant), gatedAct, { x, y: new Float32Array(2), count: 0, rows: 1, dim: 2, dim2: 4, ldx: 4, ldy: 2, act: 0, yType: 0 });
  const silu = (v: number) => v / (1 + Math.exp(-v));
  expect(y[0]).toBeCloseTo(silu(0.5) * 2, 5);
  expect(y[1]).toBeCloseTo(silu(-1) * 3, 5);
});

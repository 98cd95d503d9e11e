import { expect, expectTypeOf, test } from 'vitest';
import { Binding, CommandList, at, bound, gatedAct, linear, type OpArgs, type Ref } from '@weft/kernels';
import { mat, op, u32 } from '../../../libs/kernels/src/op.js';

const buffer = (id: number) => ({ id, bytes: 4096, label: `buffer ${id}` });

test('an op is recorded as code, length, operands, params', () => {
  const list = new CommandList();
  list.add(gatedAct, {
    x: at(buffer(16), 8), y: bound('results', 64), count: 1, rows: 2, dim: 3, dim2: 6, ldx: 6, ldy: 3, act: 0, yType: 1,
  });
  expect([...list.words]).toEqual([9, 14, 16, 2, Binding.results, 16, 1, 2, 3, 6, 6, 3, 0, 1]);
  expect(list.ops).toBe(1);
});

test('an absent operand is the null reference, f32 params keep their bits', () => {
  const list = new CommandList();
  const x = at(buffer(20));
  list.add(linear, { x, w: x, y: x, count: 0, countFrom: 0, rows: 1, n: 1, k: 1, ldx: 1, ldy: 1, dtype: 0, accumulate: 0, xType: 0, layout: 0 });
  expect([...list.words.subarray(6, 8)]).toEqual([0, 0]);
});

test('what is missing, no integer or not finite is refused by name', () => {
  const list = new CommandList();
  const x = at(buffer(16)), y = x;
  const good = { x, y, count: 0, rows: 1, dim: 1, dim2: 2, ldx: 2, ldy: 1, act: 0, yType: 0 };
  expect(() => list.add(gatedAct, { ...good, y: undefined as unknown as Ref })).toThrow('gatedAct: y is missing');
  expect(() => list.add(gatedAct, { ...good, rows: -1 })).toThrow('gatedAct: rows is -1');
  expect(() => list.add(gatedAct, { ...good, dim: 1.5 })).toThrow('gatedAct: dim is 1.5');
  expect(() => list.add(gatedAct, { ...good, dim: undefined as unknown as number })).toThrow('gatedAct: dim is undefined');
  expect(() => at(buffer(16), 2)).toThrow('multiple of 4');
  expect(list.ops).toBe(0);
  expect(list.words.length).toBe(0);
});

test('a list grows beyond its first words', () => {
  const list = new CommandList();
  const x = at(buffer(16));
  for (let i = 0; i < 1000; i++) list.add(gatedAct, { x, y: x, count: 0, rows: i + 1, dim: 1, dim2: 2, ldx: 2, ldy: 1, act: 0, yType: 0 });
  expect(list.words.length).toBe(14_000);
  expect(list.words[999 * 14 + 7]).toBe(1000);
});

test('descriptions and arguments are checked by the compiler', () => {
  expectTypeOf<OpArgs<typeof linear>['x']>().toEqualTypeOf<Ref>();
  expectTypeOf<OpArgs<typeof linear>['b']>().toEqualTypeOf<Ref | null | undefined>();
  expectTypeOf<OpArgs<typeof linear>['n']>().toEqualTypeOf<number>();
  // @ts-expect-error: `colums` is no param
  op(99, 'wrong', { x: mat('f32', 'rows', 'colums') }, { rows: u32, columns: u32 });
});

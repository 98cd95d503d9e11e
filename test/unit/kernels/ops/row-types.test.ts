/** Rows between ops as bf16: what writes them rounds to nearest even, what reads them computes with the rounded values. */
import { describe, expect, test } from 'vitest';
import { DType, OPS, copyRows, gatedAct, linear, loraShrink, rmsNorm } from '@weft/kernels';
import { CASES, copyArgs, type Case } from '../cases.js';
import { CUDA, deviceOf, runOp, variants, type Values } from '../harness.js';
import { linearReference, packPanels } from '../reference/linear.js';
import { Random, expectClose, fromBf16, toBf16 } from '../reference/numbers.js';

/** The op's case, with more words of its params changed. */
const caseOf = (name: keyof typeof OPS, over: Case['args'] = {}): Case => {
  const found = CASES.find(c => c.op.name === name)!;
  return { ...found, args: { ...copyArgs(found.args), ...over } };
};
const rounded = (values: Float32Array): Uint16Array => Uint16Array.from(values, toBf16);
const widened = (halves: Uint16Array): Float32Array => Float32Array.from(halves, fromBf16);

/** Values with every kind of rounding: ties to even and odd, carries into the exponent, subnormals, overflow, NaN. */
const edges = Float32Array.from(
  [0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff, 0x3fffffff, 0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x00000001, 0x80000000, 0x00018000, 0x7fc00000, 0x7f800001, 0xffffffff],
  bits => new Float32Array(Uint32Array.of(bits).buffer)[0]!);

describe.each(variants)('rows of bf16: $isa, $threads threads', variant => {
  const device = deviceOf(variant);

  test('copyRows rounds to nearest even; a NaN stays one', async () => {
    for (const dim of [1, 5, 8, 15, 33]) {
      const random = new Random(dim), rows = 4, ld = dim + dim % 2 + 2, from = random.normals(rows * ld, 1e3);
      for (let i = 0; i < edges.length; i++) from[i % rows * ld + i % dim] = edges[i]!;
      const { to } = await runOp(device, copyRows, { from, to: new Uint16Array(rows * ld).fill(7), count: 0, countFrom: 0, rows, dim, ldFrom: ld, ldTo: ld, toType: DType.bf16 });
      for (let i = 0; i < rows * ld; i++) {
        const value = from[i]!, found = fromBf16(to[i]!);
        if (i % ld >= dim) expect(to[i], 'between rows').toBe(7);
        else if (Number.isNaN(value)) expect(found, `value ${i}`).toBeNaN();
        else expect(to[i], `value ${i}: ${value}`).toBe(toBf16(value));
      }
    }
  });

  test.each<[keyof typeof OPS, string, string, Case['args']]>([
    ['rmsNorm', 'y', 'yType', {}], ['rmsNorm', 'y', 'yType', { index: null, rows: 2 }], ['gatedAct', 'y', 'yType', {}], ['attention', 'out', 'outType', {}],
  ])('%s rounds %s to what f32 would be', async (name, operand, type, over) => {
    const wide = caseOf(name, over), narrow = caseOf(name, { ...over, [type]: DType.bf16 });
    narrow.args[operand] = new Uint16Array((narrow.args[operand] as Float32Array).length);
    const results = [];
    for (const { op, args, header } of [wide, narrow]) results.push((await runOp(device, op, args as never, header) as Record<string, Values>)[operand]!);
    const [full, halves] = results as [Float32Array, Uint16Array];
    // Attention on tensor cores takes queries and weights in f16 then: finer than bf16, and now and then a step aside.
    if (variant.isa === CUDA && name === 'attention') expectClose(widened(halves), full, 2 ** -7, 'attention');
    else expect(halves).toEqual(rounded(full));
  });

  test('rmsNorm and gatedAct round rows of any width', async () => {
    for (const dim of [1, 7, 31, 100]) {
      const random = new Random(dim), rows = 3, ld = dim + dim % 2, x = random.normals(rows * 2 * dim), w = random.normals(dim);
      const norm = { r: x, w, count: 0, rows, srcRows: rows, dim, ldr: 2 * dim, ldAdd: dim, ldy: ld, eps: 1e-5, plusOne: 0 };
      const act = { x, count: 0, rows, dim, dim2: 2 * dim, ldx: 2 * dim, ldy: ld, act: 0 };
      const y = new Float32Array(rows * ld), narrow = new Uint16Array(rows * ld);
      expect((await runOp(device, rmsNorm, { ...norm, y: narrow, yType: DType.bf16 })).y).toEqual(rounded((await runOp(device, rmsNorm, { ...norm, y, yType: DType.f32 })).y));
      expect((await runOp(device, gatedAct, { ...act, y: narrow, yType: DType.bf16 })).y).toEqual(rounded((await runOp(device, gatedAct, { ...act, y, yType: DType.f32 })).y));
    }
  });

  test('loraShrink reads them as the values that they are', async () => {
    const { args } = caseOf('loraShrink'), dIn = args['dIn'] as number;
    const x = rounded(new Random(5).normals(5 * dIn));
    const arena = Uint8Array.from({ length: (args['arena'] as Uint8Array).length }, (_, i) => (i % 2 ? 0x3d : i * 37));
    const shrunk = async (values: Values, xType: number): Promise<Values> => (await runOp(device, loraShrink, { ...args, arena, x: values, xType } as never) as { u: Values }).u;
    const found = await shrunk(x, DType.bf16);
    expect(found).toEqual(await shrunk(widened(x), DType.f32));
    expect((found as Float32Array).some(value => value !== 0)).toBe(true);
  });

  test('linear multiplies the rounded values, over odd shapes and all formats of weights', async () => {
    const random = new Random(6);
    for (let i = 0; i < 30; i++) {
      const rows = i % 6 === 0 ? random.int(49, 120) : random.int(1, 30), n = random.int(1, 150), k = random.int(1, 200), dtype = [DType.bf16, DType.f32, DType.f16][i % 3]!;
      const shape = { rows, n, k, ldx: k + k % 2 + 2 * random.int(0, 2), ldy: n + random.int(0, 5), accumulate: random.int(0, 1) };
      const { bytes, values } = packPanels(random.normals(n * k), n, k, dtype), x = rounded(random.normals(rows * shape.ldx)), y = random.normals(rows * shape.ldy);
      const found = await runOp(device, linear, { ...shape, x, w: bytes, y, count: 0, countFrom: 0, dtype, xType: DType.bf16, layout: 0 });
      expectClose(found.y, linearReference(shape, widened(x), values, null, y), 2e-5, JSON.stringify(shape));
    }
  });

  test('a type that is none, and rows that begin between words, are refused', async () => {
    for (const [name, type, ld] of [['rmsNorm', 'yType', 'ldy'], ['gatedAct', 'yType', 'ldy'], ['attention', 'outType', 'ldo'], ['linear', 'xType', 'ldx'], ['loraShrink', 'xType', 'ldx'], ['copyRows', 'toType', 'ldTo']] as const) {
      const run = (over: Case['args']) => runOp(device, OPS[name], caseOf(name, over).args as never);
      const refused = (message: RegExp) => ({ code: 'list_invalid', message: expect.stringMatching(message) });
      await expect(run({ [type]: DType.f16 })).rejects.toMatchObject(refused(new RegExp(`${type} = 2 is no type of rows`)));
      await expect(run({ [type]: DType.bf16, [ld]: (caseOf(name).args[ld] as number) + 1 })).rejects.toMatchObject(refused(new RegExp(`${ld} = \\d+ is odd`)));
    }
  });
});

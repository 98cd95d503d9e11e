import { describe, expect, test } from 'vitest';
import { Activation, DType, Header, embed, gatedAct, headNorm, resolve, rmsNorm, rope, softcap } from '@weft/kernels';
import { deviceOf, runOp, variants } from '../harness.js';
import { packPanels } from '../reference/linear.js';
import { Random, expectClose, expectSameBits, stored } from '../reference/numbers.js';
import { activations, rmsNormReference, ropeReference } from '../reference/rows.js';

describe.each(variants)('ops on rows: $isa, $threads threads', variant => {
  const device = deviceOf(variant);

  test.each([[1, 1], [3, 7], [5, 64], [9, 100], [70, 577]])('rmsNorm adds to the residual, then scales: %i x %i', async (rows, dim) => {
    const random = new Random(31), ldr = dim + 2, ldAdd = dim + 1, ldy = dim + 3;
    const r = random.normals(rows * ldr), add = random.normals(rows * ldAdd), w = random.normals(dim);
    for (const plusOne of [0, 1]) {
      const out = await runOp(device, rmsNorm, { r, add, w, y: new Float32Array(rows * ldy), count: 0, rows, srcRows: rows, dim, ldr, ldAdd, ldy, eps: 1e-5, plusOne, yType: 0 });
      for (let t = 0; t < rows; t++) {
        const sum = Float32Array.from({ length: dim }, (_, i) => r[t * ldr + i]! + add[t * ldAdd + i]!);
        expectSameBits(out.r.slice(t * ldr, t * ldr + dim), sum, `residual ${t}`);
        expectClose(out.y.slice(t * ldy, t * ldy + dim), rmsNormReference(sum, w, 1e-5, plusOne), 1e-6, `row ${t}`);
      }
    }
  });

  test('rmsNorm of indexed rows leaves the residual as it is', async () => {
    const random = new Random(32), dim = 45, r = random.normals(6 * dim), add = random.normals(6 * dim), w = random.normals(dim), index = Int32Array.of(5, 0, 5);
    const args = { r, add, w, index, y: new Float32Array(3 * dim), count: Header.logits, rows: 3, srcRows: 6, dim, ldr: dim, ldAdd: dim, ldy: dim, eps: 1e-6, plusOne: 0, yType: 0 };
    const out = await runOp(device, rmsNorm, args, { logits: 2 });
    expectSameBits(out.r, r, 'residual');
    const of = (t: number): Float64Array => rmsNormReference(Float32Array.from({ length: dim }, (_, i) => r[t * dim + i]! + add[t * dim + i]!), w, 1e-6, 0);
    expectClose(out.y, [...of(5), ...of(0), ...new Float32Array(dim)], 1e-6, 'y');
    const all = await runOp(device, rmsNorm, { ...args, count: 0 });
    expectSameBits(all.y.slice(0, dim), all.y.slice(2 * dim), 'the same row twice');
  });

  test('rmsNorm: the same bits alone and among others; NaN stays in its row', async () => {
    const random = new Random(33), dim = 90, r = random.normals(40 * dim), w = random.normals(dim);
    const norm = async (rows: number, values: Float32Array): Promise<Float32Array> =>
      (await runOp(device, rmsNorm, { r: values, w, y: new Float32Array(rows * dim), count: 0, rows, srcRows: rows, dim, ldr: dim, ldAdd: dim, ldy: dim, eps: 1e-5, plusOne: 0, yType: 0 })).y;
    const all = await norm(40, r);
    expectSameBits(all.slice(17 * dim, 18 * dim), await norm(1, r.slice(17 * dim, 18 * dim)), 'row 17');
    r[3 * dim + 8] = NaN;
    const dirty = await norm(40, r);
    expect(dirty.slice(3 * dim, 4 * dim).every(Number.isNaN)).toBe(true);
    expectSameBits(dirty.slice(4 * dim), all.slice(4 * dim), 'the others');
  });

  test('headNorm scales each head by its own', async () => {
    const random = new Random(34), heads = 3, dim = 37, rows = 5, ldx = heads * dim + 4, x = random.normals(rows * ldx), w = random.normals(dim);
    const out = await runOp(device, headNorm, { x, w, count: 0, rows, heads, dim, width: heads * dim, ldx, eps: 1e-6, plusOne: 1 });
    const expected = Float64Array.from(x);
    for (let t = 0; t < rows; t++) for (let h = 0; h < heads; h++) {
      const at = t * ldx + h * dim;
      expected.set(rmsNormReference(x.subarray(at, at + dim), w, 1e-6, 1), at);
    }
    expectClose(out.x, expected, 1e-6, 'x');
  });

  test.each([[64, 64, 0], [64, 64, 1], [80, 20, 0], [80, 20, 1], [6, 2, 0], [128, 96, 0]])('rope: heads of %i, %i of them rotated, interleaved %i', async (dim, rotary, interleaved) => {
    const random = new Random(35), heads = 3, rows = 7, maxPos = 50, ldx = heads * dim + 1;
    const x = random.normals(rows * ldx), cosSin = random.normals(maxPos * rotary), positions = Int32Array.from({ length: rows }, () => random.int(0, maxPos - 1));
    const out = await runOp(device, rope, { x, positions, cosSin, count: 0, rows, heads, dim, width: heads * dim, ldx, rotary, interleaved, maxPos });
    const expected = Float64Array.from(x);
    for (let t = 0; t < rows; t++) for (let h = 0; h < heads; h++) {
      const at = t * ldx + h * dim;
      expected.set(ropeReference(x.subarray(at, at + dim), cosSin.subarray(positions[t]! * rotary), rotary, interleaved), at);
    }
    expectClose(out.x, expected, 1e-6, 'x');
  });

  test.each(Object.entries(Activation))('gatedAct %s', async (_, act) => {
    const random = new Random(36), rows = 6, dim = 213, ldx = 2 * dim + 3, ldy = dim + 2, x = random.normals(rows * ldx, 4);
    x.set([0, -0, 30, -30, 88, -88, 104, -104, 1e-30, 3e38, -3e38], 0);
    const { y } = await runOp(device, gatedAct, { x, y: new Float32Array(rows * ldy), count: 0, rows, dim, dim2: 2 * dim, ldx, ldy, act, yType: 0 });
    const expected = new Float64Array(rows * ldy);
    for (let t = 0; t < rows; t++) for (let i = 0; i < dim; i++) {
      const gate = x[t * ldx + i]!, value = activations[act]!(gate);
      expected[t * ldy + i] = (Number.isFinite(value) ? value : Math.max(gate, 0)) * x[t * ldx + dim + i]!;
    }
    expectClose(y.map(value => value), expected.map(value => Math.abs(value) > 3.4e38 ? Math.sign(value) * Infinity : value), 3e-6, 'y');
  });

  test('gatedAct passes NaN on', async () => {
    for (const act of Object.values(Activation)) {
      const { y } = await runOp(device, gatedAct, { x: Float32Array.of(NaN, 1, 1, 1, NaN, 2), y: new Float32Array(3), count: 0, rows: 1, dim: 3, dim2: 6, ldx: 6, ldy: 3, act, yType: 0 });
      expect([Number.isNaN(y[0]), Number.isNaN(y[1]), Number.isNaN(y[2])]).toEqual([true, true, false]);
    }
  });

  test('softcap bends what is large, in place; what is not finite becomes NaN', async () => {
    const random = new Random(38), rows = 5, dim = 213, ldx = dim + 3, cap = 30, x = random.normals(rows * ldx, 40);
    x.set([0, -0, 1e-30, -1e-3, 19.4, 19.6, -1e4, 3e38, NaN, Infinity, -Infinity], 2 * ldx);
    const out = await runOp(device, softcap, { x, count: 0, countFrom: 0, rows, dim, ldx, cap });
    const expected = Float64Array.from(x, (value, i) => i % ldx >= dim ? value : Number.isFinite(value) ? cap * Math.tanh(value / cap) : NaN);
    expectClose(out.x, expected, 1e-6, 'x');
    const some = await runOp(device, softcap, { x, count: Header.logits, countFrom: 1, rows, dim, ldx, cap }, { logits: 3 });
    expectSameBits(some.x.slice(0, 2 * ldx), out.x.slice(0, 2 * ldx), 'rows below the count');
    expectSameBits(some.x.slice(2 * ldx), x.slice(2 * ldx), 'the others');
  });

  test.each([DType.f32, DType.bf16, DType.f16])('embed in format %i: panels and plain rows hold the same values', async dtype => {
    const random = new Random(37), vocab = 70, dim = 45, ldx = 48, table = random.normals(vocab * dim), tokens = Int32Array.of(0, 69, 31, 32, 5, 5, 99);    // the last one has no row
    const panels = packPanels(table, vocab, dim, dtype), plain = stored(table, dtype);
    const expected = new Float64Array(7 * ldx);
    tokens.forEach((token, t) => { for (let i = 0; i < dim; i++) expected[t * ldx + i] = token >= vocab ? 0 : Math.fround(panels.values[token * dim + i]! * 1.5); });
    for (const [layout, bytes] of [[0, panels.bytes], [1, plain.bytes]] as const) {
      const { x } = await runOp(device, embed, { table: bytes, tokens, x: Float32Array.from({ length: 7 * ldx }, (_, i) => (i % ldx < dim ? 9 : 0)), count: 0, rows: 7, vocab, limit: 100, dim, dtype, layout, ldx, scale: 1.5 });
      expectClose(x, expected, 0, `layout ${layout}`);
    }
  });

  test('resolve notes known tokens and finds the last one of its slot', async () => {
    const slots = Int32Array.of(9, 7, 2, 0, 3, 5, 1, 0), history = new Int32Array(2 * 12).fill(-1);
    const out = await runOp(device, resolve, {
      tokenIds: Int32Array.of(11, 12, -1, -1), positions: Int32Array.of(3, 4, -1, -1), rowSlots: Int32Array.of(1, 1, 0, 1), slots, history,
      outTokens: new Int32Array(4), outPositions: new Int32Array(4), count: Header.tokens, rows: 4, nSlots: 2, maxLen: 12, vocab: 40,
    }, { tokens: 3 });
    expect([...out.outTokens]).toEqual([11, 12, 7, 0]);
    expect([...out.outPositions]).toEqual([3, 4, 8, 0]);
    expect([...out.slots]).toEqual([9, 7, 2, 0, 5, 5, 1, 0]);
    expect([...out.history.slice(12, 18)]).toEqual([-1, -1, -1, 11, 12, -1]);
  });
});

import { describe, expect, test } from 'vitest';
import { Header, allReduce, copyPages, copyRows } from '@weft/kernels';
import { deviceOf, runOp, variants } from '../harness.js';
import { Random, expectSameBits } from '../reference/numbers.js';

describe.each(variants)('copies: $isa, $threads threads', variant => {
  const device = deviceOf(variant);

  test('rows of any length, and nothing between them', async () => {
    const random = new Random(41), rows = 23, dim = 77, from = random.normals(rows * 80);
    const { to } = await runOp(device, copyRows, { from, to: new Float32Array(rows * 90).fill(7), count: 0, countFrom: 0, rows, dim, ldFrom: 80, ldTo: 90, toType: 0 });
    expectSameBits(to, Float32Array.from(to, (_, i) => i % 90 < dim ? from[Math.floor(i / 90) * 80 + i % 90]! : 7), 'to');
  });

  test('pages in order: a later pair sees what an earlier one wrote', async () => {
    const pageBytes = 12288, arena = new Uint8Array(5 * pageBytes).map((_, i) => (i * 7 + Math.floor(i / pageBytes)) & 255);
    const page = (bytes: Uint8Array, p: number): Buffer => Buffer.from(bytes.slice(p * pageBytes, (p + 1) * pageBytes));
    const out = await runOp(device, copyPages, { pairs: Int32Array.of(0, 1, 1, 2, 3, 0, 4, 1), arena, count: Header.pagePairs, maxPairs: 4, nPages: 5, pageBytes }, { pagePairs: 3 });
    const expected = [page(arena, 3), page(arena, 0), page(arena, 0), page(arena, 3), page(arena, 4)];
    expected.forEach((bytes, p) => expect(page(out.arena, p).equals(bytes), `page ${p}`).toBe(true));
  });

  test('a sum over one rank is the identity', async () => {
    const x = new Random(42).normals(60);
    expectSameBits((await runOp(device, allReduce, { x, count: 0, rows: 3, dim: 20, ldx: 20, rank: 0, size: 1 })).x, x, 'x');
  });
});

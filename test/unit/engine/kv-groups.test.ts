/** Layers with a window give back what it has left behind; nothing that a row still sees goes. */
import { expect, test } from 'vitest';
import { KvLayout, ONE_GROUP, blocksFor, type GroupPages, type KvGroup, type PageId } from '@weft/engine';
import { Random } from '../../sim/clock.js';
import { Harness, alone, request } from './harness.js';

const held = (groups: readonly GroupPages[]): number => groups.reduce((sum, { pages }) => sum + pages.length, 0);

test('one group without a window holds a page for each block', () => {
  const kv = new KvLayout(ONE_GROUP, 64);
  for (const positions of [0, 1, 16, 17, 400]) {
    expect(kv.missing(kv.empty(), positions)).toBe(blocksFor(positions));
    expect(kv.peak(positions)).toBe(blocksFor(positions));
    expect(kv.tableEntries(kv.empty(), positions)).toBe(blocksFor(positions));
  }
  expect(kv.positionsIn(7)).toBe(7 * 16);
  expect(kv.leaveBehind([{ firstPage: 0, pages: [3 as PageId] }], 1000)).toEqual([]);
});

test('whatever a sequence runs, its rows have the blocks they see, and it never holds more than its peak', () => {
  const random = new Random(5);
  for (let world = 0; world < 300; world++) {
    const groups: KvGroup[] = Array.from({ length: random.int(1, 3) }, () => ({ window: random.chance(0.3) ? 0 : random.int(1, 90), blocks: random.int(1, 4) }));
    const kv = new KvLayout(groups, 40), sequence = kv.empty(), length = random.int(1, 600);
    const most = kv.peak(length);
    let page = 0;
    for (let computed = 0; computed < length;) {
      const rows = random.int(1, Math.min(40, length - computed));
      const before = held(sequence), missing = kv.missing(sequence, computed + rows);
      expect(kv.rowsWithin(sequence, computed, rows, missing)).toBe(rows);
      if (missing > 0) expect(kv.rowsWithin(sequence, computed, rows, missing - 1)).toBeLessThan(rows);
      kv.grow(sequence, computed + rows, (count, into) => { for (let i = 0; i < count; i++) into.push(page++ as PageId); });
      expect(held(sequence)).toBe(before + missing);
      expect(held(sequence)).toBeLessThanOrEqual(most);
      for (const [g, { window, blocks }] of groups.entries()) {
        const { firstPage, pages } = sequence[g]!;
        const first = window === 0 ? 0 : Math.max(computed - window + 1, 0);
        expect(firstPage * blocks).toBeLessThanOrEqual(Math.floor(first / 16));
        expect((firstPage + pages.length) * blocks).toBeGreaterThanOrEqual(blocksFor(computed + rows));
      }
      computed += rows;
      const left = kv.leaveBehind(sequence, computed);
      expect(new Set(left).size).toBe(left.length);
    }
  }
});

test('positions that fit are those whose peak fits', () => {
  for (const groups of [[{ window: 0, blocks: 2 }, { window: 32, blocks: 1 }], [{ window: 0, blocks: 1 }]]) {
    const kv = new KvLayout(groups, 16);
    for (const pages of [4, 9, 30]) {
      const most = kv.positionsIn(pages);
      expect(kv.peak(most)).toBeLessThanOrEqual(pages);
      expect(kv.peak(most + 1)).toBeGreaterThan(pages);
    }
  }
  expect(new KvLayout([{ window: 32, blocks: 1 }], 16).positionsIn(10)).toBe(Infinity);
});

test('a long sequence behind a window runs in a pool that could not hold it', async () => {
  const h = new Harness({ pages: 8, maxLen: 256, stepTokens: 16, kvGroups: [{ window: 20, blocks: 1 }] });
  const r = request('long', { maxTokens: 200 });
  h.engine.submit(r);
  await h.until(1);
  expect(h.terminals[0]).toMatchObject({ reason: 'done', generatedTokens: 200 });
  expect(h.tokensOf('long')).toEqual(alone(r, 200));
});

import { Owner, PagePool, SlotPool, type PageId } from '@weft/engine';
import { expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';

test('random taking, retiring and reclaiming keeps one owner for every page', () => {
  const random = new Random(3), pool = new PagePool(100, 4096);
  const held = new Map<number, PageId[]>();
  let step = 0;
  for (let i = 0; i < 5000; i++) {
    const owner = random.int(0, 9);
    if (random.chance(0.5) && pool.free > 0) {
      const pages = held.get(owner) ?? [];
      pool.take(random.int(1, Math.min(pool.free, 12)), Owner.sequence, owner, pages);
      held.set(owner, pages);
    } else if (held.get(owner)?.length) {
      pool.retire(held.get(owner)!, Owner.sequence, owner, step + random.int(0, 2));
      held.set(owner, []);
    }
    if (random.chance(0.5)) pool.reclaim(step++);
    pool.checkInvariants([...held].map(([o, pages]) => ({ kind: Owner.sequence, owner: o, pages })));
  }
});

test('a retired page is not free before its step has completed', () => {
  const pool = new PagePool(4, 4096), pages: PageId[] = [];
  pool.take(4, Owner.sequence, 1, pages);
  pool.retire(pages, Owner.sequence, 1, 7);
  pool.reclaim(6);
  expect(pool.free).toBe(0);
  pool.reclaim(7);
  expect(pool.free).toBe(4);
});

test('runs are the pool in page order, each as long as its owner goes', () => {
  const pool = new PagePool(8, 4096), [first, second]: [PageId[], PageId[]] = [[], []], runs: number[][] = [];
  pool.take(3, Owner.sequence, 5, first);
  pool.take(2, Owner.adapter, 5, second);
  pool.retire(first.splice(1, 1), Owner.sequence, 5, 0);
  pool.eachRun((kind, owner, pages) => runs.push([kind, owner, pages]));
  expect(runs).toEqual([[Owner.sequence, 5, 1], [Owner.retired, 5, 1], [Owner.sequence, 5, 1], [Owner.adapter, 5, 2], [Owner.free, -1, 3]]);
});

test('a page given back by somebody else is an error', () => {
  const pool = new PagePool(4, 4096), pages: PageId[] = [];
  pool.take(2, Owner.adapter, 1, pages);
  expect(() => pool.retire(pages, Owner.sequence, 1, 0)).toThrow(/belongs to/);
});

test('invariants notice a page that two hold, and one that nobody holds', () => {
  const pool = new PagePool(4, 4096), pages: PageId[] = [];
  pool.take(2, Owner.sequence, 1, pages);
  expect(() => pool.checkInvariants([])).toThrow(/held by nobody/);
  const claim = { kind: Owner.sequence, owner: 1, pages };
  expect(() => pool.checkInvariants([claim, claim])).toThrow(/held twice/);
});

test('a retired slot rests until its step has completed', () => {
  const slots = new SlotPool(2);
  const a = slots.take();
  slots.retire(a, 3);
  slots.reclaim(2);
  expect(slots.free).toBe(1);
  slots.reclaim(3);
  expect(slots.free).toBe(2);
  slots.checkInvariants([]);
});

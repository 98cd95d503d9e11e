import { describe, expect, test } from 'vitest';
import { WeftError } from '@weft/contracts';
import { ExpertTally, PagePool, AdapterCache, type AdapterImage, type ExpertEntry } from '@weft/engine';
import { checkCombination } from '../../../libs/engine/src/combinations.js';
import { Random } from '../../sim/clock.js';
import { expertImage, loraImage } from '../../sim/images.js';
import { alone, Harness, request } from './harness.js';

const uses = (...digests: string[]): { digest: string; weight: number }[] => digests.map(digest => ({ digest, weight: 1 }));

describe('experts in the pool', () => {
  test('two adapters that share an expert hold it once; it goes with the last of them', async () => {
    const h = new Harness({ experts: [[1, 2], [2, 3]], expertPages: 2, pages: 40 });
    h.engine.submit(request('a', { adapters: uses('x0') }));
    h.engine.submit(request('b', { adapters: uses('x1') }));
    await h.until(2);
    expect(h.terminals.map(t => t.reason)).toEqual(['done', 'done']);
    expect(h.tokensOf('a')).toEqual(alone(request('a', { adapters: uses('x0') }), 8));
    expect(h.engine.load().pages).toMatchObject({ adapters: 6, sharedExperts: 2 });
    expect(h.engine.load().resident.map(({ digest, pages }) => [digest, pages])).toEqual([['x0', 2], ['x1', 2]]);
    await h.engine.forget('x0');
    expect(h.engine.load().pages).toMatchObject({ adapters: 4, sharedExperts: 0 });
    await h.engine.forget('x1');
    expect(h.engine.load().pages.adapters).toBe(0);
    h.engine.checkInvariants();
  });

  test('only experts that are not there are loaded', async () => {
    const h = new Harness({ experts: [[1, 2, 3], [1, 2, 4]] }), loaded: string[][] = [];
    const load = h.device.loadExperts.bind(h.device);
    h.device.loadExperts = (adapter, experts) => { loaded.push(experts.map(e => e.hash)); return load(adapter, experts); };
    for (const [i, adapter] of ['x0', 'x1'].entries()) {
      h.engine.submit(request(adapter, { adapters: uses(adapter) }));
      await h.until(i + 1);
    }
    expect(loaded).toEqual([['e1', 'e2', 'e3'], ['e4']]);
  });

  test('an adapter whose experts are all there loads none', async () => {
    const h = new Harness({ experts: [[1, 2], [2, 1]] });
    h.engine.submit(request('a', { adapters: uses('x0') }));
    await h.until(1);
    h.device.loadExperts = () => { throw new Error('nothing is missing'); };
    h.engine.submit(request('b', { adapters: uses('x1') }));
    await h.until(2);
    expect(h.terminals[1]!.reason).toBe('done');
  });

  test('what one adapter was bringing and could not, another that waits for it brings', async () => {
    const h = new Harness({ experts: [[1, 2], [2, 3]] }), load = h.device.loadExperts.bind(h.device);
    h.device.loadExperts = async (adapter, experts) => {
      if (adapter.digest === 'x0') { await h.clock.sleep(50); throw new WeftError('image_corrupt', 'torn'); }
      return load(adapter, experts);
    };
    h.engine.submit(request('a', { adapters: uses('x0') }));
    h.engine.submit(request('b', { adapters: uses('x1') }));
    await h.until(2);
    expect(h.terminals.map(t => [t.requestId, t.error?.code])).toEqual([['a', 'adapter_not_ready'], ['b', undefined]]);
    expect(h.engine.load().pages.adapters).toBe(4);
    h.engine.checkInvariants();
  });

  test('experts, LoRA and KV are evicted by one ranking, and what a newcomer shares with the one that goes stays', async () => {
    // 12 pages: x0 takes 6, a0 3. x1 shares two experts (4 pages) with x0 and needs 2 more, beside 3 of its sequence.
    const h = new Harness({ experts: [[1, 2, 3], [2, 3, 4]], adapters: [3], pages: 12, maxLen: 40, lookaheadTokens: 40 }), loaded: string[] = [];
    const load = h.device.loadExperts.bind(h.device);
    h.device.loadExperts = (adapter, experts) => { loaded.push(...experts.map(e => e.hash)); return load(adapter, experts); };
    for (const [i, adapter] of ['a0', 'x0', 'x1'].entries()) {
      h.engine.submit(request(adapter, { adapters: uses(adapter), maxTokens: 30 }));
      await h.until(i + 1);
    }
    expect(h.terminals.map(t => t.reason)).toEqual(['done', 'done', 'done']);
    expect(loaded).toEqual(['e1', 'e2', 'e3', 'e4']);
    expect(h.engine.load().resident.map(r => r.digest)).not.toContain('a0');
  });

  test('an adapter with experts and a LoRA on one row', async () => {
    const h = new Harness({ experts: [[1, 2]], adapters: [2] }), r = request('a', { adapters: uses('a0', 'x0') });
    h.engine.submit(r);
    await h.until(1);
    expect(h.tokensOf('a')).toEqual(alone(r, 8));
  });
});

describe('what goes together', () => {
  const images: Record<string, AdapterImage['index']> = {
    lora: loraImage('lora', 1).index, dora: { ...loraImage('dora', 1).index, scalesBase: true }, head: { ...loraImage('head', 1).index, replacesEnds: true }, esft: expertImage('esft', [1], 1).index,
  };
  const refusal = (first: string, second: string | null, weight = 1): string | null => {
    const named = [{ digest: 'one', weight, image: images[first]! }, ...(second === null ? [] : [{ digest: 'other', weight: 1, image: images[second]! }])];
    try { checkCombination(named); return null; } catch (error) { return (error as Error).message; }
  };
  test.each<[string, string | null, RegExp | null]>([
    ['lora', null, null], ['dora', null, null], ['esft', null, null], ['lora', 'lora', null], ['lora', 'esft', null], ['esft', 'lora', null],
    ['lora', 'dora', /adapter other scales/], ['dora', 'lora', /adapter one scales/], ['dora', 'dora', /adapter one scales/], ['dora', 'esft', /adapter one scales/], ['esft', 'dora', /adapter other scales/],
    ['head', null, null], ['head', 'lora', /adapter one has rows of its own/], ['lora', 'head', /adapter other has rows/], ['head', 'head', /adapter one has rows/], ['head', 'dora', /adapter other scales/],
    ['head', 'esft', null], ['esft', 'head', null],
    ['esft', 'esft', /adapter one replaces experts .* another that does/],
  ])('%s beside %s', (first, second, message) => {
    if (message) expect(refusal(first, second)).toMatch(message); else expect(refusal(first, second)).toBeNull();
  });
  test('a weight is for what is added', () => {
    expect(refusal('lora', null, 0.5)).toBeNull();
    expect(refusal('head', null, 0.5)).toBeNull();
    expect(refusal('esft', null, 0.5)).toMatch(/adapter one replaces experts .* weight other than 1/);
  });
  test('the engine refuses by name', () => {
    const h = new Harness({ experts: [[1], [2]] });
    expect(() => h.engine.submit(request('a', { adapters: uses('x0', 'x1') }))).toThrow(/adapter x0 replaces experts/);
  });
});

test('a tally counts what bringing in and letting go would do, in any order', () => {
  const random = new Random(3);
  for (let round = 0; round < 200; round++) {
    const experts = Array.from({ length: random.int(1, 8) }, (_, i) => ({ users: random.int(0, 2), pageCount: 1 + i }) as ExpertEntry);
    const tally = new ExpertTally(), users = new Map(experts.map(e => [e, e.users]));
    const held = (): number => experts.reduce((sum, e) => sum + (users.get(e)! > 0 ? e.pageCount : 0), 0);
    for (let i = 0; i < 20; i++) {
      const some = experts.filter(e => random.chance(0.5) && users.get(e)! >= 0), before = held();
      const takes = random.chance(0.5) || some.some(e => users.get(e) === 0);
      for (const e of some) users.set(e, users.get(e)! + (takes ? 1 : -1));
      expect(takes ? tally.take(some) : 0 - tally.give(some)).toBe(held() - before);
    }
  }
});

test('experts are freed when the steps that name them are done', () => {
  const pool = new PagePool(4, 4096), cache = new AdapterCache(pool, 2, 2);
  const entry = cache.register('x', expertImage('x', [1], 2));
  cache.hold(entry);
  cache.beginLoad(entry);
  cache.experts.settle(cache.experts.claim(entry.experts), true);
  cache.finishLoad(entry, 0);
  entry.lastStep = 7;
  cache.evict(entry);
  pool.reclaim(6);
  expect(pool.census()).toMatchObject({ retired: 2, expert: 0 });
  pool.reclaim(7);
  expect(pool.free).toBe(4);
});

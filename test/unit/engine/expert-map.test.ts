import { expect, test } from 'vitest';
import { AdapterCache, PagePool, type AdapterEntry } from '@weft/engine';
import { DType, routeExperts } from '@weft/kernels';
import { ExpertMap } from '../../../libs/engine/src/expert-map.js';
import { Random } from '../../sim/clock.js';
import { expertMemory, PAGE_BYTES } from '../../sim/expert-memory.js';
import { expertImage } from '../../sim/images.js';
import { deviceOf, isas, runOp } from '../kernels/harness.js';

/** 6 + 3 units: five pages of two, the last one half empty. */
const geometry = { layers: [1, 2, 4], count: 6, topK: 3, hidden: 96, inner: 40, module: '', names: { gate: '', up: '', down: '' } };
const PAGE = 8192, SLOT_PAGES = 5, LAYERS = geometry.layers.length;

/** What an adapter replaces: content by layer and expert. */
type Replaced = Map<string, number>;

test('rows go where a dictionary says, through 300 loads and evictions', async () => {
  const random = new Random(11), device = deviceOf({ isa: isas.at(-1)!, threads: 1 });
  const pool = new PagePool(20 * SLOT_PAGES, PAGE), cache = new AdapterCache(pool, 5, 20), map = new ExpertMap(device, geometry, PAGE, 5, 20);
  expect(map.tables.slotPages).toBe(SLOT_PAGES);
  /** What is written in each page of the arena. */
  const arena = new Map<number, string>();
  const adapters = Array.from({ length: 9 }, (_, a) => {
    const replaced: Replaced = new Map();
    for (const layer of geometry.layers) for (let e = 0; e < geometry.count; e++) if (random.chance(0.25)) replaced.set(`${layer}.${e}`, random.int(0, 11));
    if (replaced.size === 0) replaced.set('1.0', 3);
    const image = expertImage(`x${a}`, [...replaced.values()], SLOT_PAGES), places = [...replaced.keys()].map(key => key.split('.').map(Number) as [number, number]);
    image.index.experts.forEach((expert, i) => { [expert.layer, expert.expert] = places[i]!; });
    return { replaced, entry: cache.register(`x${a}`, image) };
  });
  const load = async (entry: AdapterEntry): Promise<void> => {
    cache.hold(entry);
    cache.beginLoad(entry);
    const claimed = cache.experts.claim(entry.experts), slots = new Map(entry.experts.map(e => [e.hash, e.slot!]));
    for (const { slot, hash, pages } of claimed) {
      pages.forEach((page, i) => arena.set(page, `${hash} ${i}`));
      await map.bindExpert(slot!, DType.bf16, pages);
    }
    await map.bindAdapter(entry.slot!, entry.image.index.experts.map(({ layer, expert, hash }) => ({ layer, expert, slot: slots.get(hash)! })));
    cache.experts.settle(claimed, true);
    cache.finishLoad(entry, 0);
  };
  let rows = 0;
  for (let i = 0; i < 300; i++) {
    const { entry } = random.pick(adapters);
    if (entry.state === 'resident') cache.evict(entry); else if (cache.slots.free > 0 && entry.pageCount <= pool.free) await load(entry);
    pool.reclaim(0); cache.slots.reclaim(0); cache.experts.slots.reclaim(0);
    const words = new Int32Array(device.host(map.buffer)), { at } = map.tables, resident = adapters.filter(a => a.entry.state === 'resident');
    for (const [index, layer] of geometry.layers.entries()) {
      const users = [null, ...resident], logits = Float32Array.from({ length: users.length * geometry.count }, () => random.next()), start = at.map + index * 5 * geometry.count;
      const { keys } = await runOp(device, routeExperts, {
        logits, ldl: geometry.count, rows: users.length, count: 0, experts: geometry.count, topK: geometry.topK, nGroups: 1, topGroups: 1, normalize: 0, scale: 1, adapterSlots: 5, expertSlots: 20,
        rowAdapters: Int32Array.from(users, user => user?.entry.slot ?? -1), map: words.slice(start, start + 5 * geometry.count), keys: new Int32Array(users.length * geometry.topK), weights: new Float32Array(users.length * geometry.topK),
      });
      users.forEach((user, row) => {
        const best = [...logits.subarray(row * geometry.count, (row + 1) * geometry.count)].map((value, e) => [value, e] as const).sort(([a], [b]) => b - a).slice(0, geometry.topK).map(([, e]) => e);
        best.forEach((expert, choice) => {
          const key = keys[row * geometry.topK + choice]!, content = user?.replaced.get(`${layer}.${expert}`);
          if (content === undefined) { expect(key).toBe(expert); return; }
          const slot = key - geometry.count;
          for (let p = 0; p < SLOT_PAGES; p++) expect(arena.get(words[at.pages + slot * SLOT_PAGES + p]!)).toBe(`e${content} ${p}`);
          expect(words[at.types + slot]).toBe(DType.bf16);
          rows++;
        });
      });
    }
  }
  expect(LAYERS * rows).toBeGreaterThan(1000);
  map.free();
});

test.each(PAGE_BYTES)('pages of %i bytes: memory stays within 2% of the bytes of distinct experts', pageBytes => {
  const { fMem, worst, loads, evictions } = expertMemory(pageBytes, 1000, 1);
  expect(loads + evictions).toBe(1000);
  expect(fMem).toBeLessThan(1.02);
  expect(worst).toBeLessThan(1.02);
});

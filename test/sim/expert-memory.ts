/**
 * What experts cost beyond their own bytes (F_mem): one layer of the size of DeepSeek-V2-Lite's, uneven adapters that come and go at
 * random. Memory is what the pool's pages and the tables take; waste is the end of each expert's last page.
 */
import { AdapterCache, PagePool, type AdapterEntry } from '@weft/engine';
import { expertPages, expertTables, expertUnits, W_UNIT_BYTES } from '@weft/kernels';
import { Random } from './clock.js';
import { expertImage } from './images.js';

const SIZES = { hidden: 2048, inner: 1408 }, EXPERTS = 64, ADAPTERS = 20, ADAPTER_SLOTS = 64;
/** Tuned experts of a layer, in the adapters that were published for it. */
const TUNED = { least: 2, most: 13 };
/** How often an adapter's expert is the same as another's. */
const SHARED = 0.1;

export interface ExpertMemory { pageBytes: number; loads: number; evictions: number; experts: number; memoryBytes: number; distinctBytes: number; fMem: number; worst: number }

export function expertMemory(pageBytes: number, changes: number, seed: number): ExpertMemory {
  const random = new Random(seed), pages = expertPages(SIZES, pageBytes), slots = ADAPTERS * TUNED.most;
  const pool = new PagePool(slots * pages, pageBytes), cache = new AdapterCache(pool, ADAPTER_SLOTS, slots);
  const tables = expertTables({ ...SIZES, layers: 1, count: EXPERTS }, pageBytes, ADAPTER_SLOTS, slots).words * 4;
  const { gateUp, down } = expertUnits(SIZES), expertBytes = (gateUp + down) * W_UNIT_BYTES;
  const adapters = Array.from({ length: ADAPTERS }, (_, a): AdapterEntry => {
    const contents = new Set(Array.from({ length: random.int(TUNED.least, TUNED.most) }, (_, i) => (random.chance(SHARED) ? random.int(0, EXPERTS - 1) : 1000 * (a + 1) + i)));
    return cache.register(`x${a}`, expertImage(`x${a}`, [...contents], pages));
  });

  const load = (adapter: AdapterEntry): void => {
    cache.hold(adapter);
    cache.beginLoad(adapter);
    cache.experts.settle(cache.experts.claim(adapter.experts), true);
    cache.finishLoad(adapter, 0);
  };
  const measure = (): Pick<ExpertMemory, 'memoryBytes' | 'distinctBytes' | 'experts'> => {
    const held = [...cache.experts.entries()].filter(expert => expert.pages.length > 0).length;
    return { experts: held, memoryBytes: pool.census().expert * pageBytes + tables, distinctBytes: held * expertBytes };
  };
  let loads = 0, evictions = 0, worst = 0;
  for (let i = 0; i < changes; i++) {
    const adapter = random.pick(adapters);
    if (adapter.state === 'stored') { load(adapter); loads++; } else { cache.evict(adapter); evictions++; }
    pool.reclaim(0);
    cache.slots.reclaim(0);
    cache.experts.slots.reclaim(0);
    const now = measure();
    if (now.experts > 0) worst = Math.max(worst, now.memoryBytes / now.distinctBytes);
  }
  for (const adapter of adapters) if (adapter.state === 'stored') load(adapter);
  pool.checkInvariants([...cache.experts.entries()].map(({ id, pages: held }) => ({ kind: 5 as const, owner: id, pages: held })));
  const end = measure();
  return { pageBytes, loads, evictions, ...end, fMem: end.memoryBytes / end.distinctBytes, worst };
}

/** Of all 27 layers, 16 tokens × 576 latent values of f16 each; and of one layer alone. */
export const PAGE_BYTES = [499_712, 20_480] as const;

export function printExpertMemory(): void {
  for (const pageBytes of PAGE_BYTES) {
    const r = expertMemory(pageBytes, 1000, 1), gb = (bytes: number): string => (bytes / 1e9).toFixed(3);
    console.log(`experts of ${SIZES.hidden} × ${SIZES.inner} in pages of ${pageBytes} bytes: ${r.loads} loads, ${r.evictions} evictions; with all ${ADAPTERS} adapters ${r.experts} distinct experts, `
      + `${gb(r.memoryBytes)} GB for ${gb(r.distinctBytes)} GB: F_mem ${r.fMem.toFixed(4)}`);
  }
}

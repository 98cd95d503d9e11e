/**
 * Experts that adapters bring: each is in the pool once, by its content, however many adapters use it. Its pages and its slot
 * are its own; they go when the last adapter that uses them leaves the pool.
 */
import type { ImageExpert, ImageIndex, StoredDtype } from '@weft/adapters';
import { Owner, type PageId, type PagePool } from './page-pool.js';
import { SlotPool } from './slot-pool.js';

/** Global: of no layer and no adapter (expert-table.ts in @weft/kernels). */
export type ExpertSlot = number & { readonly __brand: 'ExpertSlot' };

export class ExpertEntry {
  /** awaited: it has pages, but whoever was to fill them failed; another that needs it will. */
  state: 'stored' | 'awaited' | 'loading' | 'resident' = 'stored';
  pages: PageId[] = [];
  slot: ExpertSlot | null = null;
  /** Adapters that are known and have it. */
  known = 0;
  /** Adapters in the pool, or on their way there, that use it. */
  users = 0;
  /** Last submitted step that an adapter which has left used it in. */
  lastStep = -1;
  /** While it is loading: settles when it no longer is, whatever became of it. */
  settled: Promise<void> = Promise.resolve();
  settle: () => void = () => undefined;
  constructor(readonly id: number, readonly hash: string, readonly dtype: StoredDtype, readonly pageCount: number) {}
}

export class ExpertCache {
  readonly #entries = new Map<string, ExpertEntry>();
  readonly slots: SlotPool<ExpertSlot>;
  #nextId = 0;

  constructor(readonly pool: PagePool, slots: number) { this.slots = new SlotPool(slots); }

  entries(): IterableIterator<ExpertEntry> { return this.#entries.values(); }

  /** Pages of experts that several adapters in the pool use. */
  sharedPages(): number {
    let pages = 0;
    for (const { users, pageCount } of this.#entries.values()) if (users > 1) pages += pageCount;
    return pages;
  }

  /** The distinct experts of an image. They are known until `forget`. */
  know({ experts }: Pick<ImageIndex, 'experts'>): ExpertEntry[] {
    return distinct(experts).map(({ hash, dtype, pages }) => {
      let entry = this.#entries.get(hash);
      if (!entry) this.#entries.set(hash, entry = new ExpertEntry(this.#nextId++, hash, dtype, pages));
      entry.known++;
      return entry;
    });
  }
  forget(experts: readonly ExpertEntry[]): void {
    for (const expert of experts) if (--expert.known === 0) this.#entries.delete(expert.hash);
  }

  /** An adapter is on its way: what it uses stays from now on. */
  hold(experts: readonly ExpertEntry[]): void { for (const expert of experts) expert.users++; }

  /** Pages and slots for those that have none. */
  place(experts: readonly ExpertEntry[]): void {
    for (const expert of experts) {
      if (expert.state !== 'stored') continue;
      expert.state = 'awaited';
      expert.slot = this.slots.take();
      this.pool.take(expert.pageCount, Owner.expert, expert.id, expert.pages);
    }
  }

  /** Those that nobody is bringing: the caller does, and says what became of them. */
  claim(experts: readonly ExpertEntry[]): ExpertEntry[] {
    const claimed = experts.filter(expert => expert.state === 'awaited');
    for (const expert of claimed) {
      expert.state = 'loading';
      expert.settled = new Promise(resolve => { expert.settle = resolve; });
    }
    return claimed;
  }
  settle(claimed: readonly ExpertEntry[], loaded: boolean): void {
    for (const expert of claimed) {
      expert.state = loaded ? 'resident' : 'awaited';
      expert.settle();
    }
  }

  /** An adapter has left the pool; `lastStep` is the last that names it. */
  release(experts: readonly ExpertEntry[], lastStep: number): void {
    for (const expert of experts) {
      expert.lastStep = Math.max(expert.lastStep, lastStep);
      if (--expert.users > 0) continue;
      this.pool.retire(expert.pages, Owner.expert, expert.id, expert.lastStep);
      if (expert.slot !== null) this.slots.retire(expert.slot, expert.lastStep);
      expert.pages = [];
      expert.slot = null;
      expert.state = 'stored';
    }
  }
}

/** One of each content. */
function distinct(experts: readonly ImageExpert[]): ImageExpert[] {
  return [...new Map(experts.map(expert => [expert.hash, expert])).values()];
}

/** Pages of an image in the pool: each distinct expert counts once. */
export function pagesOf(index: ImageIndex): number {
  return runPagesOf(index) + distinct(index.experts).reduce((sum, { pages }) => sum + pages, 0);
}
/** Pages of its runs: those before its experts. */
export const runPagesOf = ({ experts, pages }: Pick<ImageIndex, 'experts' | 'pages'>): number => experts[0]?.page ?? pages;

/** Users of experts as a plan would change them: what bringing an adapter in would take, and letting one go would give. */
export class ExpertTally {
  constructor(readonly change: Map<ExpertEntry, number> = new Map()) {}
  copy(): ExpertTally { return new ExpertTally(new Map(this.change)); }

  /** Pages of those that had no user. */
  take(experts: readonly ExpertEntry[]): number { return this.#count(experts, 1, 0); }
  /** Pages of those that have none any more. */
  give(experts: readonly ExpertEntry[]): number { return this.#count(experts, -1, 1); }

  #count(experts: readonly ExpertEntry[], by: 1 | -1, last: number): number {
    let pages = 0;
    for (const expert of experts) {
      const change = this.change.get(expert) ?? 0;
      if (expert.users + change === last) pages += expert.pageCount;
      this.change.set(expert, change + by);
    }
    return pages;
  }
}

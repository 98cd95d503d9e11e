/**
 * Which adapters there are, and which of them are in the pool. An adapter is loaded in the background into pages of the
 * one pool, stays while sequences run on it (pins), and afterwards until its pages are wanted for something else.
 */
import type { ImageIndex } from '@weft/adapters';
import { ExpertCache, pagesOf, runPagesOf, type ExpertEntry } from './expert-cache.js';
import { Owner, type PageId, type PagePool } from './page-pool.js';
import { SlotPool } from './slot-pool.js';

export type AdapterSlot = number & { readonly __brand: 'AdapterSlot' };

/** A packed adapter on disk. */
export interface AdapterImage { file: string; index: ImageIndex }

export class AdapterEntry {
  state: 'stored' | 'loading' | 'resident' = 'stored';
  pages: PageId[] = [];
  slot: AdapterSlot | null = null;
  /** Running sequences on it: never evicted while there are any. */
  pins = 0;
  /** Waiting sequences that need it. */
  wanted = 0;
  /** Last submitted step that names it. */
  lastStep = -1;
  loads = 0;
  /** With all its experts. */
  readonly pageCount: number;
  /** Pages of its own. Those of its experts are theirs. */
  readonly runPages: number;
  constructor(readonly id: number, readonly digest: string, public image: AdapterImage, readonly experts: readonly ExpertEntry[]) {
    this.pageCount = pagesOf(image.index);
    this.runPages = runPagesOf(image.index);
  }
  /** Those that are in the pool for it alone, once it is there. */
  ownPages(): number { return this.experts.reduce((sum, { users, pageCount }) => sum + (users === 1 ? pageCount : 0), this.runPages); }
  get idle(): boolean { return this.state === 'resident' && this.pins === 0; }
  /** Nothing runs on it, waits for it or writes its pages. */
  get unused(): boolean { return this.pins === 0 && this.wanted === 0 && this.state !== 'loading'; }
}

/** A forgotten adapter that is still in use. `settle` says whether it went in the end. */
interface Leaving { entry: AdapterEntry; gone: Promise<boolean>; settle: (gone: boolean) => void }

/** Brings an image into pages and makes its slot known to kernels. */
export interface AdapterLoader {
  /** Its runs, and where its experts will be: their slots are known, whoever brings them. */
  load(entry: AdapterEntry, pages: readonly PageId[], slot: AdapterSlot): Promise<void>;
  /** Experts out of its image, into their pages. */
  loadExperts(entry: AdapterEntry, experts: readonly ExpertEntry[]): Promise<void>;
}

export class AdapterCache {
  readonly #entries = new Map<string, AdapterEntry>();
  readonly #leaving = new Map<string, Leaving>();
  /** Those in the pool: few, where those that are known may be many thousands. */
  readonly #resident = new Set<AdapterEntry>();
  readonly slots: SlotPool<AdapterSlot>;
  readonly experts: ExpertCache;
  #nextId = 0;

  /** expertSlots: as many as the pool can hold of experts; they never run short before pages do. */
  constructor(readonly pool: PagePool, slots: number, expertSlots: number) {
    this.slots = new SlotPool(slots);
    this.experts = new ExpertCache(pool, expertSlots);
  }

  get(digest: string): AdapterEntry | undefined { return this.#entries.get(digest); }
  /** All, forgotten ones that are still in use included. */
  *entries(): Generator<AdapterEntry> {
    yield* this.#entries.values();
    for (const { entry } of this.#leaving.values()) yield entry;
  }
  resident(): IterableIterator<AdapterEntry> { return this.#resident.values(); }

  /** Makes an adapter known. The same digest is the same adapter, also one that is about to be forgotten. */
  register(digest: string, image: AdapterImage): AdapterEntry {
    const known = this.#entries.get(digest);
    if (known) return known;
    const leaving = this.#leaving.get(digest);
    this.#leaving.delete(digest);
    leaving?.settle(false);
    const entry = leaving?.entry ?? new AdapterEntry(this.#nextId++, digest, image, this.experts.know(image.index));
    this.#entries.set(digest, entry);
    return entry;
  }

  /** New requests no longer find it; those that have it finish on it. Resolves when it holds nothing any more, or false: it was registered again before. */
  forget(digest: string): Promise<boolean> {
    const entry = this.#entries.get(digest);
    if (!entry) return this.#leaving.get(digest)?.gone ?? Promise.resolve(true);
    this.#entries.delete(digest);
    let settle!: Leaving['settle'];
    const gone = new Promise<boolean>(resolve => { settle = resolve; });
    this.#leaving.set(digest, { entry, gone, settle });
    return gone;
  }

  /** Lets forgotten adapters go that nothing needs any more. Not while a plan is carried out: it may name them. */
  letGo(): void {
    for (const [digest, { entry, settle }] of this.#leaving) {
      if (!entry.unused) continue;
      if (entry.idle) this.evict(entry);
      this.experts.forget(entry.experts);
      this.#leaving.delete(digest);
      settle(true);
    }
  }

  /** Idle adapters, those that nobody waits for first, then by last use: the order in which pages are taken back. */
  evictionOrder(): AdapterEntry[] {
    const idle: AdapterEntry[] = [];
    for (const entry of this.#resident) if (entry.idle) idle.push(entry);
    return idle.sort((a, b) => Number(a.wanted > 0) - Number(b.wanted > 0) || a.lastStep - b.lastStep || a.id - b.id);
  }

  /** It will be brought in: what is evicted from now on leaves the experts that it uses. */
  hold(entry: AdapterEntry): void {
    entry.state = 'loading';
    this.experts.hold(entry.experts);
  }
  beginLoad(entry: AdapterEntry): void {
    entry.loads++;
    entry.slot = this.slots.take();
    this.pool.take(entry.runPages, Owner.adapter, entry.id, entry.pages);
    this.experts.place(entry.experts);
  }
  finishLoad(entry: AdapterEntry, step: number): void {
    entry.state = 'resident';
    this.#resident.add(entry);
    entry.lastStep = Math.max(entry.lastStep, step);
  }
  abortLoad(entry: AdapterEntry): void { this.#release(entry, -1); }
  evict(entry: AdapterEntry): void {
    if (!entry.idle) throw new Error(`adapter ${entry.digest} is ${entry.state} with ${entry.pins} pins and can't be evicted`);
    this.#release(entry, entry.lastStep);
  }
  #release(entry: AdapterEntry, lastStep: number): void {
    this.pool.retire(entry.pages, Owner.adapter, entry.id, lastStep);
    this.slots.retire(entry.slot!, lastStep);
    this.experts.release(entry.experts, lastStep);
    entry.pages = [];
    entry.slot = null;
    entry.state = 'stored';
    this.#resident.delete(entry);
  }
}

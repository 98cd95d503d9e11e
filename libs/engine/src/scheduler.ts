/**
 * Who runs in the next step: a pure function from a snapshot to a plan. It reads sequences and adapters, changes
 * nothing, keeps nothing, and knows time only as a number, so production, tests and the simulator run the same code.
 *
 * Order. Sequences stand in one total order: priority, then arrival. A sequence takes pages only from those behind it,
 * never from those before it, so two can't preempt each other in turn, and the first always proceeds.
 * Memory. Short of pages: idle adapters go first, then the running sequence behind whose return costs least per page.
 * Prompts. Decode rows run every step; prompts share a budget beside them, so neither starves the other.
 */
import type { AdapterEntry } from './adapter-cache.js';
import { ExpertTally } from './expert-cache.js';
import type { GroupPages, KvLayout } from './kv-groups.js';
import type { RequestState, Sequence } from './sequence.js';

export interface SchedulerLimits {
  /** Rows of a step. */
  stepTokens: number;
  /** Prompt rows of a step that also decodes: bounds how long running sequences wait for prompts. */
  chunkTokens: number;
  /** Running sequences. */
  maxSequences: number;
  /** Tokens that a new sequence is expected to generate at most, for admission. A preempted one counts all it may. */
  lookaheadTokens: number;
  /** Waiting sequences looked at in a step. */
  examined: number;
  /** Page-table entries of a frame. */
  pageTable: number;
}

/** What a plan is made from: a view of the engine's own objects, not a copy. */
export interface Snapshot {
  nowMs: number;
  /** The last step that has completed: what later ones name can't be reused yet. */
  completedStep: number;
  limits: SchedulerLimits;
  kv: KvLayout;
  /** In order. */
  running: readonly Sequence[];
  /** Requests with a deadline, the next first. */
  deadlines: readonly RequestState[];
  /** In the order in which they should be tried: preempted ones first, then fair between tenants. */
  waiting: Iterable<Sequence>;
  freePages: number;
  retiredPages: number;
  totalPages: number;
  freeSlots: number;
  freeAdapterSlots: number;
  /** Idle adapters in the order in which they may be evicted. */
  evictable: readonly AdapterEntry[];
}

export interface PlannedRows { sequence: Sequence; start: number; count: number }
/** An adapter to bring in, the sequence it is brought in for, and the pages that it takes: without those of experts that are there. */
export interface PlannedLoad { adapter: AdapterEntry; sequence: Sequence; pages: number }

/** A sequence that gives up what it holds, and the one before it in the order that is short of memory. */
export interface PlannedPreemption { sequence: Sequence; by: Sequence }

export interface Plan {
  rows: PlannedRows[];
  rowCount: number;
  admit: Sequence[];
  preempt: PlannedPreemption[];
  evict: AdapterEntry[];
  load: PlannedLoad[];
  /** Requests past their deadline. */
  expire: RequestState[];
}

/** Total order of sequences: who may take pages from whom. */
export function before(a: Sequence, b: Sequence): boolean {
  return compare(a, b) < 0;
}
export function compare(a: Sequence, b: Sequence): number {
  return b.request.priority - a.request.priority || a.state.arrival - b.state.arrival || a.choice - b.choice;
}

/** Milliseconds don't matter here, only proportions: bringing a sequence back costs a forward pass over its positions. */
export function restoreCost(sequence: Sequence): number {
  return sequence.computed / Math.max(sequence.pageCount, 1);
}

/** The running sequence behind `needy` whose return costs least per page it gives. */
export function cheapestToRestore(running: readonly Sequence[], needy: Sequence, taken: ReadonlySet<Sequence>): Sequence | undefined {
  let best: Sequence | undefined;
  for (const candidate of running) {
    if (!before(needy, candidate) || taken.has(candidate) || candidate.pageCount === 0) continue;
    if (!best || restoreCost(candidate) < restoreCost(best) || (restoreCost(candidate) === restoreCost(best) && before(best, candidate))) best = candidate;
  }
  return best;
}

/** Pages that a sequence will hold at most, up to the end of what it is expected to generate. */
export function expectedPages(sequence: Sequence, kv: KvLayout, lookaheadTokens: number): number {
  const ahead = sequence.preemptions > 0 ? sequence.tokensLeft : Math.min(sequence.tokensLeft, lookaheadTokens);
  return kv.peak(Math.max(sequence.needed, sequence.length + Math.max(ahead, 0)));
}

export function schedule(view: Snapshot): Plan {
  const plan: Plan = { rows: [], rowCount: 0, admit: [], preempt: [], evict: [], load: [], expire: [] };
  const pages = new PageBudget(view, plan);
  const { limits } = view;
  for (const state of view.deadlines) {
    if (state.deadlineAtMs > view.nowMs) break;
    plan.expire.push(state);
  }
  const expired = (state: RequestState): boolean => view.nowMs >= state.deadlineAtMs;
  const add = (sequence: Sequence, count: number): void => {
    plan.rows.push({ sequence, start: sequence.computed, count });
    plan.rowCount += count;
  };

  // Decode rows first: one each. Then the prompts of running sequences, in order.
  const alive = view.running.filter(s => !expired(s.state) && !s.exhausted);
  const decoding = alive.filter(s => s.rowsLeft === 1);
  for (const sequence of decoding) if (!pages.isPreempted(sequence) && pages.grow(sequence, 1) === 1) add(sequence, 1);
  let prefill = plan.rowCount > 0 ? Math.min(limits.chunkTokens, limits.stepTokens - plan.rowCount) : limits.stepTokens;
  for (const sequence of alive) {
    if (prefill === 0) break;
    if (sequence.rowsLeft === 1 || pages.isPreempted(sequence)) continue;
    const count = pages.grow(sequence, Math.min(sequence.rowsLeft, prefill));
    if (count > 0) { add(sequence, count); prefill -= count; }
  }
  plan.rows = plan.rows.filter(r => !pages.isPreempted(r.sequence));
  plan.rowCount = plan.rows.reduce((sum, r) => sum + r.count, 0);

  // New ones. Whoever is short of memory stops those behind it; whoever waits for an adapter on its way does not, but
  // the room it will need then is promised: otherwise newcomers fill it, and its adapter goes before it can start.
  let seats = Math.min(limits.maxSequences - view.running.length, view.freeSlots);
  let examined = 0;
  let first = true;
  pages.reserveFor(view.running);
  for (const sequence of view.waiting) {
    if (examined++ >= limits.examined || plan.preempt.length > 0) break;
    if (expired(sequence.state) || !sequence.resumable) continue;
    const missing = sequence.state.adapters.filter(a => a.state !== 'resident' || plan.evict.includes(a));
    if (missing.length > 0) {
      const absent = missing.filter(a => a.state === 'stored' && !plan.load.some(l => l.adapter === a));
      if (!absent.every(a => pages.load(a, sequence, first))) break;
      pages.promise(sequence, 0);
    } else if (seats > 0 && prefill > 0) {
      if (!pages.admits(sequence, first)) break;
      const count = pages.grow(sequence, Math.min(sequence.rowsLeft, prefill));
      if (count === 0 && sequence.rowsLeft > 0) break;
      plan.admit.push(sequence);
      pages.promise(sequence, count);
      if (count > 0) { add(sequence, count); prefill -= count; }
      seats--;
    }
    first = false;
  }
  return plan;
}

/** A waiting sequence holds nothing. */
const heldBy = (sequence: Sequence, kv: KvLayout): readonly GroupPages[] => (sequence.kv.length > 0 ? sequence.kv : kv.nothing);

/** Counts pages while a plan is made: free ones, those that evictions would give, those promised to running sequences. */
class PageBudget {
  #free: number;
  #adapterSlots: number;
  #tableLeft: number;
  #reserved = 0;
  readonly #preempted = new Set<Sequence>();
  readonly #kept = new Set<AdapterEntry>();
  readonly #experts = new ExpertTally();

  constructor(readonly view: Snapshot, readonly plan: Plan) {
    this.#free = view.freePages;
    this.#adapterSlots = view.freeAdapterSlots;
    this.#tableLeft = view.limits.pageTable;
  }

  isPreempted(sequence: Sequence): boolean { return this.#preempted.has(sequence); }

  #expected(sequence: Sequence): number { return expectedPages(sequence, this.view.kv, this.view.limits.lookaheadTokens); }
  #missing(sequence: Sequence, positions: number): number { return this.view.kv.missing(heldBy(sequence, this.view.kv), positions); }

  /** Pages for up to `rows` more positions; answers for how many there are pages now. */
  grow(sequence: Sequence, rows: number): number {
    const { kv } = this.view, { computed } = sequence, held = heldBy(sequence, kv);
    const wanted = kv.missing(held, computed + rows);
    for (const adapter of sequence.state.adapters) this.#kept.add(adapter);
    while (wanted > this.#free && this.#makeRoom(sequence, wanted - this.#free)) { /* until it fits or nothing gives */ }
    const count = kv.rowsWithin(held, computed, rows, this.#free), entries = kv.tableEntries(held, computed + count);
    if (count <= 0 || entries > this.#tableLeft) return 0;
    this.#free -= kv.missing(held, computed + count);
    this.#tableLeft -= entries;
    return count;
  }

  /** Frees something for `needy` now, or says that nothing can be freed now. */
  #makeRoom(needy: Sequence, shortage: number): boolean {
    if (this.#evictOne(() => true)) return true;
    if (this.view.retiredPages >= shortage) return false;              // they come back when the step in flight ends
    if (needy.status !== 'running') return false;                      // newcomers don't preempt
    const victim = cheapestToRestore(this.view.running, needy, this.#preempted);
    if (!victim) return false;
    this.#preempted.add(victim);
    this.plan.preempt.push({ sequence: victim, by: needy });
    if (victim.lastStep <= this.view.completedStep) { this.#free += victim.pageCount; return true; }
    return this.#pendingPages() < shortage;
  }

  /** Pages that this plan's preemptions give only once the step in flight has ended. */
  #pendingPages(): number {
    let pages = this.view.retiredPages;
    for (const victim of this.#preempted) if (victim.lastStep > this.view.completedStep) pages += victim.pageCount;
    return pages;
  }

  #evictOne(allowed: (adapter: AdapterEntry) => boolean): boolean {
    const adapter = this.view.evictable.find(a => this.#mayGo(a) && allowed(a));
    if (!adapter) return false;
    this.plan.evict.push(adapter);
    this.#free += adapter.runPages + this.#experts.give(adapter.experts);
    this.#adapterSlots++;
    return true;
  }
  #mayGo(adapter: AdapterEntry): boolean {
    return !this.#kept.has(adapter) && adapter.lastStep <= this.view.completedStep && !this.plan.evict.includes(adapter);
  }

  /**
   * Makes room for a newcomer beside what is promised, by evicting idle adapters: none if all together would not do.
   * The head of the queue may take those that others wait for.
   */
  #clear(pages: number, slots: number, head: boolean): boolean {
    const allowed = (a: AdapterEntry): boolean => head || a.wanted === 0;
    const missing = (): boolean => this.#free - this.#reserved < pages || this.#adapterSlots < slots;
    if (!missing()) return true;
    const idle = this.view.evictable.filter(a => this.#mayGo(a) && allowed(a));
    const trial = this.#experts.copy();
    const gain = idle.reduce((sum, a) => sum + a.runPages + trial.give(a.experts), 0);
    if (this.#free - this.#reserved + gain < pages || this.#adapterSlots + idle.length < slots) return false;
    while (missing()) this.#evictOne(allowed);
    return true;
  }

  /** What running sequences are expected to need still is not for newcomers. */
  reserveFor(running: readonly Sequence[]): void {
    for (const s of running) {
      if (!this.#preempted.has(s)) this.#reserved += Math.max(this.#expected(s) - s.pageCount, 0);
    }
    // Rows planned above have taken their pages out of #free already.
    for (const r of this.plan.rows) this.#reserved -= this.#missing(r.sequence, r.start + r.count);
    this.#reserved = Math.max(this.#reserved, 0);
  }

  /** Nor is what a newcomer will need still behind the `rows` positions that it gets now. */
  promise(sequence: Sequence, rows: number): void {
    this.#reserved += Math.max(this.#expected(sequence) - this.#missing(sequence, rows), 0);
  }

  /** May this sequence start? */
  admits(sequence: Sequence, head: boolean): boolean {
    for (const adapter of sequence.state.adapters) this.#kept.add(adapter);
    return this.#clear(this.#expected(sequence), 0, head);
  }

  /** Starts bringing in an adapter if its sequence could start beside what is promised. */
  load(adapter: AdapterEntry, sequence: Sequence, head: boolean): boolean {
    for (const other of sequence.state.adapters) this.#kept.add(other);
    // Before anything is evicted: experts that it shares stay.
    const pages = adapter.runPages + this.#experts.take(adapter.experts);
    if (!this.#clear(pages + this.#expected(sequence), 1, head)) {
      this.#experts.give(adapter.experts);
      return false;
    }
    this.plan.load.push({ adapter, sequence, pages });
    this.#free -= pages;
    this.#adapterSlots--;
    return true;
  }
}

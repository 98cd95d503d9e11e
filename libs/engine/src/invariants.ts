/** What must hold between any two steps. Tests check it after each. */
import type { AdapterCache, AdapterEntry } from './adapter-cache.js';
import type { ExpertEntry } from './expert-cache.js';
import { Owner, type PagePool } from './page-pool.js';
import type { Sequence, SlotId } from './sequence.js';
import type { SlotPool } from './slot-pool.js';

export interface EngineState {
  pool: PagePool;
  slots: SlotPool<SlotId>;
  adapters: AdapterCache;
  running: readonly Sequence[];
  waiting: Iterable<Sequence>;
}

/** Every page and slot has one owner and every owner what it believes to have. Throws at the first contradiction. */
export function checkInvariants({ pool, slots, adapters, running, waiting }: EngineState): void {
  const entries = [...adapters.entries()], experts = [...adapters.experts.entries()];
  pool.checkInvariants([
    ...running.flatMap(s => s.kv.map(({ pages }) => ({ kind: Owner.sequence, owner: s.id, pages }))),
    ...entries.map(e => ({ kind: Owner.adapter, owner: e.id, pages: e.pages })),
    ...experts.map(e => ({ kind: Owner.expert, owner: e.id, pages: e.pages })),
  ]);
  slots.checkInvariants(running.map(s => s.slot!));
  adapters.slots.checkInvariants(entries.filter(e => e.slot !== null).map(e => e.slot!));
  adapters.experts.slots.checkInvariants(experts.filter(e => e.slot !== null).map(e => e.slot!));
  checkExperts(entries, experts);
  const pins = usersOf(running), wanted = usersOf(waiting);
  for (const a of entries) {
    if (a.pins !== (pins.get(a) ?? 0)) throw new Error(`adapter ${a.digest}: ${a.pins} pins, ${pins.get(a) ?? 0} running sequences`);
    if (a.wanted !== (wanted.get(a) ?? 0)) throw new Error(`adapter ${a.digest}: wanted by ${a.wanted}, ${wanted.get(a) ?? 0} waiting sequences`);
    if (a.pins > 0 && a.state !== 'resident') throw new Error(`adapter ${a.digest} is ${a.state} and sequences run on it`);
  }
}

/** Adapters in the pool and on their way there are their experts' users; an expert has pages while it has users. */
function checkExperts(adapters: readonly AdapterEntry[], experts: readonly ExpertEntry[]): void {
  const users = new Map<ExpertEntry, number>(), known = new Map<ExpertEntry, number>();
  for (const { state, experts: used, digest } of adapters) {
    for (const expert of used) {
      known.set(expert, (known.get(expert) ?? 0) + 1);
      if (state !== 'stored') users.set(expert, (users.get(expert) ?? 0) + 1);
      if (state === 'resident' && expert.state !== 'resident') throw new Error(`adapter ${digest} is resident and its expert ${expert.hash} is ${expert.state}`);
    }
  }
  for (const e of experts) {
    const counted = users.get(e) ?? 0;
    if (e.users !== counted || e.known !== known.get(e)) throw new Error(`expert ${e.hash}: ${e.users} users of ${e.known} adapters, counted as ${counted} of ${known.get(e)}`);
    if (e.pages.length !== (counted > 0 ? e.pageCount : 0) || (e.slot !== null) !== counted > 0) throw new Error(`expert ${e.hash}: ${e.pages.length} of ${e.pageCount} pages, slot ${e.slot}, ${counted} users`);
  }
}

function usersOf(sequences: Iterable<Sequence>): Map<AdapterEntry, number> {
  const users = new Map<AdapterEntry, number>();
  for (const s of sequences) for (const a of s.state.adapters) users.set(a, (users.get(a) ?? 0) + 1);
  return users;
}

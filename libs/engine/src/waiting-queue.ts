/**
 * Who waits, and in which order they are tried: preempted sequences first, then by priority, and among equals the
 * tenant that has had least. What a tenant has had is its virtual token counter: input tokens count 1, output tokens
 * 2, each adapter page brought in for it as many as a page holds; a tenant that comes back is lifted to the smallest
 * counter of those present, so that idling earns nothing, and keeps its own where that is larger, so that leaving and
 * coming back earns nothing either. Source: VTC (Sheng et al., OSDI 2024) §4.
 */
import { compare } from './scheduler.js';
import type { Sequence } from './sequence.js';

export const COST_INPUT = 1;
export const COST_OUTPUT = 2;

/** `present`: its sequences that have not ended. */
interface Tenant { counter: number; waiting: Sequence[]; present: number }

export class WaitingQueue {
  readonly #resumed: Sequence[] = [];
  readonly #tenants = new Map<string, Tenant>();
  #size = 0;

  get size(): number { return this.#size; }

  /** A request's choices arrive: their tenant is present until as many have left. */
  arrive(sequence: Sequence): void {
    const tenant = this.#comeIn(sequence.request.tenant);
    insert(tenant.waiting, sequence);
    this.#size++;
  }
  /** A preempted sequence waits again, before all others. */
  resume(sequence: Sequence): void { insert(this.#resumed, sequence); this.#size++; }

  /** It runs now, or has ended while it waited. */
  remove(sequence: Sequence): void {
    for (const list of [this.#resumed, this.#tenants.get(sequence.request.tenant)?.waiting ?? []]) {
      const at = list.indexOf(sequence);
      if (at >= 0) { list.splice(at, 1); this.#size--; return; }
    }
  }
  /** A sequence has ended for good. */
  leave(tenantId: string): void {
    this.#tenants.get(tenantId)!.present--;
  }
  charge(tenantId: string, cost: number): void {
    const tenant = this.#tenants.get(tenantId);
    if (tenant) tenant.counter += cost;
  }

  /** All of them, in no order. */
  *all(): Generator<Sequence> {
    yield* this.#resumed;
    for (const { waiting } of this.#tenants.values()) yield* waiting;
  }

  /** Sequences in the order in which they should be tried. Lazy: costs what is looked at. */
  *[Symbol.iterator](): Generator<Sequence> {
    yield* this.#resumed;
    const heads = [...this.#tenants.values()].filter(t => t.waiting.length > 0).map(t => ({ queue: t.waiting, next: 0, counter: t.counter }));
    while (heads.length > 0) {
      let best = 0;
      for (let i = 1; i < heads.length; i++) if (ahead(heads[i]!, heads[best]!)) best = i;
      const head = heads[best]!;
      const sequence = head.queue[head.next++]!;
      head.counter += COST_INPUT * sequence.promptLength;      // as if it were admitted: the next pick is fair too
      yield sequence;
      if (head.next === head.queue.length) heads.splice(best, 1);
    }
  }

  /** Counts one more sequence of a tenant; the first since it was away settles its counter. */
  #comeIn(id: string): Tenant {
    const tenant = this.#tenants.get(id) ?? { counter: 0, waiting: [], present: 0 };
    if (tenant.present++ > 0) return tenant;
    let least = Infinity;
    for (const other of this.#tenants.values()) if (other.present > 0 && other !== tenant) least = Math.min(least, other.counter);
    // Those away whose counter would be lifted anyway are forgotten; all of them once nobody else is there to be fair to.
    for (const [otherId, other] of this.#tenants) if (other.present === 0 && other.counter <= least) this.#tenants.delete(otherId);
    tenant.counter = Number.isFinite(least) ? Math.max(tenant.counter, least) : 0;
    this.#tenants.set(id, tenant);
    return tenant;
  }
}

interface Head { queue: Sequence[]; next: number; counter: number }

function ahead(a: Head, b: Head): boolean {
  const x = a.queue[a.next]!, y = b.queue[b.next]!;
  return y.request.priority - x.request.priority < 0 || (x.request.priority === y.request.priority
    && (a.counter < b.counter || (a.counter === b.counter && compare(x, y) < 0)));
}

function insert(list: Sequence[], sequence: Sequence): void {
  let at = list.length;
  while (at > 0 && compare(sequence, list[at - 1]!) < 0) at--;
  list.splice(at, 0, sequence);
}

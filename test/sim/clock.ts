/** Time that moves only when everything else has come to rest. */
import type { Clock } from '@weft/engine';

export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #timers: { at: number; order: number; fire: () => void }[] = [];

  now(): number { return this.#now; }
  sleep(ms: number): Promise<void> { return new Promise(resolve => this.at(this.#now + Math.max(ms, 0), resolve)); }
  at(ms: number, fire: () => void): void {
    this.#timers.push({ at: ms, order: this.#order++, fire });
  }

  /** Fires timers one after another, each after the consequences of the last, until `done` or until nothing is left. */
  async run(done: () => boolean, limitMs: number): Promise<void> {
    for (;;) {
      await new Promise(resolve => setImmediate(resolve));       // all promises that can settle have settled
      if (done()) return;
      let next = 0;
      for (let i = 1; i < this.#timers.length; i++) {
        const a = this.#timers[i]!, b = this.#timers[next]!;
        if (a.at < b.at || (a.at === b.at && a.order < b.order)) next = i;
      }
      const timer = this.#timers.splice(next, 1)[0];
      if (!timer) throw new Error(`the world stands still at ${this.#now.toFixed(1)} ms: nothing is scheduled and not all is done`);
      if (timer.at > limitMs) throw new Error(`not done after ${limitMs} ms`);
      this.#now = timer.at;
      timer.fire();
    }
  }
}

/** Small, seeded, good enough: xorshift32. */
export class Random {
  #state: number;
  constructor(seed: number) { this.#state = (seed * 2654435761 + 0x9e3779b9) >>> 0 || 1; for (let i = 0; i < 8; i++) this.next(); }
  next(): number {
    let x = this.#state;
    x ^= x << 13; x >>>= 0; x ^= x >>> 17; x ^= x << 5; x >>>= 0;
    return (this.#state = x) / 2 ** 32;
  }
  int(low: number, high: number): number { return low + Math.floor(this.next() * (high - low + 1)); }
  chance(p: number): boolean { return this.next() < p; }
  pick<T>(list: readonly T[]): T { return list[this.int(0, list.length - 1)]!; }
}

/** 31-bit FNV-1a over integers. */
export function mix(...values: number[]): number {
  let h = 0x811c9dc5;
  for (const v of values) { h ^= v | 0; h = Math.imul(h, 0x01000193); h ^= h >>> 15; }
  return h >>> 1;
}

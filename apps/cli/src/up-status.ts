/** What `weft up` says in its terminal's last line: what it waits for, then what runs. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, Executor } from './api.js';
import { LiveLine, type Screen } from './terminal/live-line.js';

const LOOK_MS = 1000;

export class UpStatus {
  readonly #line: LiveLine;
  readonly #startMs = performance.now();
  readonly #waiting: string[];
  readonly #stopped = new AbortController();

  constructor(screen: Screen, parts: readonly string[]) {
    this.#line = new LiveLine(screen);
    this.#waiting = [...parts];
    this.#tellWaiting();
  }

  log(line: string): void { this.#line.log(line); }

  /** A part of the start is over when its work is. */
  async during<T>(part: string, work: Promise<T>): Promise<T> {
    const result = await work;
    this.#waiting.splice(this.#waiting.indexOf(part), 1);
    this.#tellWaiting();
    return result;
  }

  uploads(done: number, total: number): void { this.#line.set(`adapters: ${done} of ${total}`); }

  /** Until the end, every second. */
  watch(admin: Api): void { void this.#watch(admin); }

  /** What it says from here on, until the end. */
  stopping(text: string): void {
    this.#stopped.abort();
    this.#line.set(text);
  }

  end(): void {
    this.#stopped.abort();
    this.#line.end();
  }

  #tellWaiting(): void { if (this.#waiting.length > 0) this.#line.set(`starting: ${this.#waiting.join(', ')} …`); }

  async #watch(admin: Api): Promise<void> {
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const text = await admin.get<{ data: Executor[] }>('/v1/executors').then(({ data }) => loadLine(data, performance.now() - this.#startMs), () => 'the gateway does not answer at the moment');
      if (!signal.aborted) this.#line.set(text);
      await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
    }
  }
}

export function loadLine(executors: readonly Executor[], upMs: number): string {
  const sum = (of: (executor: Executor) => number): number => executors.reduce((total, executor) => total + of(executor), 0);
  const adapters = new Set(executors.flatMap(({ pages }) => pages.owners.map(({ owner }) => owner).filter(owner => owner.startsWith('adapter:')))).size;
  const used = 100 * (1 - sum(({ pages }) => pages.free) / Math.max(sum(({ pages }) => pages.total), 1));
  return [
    executors.length === 0 ? 'no executor serves' : `${sum(({ running }) => running)} running, ${sum(({ waiting }) => waiting)} waiting`,
    `${sum(executor => executor.tokens_per_second).toFixed(0)} tokens/s`, `${adapters} adapters resident`, `pool ${used.toFixed(0)}% used`, `up ${duration(upMs)}`,
  ].join(' · ');
}

function duration(ms: number): string {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.floor(ms / 1000)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

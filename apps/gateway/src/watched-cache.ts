/**
 * Answers of the registry by key. While changes are heard an answer holds until one calls it out; otherwise it is asked for
 * again when it is older than half a second, and an answer that can't be had leaves the old one in force.
 */
import { toWeftError } from '@weft/contracts';
import type { RegistryWatch } from './registry-watch.js';

/** How long an answer holds while changes are not heard. */
const UNWATCHED_MS = 500;
/** How long an answer may take, and how long it is waited for where an old one would do. */
const ASK_MS_MAX = 3000;
const WAIT_MS_MAX = 500;

interface Entry<V> {
  value: V;
  /** When it was asked for: changes after that are not in it. */
  askedMs: number;
  /** The last question got no answer in time. */
  unanswered: boolean;
}

export class WatchedCache<V> {
  readonly #watch: Pick<RegistryWatch, 'fresh' | 'sinceMs'>;
  readonly #entriesMax: number;
  readonly #refreshMs: number;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry<V>>();
  readonly #asked = new Map<string, Promise<V>>();

  /** Answers older than `refreshMs` serve, and are asked for again beside that. */
  constructor(watch: Pick<RegistryWatch, 'fresh' | 'sinceMs'>, entriesMax: number, refreshMs = Infinity) {
    this.#watch = watch;
    this.#entriesMax = entriesMax;
    this.#refreshMs = refreshMs;
  }

  /** At once where it can. `ask` gets the time it may take; what it throws is thrown, unless an old answer serves. */
  get(key: string, ask: (timeoutMs: number) => Promise<V>): V | Promise<V> {
    const entry = this.#entries.get(key);
    if (entry !== undefined && this.#holds(entry)) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      if (performance.now() - entry.askedMs >= this.#refreshMs && !this.#asked.has(key)) void this.#ask(key, ask);
      return entry.value;
    }
    const answer = this.#asked.get(key) ?? this.#ask(key, ask);
    if (entry === undefined) return answer;
    // Nobody waits for a registry that is away: the first one did.
    return entry.unanswered && !this.#watch.fresh ? entry.value : this.#orOld(answer, entry);
  }

  /** What it says is no longer sure. */
  expire(key: string): void {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.askedMs = -Infinity;
    this.#asked.delete(key);
  }

  /** What it says must not be used again, not even without the registry. */
  forget(matches: (value: V) => boolean): void {
    for (const [key, { value }] of this.#entries) if (matches(value)) this.#entries.delete(key);
    // Their values are not known yet: they are for those who wait, and not kept.
    this.#asked.clear();
  }

  /** All of it. */
  expireAll(): void {
    for (const entry of this.#entries.values()) entry.askedMs = -Infinity;
    this.#asked.clear();
  }

  #holds({ askedMs, unanswered }: Entry<V>): boolean {
    const watched = !unanswered && this.#watch.fresh && askedMs >= this.#watch.sinceMs;
    return watched || performance.now() - askedMs < UNWATCHED_MS;
  }

  async #orOld(answer: Promise<V>, entry: Entry<V>): Promise<V> {
    let timer: NodeJS.Timeout | undefined;
    const old = new Promise<V>(resolve => {
      timer = setTimeout(() => { entry.unanswered = true; resolve(entry.value); }, WAIT_MS_MAX);
    });
    try {
      return await Promise.race([answer, old]);
    } finally {
      clearTimeout(timer);
    }
  }

  #ask(key: string, ask: (timeoutMs: number) => Promise<V>): Promise<V> {
    const askedMs = performance.now();
    const current = (): boolean => this.#asked.get(key) === answer;
    const answer: Promise<V> = ask(ASK_MS_MAX).then(
      value => {
        if (current()) this.#keep(key, { value, askedMs, unanswered: false });
        return value;
      },
      (thrown: unknown) => {
        const entry = this.#entries.get(key);
        // An answer after all: there is no such thing any more.
        if (toWeftError(thrown).kind.status < 500) this.#entries.delete(key);
        else if (entry !== undefined) {
          if (current()) Object.assign(entry, { askedMs, unanswered: true });
          return entry.value;
        }
        throw thrown;
      },
    ).finally(() => { if (current()) this.#asked.delete(key); });
    this.#asked.set(key, answer);
    // Who asked may have been served with the old answer.
    answer.catch(() => undefined);
    return answer;
  }

  #keep(key: string, entry: Entry<V>): void {
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    if (this.#entries.size > this.#entriesMax) this.#entries.delete(this.#entries.keys().next().value!);
  }
}

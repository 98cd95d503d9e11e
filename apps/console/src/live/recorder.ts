/** The last 60 seconds of every executor, as they came: kept in the browser, for looking back. */
import type { Picture } from '../api/schema.js';
import { ApiError, events, send } from '../lib/api.js';

export const KEPT_MS = 60_000;
const RETRY_MS = 1000;
const STALLED_MS = 5000;

export type Connection = 'connecting' | 'live' | 'lost';

export class Recorder {
  readonly #pictures = new Map<string, Picture[]>();
  readonly #listeners = new Set<() => void>();
  #version = 0;
  #connection: Connection = 'connecting';
  #error: ApiError | null = null;

  get connection(): Connection { return this.#connection; }
  get error(): ApiError | null { return this.#error; }
  get executors(): string[] { return [...this.#pictures.keys()]; }
  /** Oldest first. */
  of(executor: string): readonly Picture[] { return this.#pictures.get(executor) ?? []; }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly version = (): number => this.#version;

  /** Watches until the signal aborts, and begins again when the stream breaks. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const response = await send('/v1/live', { signal });
        for await (const picture of events<Picture>(response)) this.#take(picture);
      } catch (error) {
        if (signal.aborted) return;
        this.#error = error instanceof ApiError ? error : null;
        if (this.#error !== null && this.#error.status >= 400 && this.#error.status < 500) { this.#tell('lost'); return; }
      }
      this.#tell('lost');
      await new Promise(resolve => { setTimeout(resolve, RETRY_MS); });
    }
  }

  #take(picture: Picture): void {
    const pictures = this.#pictures.get(picture.executor) ?? [];
    this.#pictures.set(picture.executor, pictures);
    pictures.push(picture);
    const first = pictures.findIndex(({ at_ms: at }) => at > picture.at_ms - KEPT_MS);
    if (first > 0) pictures.splice(0, first);
    // An executor that has gone is no longer shown.
    for (const [executor, kept] of this.#pictures) if (kept.at(-1)!.at_ms < picture.at_ms - STALLED_MS) this.#pictures.delete(executor);
    this.#error = null;
    this.#tell('live');
  }

  #tell(connection: Connection): void {
    this.#connection = connection;
    this.#version++;
    for (const listener of this.#listeners) listener();
  }
}

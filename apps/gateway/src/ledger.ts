/**
 * Usage, one row for each Submit: opened while the prompt is prefilled, closed before the response's last byte, in batches that
 * the registry has on disk when it answers. While it is away rows wait here and, since their ends stay unacknowledged, in the
 * executor as well.
 */
import { Injectable } from '@nestjs/common';
import { WeftError, type executorV1, type registryV1 } from '@weft/contracts';
import type { Acknowledge } from './executor-link.js';
import { RegistryClient } from './registry-client.js';
import { RegistryWatch } from './registry-watch.js';

/** What an answer may wait for its rows to be on disk. */
const WAIT_MS_MAX = 300;
/** After a cancel or a broken stream the executor tells within this time what it had made. It speaks for itself after 5 s. */
const END_MS_MAX = 3000;
/** About 50 MB. Requests are refused when the registry stays away so long. */
const ROWS_MAX = 100_000;
const BATCH_ROWS_MAX = 1000;
const WRITE_MS_MAX = 5000;
const RETRY_MS = 100;
const RETRY_MS_MAX = 1000;
/** What a stop waits for rows, and for rows of a registry that is away. */
const STOP_MS_MAX = 5000;
const STOP_AWAY_MS_MAX = 1000;

/** How a request ended for its client. */
export interface Bill {
  /** ok, or an error's code. */
  status: string;
  promptTokens: number;
  /** Tokens that belong to the answer, as far as it came. */
  shownTokens: number;
}

/** Rows that are written together. */
class Batch {
  readonly opens: registryV1.UsageOpen[] = [];
  readonly closes: registryV1.UsageClose[] = [];
  /** Resolves when it is on disk, or when waiting is over. */
  readonly waited: Promise<void>;
  release!: () => void;

  constructor(onLate: () => void) {
    this.waited = new Promise(resolve => {
      const timer = setTimeout(onLate, WAIT_MS_MAX);
      this.release = () => { clearTimeout(timer); resolve(); };
    });
  }

  get rows(): number { return this.opens.length + this.closes.length; }
}

/** One Submit's usage. It is closed when both its end and its bill are known. */
export class UsageRow {
  /** Resolves when the row is on disk, or when waiting for that is over. */
  readonly opened: Promise<void>;
  readonly #id: string;
  readonly #write: (close: registryV1.UsageClose) => Promise<void>;
  #end: executorV1.Terminal | null = null;
  #bill: Bill | null = null;
  #acknowledge: Acknowledge | null = null;
  #closed: Promise<void> | null = null;
  #written = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(id: string, opened: Promise<void>, write: (close: registryV1.UsageClose) => Promise<void>) {
    this.#id = id;
    this.opened = opened;
    this.#write = write;
  }

  /** How the executor ended it. Told again after a reconnect. */
  end(terminal: executorV1.Terminal, acknowledge: Acknowledge): void {
    this.#end ??= terminal;
    this.#acknowledge = acknowledge;
    if (this.#written) acknowledge();
    else if (this.#bill !== null) void this.#close(this.#bill);
  }

  /** The first bill counts. Resolves as `opened` does; at once while the executor has not told the end. */
  async settle(bill: Bill): Promise<void> {
    this.#bill ??= bill;
    if (this.#end !== null) return this.#close(this.#bill);
    this.#timer ??= setTimeout(() => void this.#close(bill), END_MS_MAX);
  }

  /** Its close is on disk. */
  written(): void {
    this.#written = true;
    this.#acknowledge?.();
  }

  #close({ status, promptTokens, shownTokens }: Bill): Promise<void> {
    clearTimeout(this.#timer);
    const end = this.#end;
    // An answer that failed before its first token is not paid for.
    const billedTokens = status === 'ok' || shownTokens > 0 ? promptTokens + shownTokens : 0;
    return this.#closed ??= this.#write({
      id: this.#id, status, promptTokens: end?.promptTokens ?? promptTokens, cachedTokens: end?.cachedTokens ?? 0,
      generatedTokens: Math.max(end?.generatedTokens ?? 0, shownTokens), billedTokens,
      queueMs: end?.queueMs ?? 0, coldStartMs: end?.coldStartMs ?? 0, closedAt: BigInt(Date.now()),
    });
  }
}

@Injectable()
export class Ledger {
  readonly #registry: Pick<RegistryClient, 'call'>;
  readonly #watch: Pick<RegistryWatch, 'fresh'>;
  /** Until their close is on disk. */
  readonly #rows = new Map<string, UsageRow>();
  readonly #queue: Batch[] = [];
  #current: Batch | null = null;
  #writing = false;
  /** The last write failed, or somebody waited for it in vain. */
  #late = false;
  #closed = 0;
  #stopped = false;
  #wake: (() => void) | null = null;
  #emptied: (() => void) | null = null;

  constructor(registry: RegistryClient, watch: RegistryWatch) {
    this.#registry = registry;
    this.#watch = watch;
  }

  /** Rows that are not closed on disk, those of them that wait to be written, and how many have been closed. */
  get counts(): { open: number; waiting: number; closed: number } {
    return { open: this.#rows.size, waiting: this.#queue.reduce((sum, { rows }) => sum + rows, this.#current?.rows ?? 0), closed: this.#closed };
  }

  /** Throws overloaded when the registry has been away for too long. */
  admit(): void {
    if (this.#rows.size < ROWS_MAX) return;
    throw new WeftError('overloaded', 'usage can\'t be written down at the moment; try again later', { retryAfterMs: 1000 });
  }

  open(open: registryV1.UsageOpen): UsageRow {
    const row = new UsageRow(open.id, this.#add(batch => batch.opens.push(open)), close => this.#add(batch => batch.closes.push(close)));
    this.#rows.set(open.id, row);
    return row;
  }

  /** The end of a request that nobody listens to any more: its row may still wait for it. */
  end(terminal: executorV1.Terminal, acknowledge: Acknowledge): void {
    const row = this.#rows.get(terminal.requestId);
    if (row === undefined) acknowledge();
    else row.end(terminal, acknowledge);
  }

  /** Resolves when every row is on disk, within a bound: what is missing then, executors tell. */
  async stop(): Promise<void> {
    this.#wake?.();
    if (this.#rows.size > 0) {
      await new Promise<void>(resolve => {
        this.#emptied = resolve;
        setTimeout(resolve, this.#away ? STOP_AWAY_MS_MAX : STOP_MS_MAX).unref();
      });
    }
    this.#stopped = true;
    this.#wake?.();
  }

  get #away(): boolean { return this.#late || !this.#watch.fresh; }

  /** Resolves when it is on disk, or when waiting is over: after a bound, and at once while the registry is away. */
  #add(put: (batch: Batch) => void): Promise<void> {
    let batch = this.#queue.at(-1);
    if (batch === undefined || batch.rows >= BATCH_ROWS_MAX) this.#queue.push(batch = new Batch(() => this.#beLate()));
    put(batch);
    if (this.#away) batch.release();
    if (!this.#writing) {
      this.#writing = true;
      // What the same turn adds goes along.
      queueMicrotask(() => void this.#writeAll());
    }
    return batch.waited;
  }

  async #writeAll(): Promise<void> {
    while (!this.#stopped) {
      const batch = this.#current = this.#queue.shift() ?? null;
      if (batch === null) break;
      await this.#write(batch);
    }
    this.#writing = false;
  }

  /** Until the registry took it. */
  async #write({ opens, closes, release }: Batch): Promise<void> {
    for (let pauseMs = RETRY_MS; !this.#stopped; pauseMs = Math.min(2 * pauseMs, RETRY_MS_MAX)) {
      try {
        await this.#registry.call('writeUsage', { opens, closes }, WRITE_MS_MAX);
        this.#late = false;
        release();
        return this.#onWritten(closes);
      } catch (error) {
        if (!this.#late) console.error(`usage waits to be written: ${(error as Error).message}`);
        this.#beLate();
        await new Promise<void>(resolve => { this.#wake = resolve; setTimeout(resolve, pauseMs); });
      }
    }
  }

  #onWritten(closes: readonly registryV1.UsageClose[]): void {
    for (const { id } of closes) {
      const row = this.#rows.get(id)!;
      this.#rows.delete(id);
      row.written();
    }
    this.#closed += closes.length;
    if (this.#rows.size === 0) this.#emptied?.();
  }

  /** Nobody waits for a registry that doesn't answer. */
  #beLate(): void {
    this.#late = true;
    this.#current?.release();
    for (const batch of this.#queue) batch.release();
  }
}

/** Keeps what belongs to a Weft running: restarts what dies, gives up on what keeps dying, stops everything in order. */
import { setTimeout as sleep } from 'node:timers/promises';
import { toWeftError, WeftError } from '@weft/contracts';

/** Something that runs. */
export interface Running {
  /** It serves. Never resolves for what ends before. */
  readonly ready: Promise<void>;
  /** Resolves with how it ended: a signal, an exit code. Rejects with why starting it again would not help. */
  readonly ended: Promise<string>;
  /** Ends it in order, or at least within the time. */
  stop(withinMs: number): Promise<void>;
  kill(): void;
}

/** Something to run. */
export interface Unit {
  name: string;
  /** Those of higher levels stop first: nobody asks a service that is gone. */
  level: number;
  /** Asked again after every death. `say` takes what it has to tell, line by line. Throws why it can't be started at all. */
  start(say: (line: string) => void): Running | Promise<Running>;
}

const DEATHS_MAX = 5;
const DEATH_WINDOW_MS = 60_000;
const BACKOFF_MS = 200;
const BACKOFF_MS_MAX = 5000;
const LAST_LINES = 20;
/** Beyond its drain time a service gets this long to close. */
const CLOSE_MS = 10_000;

export class Supervisor {
  readonly #log: (line: string) => void;
  readonly #closeMs: number;
  readonly #keepers = new Set<Keeper>();
  #stopping = false;
  #fail!: (error: WeftError) => void;
  /** Rejects when something can't be kept running. */
  readonly failed: Promise<never>;

  constructor(log: (line: string) => void, closeMs = CLOSE_MS) {
    this.#log = log;
    this.#closeMs = closeMs;
    this.failed = new Promise((_, reject) => { this.#fail = reject; });
    this.failed.catch(() => undefined);
  }

  /** Starts a unit; resolves when it serves. */
  start(unit: Unit): Promise<void> { return Promise.race([this.#keep(unit).ready, this.failed]); }

  /** Runs a unit that is to end by itself; resolves when it has, with code 0. */
  async finish(unit: Unit): Promise<void> {
    const keeper = this.#keep(unit, true);
    await Promise.race([keeper.finished, this.failed]);
    this.#keepers.delete(keeper);
  }

  async stop(drainMs: number): Promise<void> {
    this.#stopping = true;
    const levels = [...new Set([...this.#keepers].map(({ level }) => level))].sort((a, b) => b - a);
    for (const level of levels) {
      await Promise.all([...this.#keepers].filter(keeper => keeper.level === level).map(keeper => keeper.stop(drainMs + this.#closeMs)));
    }
  }

  kill(): void { for (const keeper of this.#keepers) keeper.kill(); }

  #keep(unit: Unit, once = false): Keeper {
    if (this.#stopping) throw new WeftError('cancelled', `stopped before ${unit.name} was started`);
    const keeper = new Keeper(unit, once, this.#log, error => this.#fail(error));
    this.#keepers.add(keeper);
    return keeper;
  }
}

class Keeper {
  readonly level: number;
  readonly ready: Promise<void>;
  /** It has ended for good. */
  readonly finished: Promise<void>;
  readonly #unit: Unit;
  readonly #once: boolean;
  readonly #log: (line: string) => void;
  readonly #deaths: number[] = [];
  readonly #lines: string[] = [];
  readonly #stopped = new AbortController();
  #stopMs = 0;
  #onReady!: () => void;
  #running: Running | undefined;

  constructor(unit: Unit, once: boolean, log: (line: string) => void, fail: (error: WeftError) => void) {
    this.level = unit.level;
    this.#unit = unit;
    this.#once = once;
    this.#log = log;
    this.ready = new Promise(resolve => { this.#onReady = resolve; });
    this.finished = this.#keep().catch((thrown: unknown) => fail(toWeftError(thrown)));
  }

  async stop(withinMs: number): Promise<void> {
    this.#stopMs = withinMs;
    this.#stopped.abort();
    await this.#running?.stop(withinMs);
    await this.finished;
  }

  kill(): void {
    this.#stopped.abort();
    this.#running?.kill();
  }

  get #stopping(): boolean { return this.#stopped.signal.aborted; }

  async #keep(): Promise<void> {
    do {
      const running = this.#running = await this.#unit.start(line => this.#say(line));
      void running.ready.then(this.#onReady);
      // Told to stop while it was starting.
      if (this.#stopping) await running.stop(this.#stopMs);
      const how = await running.ended;
      if (this.#stopping || (this.#once && how === 'code 0')) return;
      if (this.#once) throw new WeftError('internal_error', `${this.#unit.name} ended by ${how}. Its last lines:\n${this.#lines.join('\n')}`);
      await this.#pause(how);
    } while (!this.#stopping);
  }

  /** Throws when it has died too often. */
  async #pause(how: string): Promise<void> {
    const { name } = this.#unit;
    const now = Date.now();
    this.#deaths.push(now);
    const recent = this.#deaths.filter(at => now - at < DEATH_WINDOW_MS).length;
    if (recent >= DEATHS_MAX) {
      throw new WeftError('internal_error', `${name} died ${recent} times within a minute, last by ${how}. Its last lines:\n${this.#lines.join('\n')}`);
    }
    const pauseMs = Math.min(BACKOFF_MS * 2 ** (recent - 1), BACKOFF_MS_MAX);
    this.#log(`[${name}] ended by ${how}; starting it again in ${pauseMs} ms`);
    await sleep(pauseMs, undefined, { signal: this.#stopped.signal }).catch(() => undefined);
  }

  #say(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > LAST_LINES) this.#lines.shift();
    this.#log(`[${this.#unit.name}] ${line}`);
  }
}

/** Keeps the services running: restarts what dies, gives up on what keeps dying, stops everything in order. */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError, type ServiceReport } from '@weft/contracts';

export interface ServiceSpec {
  name: string;
  /** Its compiled main.js. */
  main: string;
  /** Asked before every start: a service that is started again listens where it did. */
  environment(): Record<string, string>;
  onListening(at: string): void;
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
  /** In the order of their start. */
  readonly #services: ServiceProcess[] = [];
  #fail!: (error: WeftError) => void;
  /** Rejects when the services can't be kept running. */
  readonly failed: Promise<never>;

  constructor(log: (line: string) => void, closeMs = CLOSE_MS) {
    this.#log = log;
    this.#closeMs = closeMs;
    this.failed = new Promise((_, reject) => { this.#fail = reject; });
    this.failed.catch(() => undefined);
  }

  /** Starts a service; resolves when it reports that it serves. */
  start(spec: ServiceSpec): Promise<void> {
    const service = new ServiceProcess(spec, this.#log, error => this.#fail(error));
    this.#services.push(service);
    return Promise.race([service.ready, this.failed]);
  }

  /** The last one started stops first: nobody asks a service that is gone. */
  async stop(drainMs: number): Promise<void> {
    for (const service of [...this.#services].reverse()) await service.stop(drainMs + this.#closeMs);
  }

  kill(): void { for (const service of this.#services) service.kill(); }
}

class ServiceProcess {
  readonly ready: Promise<void>;
  readonly #spec: ServiceSpec;
  readonly #log: (line: string) => void;
  readonly #fail: (error: WeftError) => void;
  readonly #deaths: number[] = [];
  readonly #lines: string[] = [];
  #onReady!: () => void;
  #child: ChildProcess;
  #stopping = false;
  /** It said itself why it can't start. */
  #refused: WeftError | null = null;

  constructor(spec: ServiceSpec, log: (line: string) => void, fail: (error: WeftError) => void) {
    this.#spec = spec;
    this.#log = log;
    this.#fail = fail;
    this.ready = new Promise(resolve => { this.#onReady = resolve; });
    this.#child = this.#spawn();
  }

  async stop(withinMs: number): Promise<void> {
    this.#stopping = true;
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.kill(), withinMs);
    await exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
  }

  #spawn(): ChildProcess {
    const { name, main, environment, onListening } = this.#spec;
    const child = fork(main, [], { env: { ...inherited(), ...environment() }, stdio: ['ignore', 'pipe', 'pipe', 'ipc'], execArgv: ['--enable-source-maps'] });
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', line => {
        this.#lines.push(line);
        if (this.#lines.length > LAST_LINES) this.#lines.shift();
        this.#log(`[${name}] ${line}`);
      });
    }
    child.on('message', (message: ServiceReport) => {
      if (message.type === 'listening') onListening(message.at);
      else if (message.type === 'ready') this.#onReady();
      else this.#refused = new WeftError(message.code, message.message, message.details);
    });
    child.once('exit', (code, signal) => void this.#died(signal ?? `code ${code}`));
    child.once('error', cause => this.#fail(new WeftError('internal_error', `${name} can't be started: ${cause.message}`, { cause })));
    return child;
  }

  async #died(how: string): Promise<void> {
    if (this.#stopping) return;
    const { name } = this.#spec;
    if (this.#refused !== null) return this.#fail(this.#refused);
    const now = Date.now();
    this.#deaths.push(now);
    const recent = this.#deaths.filter(at => now - at < DEATH_WINDOW_MS).length;
    if (recent >= DEATHS_MAX) {
      return this.#fail(new WeftError('internal_error', `${name} died ${recent} times within a minute, last by ${how}. Its last lines:\n${this.#lines.join('\n')}`));
    }
    const pauseMs = Math.min(BACKOFF_MS * 2 ** (recent - 1), BACKOFF_MS_MAX);
    this.#log(`[${name}] ended by ${how}; starting it again in ${pauseMs} ms`);
    await sleep(pauseMs);
    if (!this.#stopping) this.#child = this.#spawn();
  }
}

/** A service is configured by its supervisor alone: variables meant for the supervisor don't reach it by themselves. */
function inherited(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WEFT_')));
}


/** A real Weft for tests: the built command, its services, a tiny model, free ports, a data directory of its own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';

const inRepo = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
export const COMMAND = inRepo('apps/cli/dist/main.js');
export const MODEL = inRepo('test/fixtures/models/llama-tiny/base');
export const ADAPTERS = inRepo('test/fixtures/models/llama-tiny/adapters');

export interface Case { prompt: number[]; ids: number[]; logprobs: number[]; margins: number[] }
export const casesOf = (name: string): Case[] => JSON.parse(readFileSync(inRepo(`test/fixtures/models/llama-tiny/${name}.json`), 'utf8')) as Case[];

/** The command as a person starts it, with its output line by line. */
export class Process {
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  readonly exited: Promise<number | NodeJS.Signals>;

  constructor(args: string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    for (const stream of [this.child.stdout!, this.child.stderr!]) createInterface({ input: stream }).on('line', line => this.lines.push(line));
    this.exited = once(this.child, 'close').then(([code, signal]) => (code ?? signal) as number | NodeJS.Signals);
  }

  get output(): string { return this.lines.join('\n'); }

  async line(prefix: string): Promise<string> {
    let over = false;
    void this.exited.then(() => { over = true; });
    for (;;) {
      const found = this.lines.find(line => line.startsWith(prefix));
      if (found !== undefined) return found;
      if (over) throw new Error(`it ended without a line «${prefix}…»:\n${this.output}`);
      await new Promise(resolve => { setTimeout(resolve, 20); });
    }
  }
}

export class Weft {
  private constructor(readonly process: Process, readonly dataDir: string, readonly url: string, readonly key: string, readonly adminKey: string) {}

  /** Of the tiny model, with its adapters, unless told otherwise. */
  static async start(served: { model?: string; adapters?: string | null; options?: string[]; dataDir?: string } = {}): Promise<Weft> {
    const { model = MODEL, adapters = ADAPTERS, options = [], dataDir = mkdtempSync(join(tmpdir(), 'weft-e2e-')) } = served;
    const pool = model === MODEL ? ['--pool-bytes', String(64 * 2 ** 20)] : [];
    const started = new Process(['up', '--model', model, ...(adapters === null ? [] : ['--adapters', adapters]), '--port', '0', ...pool, '--data-dir', dataDir, ...options]);
    await started.line('weft ready ');
    const { url, tenantKey, adminKey } = JSON.parse(readFileSync(join(dataDir, 'credentials.json'), 'utf8')) as { url: string; tenantKey: string; adminKey: string };
    return new Weft(started, dataDir, url, tenantKey, adminKey);
  }

  get openai(): OpenAI { return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: this.key, maxRetries: 0 }); }

  post(path: string, body: object, signal?: AbortSignal): Promise<Response> {
    return fetch(this.url + path, {
      method: 'POST', body: JSON.stringify(body), headers: { 'authorization': `Bearer ${this.key}`, 'content-type': 'application/json' }, ...(signal && { signal }),
    });
  }

  /** The executor's row: load and page owners. */
  async executor(): Promise<{ running: number; waiting: number; pages: { owners: { owner: string; pages: number }[] } } | undefined> {
    const response = await fetch(`${this.url}/v1/executors`, { headers: { authorization: `Bearer ${this.adminKey}` } });
    return (await response.json() as { data: never[] }).data[0];
  }

  /** Pid of one of its services. */
  service(name: 'executor' | 'gateway' | 'registry'): number {
    const children = readFileSync(`/proc/${this.process.child.pid}/task/${this.process.child.pid}/children`, 'utf8').trim().split(' ').map(Number);
    const found = children.find(pid => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`/${name}/dist/main.js`));
    if (found === undefined) throw new Error(`no ${name} among ${children.join(', ')}`);
    return found;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals> {
    this.process.child.kill(signal);
    const code = await this.process.exited;
    rmSync(this.dataDir, { recursive: true, force: true });
    return code;
  }
}

/** The data of a stream's events. */
export async function events(response: Response): Promise<string[]> {
  return (await response.text()).split('\n\n').filter(Boolean).map(event => event.replace(/^data: /, ''));
}

/** llama.cpp's own HTTP server as a contender: its slots, its batching, one adapter for each request. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../apps/cli/src/free-port.js';
import type { Contender } from './contender.js';
import { Load } from './gateway/load.js';
import { promptIds } from './weft.js';
import type { Figures, Workload } from './workloads.js';

const START_SECONDS = 120;

export class LlamaServer implements Contender {
  readonly name = 'llama-server';
  readonly #load = new Load();
  #child: ChildProcess | null = null;
  #url = '';
  #workload!: Workload;

  constructor(readonly program: string, readonly model: string, readonly adapters: string[], readonly vocab: number, readonly threads: number) {}

  suits(): boolean { return true; }

  async open(w: Workload): Promise<string> {
    this.#workload = w;
    const port = await freePort(), length = w.prompt + w.fresh + 16;
    const child = spawn(this.program, [
      '--model', this.model, ...(w.kind === 'base' ? [] : ['--lora', this.adapters.join(','), '--lora-init-without-apply']), '--parallel', String(w.requests),
      '--ctx-size', String(w.requests * (length + 256 - (length % 256))), '--threads', String(this.threads), '--host', '127.0.0.1', '--port', String(port), '--no-webui', '--no-warmup',
    ], { stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    child.stderr.on('data', (text: Buffer) => { words = `${words}${String(text)}`.slice(-2000); });
    this.#child = child;
    this.#url = `http://127.0.0.1:${port}`;
    for (const end = performance.now() + START_SECONDS * 1000; ; await sleep(100)) {
      if (child.exitCode !== null || performance.now() > end) throw new Error(`llama-server does not start: ${words.trim().split('\n').at(-1)}`);
      if (await fetch(`${this.#url}/health`).then(r => r.ok, () => false)) break;
    }
    await this.round();
    return 'llama-server';
  }

  async round(): Promise<Figures> {
    const { requests, kind, prompt, fresh } = this.#workload;
    const firstAt: number[] = [], tokensAt: number[] = [];
    const start = performance.now();
    await Promise.all(Array.from({ length: requests }, async (_, i) => {
      let started = false;
      // Adapters that a request does not name are applied too: all are named, its own with weight 1.
      const lora = kind === 'base' ? [] : this.adapters.map((_path, id) => ({ id, scale: id === (kind === 'one' ? 0 : i) ? 1 : 0 }));
      const body = JSON.stringify({ prompt: promptIds(i, prompt, this.vocab), n_predict: fresh, temperature: 0, ignore_eos: true, cache_prompt: false, stream: true, return_tokens: true, ...(kind !== 'base' && { lora }) });
      const { status } = await this.#load.shoot({ url: this.#url, path: '/completion', headers: { 'content-type': 'application/json' }, body }, chunk => {
        const now = performance.now();
        for (const [, ids] of String(chunk).matchAll(/"tokens":\[([\d,]+)\]/g)) {
          if (!started) firstAt.push(now);
          started = true;
          for (let n = ids!.split(',').length; n > 0; n--) tokensAt.push(now);
        }
      });
      if (status !== 200) throw new Error(`llama-server answers ${status}`);
    }));
    if (tokensAt.length < requests * (fresh - 1)) throw new Error(`llama-server sent ${tokensAt.length} tokens of ${requests * fresh}`);
    const middle = Math.max(...firstAt), end = Math.max(...tokensAt), late = tokensAt.filter(at => at > middle).length;
    return { decode: late > 0 ? late / ((end - middle) / 1000) : null, prefill: (requests * prompt) / ((middle - start) / 1000), total: tokensAt.length / ((end - start) / 1000) };
  }

  async close(): Promise<void> {
    this.#load.close();
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}

/** Weft itself as a contender: the engine in this process, the same workloads as the peers (peers/common.py). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine, type EngineHost, type EngineRequest } from '@weft/engine';
import type { Figures, Workload } from './workloads.js';

// As in peers/common.py: requests share no prefix and no token pattern.
const PROMPT_STRIDE = 7919, PROMPT_STEP = 104729;
export const promptIds = (request: number, length: number, vocab: number): number[] =>
  Array.from({ length }, (_, t) => 100 + ((request * PROMPT_STRIDE + (t + 1) * PROMPT_STEP) % (vocab - 100)));

export class WeftContender {
  readonly #firstAt = new Map<string, number>();
  #tokensAt: number[] = [];
  #left = 0;
  #done: (() => void) | null = null;
  #failure: Error | null = null;
  #round = 0;
  readonly #cache = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  host!: EngineHost;
  readonly digests: string[] = [];

  async open(modelDir: string, threads: number, isa: string | undefined, weights: 'bf16' | 'f16' | undefined): Promise<void> {
    this.host = await createEngine({
      modelDir, adapterCacheDir: this.#cache, threads, ...(isa && { isa }), ...(weights && { weights }),
      listener: {
        onStep: (_step, events) => {
          const now = performance.now();
          for (const { requestId } of events) {
            if (!this.#firstAt.has(requestId)) this.#firstAt.set(requestId, now);
            this.#tokensAt.push(now);
          }
        },
        onTerminal: ({ error }) => {
          if (error) this.#failure = error;
          if (--this.#left === 0) this.#done!();
        },
      },
    });
  }

  async addAdapters(folders: string[]): Promise<void> {
    for (const folder of folders) this.digests.push((await this.host.library.addFolder(folder)).digest);
  }

  /** One round: all requests start together; decoding is what lies behind the last first token. */
  async round(w: Workload): Promise<Figures> {
    const { engine, model } = this.host;
    this.#firstAt.clear();
    this.#tokensAt = [];
    this.#left = w.requests;
    this.#round++;
    const done = new Promise<void>(resolve => { this.#done = resolve; });
    const start = performance.now();
    for (let i = 0; i < w.requests; i++) {
      const digest = w.kind === 'base' ? null : this.digests[w.kind === 'one' ? 0 : i]!;
      const request: EngineRequest = {
        id: `${this.#round}-${i}`, tenant: 'bench', adapters: digest ? [{ digest, weight: 1 }] : [], task: 'generate',
        prompt: promptIds(i, w.prompt, model.config.vocab), n: 1, maxTokens: w.fresh, minTokens: 0,
        sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: 0n, logitBias: [] },
        emitted: [], stopIds: [], logprobs: -1, promptLogprobs: false, priority: 0, deadlineMs: 0,
      };
      engine.submit(request);
    }
    await done;
    if (this.#failure) throw this.#failure;
    const middle = Math.max(...this.#firstAt.values()), end = this.#tokensAt.at(-1)!;
    // Tokens that early starters generated while others were still in prefill belong to neither phase.
    const decoded = this.#tokensAt.filter(at => at > middle).length;
    return {
      decode: decoded > 0 ? decoded / ((end - middle) / 1000) : null,
      prefill: (w.requests * w.prompt) / ((middle - start) / 1000),
      total: this.#tokensAt.length / ((end - start) / 1000),
    };
  }

  async close(): Promise<void> {
    await this.host.close();
    rmSync(this.#cache, { recursive: true, force: true });
  }
}

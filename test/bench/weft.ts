/** Weft itself as a contender: the engine in this process, in one mode, the same workloads as the peers (peers/common.py). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEngine, type EngineHost, type EngineOptions, type EngineRequest } from '@weft/engine';
import type { Contender } from './contender.js';
import { weightCount, type Shape } from './floor.js';
import type { Figures, Workload } from './workloads.js';

// As in peers/common.py: requests share no prefix and no token pattern.
const PROMPT_STRIDE = 7919, PROMPT_STEP = 104729;
export const promptIds = (request: number, length: number, vocab: number): number[] =>
  Array.from({ length }, (_, t) => 100 + ((request * PROMPT_STRIDE + (t + 1) * PROMPT_STEP) % (vocab - 100)));

/** What an engine is asked to be; what is not given is the engine's own choice. */
export type Mode = { readonly name: string } & Partial<Record<'weights' | 'activations' | 'kv' | 'isa', string>>;

const PARTS: Record<string, Partial<Mode>> = { reference: {}, bf16: { activations: 'bf16' }, int8: { weights: 'int8' }, kv8: { kv: 'int8' } };

/** `reference`; `bf16`: bf16 activations; `int8`: int8 weights; `kv8`: int8 cache; or several of them, as in `int8+kv8`. */
export function parseMode(name: string): Mode {
  return name.split('+').reduce<Mode>((mode, part) => {
    if (!PARTS[part]) throw new Error(`mode ${name}: expected ${Object.keys(PARTS).join(', ')}, or several of them joined by +`);
    return { ...mode, ...PARTS[part] };
  }, { name });
}

export interface WeftOptions { modelDir: string; threads: number; poolBytes: number; traceFile?: string }

export class WeftContender implements Contender {
  readonly #firstAt = new Map<string, number>();
  readonly #lastAt = new Map<string, number>();
  #tokensAt: number[] = [];
  #left = 0;
  #done: (() => void) | null = null;
  #failure: Error | null = null;
  #round = 0;
  #workload: Workload | null = null;
  readonly #cache = mkdtempSync(join(tmpdir(), 'weft-bench-'));
  /** Pages that were in use at once, at most. */
  mostPages = 0;
  readonly digests: string[] = [];
  host!: EngineHost;

  private constructor(readonly mode: Mode, readonly name: string) {}

  /** Throws when the engine does not become what `mode` says. */
  static async start(mode: Mode, name: string, { modelDir, threads, poolBytes, traceFile }: WeftOptions): Promise<WeftContender> {
    const weft = new WeftContender(mode, name);
    const { name: _name, ...asked } = mode;
    try {
      weft.host = await createEngine({
        modelDir, adapterCacheDir: weft.#cache, threads, poolBytes, ...(traceFile && { traceFile }), ...(asked as Partial<EngineOptions>),
        listener: {
          onStep: (_step, events) => weft.#note(events),
          onTerminal: ({ error }) => {
            if (error) weft.#failure = error;
            if (--weft.#left === 0) weft.#done!();
          },
        },
      });
      weft.#checkMode();
      return weft;
    } catch (error) {
      await weft.shutDown();
      throw error;
    }
  }

  async addAdapters(folders: string[]): Promise<void> {
    for (const folder of folders) this.digests.push((await this.host.library.addFolder(folder)).digest);
  }

  /** What the floor depends on, with bytes as this mode has them. */
  get shape(): Shape {
    const { model } = this.host, { layers, hidden, heads, kvHeads, headDim, intermediate, vocab } = model.config;
    const shape = { layers, hidden, heads, kvHeads, headDim, intermediate, vocab, weightBytes: 2, tokenBytes: model.kv.pageBytes / 16, adapterBytes: 2 };
    return { ...shape, weightBytes: model.weightBytes / weightCount(shape) };
  }

  suits(): boolean { return true; }

  async open(w: Workload): Promise<string> {
    this.#workload = w;
    await this.round();
    const { weights, activations = 'f32' } = this.mode;
    return `weft, ${this.host.device.isa}, ${weights ?? 'bf16'}, activations ${activations}, KV ${this.host.model.kv.type}`;
  }

  /** One round: all requests start together; decoding is while all of them do, from the last one's first token to the first one's last. */
  async round(w: Workload = this.#workload!): Promise<Figures> {
    const { engine, model } = this.host;
    this.#firstAt.clear();
    this.#lastAt.clear();
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
    // Requests start and end one after another here; the peers decode all rows from the first step to the last.
    const last = Math.min(...this.#lastAt.values()), decoded = this.#tokensAt.filter(at => at > middle && at <= last).length;
    return {
      decode: decoded > 0 ? decoded / ((last - middle) / 1000) : null,
      prefill: (w.requests * w.prompt) / ((middle - start) / 1000),
      total: this.#tokensAt.length / ((end - start) / 1000),
    };
  }

  /** The engine stays for the next workload. */
  async close(): Promise<void> {}

  async shutDown(): Promise<void> {
    await this.host?.close();
    rmSync(this.#cache, { recursive: true, force: true });
  }

  #note(events: readonly { requestId: string }[]): void {
    const now = performance.now();
    this.mostPages = Math.max(this.mostPages, this.host.pool.total - this.host.pool.free);
    for (const { requestId } of events) {
      if (!this.#firstAt.has(requestId)) this.#firstAt.set(requestId, now);
      this.#lastAt.set(requestId, now);
      this.#tokensAt.push(now);
    }
  }

  /** An option that the engine passes over would be timed under a wrong name. */
  #checkMode(): void {
    const { model, device } = this.host, { weightBytes, kvHeads, headDim, layers } = this.shape;
    const f16TokenBytes = layers * 2 * kvHeads * headDim * 2;
    const is: Record<string, boolean> = {
      isa: this.mode.isa === undefined || device.isa === this.mode.isa,
      weights: this.mode.weights !== 'int8' || weightBytes < 1.2,
      activations: this.mode.activations === undefined || (model as { activations?: string }).activations === this.mode.activations,
      kv: this.mode.kv !== 'int8' || model.kv.pageBytes / 16 < 0.75 * f16TokenBytes,
    };
    for (const [option, well] of Object.entries(is)) if (!well) throw new Error(`this engine has no option ${option}`);
  }
}

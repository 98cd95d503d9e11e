import { basename, join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { VERSION, WeftError, type executorV1, type registryV1 } from '@weft/contracts';
import type { AdapterLibrary, createEngine, EngineHost, EngineListener, EngineRequest, Terminal, TokenEvent } from '@weft/engine';
import { MAX_TOP_LOGPROBS } from '@weft/kernels';
import type { ExecutorConfig } from './config.js';
import type { ProbedEngine } from './probe.js';
import { EXECUTOR_CONFIG, EXECUTOR_ID, OPEN_ENGINE } from './tokens.js';
import { toEngineRequest, toPicture } from './wire.js';

export type OpenEngine = typeof createEngine;

/** Where a request's events go. */
export interface EventSink {
  onEvents(step: number, events: TokenEvent[]): void;
  onTerminal(terminal: Terminal): void;
}

/** Load as far as the engine knows it. */
export type EngineLoad = Omit<executorV1.Load, 'draining' | 'submits' | 'promptTokens' | 'generatedTokens'>;

/** Time for terminals to reach gateways when the device is lost. */
const LAST_WORDS_MS = 500;

/** Tokens per second are told as the mean over at least this long. */
const RATE_WINDOW_S = 1;

/** The engine of this process, what it serves, and whose each running request is. */
@Injectable()
export class EngineService implements EngineListener, ProbedEngine {
  readonly #config: ExecutorConfig;
  readonly #executorId: string;
  readonly #openEngine: OpenEngine;
  readonly #requests = new Map<string, { sink: EventSink; fetchMs: number }>();
  #host: EngineHost | null = null;
  #description: executorV1.Description | null = null;
  #loaded!: () => void;
  readonly #whenLoaded = new Promise<void>(resolve => { this.#loaded = resolve; });
  #rate = { atMs: performance.now(), tokensOut: 0, tokensPerSecond: 0 };

  constructor(@Inject(EXECUTOR_CONFIG) config: ExecutorConfig, @Inject(EXECUTOR_ID) executorId: string, @Inject(OPEN_ENGINE) openEngine: OpenEngine) {
    this.#config = config;
    this.#executorId = executorId;
    this.#openEngine = openEngine;
  }

  /** Loads the model; from then on requests are served. */
  async open(log: (line: string) => void): Promise<void> {
    const { modelDir, modelName, dataDir, device, threads, isa, tuningFile, weights, activations, kv, poolBytes, maxModelLen, packedCache, traceFile } = this.#config;
    const host = await this.#openEngine({
      modelDir, modelNames: modelName === undefined ? [] : [modelName], adapterCacheDir: join(dataDir, 'adapters'),
      packedCacheDir: packedCache ? join(dataDir, 'weights') : undefined,
      device, threads, isa, tuningFile, weights, activations, kv, poolBytes, maxModelLen, traceFile, log, listener: this,
    });
    this.#host = host;
    const { config, geometry } = host.model;
    const { name, isa: instructions, threads: used, description } = host.device;
    this.#description = {
      baseDigest: geometry.digest, device: name === 'cpu' ? `${name} ${instructions} ${used} threads` : `${name} ${description} (${instructions})`, maxModelLen: host.maxModelLen,
      vocabSize: config.vocab, eosIds: config.eosIds, maxTopLogprobs: MAX_TOP_LOGPROBS, build: VERSION, pageBytes: host.pool.pageBytes,
      adapterSlots: host.engine.adapters.slots.total, executorId: this.#executorId,
    };
    this.#loaded();
  }

  /** Ends this process once its last answers are on their way: whoever watches it starts another, with a device that works. */
  onDeviceLost(error: WeftError): void {
    console.error(`executor: ${error.code} · ${error.message}`);
    setTimeout(() => process.exit(1), LAST_WORDS_MS);
  }

  /** What is served here, once it is. */
  async description(): Promise<executorV1.Description> {
    await this.#whenLoaded;
    return this.#description!;
  }

  /** What adapters are checked against. */
  get base(): registryV1.Base {
    const { base, baseText } = this.#serving;
    const { modelDir, modelName } = this.#config;
    return { digest: base.digest, id: modelName ?? basename(modelDir), geometry: JSON.stringify(base), text: Object.fromEntries(baseText) };
  }

  get library(): AdapterLibrary { return this.#serving.library; }
  knows(digest: string): boolean { return this.#serving.engine.adapters.get(digest) !== undefined; }
  /** No request will name it again: what holds it is given back once nothing runs on it. */
  forget(digest: string): Promise<void> { return this.library.forget(digest); }

  vocabOf(digest: string): number {
    const { model, engine } = this.#serving;
    return Math.min(model.config.vocab, engine.adapters.get(digest)?.image.index.vocab ?? Infinity);
  }
  get eosIds(): readonly number[] { return this.#serving.model.config.eosIds; }
  get maxModelLen(): number { return this.#serving.maxModelLen; }

  /** Throws `overloaded` while the model loads. */
  get #serving(): EngineHost {
    if (this.#host === null) throw new WeftError('overloaded', 'the model is still loading', { retryAfterMs: 1000 });
    return this.#host;
  }

  /** Throws what this executor can't serve, whatever the engine says. */
  toRequest(submit: executorV1.Submit): EngineRequest {
    const { digest } = this.#serving.base;
    if (submit.baseDigest !== digest) {
      throw new WeftError('adapter_not_ready', `this executor serves base ${digest}, not ${submit.baseDigest}`, { retryAfterMs: 1000 });
    }
    return toEngineRequest(submit);
  }

  /**
   * `fetchMs`: what it has waited for its adapters before. Throws what is wrong with the request. An accepted one ends in
   * exactly one Terminal at its sink.
   */
  submit(request: EngineRequest, sink: EventSink, fetchMs = 0): void {
    if (this.#requests.has(request.id)) throw new WeftError('conflict', `request ${request.id} is running already`);
    this.#requests.set(request.id, { sink, fetchMs });
    try {
      this.#serving.engine.submit(request);
    } catch (error) {
      this.#requests.delete(request.id);
      throw error;
    }
  }

  cancel(id: string): void { this.#host?.engine.cancel(id); }

  /** Takes no more requests; resolves when all have ended. */
  async drain(): Promise<void> { await this.#host?.engine.drain(); }

  async close(): Promise<void> { await this.#host?.close(); }

  /** What runs, what waits, and who owns the pool's pages. */
  load(): EngineLoad | null {
    if (this.#host === null) return null;
    const { waiting, running, pages, resident, tokensOut } = this.#host.engine.load();
    const owners = [
      { owner: 'kv', pages: pages.sequences }, { owner: 'prefix', pages: pages.prefix },
      ...resident.map(adapter => ({ owner: `adapter:${adapter.digest}`, pages: adapter.pages })),
      { owner: 'shared experts', pages: pages.sharedExperts }, { owner: 'retired', pages: pages.retired }, { owner: 'free', pages: pages.free },
    ];
    return {
      waiting, running, pagesFree: pages.free, pagesTotal: pages.total, owners: owners.filter(({ pages }) => pages > 0), tokensPerSecond: this.#measureRate(tokensOut),
    };
  }

  /** What the engine does at this moment; null while the model loads. */
  picture(): executorV1.Picture | null {
    if (this.#host === null) return null;
    const { engine, model, pool } = this.#host;
    const { waiting, running, tokensOut } = engine.load();
    return toPicture(engine.picture(), {
      waiting, running, tokensPerSecond: this.#measureRate(tokensOut), tokensOut: BigInt(tokensOut), preemptions: BigInt(engine.preemptions),
      pageBytes: pool.pageBytes, weightBytes: BigInt(model.weightBytes),
    });
  }

  #measureRate(tokensOut: number): number {
    const now = performance.now();
    const seconds = (now - this.#rate.atMs) / 1000;
    if (seconds >= RATE_WINDOW_S) {
      this.#rate = { atMs: now, tokensOut, tokensPerSecond: (tokensOut - this.#rate.tokensOut) / seconds };
    }
    return this.#rate.tokensPerSecond;
  }

  onStep(step: number, events: TokenEvent[]): void {
    const bySink = new Map<EventSink, TokenEvent[]>();
    for (const event of events) {
      const sink = this.#requests.get(event.requestId)?.sink;
      if (sink === undefined) continue;
      const list = bySink.get(sink);
      if (list === undefined) bySink.set(sink, [event]);
      else list.push(event);
    }
    for (const [sink, list] of bySink) sink.onEvents(step, list);
  }

  onTerminal(terminal: Terminal): void {
    const request = this.#requests.get(terminal.requestId);
    if (request === undefined) return;
    const { sink, fetchMs } = request;
    this.#requests.delete(terminal.requestId);
    sink.onTerminal({ ...terminal, queueMs: terminal.queueMs + fetchMs, coldStartMs: terminal.coldStartMs + fetchMs });
  }
}

/**
 * One model on one device: turns submitted requests into token events, one step after another.
 *
 *   schedule   a pure function says who runs, what loads, who yields            (scheduler.ts)
 *   run        the plan becomes one flat batch, submitted to the device         (batch.ts, runner.ts)
 *   commit     tokens become events; ended sequences give back what they held
 *
 * With depth 2, step n+1 is submitted before the tokens of step n are known: rows read them on the device. A row whose
 * sequence has ended meanwhile is dropped at commit. Nothing that a submitted step names is reused before it completed.
 */
import { WeftError, toWeftError } from '@weft/contracts';
import { BLOCK_TOKENS } from '@weft/kernels';
import { AdapterCache, type AdapterEntry, type AdapterImage, type AdapterLoader } from './adapter-cache.js';
import { answerOf, samples } from './answer.js';
import { makeBatch, type Batch, type BatchEntry } from './batch.js';
import type { Clock } from './clock.js';
import { checkInvariants } from './invariants.js';
import type { KvLayout } from './kv-groups.js';
import { Owner, type PagePool } from './page-pool.js';
import { pictureOf, type Picture } from './picture.js';
import type { EngineListener, EngineRequest, Terminal, TokenEvent } from './request.js';
import type { Step, StepResults, StepRunner } from './runner.js';
import { compare, schedule, type Plan, type SchedulerLimits } from './scheduler.js';
import { RequestState, Sequence, type SlotId } from './sequence.js';
import { SlotPool } from './slot-pool.js';
import { admissible, vocabularyOf, type RequestLimits } from './validate.js';
import { COST_INPUT, COST_OUTPUT, WaitingQueue } from './waiting-queue.js';

export interface EngineParts {
  runner: StepRunner;
  loader: AdapterLoader;
  pool: PagePool;
  kv: KvLayout;
  adapterSlots: number;
  /** Experts of adapters that the pool can hold; 0 where the base has none. */
  expertSlots: number;
  clock: Clock;
  listener: EngineListener;
  limits: SchedulerLimits & RequestLimits;
  /** Steps in flight: 1 or 2. */
  depth: 1 | 2;
  /** Called with every plan before it is carried out, and after every commit: tests check rules and invariants here. */
  onPlan?: (plan: Plan) => void;
  afterStep?: (engine: Engine) => void;
}

export class Engine {
  readonly adapters: AdapterCache;
  readonly pool: PagePool;
  readonly #parts: EngineParts;
  readonly #slots: SlotPool<SlotId>;
  readonly #requests = new Map<string, RequestState>();
  readonly #waiting = new WaitingQueue();
  /** Requests with a deadline, the next first. */
  readonly #deadlines: RequestState[] = [];
  #running: Sequence[] = [];
  readonly #inFlight: (Step & { submittedMs: number })[] = [];
  #step = 0;
  #completedStep = 0;
  #nextSequence = 0;
  #arrivals = 0;
  #tokensOut = 0;
  #preemptions = 0;
  /** When a step completed last, and how long it took. */
  #completedMs = 0;
  #stepMs = 0;
  #stopped = false;
  #draining = false;
  readonly #drained: (() => void)[] = [];
  #wakeUp: (() => void) | null = null;
  #loop: Promise<void> | null = null;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.pool = parts.pool;
    this.adapters = new AdapterCache(parts.pool, parts.adapterSlots, parts.expertSlots);
    // As many again as may run: those of ended sequences rest until the steps in flight are done.
    this.#slots = new SlotPool<SlotId>(parts.limits.maxSequences * 2);
  }

  get preemptions(): number { return this.#preemptions; }

  start(): void { this.#loop ??= this.#run(); }

  /** Accepts a request, or throws what is wrong with it. An accepted one ends in exactly one Terminal. */
  submit(request: EngineRequest): void {
    if (this.#draining || this.#stopped) throw new WeftError('draining', 'this executor is shutting down; try another', { retryAfterMs: 1000 });
    if (this.#requests.has(request.id)) throw new WeftError('conflict', `request ${request.id} is running already`);
    const entries = request.adapters.map(({ digest }) => {
      const entry = this.adapters.get(digest);
      if (!entry) throw new WeftError('adapter_not_ready', `adapter ${digest} is not on this executor`, { retryAfterMs: 1000 });
      return entry;
    });
    const maxTokens = admissible(request, entries, this.pool.total, this.#parts.kv, this.#waiting.size, this.#parts.limits);
    const now = this.#parts.clock.now();
    const state = new RequestState(request, entries, maxTokens, vocabularyOf(entries, this.#parts.limits.vocab), now, this.#arrivals++);
    if (entries.every(e => e.state === 'resident')) state.adaptersReadyMs = now;
    this.#requests.set(request.id, state);
    if (request.deadlineMs > 0) {
      const at = this.#deadlines.findIndex(other => other.deadlineAtMs > state.deadlineAtMs);
      this.#deadlines.splice(at < 0 ? this.#deadlines.length : at, 0, state);
    }
    for (let choice = 0; choice < request.n; choice++) {
      const sequence = new Sequence(this.#nextSequence++, state, choice);
      state.choices.push(sequence);
      this.#waiting.arrive(sequence);
      for (const entry of entries) entry.wanted++;
    }
    // A prompt of one token has nothing to score. Its caller hears of it after this call, like everybody.
    if (state.choices.every(c => c.needed === 0)) queueMicrotask(() => this.#end(state, 'done'));
    this.#wake();
  }

  /** Ends a request wherever it is. Unknown ids are ignored: it may have ended just now. */
  cancel(id: string): void {
    const state = this.#requests.get(id);
    if (state) this.#end(state, 'cancelled');
    this.#wake();
  }

  /** Makes a packed adapter known by its digest. */
  register(digest: string, image: AdapterImage): void { this.adapters.register(digest, image); }

  /** Takes no more requests for an adapter; resolves to true when those that it has have ended and its pages are given back, to false if it was registered again before. */
  forget(digest: string): Promise<boolean> {
    const gone = this.adapters.forget(digest);
    this.#wake();
    return gone;
  }

  /** Takes no more requests; resolves when all have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#requests.size > 0) await new Promise<void>(resolve => this.#drained.push(resolve));
  }

  /** Ends everything that still runs, waits for submitted steps, stops. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const state of [...this.#requests.values()]) this.#end(state, 'cancelled');
    this.#wake();
    await this.#loop;
  }

  load(): EngineLoad {
    const { free, sequence, adapter, prefix, retired, expert } = this.pool.census();
    return {
      waiting: this.#waiting.size, running: this.#running.length, step: this.#step, tokensOut: this.#tokensOut,
      pages: { total: this.pool.total, free, sequences: sequence, adapters: adapter + expert, sharedExperts: this.adapters.experts.sharedPages(), prefix, retired },
      resident: [...this.adapters.resident()].map(e => ({ digest: e.digest, pages: e.ownPages(), pins: e.pins })),
    };
  }

  /** Work in the order of the pool's pages: for those who watch, some times a second. */
  picture(): Picture {
    return pictureOf({
      nowMs: this.#parts.clock.now(), stepMs: this.#stepMs, pool: this.pool, running: this.#running, adapters: this.adapters.entries(), experts: this.adapters.experts.entries(),
      requests: this.#requests.values(), batch: this.#inFlight.at(-1)?.batch ?? null,
    });
  }

  /** Throws at the first contradiction between owners and pools. */
  checkInvariants(): void {
    checkInvariants({ pool: this.pool, slots: this.#slots, adapters: this.adapters, running: this.#running, waiting: this.#waiting.all() });
  }

  // ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────

  async #run(): Promise<void> {
    while (!this.#stopped || this.#inFlight.length > 0) {
      const plan = this.#plan();
      this.#parts.onPlan?.(plan);
      const ran = this.#apply(plan);
      if (this.#inFlight.length === this.#parts.depth || (!ran && this.#inFlight.length > 0)) await this.#commit(this.#inFlight.shift()!);
      // Whoever expired, yielded or was evicted in this plan made room that only the next one knows of.
      else if (!ran && plan.expire.length + plan.preempt.length + plan.evict.length === 0 && !this.#stopped) await this.#sleep();
    }
  }

  #plan(): Plan {
    this.adapters.letGo();
    this.#reclaim();
    return schedule({
      nowMs: this.#parts.clock.now(), completedStep: this.#completedStep, limits: this.#parts.limits, kv: this.#parts.kv,
      running: this.#running, waiting: this.#waiting, deadlines: this.#deadlines,
      freePages: this.pool.free, retiredPages: this.pool.retired, totalPages: this.pool.total,
      freeSlots: this.#slots.free, freeAdapterSlots: this.adapters.slots.free,
      evictable: this.adapters.evictionOrder(),
    });
  }

  /** Pages move, loads start, the batch is submitted. Says whether anything runs. */
  #apply(plan: Plan): boolean {
    for (const state of plan.expire) {
      this.#end(state, 'error', new WeftError('deadline_exceeded', `the request's deadline of ${state.request.deadlineMs} ms has passed`));
    }
    for (const { adapter } of plan.load) this.adapters.hold(adapter);
    for (const adapter of plan.evict) this.adapters.evict(adapter);
    for (const { sequence } of plan.preempt) if (sequence.status === 'running') this.#preempt(sequence);
    this.pool.reclaim(this.#completedStep);
    this.adapters.slots.reclaim(this.#completedStep);
    this.adapters.experts.slots.reclaim(this.#completedStep);
    for (const { adapter, sequence, pages } of plan.load) {
      sequence.state.loadedPages += pages;
      void this.#bringIn(adapter);
    }
    // Whoever heard of an expired request above may have cancelled one that was to start.
    for (const sequence of plan.admit) if (sequence.status === 'waiting') this.#admit(sequence);
    const rows = plan.rows.filter(r => r.sequence.status === 'running');
    if (rows.length === 0) return false;

    const batch = makeBatch(++this.#step, rows);
    for (const { sequence, start, count } of rows) {
      this.#parts.kv.grow(sequence.kv, start + count, (missing, into) => this.pool.take(missing, Owner.sequence, sequence.id, into));
    }
    const step = this.#parts.runner.submit(batch);
    step.done.catch(() => undefined);          // handled where it is committed
    for (const entry of batch.entries) this.#advance(entry, batch);
    this.#inFlight.push({ ...step, submittedMs: this.#parts.clock.now() });
    return true;
  }

  /** What a submitted step makes true at once: positions are computed, tokens are on their way. */
  #advance({ sequence, start, count, firstLogit, logitCount }: BatchEntry, batch: Batch): void {
    sequence.computed = start + count;
    sequence.lastStep = batch.step;
    this.pool.retire(this.#parts.kv.leaveBehind(sequence.kv, sequence.computed), Owner.sequence, sequence.id, batch.step);
    for (const adapter of sequence.state.adapters) adapter.lastStep = batch.step;
    for (let i = firstLogit; i < firstLogit + logitCount; i++) {
      if (batch.logits[i]!.purpose === 'sample') sequence.pending++;
      if (batch.logits[i]!.purpose === 'score') sequence.scored = batch.logits[i]!.position + 2;
    }
    if (sequence.state.firstRunMs < 0) sequence.state.firstRunMs = this.#parts.clock.now();
    if (count > 1 || start < sequence.promptLength) this.#waiting.charge(sequence.request.tenant, COST_INPUT * count);
  }

  async #commit(step: Step & { submittedMs: number }): Promise<void> {
    let results: StepResults | null = null;
    let failure: WeftError | null = null;
    try { results = await step.done; } catch (error) { failure = this.#deviceFailure(toWeftError(error)); }
    this.#completedStep = step.batch.step;
    const now = this.#parts.clock.now();
    this.#stepMs = now - Math.max(this.#completedMs, step.submittedMs);
    this.#completedMs = now;
    const events: TokenEvent[] = [];
    const ended: [RequestState, WeftError | null][] = [];
    for (const entry of step.batch.entries) {
      const { sequence } = entry;
      if (samples(entry, step.batch)) sequence.pending--;
      if (sequence.status === 'ended') continue;
      const error = failure ?? this.#commitEntry(entry, step.batch, results!, events);
      if (error || sequence.state.choices.every(c => c.status === 'ended')) ended.push([sequence.state, error]);
    }
    if (events.length > 0) this.#parts.listener.onStep(step.batch.step, events);
    for (const [state, error] of ended) this.#end(state, error ? 'error' : 'done', error ?? undefined);
    this.#reclaim();
    this.#parts.afterStep?.(this);
  }

  /** What a request is told of a failed step. A lost device takes all that is on it along: another executor can run it again. */
  #deviceFailure(error: WeftError): WeftError {
    if (error.code !== 'device_lost') return error;
    queueMicrotask(() => this.#parts.listener.onDeviceLost?.(error));
    return new WeftError('executor_lost', 'the executor lost its device', { cause: error, retryAfterMs: 1000 });
  }

  /** Applies what an entry's rows say. Returns the error that ends its request, if there is one. */
  #commitEntry(entry: BatchEntry, batch: Batch, results: StepResults, events: TokenEvent[]): WeftError | null {
    const { sequence } = entry;
    const { event, error } = answerOf(entry, batch, results);
    if (!event) return error;
    for (const token of event.tokens) {
      sequence.output.push(token);
      sequence.state.generated++;
      this.#tokensOut++;
      this.#waiting.charge(sequence.request.tenant, COST_OUTPUT);
    }
    if (event.finishReason) this.#endSequence(sequence);
    events.push(event);
    return null;
  }

  // ── sequences come and go ───────────────────────────────────────────────────────────────────────────────────────

  #admit(sequence: Sequence): void {
    this.#waiting.remove(sequence);
    this.#chargeLoads(sequence.state);
    sequence.status = 'running';
    sequence.slot = this.#slots.take();
    sequence.kv = this.#parts.kv.empty();
    for (const adapter of sequence.state.adapters) { adapter.wanted--; adapter.pins++; }
    let at = this.#running.length;
    while (at > 0 && compare(sequence, this.#running[at - 1]!) < 0) at--;
    this.#running.splice(at, 0, sequence);
  }

  /**
   * Its adapters' pages count for its tenant once it starts or ends. Were they charged while it waits, it would fall
   * behind another tenant's, whose load would evict them again, and so on in turn with nobody starting.
   */
  #chargeLoads(state: RequestState): void {
    this.#waiting.charge(state.request.tenant, COST_INPUT * BLOCK_TOKENS * state.loadedPages);
    state.loadedPages = 0;
  }

  /** Gives up pages, slot and adapter pins together; it will compute everything again, to the same bits. */
  #preempt(sequence: Sequence): void {
    this.#leaveDevice(sequence);
    sequence.status = 'waiting';
    sequence.computed = 0;
    sequence.preemptions++;
    this.#preemptions++;
    for (const adapter of sequence.state.adapters) adapter.wanted++;
    this.#waiting.resume(sequence);
  }

  #endSequence(sequence: Sequence): void {
    if (sequence.status === 'ended') return;
    if (sequence.status === 'running') this.#leaveDevice(sequence);
    else {
      this.#waiting.remove(sequence);
      for (const adapter of sequence.state.adapters) adapter.wanted--;
    }
    sequence.status = 'ended';
    this.#waiting.leave(sequence.request.tenant);
  }

  #leaveDevice(sequence: Sequence): void {
    for (const { pages } of sequence.kv) this.pool.retire(pages, Owner.sequence, sequence.id, sequence.lastStep);
    this.#slots.retire(sequence.slot!, sequence.lastStep);
    sequence.kv = [];
    sequence.slot = null;
    for (const adapter of sequence.state.adapters) adapter.pins--;
    this.#running.splice(this.#running.indexOf(sequence), 1);
  }

  /** Ends a request: its choices leave, and its one Terminal goes out. */
  #end(state: RequestState, reason: Terminal['reason'], error?: WeftError): void {
    if (state.ended) return;
    state.ended = true;
    this.#chargeLoads(state);
    for (const choice of state.choices) this.#endSequence(choice);
    this.#requests.delete(state.request.id);
    if (state.request.deadlineMs > 0) this.#deadlines.splice(this.#deadlines.indexOf(state), 1);
    const now = this.#parts.clock.now();
    const started = state.firstRunMs >= 0 ? state.firstRunMs : now;
    const ready = state.adaptersReadyMs >= 0 ? state.adaptersReadyMs : now;
    const terminal: Terminal = {
      requestId: state.request.id, reason, promptTokens: state.request.prompt.length, cachedTokens: 0, generatedTokens: state.generated,
      queueMs: started - state.submittedMs, coldStartMs: Math.min(ready, started) - state.submittedMs,
    };
    if (error) terminal.error = error;
    this.#reclaim();
    this.#parts.listener.onTerminal(terminal);
    if (this.#requests.size === 0) for (const resolve of this.#drained.splice(0)) resolve();
  }

  #reclaim(): void {
    this.pool.reclaim(this.#completedStep);
    this.#slots.reclaim(this.#completedStep);
    this.adapters.slots.reclaim(this.#completedStep);
    this.adapters.experts.slots.reclaim(this.#completedStep);
  }

  // ── adapters come ───────────────────────────────────────────────────────────────────────────────────────────────

  async #bringIn(adapter: AdapterEntry): Promise<void> {
    this.adapters.beginLoad(adapter);
    try {
      await this.#parts.loader.load(adapter, adapter.pages, adapter.slot!);
      await this.#bringExperts(adapter);
      this.adapters.finishLoad(adapter, this.#completedStep);
      const now = this.#parts.clock.now();
      for (const state of this.#requests.values()) {
        if (state.adaptersReadyMs < 0 && state.adapters.every(a => a.state === 'resident')) state.adaptersReadyMs = now;
      }
    } catch (error) {
      this.adapters.abortLoad(adapter);
      const cause = toWeftError(error);
      this.#deviceFailure(cause);
      const failure = new WeftError('adapter_not_ready', `adapter ${adapter.digest} could not be loaded: ${cause.message}`, { cause, retryAfterMs: 1000 });
      // None of them runs: who runs holds its adapters. One that has run before would be tried again for ever.
      for (const state of [...this.#requests.values()]) if (state.adapters.includes(adapter)) this.#end(state, 'error', failure);
    }
    this.#reclaim();
    this.#wake();
  }

  /** Those that are not there, and then those that another adapter was bringing and could not. */
  async #bringExperts(adapter: AdapterEntry): Promise<void> {
    const { experts } = this.adapters;
    for (;;) {
      const missing = experts.claim(adapter.experts);
      let loaded = false;
      try {
        if (missing.length > 0) await this.#parts.loader.loadExperts(adapter, missing);
        loaded = true;
      } finally {
        experts.settle(missing, loaded);
      }
      const others = adapter.experts.filter(expert => expert.state !== 'resident');
      if (others.length === 0) return;
      await Promise.all(others.map(expert => expert.settled));
    }
  }

  // ── sleeping ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Until something happens, or the next deadline passes. */
  async #sleep(): Promise<void> {
    const deadline = this.#deadlines[0]?.deadlineAtMs ?? Infinity;
    await new Promise<void>(resolve => {
      this.#wakeUp = resolve;
      if (Number.isFinite(deadline)) void this.#parts.clock.sleep(Math.max(deadline - this.#parts.clock.now(), 0)).then(resolve);
    });
    this.#wakeUp = null;
  }
  #wake(): void { this.#wakeUp?.(); }
}

export interface EngineLoad {
  waiting: number; running: number; step: number; tokensOut: number;
  /** sharedExperts: of adapters' pages, those of experts that several use. */
  pages: { total: number; free: number; sequences: number; adapters: number; sharedExperts: number; prefix: number; retired: number };
  /** pages: what evicting it alone would give. */
  resident: { digest: string; pages: number; pins: number }[];
}

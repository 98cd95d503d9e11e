/** Requests on their way to the engine: one whose adapters are not on this executor yet waits here until they are. */
import { Injectable, Logger } from '@nestjs/common';
import { describeError, toWeftError, WeftError, type executorV1 } from '@weft/contracts';
import type { EngineRequest, Terminal } from '@weft/engine';
import { Artifacts } from './artifacts.js';
import { EngineService, type EventSink } from './engine.service.js';
import { isRefusal } from './wire.js';

/** As many as may wait in the engine. */
const WAITING_MAX = 4096;

@Injectable()
export class ColdStarts {
  readonly #engine: EngineService;
  readonly #artifacts: Artifacts;
  readonly #waiting = new Map<string, { abort: AbortController; ended: Promise<void> }>();
  readonly #log = new Logger('ColdStarts');
  #draining = false;

  constructor(engine: EngineService, artifacts: Artifacts) {
    this.#engine = engine;
    this.#artifacts = artifacts;
  }

  get draining(): boolean { return this.#draining; }

  /** Throws what is wrong with the request. An accepted one ends in exactly one Terminal at its sink. */
  submit(submit: executorV1.Submit, sink: EventSink): void {
    const request = this.#engine.toRequest(submit);
    if (this.#draining) throw new WeftError('draining', 'this executor is shutting down; try another', { retryAfterMs: 1000 });
    if (this.#waiting.has(request.id)) throw new WeftError('conflict', `request ${request.id} is waiting already`);
    const missing = request.adapters.map(({ digest }) => digest).filter(digest => !this.#engine.knows(digest));
    if (missing.length === 0) return this.#engine.submit(request, sink);
    if (this.#waiting.size >= WAITING_MAX) throw new WeftError('overloaded', `${this.#waiting.size} requests are waiting for their adapters`, { retryAfterMs: 2000, limit: WAITING_MAX });
    const abort = new AbortController();
    this.#waiting.set(request.id, { abort, ended: this.#start(request, missing, abort, sink) });
  }

  cancel(id: string): void {
    const waiting = this.#waiting.get(id);
    if (waiting) waiting.abort.abort(new WeftError('cancelled', 'the request was cancelled'));
    else this.#engine.cancel(id);
  }

  /** Takes no more requests; resolves when all have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all([...this.#waiting.values()].map(({ ended }) => ended));
    await this.#engine.drain();
  }

  async #start(request: EngineRequest, missing: readonly string[], abort: AbortController, sink: EventSink): Promise<void> {
    const began = performance.now();
    const waitedMs = (): number => performance.now() - began;
    const { id, deadlineMs } = request;
    const deadline = deadlineMs === 0 ? undefined
      : setTimeout(() => abort.abort(new WeftError('deadline_exceeded', `the request's deadline of ${deadlineMs} ms has passed`)), deadlineMs);
    try {
      await Promise.all(missing.map(digest => this.#artifacts.add(digest, abort.signal)));
      abort.signal.throwIfAborted();
      const fetchMs = waitedMs();
      this.#engine.submit({ ...request, deadlineMs: deadlineMs && Math.max(deadlineMs - fetchMs, 1) }, sink, fetchMs);
    } catch (error) {
      const { code } = toWeftError(error);
      const end: Pick<Terminal, 'reason' | 'error'> = code === 'cancelled' ? { reason: 'cancelled' } : { reason: 'error', error: this.#told(toWeftError(error), missing) };
      sink.onTerminal({ requestId: id, ...end, promptTokens: request.prompt.length, cachedTokens: 0, generatedTokens: 0, queueMs: waitedMs(), coldStartMs: waitedMs() });
    } finally {
      clearTimeout(deadline);
      this.#waiting.delete(id);
      abort.abort();      // of several adapters one may have failed: the others need not come
    }
  }

  /** What the client hears: its adapter's fault, its own, or that the adapter is not here now. What is wrong here is the operator's. */
  #told(error: WeftError, digests: readonly string[]): WeftError {
    if (isRefusal(error) || !FETCHING.includes(error.code)) return error;
    this.#log.warn(`adapter ${digests.join(', ')}: ${describeError(error)}`);
    return new WeftError('adapter_not_ready', `the adapter could not be brought to this executor: ${error.code}`, { cause: error, retryAfterMs: 1000 });
  }
}

/** What goes wrong on the way here. */
const FETCHING: readonly WeftError['code'][] = ['not_found', 'registry_lost', 'insufficient_storage', 'image_corrupt', 'io_error', 'internal_error'];

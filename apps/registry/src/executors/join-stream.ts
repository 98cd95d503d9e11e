/** One executor's stream: hello comes first, and silence on either side ends it. */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { HEARTBEAT_MS, SILENCE_MS_MAX, WeftError, type registryV1 } from '@weft/contracts';
import { fail, toServiceError } from '../wire.js';
import type { ExecutorLink } from './executor-pool.js';

export type JoinCall = ServerDuplexStream<registryV1.JoinUp, registryV1.JoinDown>;
export type JoinUpBody = NonNullable<registryV1.JoinUp['body']>;

export interface JoinHandler {
  /** One after another, in their order. What it throws ends the stream. */
  onUp(stream: JoinStream, body: JoinUpBody): Promise<void>;
  /** Exactly once, whatever ended the stream, and behind the last `onUp`. */
  onGone(stream: JoinStream): void;
}

export class JoinStream implements ExecutorLink {
  /** Both set by its hello. */
  executorId = '';
  baseDigest = '';
  readonly #call: JoinCall;
  readonly #handler: JoinHandler;
  readonly #timer: NodeJS.Timeout;
  #heardMs = performance.now();
  #gone = false;
  #handled: Promise<void> = Promise.resolve();

  constructor(call: JoinCall, handler: JoinHandler) {
    this.#call = call;
    this.#handler = handler;
    call.on('data', (up: registryV1.JoinUp) => this.#heard(up));
    for (const ending of ['end', 'cancelled', 'error', 'close']) call.on(ending, () => this.close());
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  get gone(): boolean { return this.#gone; }

  /** Frames are few and small: what waits for a slow reader is bounded by its tasks and its silence. */
  send(body: NonNullable<registryV1.JoinDown['body']>): void { if (!this.#gone) this.#call.write({ body }); }

  /** @param error tells the executor why. */
  close(error?: unknown): void {
    if (this.#gone) return;
    this.#gone = true;
    clearInterval(this.#timer);
    if (error === undefined) this.#call.end();
    else fail(this.#call, toServiceError(error));
    void this.#handled.then(() => this.#handler.onGone(this));
  }

  #heard({ body }: registryV1.JoinUp): void {
    this.#heardMs = performance.now();
    if (body === undefined || body.$case === 'heartbeat') return;
    this.#handled = this.#handled.then(async () => { if (!this.#gone) await this.#handler.onUp(this, body); }).catch((error: unknown) => this.close(error));
  }

  #beat(): void {
    if (performance.now() - this.#heardMs > SILENCE_MS_MAX) return this.close(new WeftError('executor_lost', 'the registry has heard nothing for too long'));
    this.send({ $case: 'heartbeat', value: {} });
  }
}

/** One gateway's stream: frames go out as fast as it reads, and silence on either side ends it. */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { HEARTBEAT_MS, SILENCE_MS_MAX, type executorV1 } from '@weft/contracts';
import { Outbox } from './outbox.js';

export type AttachCall = ServerDuplexStream<executorV1.Up, executorV1.Down>;

export interface AttachmentHandler {
  onUp(attachment: Attachment, body: NonNullable<executorV1.Up['body']>): void;
  /** Exactly once, whatever ended the stream. */
  onGone(attachment: Attachment): void;
}

export class Attachment {
  readonly outbox = new Outbox();
  readonly #call: AttachCall;
  readonly #handler: AttachmentHandler;
  readonly #timer: NodeJS.Timeout;
  #heardMs = performance.now();
  #writable = true;
  #gone = false;

  constructor(readonly gateway: string, call: AttachCall, handler: AttachmentHandler) {
    this.#call = call;
    this.#handler = handler;
    call.on('data', (up: executorV1.Up) => this.#heard(up));
    call.on('drain', () => { this.#writable = true; this.flush(); });
    for (const ending of ['end', 'cancelled', 'error', 'close']) call.on(ending, () => this.close());
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
  }

  /** Writes what waits until the stream is full; the rest follows when it has drained. */
  flush(): void {
    while (this.#writable && !this.#gone) {
      const body = this.outbox.take();
      if (body === null) return;
      this.#writable = this.#call.write({ body });
    }
  }

  close(): void {
    if (this.#gone) return;
    this.#gone = true;
    clearInterval(this.#timer);
    this.#call.end();
    this.#handler.onGone(this);
  }

  #heard({ body }: executorV1.Up): void {
    this.#heardMs = performance.now();
    if (body !== undefined && body.$case !== 'heartbeat' && !this.#gone) this.#handler.onUp(this, body);
  }

  #beat(): void {
    if (performance.now() - this.#heardMs > SILENCE_MS_MAX) return this.close();
    this.outbox.heartbeat();
    this.flush();
  }
}

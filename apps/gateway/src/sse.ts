/** Server-sent events to one client, no faster than it reads. */
import type { ServerResponse } from 'node:http';
import { WeftError } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { errorBody } from './errors.js';

/** A client that reads nothing for this long is taken for gone. */
const STALLED_MS_MAX = 60_000;

export class SseWriter {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;

  /** Sends the head. The reply's headers so far (request id, CORS) go with it. The signal ends a wait for the client. */
  constructor(reply: FastifyReply, signal: AbortSignal) {
    reply.hijack();
    this.#signal = signal;
    this.#response = reply.raw;
    this.#response.writeHead(200, {
      ...reply.getHeaders() as Record<string, string>,
      'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no',
    });
  }

  /** Resolves when the client may be sent more. Throws what ended the wait. */
  async send(data: object): Promise<void> {
    if (!this.#response.write(`data: ${JSON.stringify(data)}\n\n`)) await this.#drained();
  }

  end(): void { this.#response.end('data: [DONE]\n\n'); }

  /** A failure in mid-stream: exactly one event, and no [DONE]. */
  fail(error: WeftError): void { this.#response.end(`data: ${JSON.stringify(errorBody(error))}\n\n`); }

  async #drained(): Promise<void> {
    this.#signal.throwIfAborted();
    const stalled = new WeftError('cancelled', 'The client stopped reading.');
    let onAbort: () => void;
    let onDrain: () => void;
    let timer: NodeJS.Timeout;
    await new Promise<void>((resolve, reject) => {
      onDrain = resolve;
      onAbort = () => reject(this.#signal.reason as Error);
      timer = setTimeout(() => { reject(stalled); this.#response.destroy(); }, STALLED_MS_MAX);
      this.#response.once('drain', onDrain);
      this.#signal.addEventListener('abort', onAbort);
    }).finally(() => {
      clearTimeout(timer);
      this.#response.off('drain', onDrain);
      this.#signal.removeEventListener('abort', onAbort);
    });
  }
}

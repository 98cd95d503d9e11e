/** Server-sent events to one client, no faster than it reads. */
import type { ServerResponse } from 'node:http';
import { WeftError } from '@weft/contracts';
import type { FastifyReply } from 'fastify';
import { errorBody } from './errors.js';

/** A client that reads nothing for this long is taken for gone. */
const STALLED_MS_MAX = 60_000;
/** What a failure's one event may wait for its client: nothing else is held by then. */
const FAILED_MS_MAX = 1000;

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
    if (!this.#response.write(`data: ${JSON.stringify(data)}\n\n`)) await this.#until('drain', STALLED_MS_MAX, this.#signal);
  }

  /** Resolves when the last byte has left. */
  async end(): Promise<void> {
    this.#response.end('data: [DONE]\n\n');
    await this.#until('finish', STALLED_MS_MAX, this.#signal);
  }

  /** A failure in mid-stream: exactly one event, and no [DONE]. */
  async fail(error: WeftError): Promise<void> {
    this.#response.end(`data: ${JSON.stringify(errorBody(error))}\n\n`);
    await this.#until('finish', FAILED_MS_MAX).catch(() => undefined);      // the client has gone: nobody is left to tell
  }

  async #until(event: 'drain' | 'finish', withinMs: number, signal?: AbortSignal): Promise<void> {
    if (event === 'finish' && this.#response.writableFinished) return;
    signal?.throwIfAborted();
    let stop = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const gone = (): void => reject(new WeftError('cancelled', 'The client hung up.'));
        const abort = (): void => reject(signal!.reason as Error);
        const timer = setTimeout(() => { reject(new WeftError('cancelled', 'The client stopped reading.')); this.#response.destroy(); }, withinMs);
        stop = () => {
          clearTimeout(timer);
          this.#response.off(event, resolve).off('close', gone);
          signal?.removeEventListener('abort', abort);
        };
        this.#response.once(event, resolve).once('close', gone);
        signal?.addEventListener('abort', abort);
        if (this.#response.destroyed) gone();
      });
    } finally {
      stop();
    }
  }
}

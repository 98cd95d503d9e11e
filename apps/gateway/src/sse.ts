/** Server-sent events to one client, no faster than it reads. */
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
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
  /** The head and the first event are on their way. */
  #begun = false;

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

  /** An event of this JSON. False: the client is behind, and nothing more is to be sent before `drained`. */
  send(json: string): boolean {
    const event = `data: ${json}\n\n`;
    const socket = this.#direct;
    this.#begun = true;
    if (socket === null) return this.#response.write(event);
    const bytes = Buffer.byteLength(event);
    return socket.write(`${bytes.toString(16)}\r\n${event}\r\n`, bytes === event.length ? 'latin1' : 'utf8');
  }

  /** Resolves when the client may be sent more. Throws what ended the wait. */
  drained(): Promise<void> { return this.#until(this.#direct ?? this.#response, 'drain', STALLED_MS_MAX, this.#signal); }

  /** Resolves when the last byte has left. */
  async end(): Promise<void> {
    this.#response.end('data: [DONE]\n\n');
    await this.#finished(STALLED_MS_MAX, this.#signal);
  }

  /** A failure in mid-stream: exactly one event, and no [DONE]. */
  async fail(error: WeftError): Promise<void> {
    this.#response.end(`data: ${JSON.stringify(errorBody(error))}\n\n`);
    await this.#finished(FAILED_MS_MAX).catch(() => undefined);      // the client has gone: nobody is left to tell
  }

  /**
   * Behind the head each event is one chunk, written to the socket at once: Node's own way, three writes that are joined again
   * in the next tick, takes as long as everything else that is done for a token. Null: this must be Node's way, since the
   * client knows no chunks (HTTP/1.0) or the connection still belongs to the request before (pipelining).
   */
  get #direct(): Socket | null { return this.#begun && this.#response.chunkedEncoding ? this.#response.socket : null; }

  async #finished(withinMs: number, signal?: AbortSignal): Promise<void> {
    if (!this.#response.writableFinished) await this.#until(this.#response, 'finish', withinMs, signal);
  }

  async #until(source: ServerResponse | Socket, event: 'drain' | 'finish', withinMs: number, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    let stop = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const gone = (): void => reject(new WeftError('cancelled', 'The client hung up.'));
        const abort = (): void => reject(signal!.reason as Error);
        const timer = setTimeout(() => { reject(new WeftError('cancelled', 'The client stopped reading.')); this.#response.destroy(); }, withinMs);
        stop = () => {
          clearTimeout(timer);
          source.off(event, resolve);
          this.#response.off('close', gone);
          signal?.removeEventListener('abort', abort);
        };
        source.once(event, resolve);
        this.#response.once('close', gone);
        signal?.addEventListener('abort', abort);
        if (this.#response.destroyed) gone();
      });
    } finally {
      stop();
    }
  }
}

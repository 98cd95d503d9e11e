/** The gateway's end of the link: one Attach stream, opened again whenever it ends. */
import { randomUUID } from 'node:crypto';
import { Client, credentials, Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import {
  ERRORS, executorService, GATEWAY_METADATA, HEARTBEAT_MS, LINK_OPTIONS, SILENCE_MS_MAX, TOKEN_METADATA, WeftError,
  type ErrorCode, type executorV1,
} from '@weft/contracts';
import type { GatewayConfig } from './config.js';
import { GATEWAY_CONFIG } from './tokens.js';

/** What a request hears of the executor. After onEnd nothing more comes. */
export interface RequestListener {
  onEvent(event: executorV1.TokenEvent): void;
  /** Exactly once: how the executor ended it, or why that will never be known. */
  onEnd(end: executorV1.Terminal | WeftError): void;
}

const RECONNECT_MS = 200;

@Injectable()
export class ExecutorClient implements OnModuleDestroy {
  readonly #config: Pick<GatewayConfig, 'executorAddress' | 'linkToken'>;
  readonly #gateway = randomUUID();
  readonly #client: Client;
  readonly #running = new Map<string, RequestListener>();
  #stream: ClientDuplexStream<executorV1.Up, executorV1.Down> | null = null;
  /** When the last frame came; 0 before the first. */
  #heardMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #reconnect: NodeJS.Timeout | undefined;
  #closed = false;
  #description: executorV1.Description | null = null;
  #load: executorV1.Load | null = null;
  readonly #watchers: ((description: executorV1.Description) => void)[] = [];

  constructor(@Inject(GATEWAY_CONFIG) config: Pick<GatewayConfig, 'executorAddress' | 'linkToken'>) {
    this.#config = config;
    this.#client = new Client(config.executorAddress, credentials.createInsecure(), {
      ...LINK_OPTIONS, 'grpc.initial_reconnect_backoff_ms': RECONNECT_MS, 'grpc.max_reconnect_backoff_ms': HEARTBEAT_MS,
    });
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#attach();
  }

  /** What the executor serves; null while there is none. */
  get description(): executorV1.Description | null { return this.#description; }
  /** The same for whoever can't go on without. Throws executor_lost. */
  get serving(): executorV1.Description {
    if (this.#description === null) throw lost();
    return this.#description;
  }
  /** Its latest load; null while there is no executor. */
  get load(): executorV1.Load | null { return this.#load; }

  /** Called at every welcome. */
  onWelcome(watcher: (description: executorV1.Description) => void): void {
    this.#watchers.push(watcher);
    if (this.#description !== null) watcher(this.#description);
  }

  submit(submit: executorV1.Submit, listener: RequestListener): void {
    if (this.#stream === null || this.#description === null) throw lost();
    this.#running.set(submit.requestId, listener);
    this.#send({ $case: 'submit', value: submit });
  }

  /** Its Terminal follows, unless it has come already. */
  cancel(requestId: string): void {
    if (this.#running.has(requestId)) this.#send({ $case: 'cancel', value: { requestId } });
  }

  onModuleDestroy(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#reconnect);
    this.#stream?.end();
    this.#lose();
    this.#client.close();
  }

  #attach(): void {
    const { path, requestSerialize, responseDeserialize } = executorService.attach;
    const metadata = new Metadata({ waitForReady: true });
    metadata.set(TOKEN_METADATA, `Bearer ${this.#config.linkToken}`);
    metadata.set(GATEWAY_METADATA, this.#gateway);
    const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    this.#stream = stream;
    this.#heardMs = 0;
    stream.on('data', (down: executorV1.Down) => { if (stream === this.#stream) this.#heard(down); });
    // A stream ends by an error or by end; a status follows either way.
    stream.on('error', () => undefined);
    stream.on('status', () => { if (stream === this.#stream) this.#lose(); });
  }

  #heard({ body }: executorV1.Down): void {
    this.#heardMs = performance.now();
    switch (body?.$case) {
      case 'welcome':
        this.#description = body.value;
        for (const watcher of this.#watchers) watcher(body.value);
        break;
      case 'step':
        for (const event of body.value.events) this.#running.get(event.requestId)?.onEvent(event);
        break;
      case 'terminal': {
        const { requestId } = body.value;
        const listener = this.#running.get(requestId);
        this.#running.delete(requestId);
        this.#send({ $case: 'acknowledge', value: { requestId } });
        listener?.onEnd(body.value);
        break;
      }
      case 'load':
        this.#load = body.value;
        break;
      case 'heartbeat':
      case undefined:
        break;
    }
  }

  #send(body: NonNullable<executorV1.Up['body']>): void { this.#stream?.write({ body }); }

  #beat(): void {
    // Until the first frame the channel itself is still connecting.
    if (this.#heardMs === 0) return;
    if (performance.now() - this.#heardMs > SILENCE_MS_MAX) {
      const stream = this.#stream;
      this.#lose();
      stream?.cancel();
    } else {
      this.#send({ $case: 'heartbeat', value: {} });
    }
  }

  /** The executor is gone: every request hears so, and the next stream is opened. */
  #lose(): void {
    this.#stream = null;
    this.#description = null;
    this.#load = null;
    const listeners = [...this.#running.values()];
    this.#running.clear();
    for (const listener of listeners) listener.onEnd(lost());
    if (!this.#closed) this.#reconnect = setTimeout(() => this.#attach(), RECONNECT_MS);
  }
}

const lost = (): WeftError => new WeftError('executor_lost', 'no executor serves this model at the moment; try again', { retryAfterMs: 1000 });

/** The error of a Terminal. A code of a newer executor counts as an internal error. */
export function terminalError({ errorCode, errorMessage, errorParam, retryAfterMs }: executorV1.Terminal): WeftError {
  const code = Object.hasOwn(ERRORS, errorCode) ? errorCode as ErrorCode : 'internal_error';
  return new WeftError(code, errorMessage, { param: errorParam || undefined, retryAfterMs: retryAfterMs || undefined });
}

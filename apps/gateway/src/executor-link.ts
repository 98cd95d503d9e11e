/** The gateway's end of the link to one executor: an Attach stream, opened again whenever it ends. */
import { Client, credentials, Metadata, type ClientDuplexStream, type ClientReadableStream } from '@grpc/grpc-js';
import {
  ERRORS, executorService, GATEWAY_METADATA, HEARTBEAT_MS, KEEPALIVE_OPTIONS, LINK_OPTIONS, SILENCE_MS_MAX, TOKEN_METADATA, WeftError,
  type ErrorCode, type executorV1,
} from '@weft/contracts';
import { hashOf, type Candidate } from './placement.js';

/** To be called once what the end tells is written down: until then the executor keeps it. */
export type Acknowledge = () => void;

/** What a request hears of the executor. After onEnd nothing more comes. */
export interface RequestListener {
  /** A choice got a token, and nothing else. */
  onToken(choice: number, token: number): void;
  onEvent(event: executorV1.TokenEvent): void;
  /** Exactly once. */
  onEnd(terminal: executorV1.Terminal, acknowledge: Acknowledge): void;
  /** Instead of onEnd: the stream broke. How the request ended may come later, as a late end. */
  onLost(error: WeftError): void;
}

export interface LinkHandler {
  /** It serves, drains, or does no longer. */
  onChange(link: ExecutorLink): void;
  /** The end of a request that nobody listens to any more. */
  onLateEnd(terminal: executorV1.Terminal, acknowledge: Acknowledge): void;
  /** It has left: nothing more comes of it. */
  onClosed(link: ExecutorLink): void;
}

export interface LinkOptions { address: string; gatewayId: string; linkToken: string }

const RECONNECT_MS = 200;
/** What the last acknowledgements may take to leave. */
const CLOSE_MS_MAX = 500;
/** Then they begin again: what the protocol's field holds. */
const LANES_MAX = 2 ** 31;

/** A request that runs: its choices have the lanes from the first one on. */
interface Running { listener: RequestListener; sequences: number; firstLane: number }

export class ExecutorLink implements Candidate {
  readonly address: string;
  readonly addressHash: number;
  readonly #options: LinkOptions;
  readonly #handler: LinkHandler;
  readonly #client: Client;
  readonly #running = new Map<string, Running>();
  readonly #lanes = new Map<number, Running>();
  #nextLane = 1;
  readonly #unacknowledged = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #stream: ClientDuplexStream<executorV1.Up, executorV1.Down> | null = null;
  /** When the last frame came; 0 before the first. */
  #heardMs = 0;
  #reconnect: NodeJS.Timeout | undefined;
  #description: executorV1.Description | null = null;
  #load: executorV1.Load | null = null;
  /** Sequences of this gateway: now, and when the load was told. */
  #own = 0;
  #ownInLoad = 0;
  #state: 'here' | 'leaving' | 'closed' = 'here';

  constructor(options: LinkOptions, handler: LinkHandler) {
    this.address = options.address;
    this.addressHash = hashOf(options.address);
    this.#options = options;
    this.#handler = handler;
    this.#client = new Client(options.address, credentials.createInsecure(), {
      ...LINK_OPTIONS, ...KEEPALIVE_OPTIONS, 'grpc.initial_reconnect_backoff_ms': RECONNECT_MS, 'grpc.max_reconnect_backoff_ms': HEARTBEAT_MS,
    });
    this.#timer = setInterval(() => this.#beat(), HEARTBEAT_MS);
    this.#attach();
  }

  /** What the executor serves; null while it does not. */
  get description(): executorV1.Description | null { return this.#description; }
  /** Its latest load; null while there is none. */
  get load(): executorV1.Load | null { return this.#load; }
  /** It takes new requests. */
  get open(): boolean { return this.#description !== null && this.#state === 'here' && !(this.#load?.draining ?? false); }
  /** Sequences that run or wait there: of all gateways as it was told last, and what has changed of ours since. */
  get depth(): number { return (this.#load === null ? 0 : this.#load.running + this.#load.waiting) + this.#own - this.#ownInLoad; }

  /** Throws executor_lost. */
  submit(submit: executorV1.Submit, listener: RequestListener): void {
    if (this.#stream === null || this.#description === null) throw executorLost();
    const running = { listener, sequences: submit.n, firstLane: this.#takeLanes(submit.n) };
    this.#running.set(submit.requestId, running);
    for (let i = 0; i < submit.n; i++) this.#lanes.set(running.firstLane + i, running);
    this.#own += submit.n;
    this.#send({ $case: 'submit', value: { ...submit, firstLane: running.firstLane } });
  }

  /** What its engine does, again and again, until the stream is cancelled or ends. */
  observe(request: executorV1.ObserveRequest): ClientReadableStream<executorV1.Picture> {
    const { path, requestSerialize, responseDeserialize } = executorService.observe;
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.#metadata(), {});
  }

  /** Its end follows, unless it has come already. */
  cancel(requestId: string): void {
    if (this.#running.has(requestId)) this.#send({ $case: 'cancel', value: { requestId } });
  }

  /** Takes no more requests; closes when those that run have ended and been acknowledged, or when the stream breaks. */
  leave(): void {
    if (this.#state === 'here') this.#state = 'leaving';
    this.#handler.onChange(this);
    this.#closeIfDone();
  }

  /** It is wanted again, before it was closed. */
  stay(): void {
    if (this.#state !== 'leaving') return;
    this.#state = 'here';
    this.#handler.onChange(this);
  }

  /** Resolves when what was sent has left, within a bound. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#handler.onClosed(this);
    clearInterval(this.#timer);
    clearTimeout(this.#reconnect);
    const stream = this.#stream;
    this.#lose();
    if (stream !== null) {
      stream.end();
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, CLOSE_MS_MAX);
        stream.on('status', () => { clearTimeout(timer); resolve(); });
      });
      stream.cancel();
    }
    this.#client.close();
  }

  #attach(): void {
    const { path, requestSerialize, responseDeserialize } = executorService.attach;
    const stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata());
    this.#stream = stream;
    this.#heardMs = 0;
    stream.on('data', (down: executorV1.Down) => { if (stream === this.#stream) this.#heard(down); });
    // A stream ends by an error or by end; a status follows either way.
    stream.on('error', () => undefined);
    stream.on('status', () => { if (stream === this.#stream) this.#lose(); });
  }

  #metadata(): Metadata {
    const metadata = new Metadata({ waitForReady: true });
    metadata.set(TOKEN_METADATA, `Bearer ${this.#options.linkToken}`);
    metadata.set(GATEWAY_METADATA, this.#options.gatewayId);
    return metadata;
  }

  #heard({ body }: executorV1.Down): void {
    this.#heardMs = performance.now();
    switch (body?.$case) {
      case 'welcome':
        this.#description = body.value;
        this.#handler.onChange(this);
        break;
      case 'step':
        this.#onStep(body.value);
        break;
      case 'terminal':
        this.#onTerminal(body.value);
        break;
      case 'load': {
        const drained = (this.#load?.draining ?? false) !== body.value.draining;
        this.#load = body.value;
        this.#ownInLoad = this.#own;
        if (drained) this.#handler.onChange(this);
        break;
      }
      case 'heartbeat':
      case undefined:
        break;
    }
  }

  #onStep({ lanes, tokens, events }: executorV1.Step): void {
    for (let i = 0; i < lanes.length; i++) {
      const lane = lanes[i]!, running = this.#lanes.get(lane);
      running?.listener.onToken(lane - running.firstLane, tokens[i]!);
    }
    for (const event of events) this.#running.get(event.requestId)?.listener.onEvent(event);
  }

  #onTerminal(terminal: executorV1.Terminal): void {
    const { requestId } = terminal;
    const running = this.#running.get(requestId);
    this.#running.delete(requestId);
    for (let i = 0; i < (running?.sequences ?? 0); i++) this.#lanes.delete(running!.firstLane + i);
    this.#unacknowledged.add(requestId);
    const acknowledge = (): void => {
      this.#unacknowledged.delete(requestId);
      this.#send({ $case: 'acknowledge', value: { requestId } });
      this.#closeIfDone();
    };
    if (running === undefined) return this.#handler.onLateEnd(terminal, acknowledge);
    this.#own -= running.sequences;
    running.listener.onEnd(terminal, acknowledge);
  }

  /** The first of as many in a row as nobody has. */
  #takeLanes(count: number): number {
    for (let free = 0; free < count;) {
      if (this.#nextLane === LANES_MAX) { this.#nextLane = 1; free = 0; }
      free = this.#lanes.has(this.#nextLane++) ? 0 : free + 1;
    }
    return this.#nextLane - count;
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
    const listeners = [...this.#running.values()].map(({ listener }) => listener);
    this.#stream = null;
    this.#description = null;
    this.#load = null;
    this.#own = this.#ownInLoad = 0;
    this.#running.clear();
    this.#lanes.clear();
    // What was not acknowledged is told again on the next stream.
    this.#unacknowledged.clear();
    this.#handler.onChange(this);
    for (const listener of listeners) listener.onLost(executorLost());
    this.#closeIfDone();
    if (this.#state === 'here') this.#reconnect = setTimeout(() => this.#attach(), RECONNECT_MS);
  }

  #closeIfDone(): void {
    if (this.#state === 'leaving' && this.#running.size === 0 && this.#unacknowledged.size === 0) void this.close();
  }
}

export const executorLost = (): WeftError => new WeftError('executor_lost', 'no executor serves this model at the moment; try again', { retryAfterMs: 1000 });

/** The error of a Terminal. A code of a newer executor counts as an internal error. */
export function terminalError({ errorCode, errorMessage, errorParam, retryAfterMs }: executorV1.Terminal): WeftError {
  const code = Object.hasOwn(ERRORS, errorCode) ? errorCode as ErrorCode : 'internal_error';
  return new WeftError(code, errorMessage, { param: errorParam || undefined, retryAfterMs: retryAfterMs || undefined });
}

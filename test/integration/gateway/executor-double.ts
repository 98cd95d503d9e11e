/** An executor over real gRPC whose answers the test writes: for what a real engine can't be made to do on command. */
import { Metadata, Server, ServerCredentials, status, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { executorService, executorV1, LINK_OPTIONS, TOKEN_METADATA } from '@weft/contracts';

export const LINK_TOKEN = 'link-token';
export const BASE_DIGEST = 'b'.repeat(64);
export const EOS = 2;

type Body = NonNullable<executorV1.Down['body']>;

/** One submitted request, as the test sees it. */
export class Submitted {
  cancelled = false;
  #onCancel: () => void = () => undefined;
  readonly whenCancelled = new Promise<void>(resolve => { this.#onCancel = resolve; });
  #step = 0n;
  constructor(readonly submit: executorV1.Submit, readonly send: (body: Body) => boolean) {}

  cancel(): void { this.cancelled = true; this.#onCancel(); }

  event(event: Partial<executorV1.TokenEvent>): boolean {
    const value = executorV1.TokenEvent.fromPartial({ requestId: this.submit.requestId, ...event });
    return this.send({ $case: 'step', value: { step: ++this.#step, lanes: [], tokens: [], events: [value] } });
  }

  /** Tokens of choices by their lanes, as an executor sends those that come with nothing else. */
  lanes(tokens: readonly (readonly [choice: number, token: number])[]): boolean {
    const lanes = tokens.map(([choice]) => this.submit.firstLane + choice);
    return this.send({ $case: 'step', value: { step: ++this.#step, lanes, tokens: tokens.map(([, token]) => token), events: [] } });
  }

  terminal(terminal: Partial<executorV1.Terminal>): void {
    const { requestId, prompt } = this.submit;
    this.send({ $case: 'terminal', value: executorV1.Terminal.fromPartial({ requestId, promptTokens: prompt.length, ...terminal }) });
  }

  done(generatedTokens = 0): void { this.terminal({ reason: 'done', generatedTokens }); }
  fail(errorCode: string, errorMessage: string, more: Partial<executorV1.Terminal> = {}): void { this.terminal({ reason: 'error', errorCode, errorMessage, ...more }); }

  /** One event a token, then the end. */
  answer(tokens: readonly number[], finishReason: 'stop' | 'length' = 'length'): void {
    tokens.forEach((token, i) => this.event({ tokens: [token], finishReason: i === tokens.length - 1 ? finishReason : '' }));
    this.done(tokens.length);
  }
}

export type Script = (request: Submitted) => void | Promise<void>;

export const describeDouble = (change: Partial<executorV1.Description> = {}): executorV1.Description => executorV1.Description.fromPartial({
  baseDigest: BASE_DIGEST, device: 'cpu double 1 threads', maxModelLen: 64, vocabSize: 320, eosIds: [EOS], maxTopLogprobs: 20, build: '0', pageBytes: 4096, adapterSlots: 8, executorId: 'executor-1',
  ...change,
});

export class ExecutorDouble {
  readonly requests = new Map<string, Submitted>();
  readonly acknowledged: string[] = [];
  readonly drained: boolean[] = [];
  /** False: as if the process hung. */
  beats = true;
  /** What observers are shown, again and again, and how often each asked to be. */
  picture = executorV1.Picture.fromPartial({});
  readonly observers = new Map<ServerWritableStream<executorV1.ObserveRequest, executorV1.Picture>, number>();
  script: Script = request => request.answer([EOS], 'stop');
  readonly #server = new Server(LINK_OPTIONS);
  readonly #calls = new Set<ServerDuplexStream<executorV1.Up, executorV1.Down>>();
  #timer: NodeJS.Timeout | undefined;
  address = '';

  constructor(readonly description = describeDouble()) {}

  async start(port = 0): Promise<this> {
    this.#server.addService(executorService, {
      attach: (call: ServerDuplexStream<executorV1.Up, executorV1.Down>) => this.#attach(call), describe: () => undefined,
      observe: (call: ServerWritableStream<executorV1.ObserveRequest, executorV1.Picture>) => this.#observe(call),
    });
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, p) => (error ? reject(error) : resolve(p)));
    });
    this.address = `127.0.0.1:${bound}`;
    this.#timer = setInterval(() => { if (this.beats) for (const call of this.#calls) call.write({ body: { $case: 'heartbeat', value: {} } }); }, 1000);
    return this;
  }

  #observe(call: ServerWritableStream<executorV1.ObserveRequest, executorV1.Picture>): void {
    this.observers.set(call, call.request.intervalMs);
    const timer = setInterval(() => call.write(this.picture), call.request.intervalMs);
    const over = (): void => { clearInterval(timer); this.observers.delete(call); };
    call.on('cancelled', over).on('error', over).on('close', over);
  }

  /** As a killed process: every socket breaks. */
  kill(): void {
    clearInterval(this.#timer);
    this.#server.forceShutdown();
  }

  /** What an executor tells of itself every now and then. */
  load(load: Partial<executorV1.Load>): void { this.tell({ $case: 'load', value: executorV1.Load.fromPartial(load) }); }

  /** To every gateway that is attached now. */
  tell(body: Body): void { for (const call of this.#calls) call.write({ body }); }

  get attached(): number { return this.#calls.size; }

  /** The stream breaks; the process lives on. */
  breakLink(): void { for (const call of this.#calls) call.destroy(); }

  #attach(call: ServerDuplexStream<executorV1.Up, executorV1.Down>): void {
    if (call.metadata.get(TOKEN_METADATA)[0] !== `Bearer ${LINK_TOKEN}`) {
      call.emit('error', { code: status.UNAUTHENTICATED, details: 'token', metadata: new Metadata() });
      return;
    }
    this.#calls.add(call);
    call.on('close', () => this.#calls.delete(call)).on('error', () => this.#calls.delete(call));
    call.write({ body: { $case: 'welcome', value: this.description } });
    call.on('end', () => call.end());
    call.on('data', ({ body }: executorV1.Up) => {
      if (body?.$case === 'submit') {
        const request = new Submitted(body.value, sent => this.beats && call.write({ body: sent }));
        this.requests.set(body.value.requestId, request);
        void this.script(request);
      } else if (body?.$case === 'cancel') {
        this.requests.get(body.value.requestId)?.cancel();
      } else if (body?.$case === 'acknowledge') {
        this.acknowledged.push(body.value.requestId);
      }
    });
  }
}

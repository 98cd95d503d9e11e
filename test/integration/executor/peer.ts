import { Metadata, type Client, type ClientDuplexStream } from '@grpc/grpc-js';
import { executorService, executorV1, GATEWAY_METADATA, TOKEN_METADATA } from '@weft/contracts';

type DownBody = NonNullable<executorV1.Down['body']>;
export const TOKEN = 'token';

/** A gateway as a plain client. */
export class Peer {
  readonly frames: DownBody[] = [];
  ended: number | null = null;
  readonly stream: ClientDuplexStream<executorV1.Up, executorV1.Down>;
  #timer: NodeJS.Timeout | undefined;
  constructor(client: Client, name: string, readonly baseDigest: string, token = TOKEN) {
    const { path, requestSerialize, responseDeserialize } = executorService.attach;
    const metadata = new Metadata();
    metadata.set(TOKEN_METADATA, `Bearer ${token}`);
    metadata.set(GATEWAY_METADATA, name);
    this.stream = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
    this.stream.on('data', ({ body }: executorV1.Down) => this.frames.push(body!)).on('error', () => undefined).on('status', ({ code }: { code: number }) => { this.ended = code; });
  }
  send(body: NonNullable<executorV1.Up['body']>): void { this.stream.write({ body }); }
  submit(requestId: string, change: Partial<executorV1.Submit> = {}): void {
    this.send({ $case: 'submit', value: executorV1.Submit.fromPartial({ requestId, baseDigest: this.baseDigest, prompt: [1], n: 1, maxTokens: 4, sampling: { seed: 5n, topP: 1, repetitionPenalty: 1 }, logprobs: -1, ...change }) });
  }
  of<Case extends DownBody['$case']>(kind: Case): Extract<DownBody, { $case: Case }>['value'][] {
    return this.frames.filter(frame => frame.$case === kind).map(frame => frame.value) as never;
  }
  beat(): this { this.#timer = setInterval(() => this.send({ $case: 'heartbeat', value: {} }), 500); return this; }
  silence(): void { clearInterval(this.#timer); }
  hangUp(): void { this.silence(); this.stream.cancel(); }
}

/** Submits sent straight to an executor, as a gateway does: what a request costs without everything that stands in front. */
import { randomUUID } from 'node:crypto';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { executorService, executorV1, GATEWAY_METADATA, HEARTBEAT_MS, LINK_OPTIONS, TOKEN_METADATA } from '@weft/contracts';
import type { Timing } from './load.js';

export class DirectLink {
  readonly #client: Client;
  readonly #stream;
  readonly #waiting = new Map<string, { began: number; firstByteMs: number; resolve(timing: Timing): void }>();
  readonly #timer: NodeJS.Timeout;
  readonly #baseDigest: string;
  #next = 0;

  constructor(address: string, linkToken: string, baseDigest: string) {
    this.#baseDigest = baseDigest;
    this.#client = new Client(address, credentials.createInsecure(), LINK_OPTIONS);
    const metadata = new Metadata();
    metadata.set(TOKEN_METADATA, `Bearer ${linkToken}`);
    metadata.set(GATEWAY_METADATA, randomUUID());
    const { path, requestSerialize, responseDeserialize } = executorService.attach;
    this.#stream = this.#client.makeBidiStreamRequest<executorV1.Up, executorV1.Down>(path, requestSerialize, responseDeserialize, metadata, {});
    this.#stream.on('error', () => undefined);
    this.#stream.on('data', ({ body }: executorV1.Down) => {
      if (body?.$case === 'step') {
        for (const { requestId } of body.value.events) {
          const request = this.#waiting.get(requestId);
          if (request !== undefined && Number.isNaN(request.firstByteMs)) request.firstByteMs = performance.now() - request.began;
        }
      } else if (body?.$case === 'terminal') {
        const { requestId } = body.value;
        const request = this.#waiting.get(requestId);
        this.#waiting.delete(requestId);
        this.#stream.write({ body: { $case: 'acknowledge', value: { requestId } } });
        request?.resolve({ firstByteMs: request.firstByteMs, endMs: performance.now() - request.began, status: 200 });
      }
    });
    this.#timer = setInterval(() => this.#stream.write({ body: { $case: 'heartbeat', value: {} } }), HEARTBEAT_MS);
  }

  shoot(prompt: number[], maxTokens: number): Promise<Timing> {
    const requestId = `direct-${this.#next++}`;
    return new Promise(resolve => {
      this.#waiting.set(requestId, { began: performance.now(), firstByteMs: NaN, resolve });
      const value = executorV1.Submit.fromPartial({ requestId, tenant: 'bench', baseDigest: this.#baseDigest, prompt, n: 1, maxTokens, logprobs: -1, sampling: { topP: 1, repetitionPenalty: 1 } });
      this.#stream.write({ body: { $case: 'submit', value } });
    });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#stream.end();
    this.#client.close();
  }
}

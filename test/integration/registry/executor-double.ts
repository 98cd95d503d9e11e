/** An executor over real gRPC that prepares what the test says, when it says so. */
import { Client, credentials, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { executorsService, LINK_OPTIONS, registryV1, type MethodDefinition } from '@weft/contracts';
import { expect, vi } from 'vitest';
import { llama } from '../../unit/adapters/support.js';
import { codedError, metadata, TOKEN } from './registry.js';

type Down = NonNullable<registryV1.JoinDown['body']>;
type Up = NonNullable<registryV1.JoinUp['body']>;

export const GEOMETRY = llama({ layers: 2, hidden: 64, q: 64, kv: 32, intermediate: 128 }, 'org/tiny');
export const BASE: registryV1.Base = { digest: GEOMETRY.digest, id: 'org/tiny', geometry: JSON.stringify(GEOMETRY), text: {} };

export class ExecutorDouble {
  readonly frames: Down[] = [];
  ended: Error | undefined;
  /** Answers each task at once; undefined: the test answers. */
  onPrepare: ((task: registryV1.Prepare) => void) | undefined;
  readonly #client: Client;
  readonly #stream: ClientDuplexStream<registryV1.JoinUp, registryV1.JoinDown>;
  #timer: NodeJS.Timeout | undefined;

  constructor(address: string, readonly id: string, base: registryV1.Base | null = BASE) {
    this.#client = new Client(address, credentials.createInsecure(), LINK_OPTIONS);
    const { path, requestSerialize, responseDeserialize } = executorsService.join;
    this.#stream = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata(TOKEN));
    this.#stream.on('data', ({ body }: registryV1.JoinDown) => {
      this.frames.push(body!);
      if (body!.$case === 'prepare') this.onPrepare?.(body!.value);
    });
    this.#stream.on('error', (error: ServiceError) => { this.ended = codedError(error); });
    this.#stream.on('end', () => { this.ended ??= new Error('ended'); });
    this.#timer = setInterval(() => this.send({ $case: 'heartbeat', value: {} }), 500);
    if (base !== null) this.send({ $case: 'hello', value: { executorId: id, address: `${id}:1`, base, device: 'cpu', build: '0' } });
  }

  /** Resolves when the registry has answered: its frames come behind the welcome. */
  async joined(): Promise<void> { await vi.waitFor(() => { if (this.frames.length === 0) throw new Error('not joined'); }, { timeout: 5000 }); }

  /** Everything that it is given is ready. */
  willing(): this {
    this.onPrepare = ({ taskId }) => this.ready(taskId);
    for (const { taskId } of this.tasks) this.ready(taskId);
    return this;
  }

  get tasks(): registryV1.Prepare[] { return this.of('prepare'); }
  of<Case extends Down['$case']>(kind: Case): Extract<Down, { $case: Case }>['value'][] {
    return this.frames.filter(frame => frame.$case === kind).map(frame => frame.value) as never;
  }

  /** The n-th task, counted from 0, when it comes. */
  async task(n = 0, timeout = 15_000): Promise<registryV1.Prepare> {
    await expect.poll(() => this.tasks.length, { timeout }).toBeGreaterThan(n);
    return this.tasks[n]!;
  }

  send(body: Up): void { this.#stream.write({ body }); }
  progress(taskId: string, stage: string): void { this.send({ $case: 'progress', value: { taskId, stage } }); }
  result(taskId: string, result: Partial<registryV1.TaskResult>): void { this.send({ $case: 'result', value: registryV1.TaskResult.fromPartial({ taskId, ...result }) }); }
  ready(taskId: string): void { this.result(taskId, { effect: 0.5 }); }

  getArtifact(digest: string): Promise<registryV1.Artifact> {
    const { path, requestSerialize, responseDeserialize } = executorsService.getArtifact as MethodDefinition<registryV1.GetArtifactRequest, registryV1.Artifact>;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { digest }, metadata(TOKEN), (error, artifact) => (error === null ? resolve(artifact!) : reject(codedError(error))));
    });
  }

  async fetch(sha256: string): Promise<Buffer> {
    const { path, requestSerialize, responseDeserialize } = executorsService.fetchBlob;
    const stream = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { sha256 }, metadata(TOKEN));
    const chunks: Uint8Array[] = [];
    try {
      for await (const { bytes } of stream as AsyncIterable<registryV1.BlobChunk>) chunks.push(bytes);
    } catch (error) {
      throw codedError(error as ServiceError);
    }
    return Buffer.concat(chunks);
  }

  /** As if the process hung. */
  silence(): void { clearInterval(this.#timer); }
  /** As if it were killed. */
  kill(): void {
    this.silence();
    this.#stream.cancel();
    this.#client.close();
  }
}

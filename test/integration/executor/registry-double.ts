/** A registry over real gRPC that does what the test says: for what a real one can't be made to do on command. */
import { Metadata, Server, ServerCredentials, status, type handleUnaryCall, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { encodeError, ERROR_METADATA, executorsService, HEARTBEAT_MS, LINK_OPTIONS, TOKEN_METADATA, WeftError, type registryV1 } from '@weft/contracts';
import { ArtifactStore } from '../../unit/executor/registry.js';

type UpBody = NonNullable<registryV1.JoinUp['body']>;
type JoinCall = ServerDuplexStream<registryV1.JoinUp, registryV1.JoinDown>;

export class RegistryDouble {
  /** Every frame of every join, in order. */
  readonly frames: UpBody[] = [];
  joins = 0;
  /** False: as if the process hung. */
  beats = true;
  /** False: orphans are heard, but not taken. */
  takes = true;
  address = '';
  #server!: Server;
  #calls = new Set<JoinCall>();
  #timer: NodeJS.Timeout | undefined;

  constructor(readonly token: string, readonly store = new ArtifactStore()) {}

  async start(): Promise<this> {
    this.#server = new Server(LINK_OPTIONS);
    this.#server.addService(executorsService, {
      join: (call: JoinCall) => this.#join(call),
      getArtifact: ((call, reply) => {
        this.store.getArtifact(call.request.digest).then(artifact => reply(null, artifact), (error: WeftError) => reply(failure(error)));
      }) satisfies handleUnaryCall<registryV1.GetArtifactRequest, registryV1.Artifact>,
      fetchBlob: (call: ServerWritableStream<registryV1.FetchBlobRequest, registryV1.BlobChunk>) => void this.#fetchBlob(call),
    });
    const port = Number(this.address.split(':')[1] ?? 0);
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, at) => (error ? reject(error) : resolve(at)));
    });
    this.address = `127.0.0.1:${bound}`;
    this.#timer = setInterval(() => { if (this.beats) this.send({ $case: 'heartbeat', value: {} }); }, HEARTBEAT_MS);
    return this;
  }

  /** As a process that is killed; `start` is its restart. */
  stop(): void {
    clearInterval(this.#timer);
    this.#server.forceShutdown();
    this.#calls.clear();
  }

  of<Case extends UpBody['$case']>(kind: Case): Extract<UpBody, { $case: Case }>['value'][] {
    return this.frames.filter(frame => frame.$case === kind).map(frame => frame.value) as never;
  }
  stagesOf(taskId: string): string[] { return this.of('progress').filter(progress => progress.taskId === taskId).map(({ stage }) => stage); }
  resultOf(taskId: string): registryV1.TaskResult | undefined { return this.of('result').find(result => result.taskId === taskId); }

  send(body: NonNullable<registryV1.JoinDown['body']>): void { for (const call of this.#calls) call.write({ body }); }
  prepare(taskId: string, digest: string): void { this.send({ $case: 'prepare', value: { taskId, artifact: this.store.artifacts.get(digest) } }); }

  #join(call: JoinCall): void {
    call.on('error', () => undefined);
    if (call.metadata.get(TOKEN_METADATA)[0] !== `Bearer ${this.token}`) return void call.emit('error', { code: status.UNAUTHENTICATED, details: 'no' });
    this.joins++;
    this.#calls.add(call);
    call.on('data', ({ body }: registryV1.JoinUp) => {
      this.frames.push(body!);
      if (body?.$case === 'hello' && this.beats) call.write({ body: { $case: 'heartbeat', value: {} } });
      if (body?.$case === 'orphans' && this.takes) call.write({ body: { $case: 'taken', value: { ids: body.value.closes.map(({ id }) => id) } } });
    });
    for (const ending of ['end', 'cancelled', 'close']) call.on(ending, () => { this.#calls.delete(call); call.end(); });
  }

  async #fetchBlob(call: ServerWritableStream<registryV1.FetchBlobRequest, registryV1.BlobChunk>): Promise<void> {
    const { sha256 } = call.request;
    if (!this.store.blobs.has(sha256)) return void call.emit('error', failure(new WeftError('not_found', `no blob ${sha256}`)));
    for await (const bytes of this.store.fetchBlob(sha256, new AbortController().signal)) call.write({ bytes });
    call.end();
  }
}

function failure(error: WeftError): { code: status; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set(ERROR_METADATA, encodeError(error));
  return { code: status.FAILED_PRECONDITION, details: error.message, metadata };
}

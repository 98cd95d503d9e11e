/** What executors ask: to be told what to prepare and forget, and the files for it. */
import type { ServerWritableStream } from '@grpc/grpc-js';
import { Injectable, Logger, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { BaseGeometry } from '@weft/adapters';
import { WeftError, type registryV1 } from '@weft/contracts';
import { Not } from 'typeorm';
import { Adapters } from '../adapters.js';
import { ArtifactStore } from '../artifacts/artifact-store.js';
import { toArtifact } from '../artifacts/listing.js';
import { Database } from '../database.js';
import { Artifact, Base, Version } from '../entities/index.js';
import { Members } from '../members.js';
import { Ledger } from '../usage.js';
import { ExecutorPool } from './executor-pool.js';
import { JoinStream, type JoinCall, type JoinHandler, type JoinUpBody } from './join-stream.js';

export type FetchCall = ServerWritableStream<registryV1.FetchBlobRequest, registryV1.BlobChunk>;

/** Deletions that went through another registry are told within this. */
const FORGET_MS = 10_000;
/** An executor that joins is told what was deleted while it was away; what it forgot already costs nothing. */
const FORGOTTEN_S = 86_400;

const STOPS = new WeftError('draining', 'the registry stops');

@Injectable()
export class ExecutorsService implements JoinHandler, OnApplicationBootstrap, OnModuleDestroy {
  /** What a joined executor's lease ends with. */
  readonly #leave = new Map<JoinStream, () => Promise<void>>();
  readonly #streams = new Set<JoinStream>();
  #timer: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(
    private readonly database: Database, private readonly members: Members, private readonly ledger: Ledger, private readonly store: ArtifactStore,
    private readonly pool: ExecutorPool, adapters: Adapters,
  ) {
    adapters.onDeleted(() => this.#tellDeleted());
  }

  onApplicationBootstrap(): void { this.#timer = setInterval(() => void this.#tellDeleted(), FORGET_MS); }

  onModuleDestroy(): void {
    clearInterval(this.#timer);
    this.close();
  }

  /** Ends every stream: executors look for another registry. */
  close(): void {
    this.#stopping = true;
    for (const stream of [...this.#streams]) stream.close(STOPS);
  }

  async join(call: JoinCall): Promise<void> { this.#streams.add(new JoinStream(call, this)); }

  /** Throws not_found: the same for one that was deleted. */
  async getArtifact({ digest }: registryV1.GetArtifactRequest): Promise<registryV1.Artifact> {
    const version = await this.database.acrossTenants(manager => manager.findOneBy(Version, { digest, status: Not('deleted' as const) }));
    if (version === null) throw new WeftError('not_found', `there is no adapter ${digest}`);
    return toArtifact(version);
  }

  /** No faster than it is read. Throws not_found, io_error. */
  async fetchBlob(call: FetchCall): Promise<void> {
    const { sha256 } = call.request;
    const row = await this.database.acrossTenants(manager => manager.findOneBy(Artifact, { sha256 }));
    if (row === null) throw new WeftError('not_found', 'there is no such artifact');
    const gone = new Promise<void>(resolve => { for (const ending of ['cancelled', 'close', 'error']) call.once(ending, resolve); });
    for await (const bytes of this.store.read({ sha256, size: row.bytes })) {
      if (call.cancelled) return;
      if (!call.write({ bytes })) await Promise.race([new Promise<void>(resolve => { call.once('drain', resolve); }), gone]);
    }
    call.end();
  }

  async onUp(stream: JoinStream, body: JoinUpBody): Promise<void> {
    if (body.$case === 'hello') return this.#welcome(stream, body.value);
    if (stream.executorId === '') throw new WeftError('invalid_value', 'hello comes first', { param: 'hello' });
    switch (body.$case) {
      case 'progress': return this.pool.progress(stream, body.value);
      case 'result': return this.pool.finish(stream, body.value);
      case 'orphans': return this.#take(stream, body.value);
    }
  }

  onGone(stream: JoinStream): void {
    this.#streams.delete(stream);
    this.pool.leave(stream, this.#stopping ? STOPS : new WeftError('executor_lost', `executor ${stream.executorId} was lost`));
    void this.#leave.get(stream)?.();
    this.#leave.delete(stream);
  }

  async #welcome(stream: JoinStream, { executorId, address, base, device, build }: registryV1.Hello): Promise<void> {
    if (executorId === '' || address === '' || base === undefined || stream.executorId !== '') throw new WeftError('invalid_value', 'hello names the executor, its address and its base, once', { param: 'hello' });
    // One that comes back before its old stream was missed.
    for (const old of this.#streams) if (old.executorId === executorId) old.close();
    const { digest, id: name, text } = base;
    const geometry = parseGeometry(base);
    await this.database.acrossTenants(manager => manager.upsert(Base, { digest, name, geometry, text, updatedAt: new Date() }, ['digest']));
    stream.executorId = executorId;
    stream.baseDigest = digest;
    this.#leave.set(stream, await this.members.join(executorId, { role: 'executor', address, info: { base: name, baseDigest: digest, device, build } }));
    await this.#tellDeleted(FORGOTTEN_S, [stream]);
    if (stream.gone) return;
    this.pool.join(stream);
    stream.send({ $case: 'heartbeat', value: {} });    // it has joined
  }

  /** Ends of requests whose gateway has gone: taken when they are on disk. While that can't be, the executor keeps them. */
  async #take(stream: JoinStream, { opens, closes }: registryV1.Orphans): Promise<void> {
    await this.ledger.writeUsage({ opens: opens.map(open => ({ ...open, executorId: stream.executorId })), closes });
    stream.send({ $case: 'taken', value: { ids: closes.map(({ id }) => id) } });
  }

  async #tellDeleted(seconds = 2 * FORGET_MS / 1000, streams: Iterable<JoinStream> = this.#streams): Promise<void> {
    const rows = await this.database.query<{ digest: string; base: string }>({
      name: 'deleted', values: [seconds], text: `
        select distinct digest, base_digest as base from weft.versions gone where deleted_at > now() - make_interval(secs => $1)
          and not exists (select 1 from weft.versions v where v.digest = gone.digest and v.base_digest = gone.base_digest and v.status <> 'deleted')`,
    }).catch((error: Error) => { new Logger('Executors').warn(`deletions were not told: ${error.message}`); return []; });
    for (const stream of streams) {
      for (const { digest, base } of rows) if (base === stream.baseDigest) stream.send({ $case: 'forget', value: { digest } });
    }
  }
}

function parseGeometry({ digest, geometry }: registryV1.Base): BaseGeometry {
  try {
    const parsed = JSON.parse(geometry) as BaseGeometry;
    if (parsed.digest === digest) return parsed;
  } catch {
    // told below
  }
  throw new WeftError('invalid_value', 'geometry is not the JSON of the geometry of base.digest', { param: 'hello' });
}

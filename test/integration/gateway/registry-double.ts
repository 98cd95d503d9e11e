/** A registry over real gRPC that keeps everything in memory: what it says and when it fails is the test's to decide. */
import { Metadata, Server, ServerCredentials, status, type sendUnaryData, type ServerReadableStream, type ServerUnaryCall, type ServerWritableStream } from '@grpc/grpc-js';
import { encodeError, ERROR_METADATA, GATEWAY_METADATA, LINK_OPTIONS, registryService, registryV1, TOKEN_METADATA, toWeftError, WeftError } from '@weft/contracts';
import type { RequestOf, ResponseOf, UnaryMethod } from '../../../apps/gateway/src/registry-client.js';

export const TENANT = '00000000-0000-4000-8000-000000000001';
const UNLIMITED: registryV1.Limits = { requestsPerMinute: 0, tokensPerMinute: 0, parallel: 0 };

type Answers = { [M in UnaryMethod]?: (request: RequestOf<M>) => ResponseOf<M> | Promise<ResponseOf<M>> };

export const principal = (change: Partial<registryV1.Principal> = {}): registryV1.Principal => registryV1.Principal.fromPartial({
  keyId: 'key', tenantId: TENANT, tenantName: 'default', scopes: ['inference', 'adapters:write'], limits: UNLIMITED, ...change,
});

/** An adapter with ready versions of these digests for the double's base. */
export const adapter = (name: string, digests: readonly string[], change: Partial<registryV1.Adapter> = {}): registryV1.Adapter => registryV1.Adapter.fromPartial({
  id: name, name, tenantName: 'default', createdAt: 1_700_000_000_000n,
  versions: digests.map((digest, i) => ({ id: `${name}-${i + 1}`, version: i + 1, digest, baseDigest: 'b'.repeat(64), base: 'org/tiny:base', status: registryV1.VersionStatus.READY })),
  ...change,
});

export class RegistryDouble {
  readonly keys = new Map<string, registryV1.Principal>();
  readonly tenants = new Map<string, registryV1.Tenant>();
  /** By tenant id. */
  readonly catalogs = new Map<string, registryV1.Adapter[]>();
  executors: Partial<registryV1.ExecutorMember>[] = [];
  /** How often each method was called. */
  readonly calls = new Map<string, number>();
  /** Usage as it was taken: every row that came, in order. */
  readonly opens: registryV1.UsageOpen[] = [];
  readonly closes: registryV1.UsageClose[] = [];
  /** Answers of other methods, or instead of those below. */
  answers: Answers = {};
  upload: (parts: ServerReadableStream<registryV1.UploadPart, registryV1.UploadedVersion>) => Promise<registryV1.UploadedVersion> = () => { throw new WeftError('internal_error', 'the test expects no upload'); };
  /** False: as if the process hung. */
  beats = true;
  address = '';
  #server = new Server(LINK_OPTIONS);
  readonly #watchers = new Set<ServerWritableStream<registryV1.WatchRequest, registryV1.WatchEvent>>();
  #timer: NodeJS.Timeout | undefined;
  #changes = 0n;

  constructor(readonly linkToken: string) {}

  async start(port = 0): Promise<this> {
    const unary = Object.keys(registryService).filter((name): name is UnaryMethod => name !== 'watch' && name !== 'upload');
    const handlers = Object.fromEntries(unary.map(name => [name, (call: ServerUnaryCall<never, never>, reply: sendUnaryData<never>) => void this.#answer(name, call, reply as never)]));
    this.#server = new Server(LINK_OPTIONS);
    this.#server.addService(registryService, {
      ...handlers,
      watch: (call: ServerWritableStream<registryV1.WatchRequest, registryV1.WatchEvent>) => this.#watch(call),
      upload: (call: ServerReadableStream<registryV1.UploadPart, registryV1.UploadedVersion>, reply: sendUnaryData<registryV1.UploadedVersion>) => void this.#upload(call, reply),
    });
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, p) => (error ? reject(error) : resolve(p)));
    });
    this.address = `127.0.0.1:${bound}`;
    this.#timer = setInterval(() => this.#tell({ $case: 'heartbeat', value: {} }), 1000);
    return this;
  }

  get port(): number { return Number(this.address.split(':')[1]); }

  /** As a killed process: every socket breaks. What it knew stays, for `start` on the same port. */
  kill(): void {
    clearInterval(this.#timer);
    this.#watchers.clear();
    this.#server.forceShutdown();
  }

  /** Watchers lose their stream; calls go on. */
  breakWatch(): void {
    for (const call of this.#watchers) call.emit('error', { code: status.UNAVAILABLE, details: 'broken' });
    this.#watchers.clear();
  }

  change(kind: registryV1.ChangeKind, tenantId = TENANT): void { this.#tell({ $case: 'change', value: { id: ++this.#changes, tenantId, kind } }); }

  setExecutors(executors: Partial<registryV1.ExecutorMember>[]): void {
    this.executors = executors;
    this.#tell(this.#roster());
  }

  get watching(): boolean { return this.#watchers.size > 0; }

  /** How often a method was called. */
  count(method: UnaryMethod): number { return this.calls.get(method) ?? 0; }

  #roster(): NonNullable<registryV1.WatchEvent['body']> { return { $case: 'roster', value: registryV1.Roster.fromPartial({ executors: this.executors }) }; }
  #tell(body: NonNullable<registryV1.WatchEvent['body']>): void { if (this.beats) for (const call of this.#watchers) call.write({ body }); }

  #watch(call: ServerWritableStream<registryV1.WatchRequest, registryV1.WatchEvent>): void {
    call.on('error', () => undefined).on('close', () => this.#watchers.delete(call)).on('cancelled', () => this.#watchers.delete(call));
    if (!this.#mayCall(call.metadata)) return void call.emit('error', { code: status.UNAUTHENTICATED, details: 'token' });
    this.#watchers.add(call);
    if (!this.beats) return;
    call.write({ body: this.#roster() });
    for (const kind of [registryV1.ChangeKind.CATALOG, registryV1.ChangeKind.KEYS]) call.write({ body: { $case: 'change', value: { id: 0n, tenantId: '', kind } } });
  }

  async #answer<M extends UnaryMethod>(name: M, call: ServerUnaryCall<RequestOf<M>, ResponseOf<M>>, reply: sendUnaryData<ResponseOf<M>>): Promise<void> {
    this.calls.set(name, this.count(name) + 1);
    if (!this.beats) return;
    if (!this.#mayCall(call.metadata)) return reply({ code: status.UNAUTHENTICATED, details: 'token' });
    try {
      const answer = this.answers[name] ?? (this.#own as Answers)[name];
      if (answer === undefined) throw new WeftError('internal_error', `the test expects no ${name}`);
      reply(null, await answer(call.request));
    } catch (thrown) {
      reply(refusal(thrown));
    }
  }

  async #upload(call: ServerReadableStream<registryV1.UploadPart, registryV1.UploadedVersion>, reply: sendUnaryData<registryV1.UploadedVersion>): Promise<void> {
    try {
      reply(null, await this.upload(call));
    } catch (thrown) {
      reply(refusal(thrown));
    }
  }

  readonly #own = {
    authenticate: ({ key }) => {
      const known = this.keys.get(key);
      if (known === undefined) throw new WeftError('invalid_api_key', 'This API key is not known here.');
      return known;
    },
    findTenant: ({ name }) => {
      const tenant = this.tenants.get(name.toLowerCase());
      if (tenant === undefined) throw new WeftError('not_found', 'no such tenant');
      return tenant;
    },
    getCatalog: ({ tenantId }) => ({
      tenantId, tenantName: [...this.tenants.values()].find(({ id }) => id === tenantId)?.name ?? '', adapters: this.catalogs.get(tenantId) ?? [],
    }),
    writeUsage: ({ opens, closes }) => {
      this.opens.push(...opens);
      this.closes.push(...closes);
      return {};
    },
  } satisfies Answers;

  #mayCall(metadata: Metadata): boolean {
    return metadata.get(TOKEN_METADATA)[0] === `Bearer ${this.linkToken}` && metadata.get(GATEWAY_METADATA)[0] !== undefined;
  }
}

function refusal(thrown: unknown): { code: status; details: string; metadata: Metadata } {
  const metadata = new Metadata();
  metadata.set(ERROR_METADATA, encodeError(toWeftError(thrown)));
  return { code: status.FAILED_PRECONDITION, details: (thrown as Error).message, metadata };
}

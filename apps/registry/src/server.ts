import { timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, ServerCredentials, status, type handleClientStreamingCall, type handleUnaryCall, type Metadata } from '@grpc/grpc-js';
import { Inject, Injectable } from '@nestjs/common';
import { executorsService, LINK_OPTIONS, registryService, TOKEN_METADATA, WeftError, type MethodDefinition, type registryV1 } from '@weft/contracts';
import { Adapters } from './adapters.js';
import { Aliases } from './aliases.js';
import { AuditLog } from './audit.js';
import type { RegistryConfig } from './config.js';
import { ExecutorsService, type FetchCall } from './executors/executors.service.js';
import type { JoinCall } from './executors/join-stream.js';
import { IngestionService } from './ingestion/ingestion.service.js';
import { UploadService } from './ingestion/upload.service.js';
import { Keys } from './keys.js';
import { Shares } from './shares.js';
import { Tenants } from './tenants.js';
import { REGISTRY_CONFIG } from './tokens.js';
import { Ledger } from './usage.js';
import { Watch, type WatchCall } from './watch.js';
import { fail, toServiceError } from './wire.js';

type Services = typeof registryService & typeof executorsService;
type Streaming = 'watch' | 'upload' | 'join' | 'fetchBlob';
type Handler<Definition> = Definition extends MethodDefinition<infer Request, infer Response> ? (request: Request) => Promise<Response> : never;
/** Every method of one request and one answer, and the service that has it. */
type UnaryTable = { [M in Exclude<keyof Services, Streaming>]: Record<M, Handler<Services[M]>> };

/** The gRPC server: one table says which service answers what. */
@Injectable()
export class RegistryServer {
  readonly #config: RegistryConfig;
  readonly #watch: Watch;
  readonly #executors: ExecutorsService;
  readonly #server = new Server(LINK_OPTIONS);

  constructor(
    @Inject(REGISTRY_CONFIG) config: RegistryConfig,
    tenants: Tenants, keys: Keys, adapters: Adapters, aliases: Aliases, shares: Shares, audit: AuditLog, ledger: Ledger, watch: Watch,
    uploads: UploadService, ingestion: IngestionService, executors: ExecutorsService,
  ) {
    this.#config = config;
    this.#watch = watch;
    this.#executors = executors;
    const unary: UnaryTable = {
      authenticate: keys, createKey: keys, listKeys: keys, updateKey: keys, revokeKey: keys,
      findTenant: tenants, createTenant: tenants, listTenants: tenants, deleteTenant: tenants,
      getCatalog: adapters, listAdapters: adapters, getAdapter: adapters, getVersionFiles: adapters, deleteAdapter: adapters, deleteVersion: adapters,
      putAlias: aliases, deleteAlias: aliases, putShare: shares, deleteShare: shares,
      listAudit: audit, listAdapterHistory: audit, writeUsage: ledger, queryUsage: ledger,
      listJobs: ingestion, cancelJob: ingestion, retryJob: ingestion, getArtifact: executors,
    };
    const handlers = {
      ...Object.fromEntries(Object.entries(unary).map(([method, service]) => [method, this.#unary(request => (service as Record<string, Handler<MethodDefinition<unknown, unknown>>>)[method]!(request))])),
      watch: this.#stream<WatchCall>(call => watch.watch(call)),
      join: this.#stream<JoinCall>(call => executors.join(call)),
      fetchBlob: this.#stream<FetchCall>(call => executors.fetchBlob(call)),
      upload: ((call, reply) => {
        if (!this.#mayCall(call.metadata)) return reply(DENIED);
        uploads.receive(call).then(response => reply(null, response), (error: unknown) => reply(toServiceError(error)));
      }) satisfies handleClientStreamingCall<registryV1.UploadPart, registryV1.UploadedVersion>,
    };
    this.#server.addService(registryService, handlers);
    this.#server.addService(executorsService, handlers);
  }

  /** Resolves to host:port. Throws port_in_use. */
  async listen(): Promise<string> {
    const { listenHost, listenPort } = this.#config;
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${listenHost}:${listenPort}`, ServerCredentials.createInsecure(), (cause, bound) => {
        if (cause === null) resolve(bound);
        else reject(new WeftError('port_in_use', `the registry can't listen on ${listenHost}:${listenPort}: ${cause.message}`, { cause }));
      });
    });
    return `${listenHost}:${port}`;
  }

  /** Ends the streams, lets calls finish within the drain time, then ends them. */
  async close(): Promise<void> {
    this.#watch.close();
    this.#executors.close();
    const finished = new Promise<void>(resolve => this.#server.tryShutdown(() => resolve()));
    await Promise.race([finished, sleep(this.#config.drainTimeoutMs, undefined, { ref: false })]);
    this.#server.forceShutdown();
  }

  #unary<Request, Response>(handle: (request: Request) => Promise<Response>): handleUnaryCall<Request, Response> {
    return (call, reply) => {
      if (!this.#mayCall(call.metadata)) return reply(DENIED);
      // A handler that throws before its first await is one that fails.
      void Promise.resolve(call.request).then(handle).then(response => reply(null, response), (error: unknown) => reply(toServiceError(error)));
    };
  }

  /** The handler has the stream; what it throws ends it. */
  #stream<Call extends { metadata: Metadata } & NodeJS.EventEmitter>(handle: (call: Call) => Promise<void>): (call: Call) => void {
    return call => {
      if (!this.#mayCall(call.metadata)) return fail(call, DENIED);
      Promise.resolve(call).then(handle).catch((error: unknown) => fail(call, toServiceError(error)));
    };
  }

  #mayCall(metadata: Metadata): boolean {
    const shown = Buffer.from(String(metadata.get(TOKEN_METADATA)[0] ?? ''));
    const expected = Buffer.from(`Bearer ${this.#config.linkToken}`);
    return shown.length === expected.length && timingSafeEqual(shown, expected);
  }
}

const DENIED = { code: status.UNAUTHENTICATED, details: 'this call needs the token of this start' };

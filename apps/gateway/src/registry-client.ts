/** The gateway's calls to the registry: what it throws there is thrown here. */
import { Client, credentials, Metadata, type ClientReadableStream, type ClientWritableStream } from '@grpc/grpc-js';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import {
  executorsService, GATEWAY_METADATA, KEEPALIVE_OPTIONS, LINK_OPTIONS, registryError, registryService, TOKEN_METADATA, type MethodDefinition, type registryV1,
} from '@weft/contracts';
import type { GatewayConfig } from './config.js';
import { GATEWAY_CONFIG, GATEWAY_ID } from './tokens.js';

type Service = typeof registryService;
/** Methods of one request and one answer. */
export type UnaryMethod = Exclude<keyof Service, 'watch' | 'upload'>;
export type RequestOf<M extends keyof Service> = Service[M] extends MethodDefinition<infer Request, infer _> ? Request : never;
export type ResponseOf<M extends keyof Service> = Service[M] extends MethodDefinition<infer _, infer Response> ? Response : never;

/** A registry that answers does so within milliseconds. */
const CALL_MS_MAX = 10_000;
const RECONNECT_MS = 100;
/** With grpc-js's jitter of a fifth, a registry that is back is found within a second. */
const RECONNECT_MS_MAX = 800;

@Injectable()
export class RegistryClient implements OnModuleDestroy {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor(@Inject(GATEWAY_CONFIG) { registryAddress, linkToken }: Pick<GatewayConfig, 'registryAddress' | 'linkToken'>, @Inject(GATEWAY_ID) gatewayId: string) {
    this.#client = new Client(registryAddress, credentials.createInsecure(), {
      ...LINK_OPTIONS, ...KEEPALIVE_OPTIONS, 'grpc.initial_reconnect_backoff_ms': RECONNECT_MS, 'grpc.max_reconnect_backoff_ms': RECONNECT_MS_MAX,
    });
    this.#metadata.set(TOKEN_METADATA, `Bearer ${linkToken}`);
    this.#metadata.set(GATEWAY_METADATA, gatewayId);
  }

  /** Throws what the registry throws, or registry_lost. */
  call<M extends UnaryMethod>(method: M, request: RequestOf<M>, timeoutMs = CALL_MS_MAX): Promise<ResponseOf<M>> {
    return this.#unary(registryService[method] as unknown as MethodDefinition<RequestOf<M>, ResponseOf<M>>, request, timeoutMs);
  }

  /** The files of an adapter. Throws not_found, registry_lost. */
  artifact(digest: string): Promise<registryV1.Artifact> { return this.#unary(executorsService.getArtifact, { digest }, CALL_MS_MAX); }

  blob(sha256: string): ClientReadableStream<registryV1.BlobChunk> {
    const { path, requestSerialize, responseDeserialize } = executorsService.fetchBlob;
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { sha256 }, this.#metadata, {});
  }

  #unary<Request, Response>({ path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>, request: Request, timeoutMs: number): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, this.#metadata, { deadline: Date.now() + timeoutMs }, (error, response) => {
        if (error !== null) reject(registryError(error));
        else resolve(response!);
      });
    });
  }

  watch(request: registryV1.WatchRequest): ClientReadableStream<registryV1.WatchEvent> {
    const { path, requestSerialize, responseDeserialize } = registryService.watch;
    return this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, this.#metadata, {});
  }

  /** Its parts are written by the caller, as fast as the stream takes them; the answer comes behind the commit. */
  upload(): { stream: ClientWritableStream<registryV1.UploadPart>; answer: Promise<registryV1.UploadedVersion> } {
    const { path, requestSerialize, responseDeserialize } = registryService.upload;
    let stream!: ClientWritableStream<registryV1.UploadPart>;
    const answer = new Promise<registryV1.UploadedVersion>((resolve, reject) => {
      stream = this.#client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata, {}, (error, response) => {
        if (error !== null) reject(registryError(error));
        else resolve(response!);
      });
    });
    return { stream, answer };
  }

  onModuleDestroy(): void { this.#client.close(); }
}

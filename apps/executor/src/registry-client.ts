/** The executor's calls to the registry: what it throws there is thrown here. */
import { Client, credentials, Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import { Inject, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { executorsService, KEEPALIVE_OPTIONS, LINK_OPTIONS, registryError, TOKEN_METADATA, type registryV1 } from '@weft/contracts';
import type { ExecutorConfig } from './config.js';
import { EXECUTOR_CONFIG } from './tokens.js';

export type JoinStream = ClientDuplexStream<registryV1.JoinUp, registryV1.JoinDown>;

const RECONNECT_MS = 100;
const RECONNECT_MS_MAX = 500;
/** A registry that answers does so within milliseconds, and a blob's bytes follow each other. */
const ANSWER_MS_MAX = 10_000;

@Injectable()
export class RegistryClient implements OnModuleDestroy {
  readonly #client: Client;
  readonly #metadata = new Metadata();

  constructor(@Inject(EXECUTOR_CONFIG) { registryAddress, linkToken }: Pick<ExecutorConfig, 'registryAddress' | 'linkToken'>) {
    this.#client = new Client(registryAddress, credentials.createInsecure(), {
      ...LINK_OPTIONS, ...KEEPALIVE_OPTIONS, 'grpc.initial_reconnect_backoff_ms': RECONNECT_MS, 'grpc.max_reconnect_backoff_ms': RECONNECT_MS_MAX,
    });
    this.#metadata.set(TOKEN_METADATA, `Bearer ${linkToken}`);
  }

  join(): JoinStream {
    const { path, requestSerialize, responseDeserialize } = executorsService.join;
    return this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, this.#metadata);
  }

  /** The files of an adapter. Throws not_found, registry_lost. */
  getArtifact(digest: string): Promise<registryV1.Artifact> {
    const { path, requestSerialize, responseDeserialize } = executorsService.getArtifact;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, { digest }, this.#metadata, { deadline: Date.now() + ANSWER_MS_MAX }, (error, artifact) => {
        if (error !== null) reject(registryError(error));
        else resolve(artifact!);
      });
    });
  }

  /** The bytes of a file, as fast as they are taken. Throws not_found, registry_lost, or the signal's reason. */
  async *fetchBlob(sha256: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    signal.throwIfAborted();
    const { path, requestSerialize, responseDeserialize } = executorsService.fetchBlob;
    const stream = this.#client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { sha256 }, this.#metadata);
    const cancel = (): void => stream.cancel();
    const stalled = setTimeout(cancel, ANSWER_MS_MAX);
    signal.addEventListener('abort', cancel);
    try {
      for await (const { bytes } of stream as AsyncIterable<registryV1.BlobChunk>) {
        yield bytes;
        stalled.refresh();
      }
    } catch (error) {
      signal.throwIfAborted();
      throw registryError(error as ServiceError);
    } finally {
      clearTimeout(stalled);
      signal.removeEventListener('abort', cancel);
      stream.cancel();
    }
  }

  onModuleDestroy(): void { this.#client.close(); }
}

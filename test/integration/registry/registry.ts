/** A registry in this process, and calls to it as a gateway makes them. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, credentials, Metadata, type ClientReadableStream, type ServiceError } from '@grpc/grpc-js';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { decodeError, ERROR_METADATA, LINK_OPTIONS, registryService, TOKEN_METADATA, type MethodDefinition, type registryV1 } from '@weft/contracts';
import { readConfig } from '../../../apps/registry/src/config.js';
import { RegistryModule } from '../../../apps/registry/src/registry.module.js';
import { RegistryServer } from '../../../apps/registry/src/server.js';
import type { TestDatabase } from './database.js';

type Service = typeof registryService;
export type Method = Exclude<keyof Service, 'watch' | 'upload'>;
export type RequestOf<M extends keyof Service> = Service[M] extends MethodDefinition<infer Request, unknown> ? Request : never;
export type ResponseOf<M extends keyof Service> = Service[M] extends MethodDefinition<RequestOf<M>, infer Response> ? Response : never;

export const TOKEN = 'link-token';
export const ADMIN_KEY = 'sk-admin';
export const API_KEY = 'sk-tenant';

export class TestRegistry {
  private constructor(readonly app: INestApplicationContext, readonly address: string, readonly client: Client, readonly artifactsDir: string) {}

  static async start(database: TestDatabase, variables: Record<string, string> = {}): Promise<TestRegistry> {
    const artifactsDir = await mkdtemp(join(tmpdir(), 'weft-artifacts-'));
    const config = readConfig({
      WEFT_LINK_TOKEN: TOKEN, WEFT_DATABASE_URL: database.url, WEFT_ARTIFACTS_DIR: artifactsDir, WEFT_KEY_PEPPER: 'pepper',
      WEFT_API_KEY: API_KEY, WEFT_ADMIN_KEY: ADMIN_KEY, WEFT_DRAIN_TIMEOUT: '1', ...variables,
    });
    const app = await NestFactory.createApplicationContext(RegistryModule.with(config), { logger: false, abortOnError: false });
    const address = await app.get(RegistryServer).listen();
    return new TestRegistry(app, address, new Client(address, credentials.createInsecure(), LINK_OPTIONS), artifactsDir);
  }

  /** Throws the coded error; a call without one the ServiceError itself. */
  call<M extends Method>(method: M, request: RequestOf<M>, token = TOKEN): Promise<ResponseOf<M>> {
    const { path, requestSerialize, responseDeserialize } = registryService[method] as unknown as MethodDefinition<RequestOf<M>, ResponseOf<M>>;
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata(token), { deadline: Date.now() + 10_000 }, (error, response) => {
        if (error === null) resolve(response!);
        else reject(codedError(error));
      });
    });
  }

  watch(gatewayId: string, token = TOKEN): Watching {
    const { path, requestSerialize, responseDeserialize } = registryService.watch;
    return new Watching(this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { gatewayId }, metadata(token)));
  }

  async stop(): Promise<void> {
    await this.app.get(RegistryServer).close();
    this.client.close();
    await this.app.close();
    await rm(this.artifactsDir, { recursive: true, force: true });
  }
}

type EventBody = NonNullable<registryV1.WatchEvent['body']>;

/** What a Watch stream told, and how it ended. */
export class Watching {
  readonly events: EventBody[] = [];
  ended: Error | undefined;
  constructor(readonly stream: ClientReadableStream<registryV1.WatchEvent>) {
    stream.on('data', ({ body }: registryV1.WatchEvent) => this.events.push(body!));
    stream.on('error', (error: ServiceError) => { this.ended = codedError(error); });
  }

  of<Case extends EventBody['$case']>(kind: Case): Extract<EventBody, { $case: Case }>['value'][] {
    return this.events.filter(event => event.$case === kind).map(event => event.value) as never;
  }
}

export const metadata = (token: string): Metadata => {
  const value = new Metadata();
  value.set(TOKEN_METADATA, `Bearer ${token}`);
  return value;
};

export function codedError(error: ServiceError): Error {
  const [sent] = error.metadata?.get(ERROR_METADATA) ?? [];
  return (sent !== undefined && decodeError(String(sent))) || error;
}

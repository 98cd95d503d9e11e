/** Uploads as a gateway sends them. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client, ClientWritableStream } from '@grpc/grpc-js';
import { registryService, type registryV1 } from '@weft/contracts';
import { loraTensors, peftConfig, safetensors } from '../../unit/adapters/support.js';
import { GEOMETRY } from './executor-double.js';
import { codedError, metadata, TOKEN } from './registry.js';

export type Body = NonNullable<registryV1.UploadPart['body']>;
export type Files = Record<string, string | Uint8Array>;

/** A PEFT LoRA of the double's base; another seed, another digest. */
export function loraFiles(seed = 1, rank = 4): Files {
  return {
    'adapter_config.json': JSON.stringify(peftConfig({ base_model_name_or_path: 'org/tiny', r: rank })),
    'adapter_model.safetensors': safetensors(loraTensors(GEOMETRY, ['q', 'v'], () => rank, seed)),
  };
}

export interface UploadOptions { tenantId: string; fields?: Record<string, string>; files?: Files; idempotencyKey?: string }

export const field = (name: string, value: string): Body => ({ $case: 'field', value: { name, value } });
export const file = (name: string, content: string | Uint8Array): Body[] => [{ $case: 'file', value: name }, { $case: 'bytes', value: Buffer.from(content) }];
export const begin = (tenantId: string, idempotencyKey = ''): Body => ({ $case: 'begin', value: { actor: { tenantId, keyId: 'key', requestId: randomUUID() }, tenantId, idempotencyKey } });
export const commit: Body = { $case: 'commit', value: {} };

export class UploadCall {
  readonly stream: ClientWritableStream<registryV1.UploadPart>;
  readonly answer: Promise<registryV1.UploadedVersion>;
  answered = false;

  constructor(client: Client) {
    const { path, requestSerialize, responseDeserialize } = registryService.upload;
    let stream!: ClientWritableStream<registryV1.UploadPart>;
    this.answer = new Promise((resolve, reject) => {
      stream = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata(TOKEN), {}, (error, response) => {
        this.answered = true;
        if (error === null) resolve(response!);
        else reject(codedError(error));
      });
    });
    this.answer.catch(() => undefined);      // the test awaits it later, or not at all
    this.stream = stream;
  }

  /** As fast as the registry reads; in vain once it has answered. */
  async send(body: Body): Promise<void> {
    if (!this.answered && !this.stream.write({ body })) await Promise.race([once(this.stream, 'drain'), this.answer.catch(() => undefined)]);
  }
}

export async function send(client: Client, bodies: Iterable<Body>): Promise<registryV1.UploadedVersion> {
  const call = new UploadCall(client);
  for (const body of bodies) await call.send(body);
  call.stream.end();
  return call.answer;
}

export function upload(client: Client, { tenantId, fields = {}, files = loraFiles(), idempotencyKey = '' }: UploadOptions): Promise<registryV1.UploadedVersion> {
  return send(client, [
    begin(tenantId, idempotencyKey), ...Object.entries(fields).map(([name, value]) => field(name, value)),
    ...Object.entries(files).flatMap(([name, content]) => file(name, content)), commit,
  ]);
}

export const newName = (): string => `a-${randomUUID().slice(0, 8)}`;

/** Files below a folder of the store, with what lies in between. */
export async function filesBelow(artifactsDir: string, folder: 'blobs' | 'staging'): Promise<string[]> {
  const entries = await readdir(join(artifactsDir, folder), { recursive: true, withFileTypes: true });
  return entries.filter(entry => entry.isFile()).map(entry => entry.name);
}

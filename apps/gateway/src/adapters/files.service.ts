/** Files of a version, as they were uploaded. */
import { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { registryError, WeftError, type registryV1 } from '@weft/contracts';
import { RegistryClient } from '../registry-client.js';

@Injectable()
export class FilesService {
  constructor(private readonly registry: RegistryClient) {}

  /** Those that the digest covers. Throws not_found. */
  async list(tenantId: string, name: string, version: number): Promise<registryV1.ArtifactFile[]> {
    const adapter = await this.registry.call('getAdapter', { tenantId, name });
    const found = adapter.versions.find(one => one.version === version);
    if (found === undefined) throw new WeftError('not_found', `${adapter.name} has no version ${version}.`, { param: 'version' });
    return (await this.registry.artifact(found.digest)).files;
  }

  /** A file's bytes, no faster than they are read. Throws not_found, io_error, registry_lost before the first of them. */
  async open(tenantId: string, name: string, version: number, fileName: string): Promise<{ file: registryV1.ArtifactFile; bytes: Readable }> {
    const file = (await this.list(tenantId, name, version)).find(one => one.name === fileName);
    if (file === undefined) throw new WeftError('not_found', `${name}@${version} has no file ${JSON.stringify(fileName)}.`, { param: 'file' });
    const chunks = this.read(file);
    const first = await chunks.next();
    return { file, bytes: Readable.from(rest(first, chunks), { objectMode: false }) };
  }

  /** Throws not_found, io_error, registry_lost. */
  async *read({ sha256 }: Pick<registryV1.ArtifactFile, 'sha256'>): AsyncGenerator<Uint8Array> {
    const call = this.registry.blob(sha256);
    try {
      for await (const { bytes } of call as AsyncIterable<registryV1.BlobChunk>) yield bytes;
    } catch (error) {
      throw registryError(error as Parameters<typeof registryError>[0]);
    } finally {
      call.cancel();
    }
  }
}

async function* rest(first: IteratorResult<Uint8Array>, chunks: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (first.done !== true) yield first.value;
    yield* chunks;
  } finally {
    await chunks.return(undefined);
  }
}

/** A registry in memory, as far as adapters are fetched from it: artifacts of folders, with faults on demand. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf } from '@weft/adapters';
import { WeftError, type registryV1 } from '@weft/contracts';

const CHUNK_BYTES = 1000;

export class ArtifactStore {
  readonly artifacts = new Map<string, registryV1.Artifact>();
  readonly blobs = new Map<string, Uint8Array>();
  /** Calls of fetchBlob, by file. */
  fetched = 0;
  /** What a fetch meets; called for each. */
  fault: (sha256: string, bytes: Uint8Array) => Uint8Array | Promise<Uint8Array> = (_, bytes) => bytes;

  /** The digest of a folder's files. */
  put(folder: string): string {
    return this.putFiles(Object.fromEntries(readdirSync(folder).map(name => [name, readFileSync(join(folder, name))])));
  }

  putFiles(contents: Record<string, Uint8Array>): string {
    const files = Object.entries(contents).map(([name, bytes]) => {
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      this.blobs.set(sha256, bytes);
      return { name, size: BigInt(bytes.length), sha256 };
    });
    const digest = digestOf(files.map(({ name, size, sha256 }) => ({ name, size: Number(size), sha256 })));
    this.artifacts.set(digest, { digest, files });
    return digest;
  }

  async getArtifact(digest: string): Promise<registryV1.Artifact> {
    const artifact = this.artifacts.get(digest);
    if (!artifact) throw new WeftError('not_found', `no version has digest ${digest}`);
    return artifact;
  }

  async *fetchBlob(sha256: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    this.fetched++;
    const bytes = await this.fault(sha256, this.blobs.get(sha256)!);
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      signal.throwIfAborted();
      yield bytes.subarray(at, at + CHUNK_BYTES);
    }
  }
}

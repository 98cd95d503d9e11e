/**
 * Blobs in a bucket:
 *
 *   <prefix>blobs/<sha256>           committed: copied there by the server from what was staged
 *   <prefix>staging/<random>         written, in parts where it is large; what nobody finished goes after a day
 *
 * Of each blob two parts are in memory at most, whatever its size.
 */
import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CopyObjectCommand, CreateMultipartUploadCommand, DeleteObjectCommand, GetObjectCommand,
  HeadObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand, UploadPartCommand, UploadPartCopyCommand, type CompletedPart, type S3Client,
} from '@aws-sdk/client-s3';
import { WeftError } from '@weft/contracts';
import { ArtifactStore, type Blob, type LaidOut, type StagedBlob } from './artifact-store.js';
import { s3Client } from './s3-client.js';
import type { S3Config } from './s3-config.js';
import { storeError, told } from './s3-errors.js';

const READ_BYTES = 256 << 10;
/** As long as an upload may take. */
const STAGING_MS_MAX = 24 * 3_600_000;

/** partBytes: S3 takes from 5 MiB to 5 GiB, and 10,000 parts. copyBytes: what one copy may move. */
export interface S3Sizes { partBytes: number; copyBytes: number }
const SIZES: S3Sizes = { partBytes: 8 << 20, copyBytes: 1 << 30 };

export class S3Store extends ArtifactStore {
  private constructor(readonly bucket: Bucket, readonly scratch: string) { super(); }

  /**
   * scratch: a folder for files that are laid out. Throws option_invalid for a bucket that is not there or not ours,
   * registry_lost for one that can't be reached.
   */
  static async open(config: S3Config, scratch: string, sizes = SIZES): Promise<S3Store> {
    const bucket = new Bucket(config, sizes);
    try {
      await bucket.collectStaging();
    } catch (error) {
      bucket.client.destroy();
      throw openError(error, config);
    }
    await mkdir(scratch, { recursive: true });
    return new S3Store(bucket, await mkdtemp(join(scratch, 'weft-laid-out-')));
  }

  async stage(): Promise<StagedBlob> { return new StagedObject(this.bucket); }

  /** In ranges: a reader that is slow holds no connection. */
  async *read({ sha256, size }: Blob): AsyncIterable<Buffer> {
    const { bucket: { client, name, sizes } } = this;
    const Key = this.#keyOf(sha256);
    const { ContentLength: found } = await told(client.send(new HeadObjectCommand({ Bucket: name, Key })));
    if (found !== size) throw new WeftError('io_error', `artifact ${sha256} has ${found} bytes instead of ${size}`);
    for (let at = 0; at < size; at += sizes.partBytes) {
      const end = Math.min(at + sizes.partBytes, size);
      const { Body } = await told(client.send(new GetObjectCommand({ Bucket: name, Key, Range: `bytes=${at}-${end - 1}` })));
      const part = Buffer.from((await told(Body!.transformToByteArray())).buffer);
      if (part.length !== end - at) throw new WeftError('io_error', `artifact ${sha256} has ${part.length} bytes from ${at} instead of ${end - at}`);
      for (let offset = 0; offset < part.length; offset += READ_BYTES) yield part.subarray(offset, offset + READ_BYTES);
    }
  }

  async layOut(files: readonly (Blob & { name: string })[]): Promise<LaidOut> {
    const path = join(this.scratch, randomUUID());
    const remove = (): Promise<void> => rm(path, { recursive: true, force: true });
    await told(mkdir(path));
    try {
      for (const { name, ...blob } of files) await pipeline(this.read(blob), createWriteStream(join(path, name), { flags: 'wx', mode: 0o600 }));
      return { path: await realpath(path), remove };
    } catch (error) {
      await remove();
      throw storeError(error);
    }
  }

  async *list(): AsyncIterable<string> {
    const prefix = this.#keyOf('');
    for await (const { key } of this.bucket.objects(prefix)) if (/^[0-9a-f]{64}$/.test(key.slice(prefix.length))) yield key.slice(prefix.length);
  }

  remove(sha256: string): Promise<void> { return this.bucket.remove(this.#keyOf(sha256)); }

  async onApplicationShutdown(): Promise<void> { await this.close(); }

  async close(): Promise<void> {
    await rm(this.scratch, { recursive: true, force: true });
    this.bucket.client.destroy();
  }

  #keyOf(sha256: string): string { return this.bucket.blobKey(sha256); }
}

/** The bucket's keys, and what is done with them. */
class Bucket {
  readonly client: S3Client;
  readonly name: string;
  readonly #prefix: string;

  constructor(config: S3Config, readonly sizes: S3Sizes) {
    this.name = config.bucket;
    this.#prefix = config.prefix;
    this.client = s3Client(config);
  }

  blobKey(sha256: string): string { return `${this.#prefix}blobs/${sha256}`; }
  stagingKey(): string { return `${this.#prefix}staging/${randomUUID()}`; }

  async *objects(Prefix: string): AsyncGenerator<{ key: string; modifiedMs: number }> {
    let ContinuationToken: string | undefined;
    do {
      const page = await told(this.client.send(new ListObjectsV2Command({ Bucket: this.name, Prefix, ContinuationToken })));
      for (const { Key, LastModified } of page.Contents ?? []) yield { key: Key!, modifiedMs: LastModified!.getTime() };
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
  }

  async remove(Key: string): Promise<void> { await told(this.client.send(new DeleteObjectCommand({ Bucket: this.name, Key }))); }

  /** Inside the server; large ones in parts. */
  async copy(from: string, Key: string, size: number): Promise<void> {
    const { client, name: Bucket, sizes: { copyBytes } } = this;
    const CopySource = encodeURI(`${Bucket}/${from}`);
    if (size <= copyBytes) {
      await told(client.send(new CopyObjectCommand({ Bucket, Key, CopySource })));
      return;
    }
    const upload = await MultipartUpload.begin(this, Key);
    try {
      for (let at = 0; at < size; at += copyBytes) await upload.copyPart(CopySource, at, Math.min(at + copyBytes, size) - 1);
      await upload.complete();
    } catch (error) {
      await upload.abort();
      throw error;
    }
  }

  /** What uploads that died left behind. */
  async collectStaging(): Promise<void> {
    const Prefix = `${this.#prefix}staging/`;
    const before = Date.now() - STAGING_MS_MAX;
    for await (const { key, modifiedMs } of this.objects(Prefix)) if (modifiedMs < before) await this.remove(key);
    let KeyMarker: string | undefined;
    let UploadIdMarker: string | undefined;
    do {
      const page = await told(this.client.send(new ListMultipartUploadsCommand({ Bucket: this.name, Prefix: this.#prefix, KeyMarker, UploadIdMarker })));
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (Initiated !== undefined && Initiated.getTime() < before) await new MultipartUpload(this, Key!, UploadId!).abort();
      }
      [KeyMarker, UploadIdMarker] = page.IsTruncated === true ? [page.NextKeyMarker, page.NextUploadIdMarker] : [undefined, undefined];
    } while (KeyMarker !== undefined);
  }
}

class MultipartUpload {
  readonly #parts: CompletedPart[] = [];
  readonly #target: { Bucket: string; Key: string; UploadId: string };

  constructor(readonly bucket: Bucket, Key: string, UploadId: string) { this.#target = { Bucket: bucket.name, Key, UploadId }; }

  static async begin(bucket: Bucket, Key: string): Promise<MultipartUpload> {
    const { UploadId } = await told(bucket.client.send(new CreateMultipartUploadCommand({ Bucket: bucket.name, Key })));
    return new MultipartUpload(bucket, Key, UploadId!);
  }

  async part(Body: Uint8Array): Promise<void> {
    const PartNumber = this.#parts.length + 1;
    const { ETag } = await told(this.bucket.client.send(new UploadPartCommand({ ...this.#target, PartNumber, Body })));
    this.#parts.push({ PartNumber, ETag });
  }

  /** last: of the bytes, the range's ends belong to it. */
  async copyPart(CopySource: string, first: number, last: number): Promise<void> {
    const PartNumber = this.#parts.length + 1;
    const { CopyPartResult } = await told(this.bucket.client.send(new UploadPartCopyCommand({ ...this.#target, PartNumber, CopySource, CopySourceRange: `bytes=${first}-${last}` })));
    this.#parts.push({ PartNumber, ETag: CopyPartResult?.ETag });
  }

  async complete(): Promise<void> { await told(this.bucket.client.send(new CompleteMultipartUploadCommand({ ...this.#target, MultipartUpload: { Parts: this.#parts } }))); }

  /** As far as the server can be reached: what stays goes with what dead uploads left. */
  async abort(): Promise<void> { await this.bucket.client.send(new AbortMultipartUploadCommand(this.#target)).catch(() => undefined); }
}

class StagedObject implements StagedBlob {
  readonly #hash = createHash('sha256');
  readonly #key: string;
  #part: Buffer;
  #filled = 0;
  #size = 0;
  #upload: MultipartUpload | undefined;
  /** One part on its way while the next one fills. */
  #sending: Promise<void> = Promise.resolve();
  #blob: Blob | undefined;
  #stored = false;

  constructor(readonly bucket: Bucket) {
    this.#key = bucket.stagingKey();
    this.#part = Buffer.alloc(0);
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk);
    this.#size += chunk.byteLength;
    for (let at = 0; at < chunk.byteLength;) {
      if (this.#filled === this.#part.length) await this.#grow();
      const taken = Math.min(this.#part.length - this.#filled, chunk.byteLength - at);
      this.#part.set(chunk.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
    }
  }

  async finish(): Promise<Blob> {
    const rest = this.#part.subarray(0, this.#filled);
    await this.#sending;
    if (this.#upload === undefined) {
      await told(this.bucket.client.send(new PutObjectCommand({ Bucket: this.bucket.name, Key: this.#key, Body: rest, ContentLength: rest.length })));
    } else {
      await this.#upload.part(rest);
      await this.#upload.complete();
      this.#upload = undefined;
    }
    this.#stored = true;
    this.#part = Buffer.alloc(0);
    this.#blob = { sha256: this.#hash.digest('hex'), size: this.#size };
    return this.#blob;
  }

  /** Over a blob of the same bytes as well: one that was damaged is whole again. */
  async commit(): Promise<void> {
    const { sha256, size } = this.#blob!;
    await this.bucket.copy(this.#key, this.bucket.blobKey(sha256), size);
  }

  async discard(): Promise<void> {
    await this.#sending.catch(() => undefined);
    await this.#upload?.abort();
    this.#upload = undefined;
    // Whatever can't be removed now goes with what dead uploads left.
    if (this.#stored) await this.bucket.remove(this.#key).catch(() => undefined);
  }

  /** Room for more: small blobs stay small in memory, a full part is sent. */
  async #grow(): Promise<void> {
    const { partBytes } = this.bucket.sizes;
    if (this.#part.length < partBytes) {
      const larger = Buffer.allocUnsafe(Math.min(partBytes, Math.max(READ_BYTES, 2 * this.#part.length)));
      larger.set(this.#part);
      this.#part = larger;
      return;
    }
    await this.#sending;
    const full = this.#part;
    this.#part = Buffer.allocUnsafe(partBytes);
    this.#filled = 0;
    this.#sending = this.#send(full);
    this.#sending.catch(() => undefined);     // the next part or the end throws it
  }

  async #send(part: Buffer): Promise<void> {
    this.#upload ??= await MultipartUpload.begin(this.bucket, this.#key);
    await this.#upload.part(part);
  }
}

function openError(error: unknown, { bucket, endpoint, region }: S3Config): WeftError {
  const { code, message, details } = storeError(error);
  if (code !== 'not_found' && code !== 'io_error') return new WeftError(code, message, details);
  return new WeftError('option_invalid', `the bucket ${bucket} at ${endpoint ?? `AWS, region ${region}`} can't be used: ${message}. Look at WEFT_S3_BUCKET and the keys; migrate.js makes a bucket that is not there`, { field: 'WEFT_S3_BUCKET', cause: error });
}

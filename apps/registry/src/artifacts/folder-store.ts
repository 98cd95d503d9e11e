/**
 * Blobs in a folder:
 *
 *   blobs/<first 2 of sha256>/<sha256>     committed: written, synced, then renamed
 *   staging/<host>-<pid>-<random>/…        of one process; what a dead one left is removed by the next
 */
import { createHash, randomUUID } from 'node:crypto';
import { link, mkdir, open, opendir, readdir, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { toWeftError, WeftError } from '@weft/contracts';
import { ArtifactStore, type Blob, type LaidOut, type StagedBlob } from './artifact-store.js';

/** Small writes cost more in calls than in bytes; larger ones gain nothing. */
const WRITE_BYTES = 1 << 20;
/** The disk works while the rest arrives: else all of it would wait for the last sync. */
const SYNC_BYTES = 32 << 20;
const READ_BYTES = 256 << 10;
/** Folders of other machines that share this store are left alone for as long as an upload may take. */
const FOREIGN_STAGING_MS_MAX = 24 * 3_600_000;

/** Staging folders that stores of this process use: two tests, or two registries in one process. */
const inUse = new Set<string>();

export class FolderStore extends ArtifactStore {
  readonly #blobs: string;
  readonly #staging: string;
  /** Of this process. */
  readonly #ownName = `${hostname()}-${process.pid}-${randomUUID()}`;
  readonly #own: string;

  private constructor(root: string) {
    super();
    this.#blobs = join(root, 'blobs');
    this.#staging = join(root, 'staging');
    this.#own = join(this.#staging, this.#ownName);
  }

  /** Throws insufficient_storage or io_error. */
  static async open(root: string): Promise<FolderStore> {
    const store = new FolderStore(root);
    inUse.add(store.#ownName);
    await told(store.#prepare());
    return store;
  }

  async stage(): Promise<StagedBlob> {
    const path = join(this.#own, randomUUID());
    return new StagedFile(path, await told(open(path, 'wx', 0o600)), sha256 => this.#pathOf(sha256));
  }

  async *read({ sha256, size }: Blob): AsyncIterable<Buffer> {
    const file = await this.#openBlob(sha256);
    try {
      const found = (await file.stat()).size;
      if (found !== size) throw new WeftError('io_error', `artifact ${sha256} has ${found} bytes instead of ${size}`);
      for (let at = 0; at < size;) {
        const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, size - at));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
        if (bytesRead === 0) throw new WeftError('io_error', `artifact ${sha256} ends after ${at} of ${size} bytes`);
        at += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await file.close();
    }
  }

  /** Hard links: nothing is copied, and a blob that is collected meanwhile stays readable here. */
  async layOut(files: readonly (Blob & { name: string })[]): Promise<LaidOut> {
    const path = join(this.#own, randomUUID());
    const remove = (): Promise<void> => rm(path, { recursive: true, force: true });
    await told(mkdir(path));
    try {
      for (const { name, sha256 } of files) await link(this.#pathOf(sha256), join(path, name));
    } catch (error) {
      await remove();
      throw storeError(error);
    }
    return { path: await realpath(path), remove };
  }

  async *list(): AsyncIterable<string> {
    for await (const { name } of await opendir(this.#blobs, { recursive: true })) if (/^[0-9a-f]{64}$/.test(name)) yield name;
  }

  async remove(sha256: string): Promise<void> { await told(rm(this.#pathOf(sha256), { force: true })); }

  /** Removes this process's staging folder: what is still there belongs to nobody. */
  async close(): Promise<void> {
    await rm(this.#own, { recursive: true, force: true });
    inUse.delete(this.#ownName);
  }

  async onApplicationShutdown(): Promise<void> { await this.close(); }

  #pathOf(sha256: string): string { return join(this.#blobs, sha256.slice(0, 2), sha256); }

  #openBlob(sha256: string): Promise<FileHandle> { return told(open(this.#pathOf(sha256), 'r')); }

  async #prepare(): Promise<void> {
    await mkdir(this.#blobs, { recursive: true });
    await mkdir(this.#own, { recursive: true });
    for (const name of await readdir(this.#staging)) {
      if (await isLeftover(join(this.#staging, name), name)) await rm(join(this.#staging, name), { recursive: true, force: true });
    }
  }
}

class StagedFile implements StagedBlob {
  readonly #hash = createHash('sha256');
  #chunks: Uint8Array[] = [];
  #waiting = 0;
  #size = 0;
  #synced = 0;
  /** One write at a time, while the next chunks arrive and are hashed. */
  #writing: Promise<void> = Promise.resolve();
  #syncing: Promise<void> = Promise.resolve();
  #blob: Blob | undefined;
  #file: FileHandle | undefined;

  constructor(readonly path: string, file: FileHandle, readonly target: (sha256: string) => string) { this.#file = file; }

  async write(chunk: Uint8Array): Promise<void> {
    this.#hash.update(chunk);
    this.#chunks.push(chunk);
    this.#waiting += chunk.byteLength;
    if (this.#waiting >= WRITE_BYTES) await this.#flush();
  }

  async finish(): Promise<Blob> {
    const file = this.#file!;
    await this.#flush();
    await told(this.#writing);
    await told(this.#syncing);
    await told(file.sync());
    await this.#close();
    this.#blob = { sha256: this.#hash.digest('hex'), size: this.#size };
    return this.#blob;
  }

  /** Over a blob of the same bytes as well: one that was damaged is whole again. */
  async commit(): Promise<void> {
    const target = this.target(this.#blob!.sha256);
    const folder = join(target, '..');
    try {
      const made = await mkdir(folder, { recursive: true });
      await rename(this.path, target);
      await syncFolder(folder);
      if (made !== undefined) await syncFolder(join(folder, '..'));
    } catch (error) {
      throw storeError(error);
    }
  }

  async discard(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#syncing.catch(() => undefined);
    await this.#close();
    await rm(this.path, { force: true });
  }

  async #flush(): Promise<void> {
    await told(this.#writing);
    const [chunks, bytes, file] = [this.#chunks, this.#waiting, this.#file!];
    if (bytes === 0) return;
    [this.#chunks, this.#waiting] = [[], 0];
    this.#size += bytes;
    this.#writing = writeAll(file, chunks, bytes);
    this.#writing.catch(() => undefined);    // the next write or finish throws it
    if (this.#size - this.#synced < SYNC_BYTES) return;
    this.#synced = this.#size;
    await told(this.#syncing);
    this.#syncing = this.#writing.then(() => file.datasync());
    this.#syncing.catch(() => undefined);
  }

  async #close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }
}

/** A full disk takes a part of a write before it refuses the rest. */
async function writeAll(file: FileHandle, chunks: readonly Uint8Array[], bytes: number): Promise<void> {
  let { bytesWritten } = await file.writev(chunks);
  if (bytesWritten === bytes) return;
  for (const chunk of chunks) {
    if (bytesWritten >= chunk.byteLength) { bytesWritten -= chunk.byteLength; continue; }
    await file.writeFile(chunk.subarray(bytesWritten));
    bytesWritten = 0;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function isLeftover(path: string, name: string): Promise<boolean> {
  if (inUse.has(name)) return false;
  const [, host, pid] = /^(.+)-(\d+)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(name) ?? [];
  if (host === hostname()) return Number(pid) === process.pid || !isAlive(Number(pid));
  const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }));
  return Date.now() - mtimeMs > FOREIGN_STAGING_MS_MAX;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function told<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storeError(error);
  }
}

function storeError(error: unknown): WeftError {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new WeftError('insufficient_storage', 'the artifact store is full; make room and upload again', { cause: error });
  if (code === 'ENOENT') return new WeftError('not_found', 'there is no such artifact', { cause: error });
  if (error instanceof WeftError || code === undefined) return toWeftError(error);
  return new WeftError('io_error', `the artifact store failed with ${code}`, { cause: error });
}

/**
 * Packed weights of earlier starts, a folder with a file for each. A cache: the truth is the checkpoint, and a file that is
 * not what it should be is made again. Only a checkpoint whose digest is known is looked for here.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '@weft/adapters';
import { toWeftError, WeftError, type ErrorCode } from '@weft/contracts';
import type { Device } from '@weft/kernels';
import { PackedReader, packedFileBytes, usedAtMs, writePacked, type PackedBuffer, type PackedKey } from './packed-file.js';

/** Kept besides the one in use: someone who compares two or three models packs each once. */
const OTHERS_MAX = 3;
/** What is left to everything else that lives on the disk. */
const ROOM_BYTES = 2 ** 30;
/** A file that is being written grows all the time. */
const ABANDONED_MS = 10 * 60_000;

const ENDING = '.weights';
/** Reasons to pack again. */
const UNUSABLE: readonly ErrorCode[] = ['image_corrupt', 'io_error'];

export class PackedCache {
  readonly #dir: string;
  readonly #log: (line: string) => void;
  readonly #closing = new AbortController();
  #writing: Promise<void> = Promise.resolve();

  constructor(dir: string, log: (line: string) => void = () => undefined) {
    this.#dir = dir;
    this.#log = log;
  }

  /** What an earlier start packed; null where there is nothing, or nothing of use: then it is gone. */
  async open(device: Device, key: PackedKey): Promise<PackedReader | null> {
    const path = this.#pathOf(key);
    try {
      const reader = await PackedReader.open(device, path, key);
      const now = new Date();
      if (reader) await utimes(path, now, now).catch(() => undefined);        // a disk that can only be read
      return reader;
    } catch (error) {
      await this.refuse(path, error);
      return null;
    }
  }

  /** Removes a file that could not be used, and says why. Throws what is no fault of the file. */
  async refuse(path: string, error: unknown): Promise<void> {
    if (!(error instanceof WeftError) || !UNUSABLE.includes(error.code)) throw error;
    this.#log(`packed cache: ${error.message}; the weights are packed again`);
    await rm(path, { force: true }).catch(() => undefined);                   // replaced, or refused again
  }

  /** Writes what was packed, in the background: the buffers must stay until `idle` or `close`. A failure is only logged. */
  store(device: Device, key: PackedKey, buffers: readonly PackedBuffer[]): void {
    this.#writing = this.#writing.then(() => this.#write(device, key, buffers)).catch((error: unknown) => {
      if (!this.#closing.signal.aborted) this.#log(`packed cache: nothing is kept: ${toWeftError(error).message}`);
    });
  }

  /** Resolves when everything is written. */
  idle(): Promise<void> { return this.#writing; }

  /** Gives up what is being written. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#writing;
  }

  async #write(device: Device, key: PackedKey, buffers: readonly PackedBuffer[]): Promise<void> {
    const path = this.#pathOf(key);
    if (await PackedReader.open(device, path, key).catch(() => null)) return;
    await mkdir(this.#dir, { recursive: true });
    await this.#makeRoom(path);
    const bytes = packedFileBytes(key, buffers), { bavail, bsize } = await statfs(this.#dir);
    if (bytes + ROOM_BYTES > bavail * bsize) {
      this.#log(`packed cache: nothing is kept: ${mib(bytes)} and ${mib(ROOM_BYTES)} for others are needed in ${this.#dir}; it has ${mib(bavail * bsize)}`);
      return;
    }
    const startedAt = performance.now();
    const draft = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      await writePacked(device, draft, key, buffers, this.#closing.signal);
      await rename(draft, path);
      await syncFolder(this.#dir);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
    this.#log(`packed cache: ${mib(bytes)} written in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  }

  /** Removes what others left half-written, and the files that were used longest ago. */
  async #makeRoom(path: string): Promise<void> {
    const files = await Promise.all((await readdir(this.#dir)).map(async name => ({ path: join(this.#dir, name), atMs: await usedAtMs(join(this.#dir, name)) })));
    const others = files.filter(file => file.path.endsWith(ENDING) && file.path !== path).sort((a, b) => (b.atMs ?? 0) - (a.atMs ?? 0));
    const abandoned = files.filter(file => file.path.endsWith('.tmp') && file.atMs !== null && Date.now() - file.atMs > ABANDONED_MS);
    for (const file of abandoned) await rm(file.path, { force: true });
    for (const file of others.slice(OTHERS_MAX)) {
      this.#log(`packed cache: ${file.path} is removed; it was used longest ago`);
      await rm(file.path, { force: true });
    }
  }

  #pathOf({ digest, packing, weights, partition: { rank, size } }: PackedKey): string {
    return join(this.#dir, `${digest}-${packing}-${weights}-${rank}of${size}${ENDING}`);
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

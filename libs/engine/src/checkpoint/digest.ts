/**
 * The identity of a base: adapters, their images and KV are bound to it.
 *
 * It is the sha256 of config.json (canonical: sorted keys) and of every byte of every weight file, names included.
 * Hashing samples of each tensor would be cheaper and would let a base pass for another that differs in one vocabulary
 * row. The whole file costs 0.2 s for 270 MB where the processor has SHA instructions, off the main thread and beside
 * the packing that reads the same bytes; where it takes longer (8B: about 12 s), `cacheDir` keeps each file's hash
 * under its path, size and times of change, as git's index does, so that only the first start pays.
 */
import { createHash, webcrypto } from 'node:crypto';
import { mkdir, open, readFile, realpath, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isObject } from './fields.js';

/** A file's hash is the sha256 of the sha256 of each chunk: chunks are hashed side by side. Part of the identity. */
const CHUNK_BYTES = 8 * 2 ** 20;
/** Chunks at a time: half of libuv's threads, the others read. */
const CHUNKS_AT_ONCE = 2;

const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** JSON with sorted keys, so that formatting and order do not matter. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? 'null';
  return `{${Object.keys(value).sort().map(key => `${JSON.stringify(key)}:${canonicalJson(value[key])}`).join(',')}}`;
}

export interface WeightFile { name: string; path: string }

/** Identity of a checkpoint whose config.json is `config` and whose weights are in `files`. Throws what the file system throws. */
export async function baseDigest(config: unknown, files: readonly WeightFile[], cacheDir?: string): Promise<string> {
  return (await digestOf(config, files, path => (cacheDir === undefined ? hashFile(path) : cachedHash(path, cacheDir))))!;
}

/** The same, as far as it is remembered; null where a file would have to be hashed. */
export function knownDigest(config: unknown, files: readonly WeightFile[], cacheDir: string): Promise<string | null> {
  return digestOf(config, files, async path => rememberedHash(await entryOf(path, cacheDir)));
}

async function digestOf(config: unknown, files: readonly WeightFile[], hashOf: (path: string) => Promise<string | null>): Promise<string | null> {
  const weights: [string, string][] = [];
  for (const { name, path } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const hash = await hashOf(path);
    if (hash === null) return null;
    weights.push([name, hash]);
  }
  return sha256(canonicalJson({ config, weights }));
}

async function hashFile(path: string): Promise<string> {
  const file = await open(path);
  try {
    const { size } = await file.stat();
    const chunks = Math.ceil(size / CHUNK_BYTES);
    const hashes = Buffer.alloc(chunks * 32);
    let next = 0;
    const worker = async (): Promise<void> => {
      const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, size));
      for (let chunk = next++; chunk < chunks; chunk = next++) {
        let filled = 0;
        const wanted = Math.min(CHUNK_BYTES, size - chunk * CHUNK_BYTES);
        while (filled < wanted) {
          const { bytesRead } = await file.read(buffer, filled, wanted - filled, chunk * CHUNK_BYTES + filled);
          if (bytesRead === 0) throw new Error(`${path} became shorter while it was read`);
          filled += bytesRead;
        }
        hashes.set(new Uint8Array(await webcrypto.subtle.digest('SHA-256', buffer.subarray(0, filled))), chunk * 32);
      }
    };
    await Promise.all(Array.from({ length: Math.min(CHUNKS_AT_ONCE, chunks) }, worker));
    return sha256(hashes);
  } finally {
    await file.close();
  }
}

/** Where the hash of a file as it is now is kept. */
async function entryOf(path: string, cacheDir: string): Promise<string> {
  const real = await realpath(path);
  const { size, mtimeNs, ctimeNs, ino, dev } = await stat(real, { bigint: true });
  return join(cacheDir, `${sha256(canonicalJson([real, `${size} ${mtimeNs} ${ctimeNs} ${ino} ${dev}`]))}.sha256`);
}

async function rememberedHash(entry: string): Promise<string | null> {
  const known = await readFile(entry, 'utf8').catch(() => '');                // not there yet
  return /^[0-9a-f]{64}$/.test(known) ? known : null;
}

async function cachedHash(path: string, cacheDir: string): Promise<string> {
  const entry = await entryOf(path, cacheDir);
  const known = await rememberedHash(entry);
  if (known !== null) return known;
  const hash = await hashFile(path);
  await mkdir(cacheDir, { recursive: true });
  // Renamed into place: a start that dies here leaves no half entry.
  const draft = `${entry}.${process.pid}`;
  await writeFile(draft, hash);
  await rename(draft, entry);
  return hash;
}

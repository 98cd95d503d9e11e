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

/** Identity of a checkpoint whose config.json is `config` and whose weights are in `files`. Throws what the file system throws. */
export async function baseDigest(config: unknown, files: readonly { name: string; path: string }[], cacheDir?: string): Promise<string> {
  const weights: [string, string][] = [];
  for (const { name, path } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    weights.push([name, await (cacheDir === undefined ? hashFile(path) : cachedHash(path, cacheDir))]);
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

async function cachedHash(path: string, cacheDir: string): Promise<string> {
  const real = await realpath(path);
  const { size, mtimeNs, ctimeNs, ino, dev } = await stat(real, { bigint: true });
  const key = sha256(canonicalJson([real, `${size} ${mtimeNs} ${ctimeNs} ${ino} ${dev}`]));
  const entry = join(cacheDir, `${key}.sha256`);
  const known = await readFile(entry, 'utf8').catch(() => '');                // not there yet
  if (/^[0-9a-f]{64}$/.test(known)) return known;
  const hash = await hashFile(real);
  await mkdir(cacheDir, { recursive: true });
  // Renamed into place: a start that dies here leaves no half entry.
  const draft = `${entry}.${process.pid}`;
  await writeFile(draft, hash);
  await rename(draft, entry);
  return hash;
}

/** An adapter folder on its way into a running Weft: read from disk as it is sent, then followed until it is ready or refused. */
import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { classifyFile, readAdapterFolder } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import type { Adapter, Api, Body, Model, Version } from './api.js';

const POLL_MS = 200;
const READ_BYTES = 1 << 20;

export interface UploadFields { name: string; alias?: string | undefined; description?: string | undefined }

export interface Progress {
  /** Bytes of the form that have been read for sending, and all of them. */
  sent?(bytes: number, total: number): void;
  stage?(stage: string): void;
}

/** The base that is served. Throws executor_lost. */
export async function servedBase(api: Api): Promise<Model> {
  const base = (await api.get<{ data: Model[] }>('/v1/models')).data.find(({ parent }) => parent === null);
  if (base === undefined) throw new WeftError('executor_lost', 'no base is served at the moment; try again');
  return base;
}

/**
 * Sends what counts of a folder, unless the adapter has a version of the same content and base that is ready or on its way.
 * known: the adapter as it is there, if it is. Throws AdapterRefused for what needs no server to see, and the server's errors.
 */
export async function upload(api: Api, base: Model, folder: string, fields: UploadFields, known: Adapter | undefined, progress: Progress = {}): Promise<Version> {
  const { digest } = await readAdapterFolder(folder);
  const same = ({ status, ...version }: Version): boolean =>
    version.digest === digest && version.base_digest === base.digest && (status === 'ready' || status === 'validating');
  const there = known?.versions.findLast(same);
  // Alias and description are the server's to change.
  if (there !== undefined && fields.alias === undefined && fields.description === undefined) return there;
  return await json(await api.request('POST', '/v1/adapters', await formOf(folder, { ...fields, base: base.id }, progress))) as Version;
}

/** Waits for the end of a version's ingestion. */
export async function followed(api: Api, version: Version, progress: Progress = {}): Promise<Version> {
  let { stage } = version;
  let now = version;
  while (now.status === 'validating') {
    if (stage !== null) progress.stage?.(stage);
    await sleep(POLL_MS);
    now = await api.get<Version>(`/v1/adapters/${version.name}/versions/${version.version}`);
    stage = now.stage === stage ? null : now.stage;
  }
  return now;
}

/** multipart/form-data of the fields and every file but trainers' leftovers, which are not read anywhere. */
async function formOf(folder: string, fields: UploadFields & { base: string }, { sent }: Progress): Promise<Body> {
  const boundary = `weft-${randomUUID()}`;
  const parts: { head: Buffer; file?: { path: string; size: number } }[] = Object.entries(fields).filter(([, value]) => value !== undefined)
    .map(([name, value]) => ({ head: Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`) }));
  for (const name of (await readdir(folder)).sort()) {
    if (classifyFile(name) === 'ignored') continue;
    const path = join(folder, name);
    const quoted = name.replace(/["\r\n]/g, encodeURIComponent);
    parts.push({
      head: Buffer.from(`--${boundary}\r\ncontent-disposition: form-data; name="files"; filename="${quoted}"\r\ncontent-type: application/octet-stream\r\n\r\n`),
      file: { path, size: (await stat(path)).size },
    });
  }
  const tail = Buffer.from(`--${boundary}--\r\n`);
  const length = parts.reduce((sum, { head, file }) => sum + head.length + (file === undefined ? 0 : file.size + 2), tail.length);

  async function* bytes(): AsyncGenerator<Buffer> {
    let done = 0;
    for (const { head, file } of parts) {
      yield head;
      done += head.length;
      if (file === undefined) continue;
      for await (const chunk of contentOf(file)) {
        done += chunk.length;
        sent?.(done, length);
        yield chunk;
      }
      yield Buffer.from('\r\n');
      done += 2;
    }
    yield tail;
    sent?.(length, length);
  }
  return { bytes: Readable.from(bytes()), type: `multipart/form-data; boundary=${boundary}`, length };
}

/** Exactly as many bytes as were announced. Throws io_error. */
async function* contentOf({ path, size }: { path: string; size: number }): AsyncGenerator<Buffer> {
  let read = 0;
  try {
    if (size > 0) for await (const chunk of createReadStream(path, { end: size - 1, highWaterMark: READ_BYTES })) { read += (chunk as Buffer).length; yield chunk as Buffer; }
  } catch (cause) {
    throw new WeftError('io_error', `${path} can't be read: ${(cause as Error).message}`, { file: path, cause });
  }
  if (read < size) throw new WeftError('io_error', `${path} became shorter while it was sent`, { file: path });
}

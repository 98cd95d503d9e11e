/** `weft pull`: a version's files, as they were uploaded, into a folder. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { WeftError } from '@weft/contracts';
import type { Api } from '../api.js';
import { mebibytes, type Outcome } from './outcome.js';
import { getAdapter, parseReference, versionOf } from './show.js';

interface RemoteFile { name: string; bytes: number; sha256: string }

/** Throws conflict for a folder that holds something, io_error for bytes that are not those that were uploaded. */
export async function pull(api: Api, reference: string, folderOf: (name: string) => string, received: (bytes: number, total: number) => void): Promise<Outcome> {
  const { name, suffix } = parseReference(reference);
  const version = versionOf(await getAdapter(api, name), suffix);
  const path = `/v1/adapters/${encodeURIComponent(name)}/versions/${version.version}/files`;
  const files = (await api.get<{ data: RemoteFile[] }>(path)).data;
  const folder = folderOf(version.name);
  await mkdir(folder, { recursive: true });
  if ((await readdir(folder)).length > 0) throw new WeftError('conflict', `${folder} is not empty; name another folder`);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  for (const file of files) {
    await download(api, `${path}/${encodeURIComponent(file.name)}`, file, folder, bytes => { done += bytes; received(done, total); });
  }
  return { text: `${version.name}@${version.version} is in ${folder} (${files.length} files, ${mebibytes(total)} MiB, digest ${version.digest.slice(0, 12)})`, json: { name: version.name, version: version.version, digest: version.digest, folder, files } };
}

async function download(api: Api, path: string, { name, sha256 }: RemoteFile, folder: string, count: (bytes: number) => void): Promise<void> {
  // The server's names are those of an upload: flat. What is not would leave the folder.
  if (/[/\\]|^\.\.?$/.test(name)) throw new WeftError('io_error', `the server names a file ${JSON.stringify(name)}`);
  const hash = createHash('sha256');
  const counted = new Transform({
    transform(chunk: Buffer, _, done) {
      hash.update(chunk);
      count(chunk.length);
      done(null, chunk);
    },
  });
  const half = join(folder, `.${name}.part`);
  try {
    await pipeline(await api.request('GET', path), counted, createWriteStream(half, { flags: 'wx' }));
    const found = hash.digest('hex');
    if (found !== sha256) throw new WeftError('io_error', `${name} has the sha256 ${found} instead of ${sha256}`);
    await rename(half, join(folder, name));
  } catch (error) {
    await rm(half, { force: true });
    throw error;
  }
}

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Blob, StagedBlob } from '../../../apps/registry/src/artifacts/artifact-store.js';
import { FolderStore } from '../../../apps/registry/src/artifacts/folder-store.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

let root: string;
let store: FolderStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'weft-store-'));
  store = await FolderStore.open(root);
});
afterEach(async () => {
  await store.close();
  await rm(root, { recursive: true, force: true });
});

async function stage(bytes: Uint8Array, chunkBytes = bytes.length || 1): Promise<{ staged: StagedBlob; blob: Blob }> {
  const staged = await store.stage();
  for (let at = 0; at < bytes.length; at += chunkBytes) await staged.write(bytes.subarray(at, at + chunkBytes));
  return { staged, blob: await staged.finish() };
}

async function contentOf(blob: Blob): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of store.read(blob)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const stagedFiles = async (): Promise<string[]> => (await readdir(join(root, 'staging'), { recursive: true, withFileTypes: true })).filter(entry => entry.isFile()).map(entry => entry.name);
const blobs = async (): Promise<string[]> => { const found = []; for await (const name of store.list()) found.push(name); return found.sort(); };

test.each([[0, 1], [1, 1], [70_000, 999], [3 << 20, 65_536], [(1 << 20) + 1, 1 << 20]])('%i bytes in chunks of %i come back as they were, under their sha256', async (size, chunkBytes) => {
  const bytes = randomBytes(size);
  const { staged, blob } = await stage(bytes, chunkBytes);
  expect(blob).toEqual({ sha256: sha256(bytes), size });
  expect(await blobs()).toEqual([]);
  await staged.commit();
  expect((await contentOf(blob)).equals(bytes)).toBe(true);
  expect(await blobs()).toEqual([blob.sha256]);
  expect(await stagedFiles()).toEqual([]);
});

test('the same bytes twice are one blob, and heal one that was damaged', async () => {
  const bytes = randomBytes(1000);
  const first = await stage(bytes);
  await first.staged.commit();
  await writeFile(join(root, 'blobs', first.blob.sha256.slice(0, 2), first.blob.sha256), 'damaged');
  await expect(contentOf(first.blob)).rejects.toMatchObject({ code: 'io_error' });
  const second = await stage(bytes);
  await second.staged.commit();
  expect(await blobs()).toEqual([first.blob.sha256]);
  expect((await contentOf(first.blob)).equals(bytes)).toBe(true);
});

test('what is discarded is gone, and so is what was removed', async () => {
  const { staged } = await stage(randomBytes(10));
  await staged.discard();
  expect(await stagedFiles()).toEqual([]);
  const kept = await stage(randomBytes(10));
  await kept.staged.commit();
  await kept.staged.discard();
  expect(await blobs()).toEqual([kept.blob.sha256]);
  await store.remove(kept.blob.sha256);
  await store.remove(kept.blob.sha256);
  await expect(contentOf(kept.blob)).rejects.toMatchObject({ code: 'not_found' });
});

test('a laid out folder holds the files by name, and survives the removal of a blob', async () => {
  const { staged, blob } = await stage(Buffer.from('weights'));
  await staged.commit();
  const folder = await store.layOut([{ name: 'a.safetensors', ...blob }, { name: 'copy', ...blob }]);
  await store.remove(blob.sha256);
  expect(await readdir(folder.path)).toEqual(['a.safetensors', 'copy']);
  expect(await readFile(join(folder.path, 'copy'), 'utf8')).toBe('weights');
  await folder.remove();
  expect(existsSync(folder.path)).toBe(false);
  await expect(store.layOut([{ name: 'a', ...blob }])).rejects.toMatchObject({ code: 'not_found' });
  expect(await stagedFiles()).toEqual([]);
});

test('what a dead process left is removed at the next start; what others stage now is not', async () => {
  const live = await stage(randomBytes(10));
  const id = '12345678-1234-1234-1234-123456789abc';
  const folder = (name: string): string => join(root, 'staging', name);
  const dead = [`${hostname()}-${process.pid}-${id}`, `${hostname()}-4194305-${id}`];
  const others = [`another-host-1-${id}`, `${hostname()}-1-${id}`];
  for (const name of [...dead, ...others]) {
    await mkdir(folder(name));
    await writeFile(join(folder(name), 'half'), 'half a file');
  }
  const next = await FolderStore.open(root);
  expect(dead.filter(name => existsSync(folder(name)))).toEqual([]);
  expect(others.filter(name => existsSync(folder(name)))).toEqual(others);
  await live.staged.commit();
  await next.close();
});

test('a full disk is insufficient_storage, and leaves room again', async ctx => {
  if (process.getuid?.() !== 0) ctx.skip('needs root, to mount a small file system');
  const disk = join(root, 'disk');
  await mkdir(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'ignore' });
  } catch {
    ctx.skip('needs a machine where root may mount a small file system');
  }
  const small = await FolderStore.open(disk);
  try {
    const staged = await small.stage();
    const filling = async (): Promise<void> => {
      for (let i = 0; i < 80; i++) await staged.write(randomBytes(100_000));
      await staged.finish();
    };
    await expect(filling()).rejects.toMatchObject({ code: 'insufficient_storage' });
    await staged.discard();
    const fits = await small.stage();
    await fits.write(randomBytes(3 << 20));
    await fits.finish();
    await fits.commit();
  } finally {
    await small.close();
    execFileSync('umount', [disk]);
  }
});

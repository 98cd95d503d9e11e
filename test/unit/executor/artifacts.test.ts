import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '@weft/contracts';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { probe } from '../../../apps/executor/src/probe.js';
import { filesOf, Serving } from './serving.js';

let serving: Serving;
beforeEach(async () => { serving = await new Serving().open(); });
afterEach(() => serving.close());

const never = new AbortController().signal;
const add = (digest: string, signal = never): Promise<void> => serving.artifacts.add(digest, signal);

test('an adapter is fetched once however many ask, serves, and leaves only its image', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  await Promise.all([add(digest), add(digest), add(digest)]);
  expect(serving.engine.knows(digest)).toBe(true);
  expect(serving.store.fetched).toBe(2);
  expect(serving.leftovers).toEqual([]);
  expect(serving.images).toHaveLength(1);
  await add(digest);
  expect(serving.store.fetched).toBe(2);
});

test('a cached image needs no registry', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  await add(digest);
  await serving.engine.close();
  await serving.open();
  serving.store.artifacts.clear();
  await add(digest);
  expect(serving.store.fetched).toBe(2);
  expect(await probe(serving.engine, digest)).toBeGreaterThan(0);
});

test.each<[string, (bytes: Uint8Array) => Uint8Array]>([
  ['a flipped bit', bytes => bytes.map((byte, i) => (i === 5 ? byte ^ 1 : byte))],
  ['a byte less', bytes => bytes.subarray(1)],
  ['a byte more', bytes => Buffer.concat([bytes, Buffer.alloc(1)])],
])('a blob with %s is fetched again; one that stays wrong is refused and leaves nothing', async (_, damage) => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  let faults = 1;
  serving.store.fault = (_sha256, bytes) => (faults-- > 0 ? damage(bytes) : bytes);
  await add(digest);
  expect(serving.store.fetched).toBe(3);
  const other = serving.store.putFiles(filesOf('r1'));
  faults = Infinity;
  await expect(add(other)).rejects.toMatchObject({ code: 'image_corrupt' });
  expect(serving.engine.knows(other)).toBe(false);
  expect(serving.leftovers).toEqual([]);
  expect(serving.images).toHaveLength(1);
});

test("files that are not the digest's own, or would leave the folder, are not fetched", async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  const artifact = serving.store.artifacts.get(digest)!;
  serving.store.artifacts.set('d'.repeat(64), artifact);
  await expect(add('d'.repeat(64))).rejects.toMatchObject({ code: 'io_error' });
  const outside = serving.store.putFiles({ '../escaped': Buffer.from('x') });
  await expect(add(outside)).rejects.toMatchObject({ code: 'io_error' });
  expect(serving.store.fetched).toBe(0);
  expect(existsSync(join(serving.dataDir, 'escaped'))).toBe(false);
});

test('what validation refuses is refused with its findings; what the registry does not have is not found', async () => {
  const digest = serving.store.putFiles({ ...filesOf('r8-qv'), 'notes.json': Buffer.from('{}') });
  await expect(add(digest)).rejects.toMatchObject({ name: 'AdapterRefused', code: 'adapter_file_unsupported', findings: [{ file: 'notes.json' }] });
  await expect(add('e'.repeat(64))).rejects.toMatchObject({ code: 'not_found' });
});

test('a fetch goes on while somebody waits for it, and is given up when nobody does', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  let release!: () => void;
  const held = new Promise<void>(resolve => { release = resolve; });
  serving.store.fault = async (_, bytes) => { await held; return bytes; };
  const first = new AbortController(), second = new AbortController();
  const one = add(digest, first.signal), two = add(digest, second.signal);
  first.abort(new WeftError('cancelled', 'one'));
  await expect(one).rejects.toMatchObject({ code: 'cancelled' });
  release();
  await two;

  const other = serving.store.putFiles(filesOf('r1'));
  serving.store.fault = async (_, bytes) => { await sleep(50); return bytes; };
  const alone = new AbortController(), before = serving.store.fetched;
  const three = add(other, alone.signal);
  await expect.poll(() => serving.store.fetched).toBe(before + 1);
  alone.abort(new WeftError('cancelled', 'three'));
  await expect(three).rejects.toMatchObject({ code: 'cancelled' });
  await expect.poll(() => serving.leftovers).toEqual([]);
  expect(serving.store.fetched).toBe(before + 1);
  await add(other);
});

test('a damaged or missing image is packed again from files that are fetched again', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  await add(digest);
  const effect = await probe(serving.engine, digest);
  const image = join(serving.dataDir, 'adapters', serving.images[0]!);
  for (const spoil of [() => writeFileSync(image, Buffer.alloc(4096), { flag: 'r+' }), () => rmSync(image)]) {
    await serving.engine.close();
    await serving.open();
    await add(digest);
    const before = serving.store.fetched;
    spoil();
    expect(await probe(serving.engine, digest)).toBe(effect);
    expect(serving.store.fetched).toBe(before + 2);
  }
});

test('forgotten, its image is gone; asked for again, it is fetched again', async () => {
  const digest = serving.store.putFiles(filesOf('r8-qv'));
  await add(digest);
  const effect = await probe(serving.engine, digest);
  await serving.engine.forget(digest);
  expect(serving.images).toEqual([]);
  expect(serving.engine.knows(digest)).toBe(false);
  await Promise.all([serving.engine.forget(digest), add(digest), add(digest)]);
  expect(serving.images).toHaveLength(1);
  expect(await probe(serving.engine, digest)).toBe(effect);
});

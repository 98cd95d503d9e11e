import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { registryV1 } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { ArtifactCollector } from '../../../apps/registry/src/artifacts/artifact-collector.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { BASE, ExecutorDouble, GEOMETRY } from './executor-double.js';
import { API_KEY, TestRegistry } from './registry.js';
import { filesBelow, loraFiles, newName, upload } from './uploads.js';

let database: TestDatabase | null;
let registry: TestRegistry;
let tenantId: string;
beforeAll(async () => {
  database = await createDatabase();
  if (database === null) return;
  registry = await TestRegistry.start(database);
  ({ tenantId } = await registry.call('authenticate', { key: API_KEY }));
});
afterAll(async () => {
  await registry?.stop();
  await database?.drop();
});
beforeEach(context => need(database, context));

function connect(id: string, base?: registryV1.Base | null, address = registry.address): ExecutorDouble {
  const executor = new ExecutorDouble(address, id, base);
  onTestFinished(() => executor.kill());
  return executor;
}
async function joined(id: string, base?: registryV1.Base, address?: string): Promise<ExecutorDouble> {
  const executor = connect(id, base, address);
  await executor.joined();
  return executor;
}
const send = (seed: number, name = newName()): Promise<registryV1.UploadedVersion> => upload(registry.client, { tenantId, fields: { name }, files: loraFiles(seed) });
const leases = async (): Promise<string[]> => (await database!.owner.query<{ id: string }>(`select id from weft.members where role = 'executor' and lease_until > now() order by id`)).rows.map(({ id }) => id);

describe('joining', () => {
  test('tells of the base, takes a lease, and shows in the roster', async () => {
    const watching = registry.watch(randomUUID());
    onTestFinished(() => watching.stream.cancel());
    const executor = await joined('e', { ...BASE, text: { 'tokenizer.json': 'x' } });
    const { rows } = await database!.owner.query('select name, geometry, text from weft.bases where digest = $1', [BASE.digest]);
    expect(rows).toEqual([{ name: 'org/tiny', geometry: JSON.parse(BASE.geometry), text: { 'tokenizer.json': 'x' } }]);
    await expect.poll(() => watching.of('roster').at(-1)?.executors).toEqual([{ id: 'e', address: 'e:1', baseDigest: BASE.digest, base: 'org/tiny' }]);
    executor.kill();
    await expect.poll(() => watching.of('roster').at(-1)?.executors, { timeout: 7000 }).toEqual([]);
  });

  test('needs a hello, and one only', async () => {
    const silent = connect('x', null);
    silent.progress('task', 'pack');
    await expect.poll(() => silent.ended).toMatchObject({ code: 'invalid_value', details: { param: 'hello' } });
    const twice = await joined('x');
    twice.send({ $case: 'hello', value: { executorId: 'y', address: 'y:1', base: BASE, device: '', build: '' } });
    await expect.poll(() => twice.ended).toMatchObject({ code: 'invalid_value' });
  });

  test('with a geometry that is none is refused', async () => {
    const executor = connect('x', { ...BASE, digest: 'd'.repeat(64), geometry: 'no' });
    await expect.poll(() => executor.ended).toMatchObject({ code: 'invalid_value' });
  });

  test('again, before the old stream was missed: the newer one stays, and so does the lease', async () => {
    const old = await joined('twin');
    const next = await joined('twin');
    await expect.poll(() => old.ended).toBeDefined();
    await sleep(300);
    expect(await leases()).toContain('twin');
    expect(next.ended).toBeUndefined();
  });

  test('is over after seconds of silence; until then it beats', async () => {
    const executor = await joined('quiet');
    await expect.poll(() => executor.of('heartbeat').length, { timeout: 4000 }).toBeGreaterThan(2);
    executor.silence();
    await expect.poll(leases, { timeout: 7000 }).not.toContain('quiet');
    expect(executor.ended).toMatchObject({ code: 'executor_lost' });
  });
});

describe('artifacts', () => {
  test('are fetched by digest and sha256, in chunks, and only while a version names them', async () => {
    const executor = (await joined('e')).willing();
    const files = { ...loraFiles(1), 'tokenizer_config.json': '{}', 'README.md': 'x' };
    const name = newName();
    const { version } = await upload(registry.client, { tenantId, fields: { name }, files });
    const artifact = await executor.getArtifact(version!.digest);
    expect(artifact.digest).toBe(version!.digest);
    expect(artifact.files.map(file => file.name)).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
    for (const { name: file, size, sha256 } of artifact.files) {
      const bytes = await executor.fetch(sha256);
      expect(bytes.length).toBe(Number(size));
      expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
      expect(bytes.equals(Buffer.from(files[file as keyof typeof files]!))).toBe(true);
    }
    await expect(executor.getArtifact('0'.repeat(64))).rejects.toMatchObject({ code: 'not_found' });
    for (const sha256 of ['0'.repeat(64), '../../etc/passwd', '']) await expect(executor.fetch(sha256)).rejects.toMatchObject({ code: 'not_found' });
    await registry.call('deleteAdapter', { actor: undefined, tenantId, name, force: true });
    await expect(executor.getArtifact(version!.digest)).rejects.toMatchObject({ code: 'not_found' });
    await expect.poll(() => filesBelow(registry.artifactsDir, 'blobs')).toEqual([]);
    await expect(executor.fetch(artifact.files[0]!.sha256)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('that are shorter than they were are told, not sent', async () => {
    const executor = (await joined('e')).willing();
    const { version } = await send(2);
    const { sha256 } = (await executor.getArtifact(version!.digest)).files[1]!;
    await truncate(join(registry.artifactsDir, 'blobs', sha256.slice(0, 2), sha256), 100);
    await expect(executor.fetch(sha256)).rejects.toMatchObject({ code: 'io_error' });
  });

  test('of several chunks come whole to many readers at once', async () => {
    const executor = (await joined('e')).willing();
    const weights = randomBytes(3_000_000);
    const { version } = await upload(registry.client, { tenantId, fields: { name: newName() }, files: { 'adapter_config.json': '{}', 'adapter_model.safetensors': weights } });
    const { sha256 } = (await executor.getArtifact(version!.digest)).files[1]!;
    const copies = await Promise.all(Array.from({ length: 8 }, () => executor.fetch(sha256)));
    expect(copies.every(copy => copy.equals(weights))).toBe(true);
  });

  test('that another version names stay, and so do those that an upload brings back meanwhile', async () => {
    const [one, two] = [newName(), newName()];
    const { version } = await send(3, one);
    await send(3, two);
    const shared = (await (await joined('e')).getArtifact(version!.digest)).files.map(({ sha256 }) => sha256);
    const collector = registry.app.get(ArtifactCollector);
    await registry.call('deleteAdapter', { actor: undefined, tenantId, name: one, force: true });
    await collector.collectUnnamed();
    expect(await filesBelow(registry.artifactsDir, 'blobs')).toEqual(expect.arrayContaining(shared));
    for (let i = 0; i < 5; i++) {
      await registry.call('deleteAdapter', { actor: undefined, tenantId, name: two, force: true });
      await Promise.all([send(3, two), collector.collect(shared), collector.collectUnnamed()]);
      expect(await filesBelow(registry.artifactsDir, 'blobs')).toEqual(expect.arrayContaining(shared));
    }
  });

  test('that a crash left without a version are gone after the next start', async () => {
    const { version } = await send(4);
    const stored = await filesBelow(registry.artifactsDir, 'blobs');
    await database!.owner.query(`update weft.versions set status = 'deleted', deleted_at = now() where id = $1`, [version!.id]);
    await database!.owner.query(`delete from weft.artifacts where sha256 = any($1)`, [stored]);
    const second = await TestRegistry.start(database!, { WEFT_ARTIFACTS_DIR: registry.artifactsDir });
    onTestFinished(() => second.stop());
    await expect.poll(async () => (await filesBelow(registry.artifactsDir, 'blobs')).length).toBeLessThan(stored.length);
  });
});

describe('deletions', () => {
  test('are told when the last version of a digest is gone: here, elsewhere, and to those who join later', async () => {
    const second = await TestRegistry.start(database!, { WEFT_ARTIFACTS_DIR: registry.artifactsDir });
    onTestFinished(() => second.stop());
    const here = (await joined('here')).willing();
    const elsewhere = (await joined('elsewhere', undefined, second.address)).willing();
    const foreign = await joined('foreign', { ...BASE, digest: 'f'.repeat(64), geometry: JSON.stringify({ ...GEOMETRY, digest: 'f'.repeat(64) }), id: 'org/other' });
    const [one, two] = [newName(), newName()];
    const { version } = await upload(registry.client, { tenantId, fields: { name: one, base: 'org/tiny' }, files: loraFiles(5) });
    await upload(registry.client, { tenantId, fields: { name: two, base: 'org/tiny' }, files: loraFiles(5) });
    const forgets = (executor: ExecutorDouble): boolean => executor.of('forget').some(({ digest }) => digest === version!.digest);
    await registry.call('deleteAdapter', { actor: undefined, tenantId, name: one, force: true });
    await sleep(300);
    expect(forgets(here)).toBe(false);
    await registry.call('deleteVersion', { actor: undefined, tenantId, name: two, version: 1, force: true });
    await expect.poll(() => forgets(here)).toBe(true);
    await expect.poll(() => forgets(elsewhere), { timeout: 15_000 }).toBe(true);
    const later = await joined('later');
    expect(forgets(later)).toBe(true);
    expect(forgets(foreign)).toBe(false);
  });
});

describe('ends of lost gateways', () => {
  test('are taken when they are on disk; the first close counts', async () => {
    const executor = await joined('e');
    const open = (id: string): registryV1.UsageOpen => registryV1.UsageOpen.fromPartial({ id, tenantId, requestId: id, openedAt: BigInt(Date.now()) });
    const close = (id: string, status: string): registryV1.UsageClose => registryV1.UsageClose.fromPartial({ id, status, generatedTokens: 3, closedAt: BigInt(Date.now()) });
    const ids = [randomUUID(), randomUUID(), randomUUID()];
    await registry.call('writeUsage', { opens: [open(ids[0]!), open(ids[1]!)], closes: [close(ids[1]!, 'ok')] });
    executor.send({ $case: 'orphans', value: { opens: ids.map(open), closes: ids.map(id => close(id, 'orphaned')) } });
    await expect.poll(() => executor.of('taken')).toEqual([{ ids }]);
    const { rows } = await database!.owner.query('select id, status from weft.usage where id = any($1) order by array_position($1, id)', [ids]);
    // The gateway died before it could open the third.
    expect(rows).toEqual([{ id: ids[0], status: 'orphaned' }, { id: ids[1], status: 'ok' }, { id: ids[2], status: 'orphaned' }]);
    const late = { ...open(ids[2]!), keyId: randomUUID(), model: 'm', route: 'chat' };
    await registry.call('writeUsage', { opens: [late], closes: [close(ids[2]!, 'ok')] });
    const { rows: [row] } = await database!.owner.query('select status, model, key_id from weft.usage where id = $1', [ids[2]]);
    expect(row).toEqual({ status: 'orphaned', model: 'm', key_id: late.keyId });
  });
});

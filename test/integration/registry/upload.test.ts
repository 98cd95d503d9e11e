import { createHash, randomUUID } from 'node:crypto';
import { digestOf } from '@weft/adapters';
import { registryV1 } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createDatabase, need, type TestDatabase } from './database.js';
import { BASE, ExecutorDouble } from './executor-double.js';
import { API_KEY, TestRegistry } from './registry.js';
import { begin, commit, field, file, filesBelow, loraFiles, newName, send, upload, UploadCall, type Body, type Files } from './uploads.js';

let database: TestDatabase | null;
let registry: TestRegistry;
let executor: ExecutorDouble;
let tenantId: string;
beforeAll(async () => {
  database = await createDatabase();
  if (database === null) return;
  registry = await TestRegistry.start(database);
  ({ tenantId } = await registry.call('authenticate', { key: API_KEY }));
});
afterAll(async () => {
  executor?.kill();
  await registry?.stop();
  await database?.drop();
});
beforeEach(context => need(database, context));

const sha256 = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex');
const digestOfFiles = (files: Files): string => digestOf(Object.entries(files).map(([name, content]) => ({ name, size: Buffer.byteLength(content), sha256: sha256(content) })));
const rowsOf = async (table: string): Promise<number> => Number((await database!.owner.query(`select count(*) from weft.${table}`)).rows[0].count);
const getAdapter = (name: string): Promise<registryV1.Adapter> => registry.call('getAdapter', { tenantId, name });
const stagedFiles = (): Promise<string[]> => filesBelow(registry.artifactsDir, 'staging');

test('while no executor has told of a base, an upload can be tried again', async () => {
  await expect(upload(registry.client, { tenantId, fields: { name: 'early' } })).rejects.toMatchObject({ code: 'adapter_not_ready', details: { retryAfterMs: 1000 } });
});

describe('an upload', () => {
  beforeAll(async () => {
    if (database === null) return;
    executor = new ExecutorDouble(registry.address, 'executor').willing();
    await vi.waitFor(async () => expect(await rowsOf('bases')).toBe(1));
  });

  test('becomes version 1, with the digest of its folder, and ready when an executor says so', async () => {
    const name = newName();
    const files = loraFiles(10);
    const answer = await upload(registry.client, { tenantId, fields: { description: 'a pirate', name, alias: 'prod' }, files: { ...files, 'README.md': '# hello', 'optimizer.pt': 'x' } });
    expect(answer).toMatchObject({
      name, created: true,
      version: { version: 1, digest: digestOfFiles(files), baseDigest: BASE.digest, base: BASE.id, status: registryV1.VersionStatus.VALIDATING, stage: 'queued', ignored: ['README.md', 'optimizer.pt'] },
    });
    expect(Number(answer.version!.bytes)).toBe(Object.values(files).reduce((sum, content) => sum + Buffer.byteLength(content), 0));
    await expect.poll(() => getAdapter(name), { timeout: 10_000 }).toMatchObject({
      name, description: 'a pirate', aliases: [{ alias: 'prod', version: 1 }],
      versions: [{ status: registryV1.VersionStatus.READY, stage: '', kind: 'lora', rank: 4, targetModules: ['q_proj', 'v_proj'], effect: 0.5, errors: [] }],
    });
    expect(await stagedFiles()).toEqual([]);
    const blobs = await filesBelow(registry.artifactsDir, 'blobs');
    expect(blobs).toEqual(expect.arrayContaining(Object.values(files).map(sha256)));
    expect(blobs).not.toContain(sha256('# hello'));
  });

  test('is told in the audit log', async () => {
    const name = newName();
    await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(11) });
    const { data } = await registry.call('listAudit', { tenantId, limit: 0, after: '' });
    expect(data).toContainEqual(expect.objectContaining({ action: 'version.create', subject: `${name}@1`, keyId: 'key' }));
  });

  test('of the same bytes is that version again; of others the next one', async () => {
    const name = newName();
    const first = await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(12) });
    const again = await upload(registry.client, { tenantId, fields: { name: name.toUpperCase(), alias: 'prod' }, files: { ...loraFiles(12), 'README.md': 'more' } });
    expect(again).toMatchObject({ name, created: false, version: { id: first.version!.id, version: 1 } });
    const next = await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(13) });
    expect(next).toMatchObject({ created: true, version: { version: 2 } });
    await expect.poll(async () => (await getAdapter(name)).versions.map(({ status }) => status), { timeout: 10_000 }).toEqual([registryV1.VersionStatus.READY, registryV1.VersionStatus.READY]);
    expect((await getAdapter(name)).aliases).toMatchObject([{ alias: 'prod', version: 1 }]);
    // Now that it is ready, the alias comes at once; it may also go back.
    await upload(registry.client, { tenantId, fields: { name, alias: 'prod' }, files: loraFiles(13) });
    expect((await getAdapter(name)).aliases).toMatchObject([{ alias: 'prod', version: 2 }]);
    await upload(registry.client, { tenantId, fields: { name, alias: 'prod' }, files: loraFiles(12) });
    expect((await getAdapter(name)).aliases).toMatchObject([{ alias: 'prod', version: 1 }]);
  });

  test('with a tokenizer that was not checked yet is a version of its own', async () => {
    const name = newName();
    await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(14) });
    const withText = await upload(registry.client, { tenantId, fields: { name }, files: { ...loraFiles(14), 'tokenizer.json': '{"model": {}}' } });
    expect(withText).toMatchObject({ created: true, version: { version: 2 } });
    await expect.poll(async () => (await getAdapter(name)).versions[1], { timeout: 10_000 }).toMatchObject({ status: registryV1.VersionStatus.FAILED, errors: [{ code: 'tokenizer_invalid', file: 'tokenizer.json' }] });
  });

  test('of bytes that failed begins anew; of a deleted version is a new one; and a deleted name is free again', async () => {
    const name = newName();
    const files = { ...loraFiles(15), 'adapter_config.json': '{"peft_type": "LORA", "use_dora": true}' };
    const failed = await upload(registry.client, { tenantId, fields: { name }, files });
    await expect.poll(async () => (await getAdapter(name)).versions[0]!.status, { timeout: 10_000 }).toBe(registryV1.VersionStatus.FAILED);
    const again = await upload(registry.client, { tenantId, fields: { name }, files });
    expect(again).toMatchObject({ created: false, version: { id: failed.version!.id, status: registryV1.VersionStatus.VALIDATING, errors: [] } });
    await registry.call('deleteVersion', { actor: undefined, tenantId, name, version: 1, force: false });
    expect(await upload(registry.client, { tenantId, fields: { name }, files })).toMatchObject({ created: true, version: { version: 2 } });
    await registry.call('deleteAdapter', { actor: undefined, tenantId, name, force: true });
    expect(await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(15) })).toMatchObject({ created: true, version: { version: 1 } });
  });

  test('at the same time as others of its name gets a number of its own', async () => {
    const name = newName();
    const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => upload(registry.client, { tenantId, fields: { name }, files: loraFiles(100 + i) })));
    expect(answers.map(({ version }) => version!.version).sort()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('of the same bytes at the same time is one version, and one blob', async () => {
    const name = newName();
    const answers = await Promise.all(Array.from({ length: 4 }, () => upload(registry.client, { tenantId, fields: { name }, files: loraFiles(120) })));
    expect(new Set(answers.map(({ version }) => version!.id)).size).toBe(1);
    expect(answers.filter(({ created }) => created)).toHaveLength(1);
  });
});

describe('an Idempotency-Key', () => {
  test('sent twice gives the same answer, at the same time too', async () => {
    const options = { tenantId, fields: { name: newName() }, files: loraFiles(20), idempotencyKey: randomUUID() };
    const [a, b] = await Promise.all([upload(registry.client, options), upload(registry.client, options)]);
    const c = await upload(registry.client, options);
    expect(new Set([a, b, c].map(({ version }) => version!.id)).size).toBe(1);
    expect([a, b, c].map(({ created }) => created)).toEqual([true, true, true]);
  });

  test('belongs to its tenant and its request', async () => {
    const idempotencyKey = randomUUID();
    const name = newName();
    await upload(registry.client, { tenantId, fields: { name }, files: loraFiles(21), idempotencyKey });
    await expect(upload(registry.client, { tenantId, fields: { name }, files: loraFiles(22), idempotencyKey })).rejects.toMatchObject({ code: 'idempotency_mismatch' });
    await expect(upload(registry.client, { tenantId, fields: { name, alias: 'x' }, files: loraFiles(21), idempotencyKey })).rejects.toMatchObject({ code: 'idempotency_mismatch' });
    await expect(upload(registry.client, { tenantId, fields: { name }, idempotencyKey: 'x'.repeat(256) })).rejects.toMatchObject({ code: 'invalid_value' });
    const other = await registry.call('createTenant', { actor: undefined, name: newName() });
    expect(await upload(registry.client, { tenantId: other.id, fields: { name }, files: loraFiles(22), idempotencyKey })).toMatchObject({ created: true, version: { version: 1 } });
  });
});

describe('what is refused leaves nothing', () => {
  const named = field('name', 'refused');
  const cases: [what: string, bodies: Body[], error: object][] = [
    ['no name', file('adapter_config.json', '{}'), { code: 'invalid_value', details: { param: 'name' } }],
    ['a bad name', [field('name', 'a b'), ...file('a', 'x')], { code: 'invalid_value', details: { param: 'name' } }],
    ["the base's name", [field('name', 'tinybase'), ...file('a', 'x')], { code: 'conflict', details: { param: 'name' } }],
    ['an unknown base', [named, field('base', 'org/other'), ...file('a', 'x')], { code: 'invalid_value', details: { param: 'base' } }],
    ['a bad alias', [named, field('alias', 'latest'), ...file('a', 'x')], { code: 'invalid_value', details: { param: 'alias' } }],
    ['an unknown field', [named, field('color', 'x')], { code: 'invalid_value', details: { param: 'color' } }],
    ['a field twice', [named, named], { code: 'invalid_value', details: { param: 'name' } }],
    ['a path', [named, ...file('../../etc/passwd', 'x')], { code: 'invalid_value', details: { param: 'files' } }],
    ['a file twice', [named, ...file('a', 'x'), ...file('a', 'y')], { code: 'invalid_value', details: { param: 'files' } }],
    ['no files', [named], { code: 'invalid_value', details: { param: 'files' } }],
    ['a pickle', [named, ...file('adapter_config.json', '{}'), ...file('adapter_model.bin', 'x')], { code: 'adapter_file_unsupported', details: { file: 'adapter_model.bin' } }],
    ['a tenant that is none', [], { code: 'not_found' }],
  ];
  beforeAll(async () => {
    if (database === null) return;
    await database.owner.query(`insert into weft.bases (digest, name, geometry, text, updated_at) values ($1, 'TinyBase', '{}', '{}', now() - interval '1 day')`, ['c'.repeat(64)]);
  });

  test.each(cases)('%s', async (what, bodies, error) => {
    const before = [await rowsOf('adapters'), await rowsOf('versions'), (await filesBelow(registry.artifactsDir, 'blobs')).length];
    const tenant = what.startsWith('a tenant') ? randomUUID() : tenantId;
    const parts = what.startsWith('a tenant') ? [named, ...file('a', 'x')] : bodies;
    await expect(send(registry.client, [begin(tenant), ...parts, commit])).rejects.toMatchObject(error);
    await expect.poll(stagedFiles).toEqual([]);
    await expect.poll(async () => [await rowsOf('adapters'), await rowsOf('versions'), (await filesBelow(registry.artifactsDir, 'blobs')).length]).toEqual(before);
  });

  test('half an upload: a stream that is cancelled, or ends before its commit', async () => {
    const before = [await rowsOf('versions'), (await filesBelow(registry.artifactsDir, 'blobs')).length];
    const call = new UploadCall(registry.client);
    for (const body of [begin(tenantId), named, ...file('adapter_model.safetensors', Buffer.alloc(3 << 20))]) await call.send(body);
    await expect.poll(stagedFiles).not.toEqual([]);
    call.stream.cancel();
    await expect(call.answer).rejects.toMatchObject({ code: 1 });
    await expect.poll(stagedFiles).toEqual([]);
    await expect(send(registry.client, [begin(tenantId), named, ...file('a', 'x')])).rejects.toMatchObject({ code: 'cancelled' });
    expect(await stagedFiles()).toEqual([]);
    expect([await rowsOf('versions'), (await filesBelow(registry.artifactsDir, 'blobs')).length]).toEqual(before);
  });

  test('at once, however much would follow', async () => {
    const call = new UploadCall(registry.client);
    const chunk: Body = { $case: 'bytes', value: Buffer.alloc(256 << 10) };
    for (const body of [begin(tenantId), named, ...file('pytorch_model.bin', 'x')]) await call.send(body);
    let sent = 0;
    for (; sent < 4000 && !call.answered; sent++) await call.send(chunk);
    await expect(call.answer).rejects.toMatchObject({ code: 'adapter_file_unsupported' });
    expect(sent).toBeLessThan(400);
  });
});

test('64 MiB pass through in constant memory', async () => {
  const chunk = Buffer.alloc(256 << 10, 7);
  const call = new UploadCall(registry.client);
  for (const body of [begin(tenantId), field('name', newName()), ...file('adapter_config.json', '{}'), { $case: 'file', value: 'adapter_model.safetensors' } as Body]) await call.send(body);
  const rssMiB = (): number => process.memoryUsage().rss / 2 ** 20;
  const before = rssMiB();
  let most = before;
  for (let i = 0; i < 256; i++) {
    await call.send({ $case: 'bytes', value: chunk });
    most = Math.max(most, rssMiB());
  }
  await call.send(commit);
  call.stream.end();
  expect(Number((await call.answer).version!.bytes)).toBe((64 << 20) + 2);
  // Sender and registry share this process: what both buffer, and garbage between collections.
  expect(most - before).toBeLessThan(48);
});

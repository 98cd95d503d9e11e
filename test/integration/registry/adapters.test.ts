import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { registryV1 } from '@weft/contracts';
import { Adapters } from '../../../apps/registry/src/adapters.js';
import type { Version } from '../../../apps/registry/src/entities/index.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { TestRegistry, type Method, type RequestOf } from './registry.js';

let database: TestDatabase | null;
let registry: TestRegistry;
const deleted: string[] = [];
beforeAll(async () => {
  database = await createDatabase();
  if (database === null) return;
  registry = await TestRegistry.start(database);
  registry.app.get(Adapters).onDeleted(async (versions: Version[]) => { deleted.push(...versions.map(({ digest }) => digest)); });
});
afterAll(async () => {
  await registry?.stop();
  await database?.drop();
});
beforeEach(context => need(database, context));

const actor: registryV1.Actor = { tenantId: '', keyId: 'key', requestId: 'req-1' };
const newTenant = (): Promise<registryV1.Tenant> => registry.call('createTenant', { actor, name: `t-${randomUUID().slice(0, 8)}` });

/** As ingestion leaves it: versions 1, 2, … of these statuses. Resolves to their digests. */
async function seed(tenantId: string, name: string, statuses: string[] = ['ready']): Promise<string[]> {
  const { rows: [adapter] } = await database!.owner.query<{ id: string }>('insert into weft.adapters (tenant_id, name) values ($1, $2) returning id', [tenantId, name]);
  const { rows } = await database!.owner.query<{ digest: string }>(`
    insert into weft.versions (tenant_id, adapter_id, version, digest, base_digest, base, files, bytes, status, stage, target_modules, rank, kind)
    select $1, $2, n, gen_random_uuid(), 'b', 'base', '[["adapter_config.json", 2, "ab"]]', 2, status, '', '{q_proj}', 8, 'lora' from unnest($3::text[]) with ordinality as s(status, n) returning digest`, [tenantId, adapter!.id, statuses]);
  return rows.map(({ digest }) => digest);
}
const catalog = async (tenantId: string): Promise<registryV1.Adapter[]> => (await registry.call('getCatalog', { tenantId })).adapters;
const actions = async (tenantId: string): Promise<string[]> => (await registry.call('listAudit', { tenantId, limit: 0, after: '' })).data.map(({ action }) => action);

describe('the catalog', () => {
  test('has ready versions only, and adapters with one', async () => {
    const { id, name } = await newTenant();
    const digests = await seed(id, 'Router', ['ready', 'failed', 'validating', 'ready']);
    await seed(id, 'unfinished', ['validating']);
    const found = await registry.call('getCatalog', { tenantId: id });
    expect(found).toMatchObject({ tenantId: id, tenantName: name, adapters: [{ name: 'Router', tenantName: name, aliases: [], sharedWith: [] }] });
    expect(found.adapters[0]!.versions).toMatchObject([{ version: 1, digest: digests[0], bytes: 2n, rank: 8, kind: 'lora', targetModules: ['q_proj'] }, { version: 4, digest: digests[3] }]);
    expect((await registry.call('getAdapter', { tenantId: id, name: 'ROUTER' })).versions.map(({ status }) => status)).toEqual([registryV1.VersionStatus.READY, registryV1.VersionStatus.FAILED, registryV1.VersionStatus.VALIDATING, registryV1.VersionStatus.READY]);
  });

  test('lists adapters page by page, by name without regard to case', async () => {
    const { id } = await newTenant();
    for (const name of ['b', 'A', 'c']) await seed(id, name, ['failed']);
    const first = await registry.call('listAdapters', { tenantId: id, limit: 2, after: '' });
    const second = await registry.call('listAdapters', { tenantId: id, limit: 2, after: 'B' });
    expect([first.data.map(({ name }) => name), first.hasMore, second.data.map(({ name }) => name), second.hasMore]).toEqual([['A', 'b'], true, ['c'], false]);
  });
});

describe('an alias', () => {
  test('moves, counts its revisions, and leaves its history in the audit log', async () => {
    const { id } = await newTenant();
    await seed(id, 'a', ['ready', 'ready']);
    const put = (version: number): Promise<registryV1.Alias> => registry.call('putAlias', { actor, tenantId: id, name: 'a', alias: 'prod', version });
    expect(await put(1)).toMatchObject({ alias: 'prod', version: 1, revision: 1n });
    expect(await put(2)).toMatchObject({ version: 2, revision: 2n });
    expect(await put(2)).toMatchObject({ version: 2, revision: 2n });
    expect((await catalog(id))[0]!.aliases).toMatchObject([{ alias: 'prod', version: 2 }]);
    await registry.call('deleteAlias', { actor, tenantId: id, name: 'a', alias: 'prod' });
    await expect(registry.call('deleteAlias', { actor, tenantId: id, name: 'a', alias: 'prod' })).rejects.toMatchObject({ code: 'not_found' });
    const entries = (await registry.call('listAudit', { tenantId: id, limit: 0, after: '' })).data;
    expect(entries.map(({ action }) => action)).toEqual(['alias.delete', 'alias.put', 'alias.put', 'tenant.create']);
    expect(JSON.parse(entries[1]!.details)).toEqual({ version: 2, before: 1, revision: 2 });
  });

  test.each(['latest', 'Prod', '1', '', 'a b', 'x'.repeat(33)])('is not called %j', async alias => {
    const { id } = await newTenant();
    await seed(id, 'a');
    await expect(registry.call('putAlias', { actor, tenantId: id, name: 'a', alias, version: 1 })).rejects.toMatchObject({ code: 'invalid_value', details: { param: 'alias' } });
  });

  test('names versions that are ready', async () => {
    const { id } = await newTenant();
    await seed(id, 'a', ['validating', 'failed', 'deleted']);
    const codes = await Promise.all([1, 2, 3, 4].map(version => registry.call('putAlias', { actor, tenantId: id, name: 'a', alias: 'prod', version }).catch((error: { code: string }) => error.code)));
    expect(codes).toEqual(['conflict', 'conflict', 'not_found', 'not_found']);
  });

  test('moved by two at once counts both', async () => {
    const { id } = await newTenant();
    await seed(id, 'a', Array(8).fill('ready'));
    await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(version => registry.call('putAlias', { actor, tenantId: id, name: 'a', alias: 'prod', version })));
    expect((await catalog(id))[0]!.aliases[0]!.revision).toBe(8n);
  });
});

describe('deleting', () => {
  test('a version that an alias names needs force, and takes the alias along', async () => {
    const { id } = await newTenant();
    const [digest] = await seed(id, 'a', ['ready', 'ready']);
    await registry.call('putAlias', { actor, tenantId: id, name: 'a', alias: 'prod', version: 1 });
    const remove = (force: boolean): Promise<registryV1.Empty> => registry.call('deleteVersion', { actor, tenantId: id, name: 'a', version: 1, force });
    await expect(remove(false)).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('prod') });
    await remove(true);
    await expect(remove(true)).rejects.toMatchObject({ code: 'not_found' });
    expect(await catalog(id)).toMatchObject([{ versions: [{ version: 2 }], aliases: [] }]);
    expect(deleted).toContain(digest);
  });

  test('an adapter frees its name, and only its name', async () => {
    const { id } = await newTenant();
    const digests = await seed(id, 'a', ['ready', 'validating']);
    await registry.call('deleteAdapter', { actor, tenantId: id, name: 'A', force: false });
    await expect(registry.call('getAdapter', { tenantId: id, name: 'a' })).rejects.toMatchObject({ code: 'not_found' });
    expect(deleted).toEqual(expect.arrayContaining(digests));
    const { rows } = await database!.owner.query('select status, stage from weft.versions where digest = any($1)', [digests]);
    expect(rows).toEqual([{ status: 'deleted', stage: '' }, { status: 'deleted', stage: '' }]);
    await seed(id, 'a');
    expect(await catalog(id)).toHaveLength(1);
    expect(await actions(id)).toEqual(['adapter.delete', 'tenant.create']);
  });
});

describe('a share', () => {
  test('shows an adapter to one other tenant, until it ends', async () => {
    const [mine, other, third] = await Promise.all([newTenant(), newTenant(), newTenant()]);
    await seed(mine.id, 'a', ['ready', 'failed']);
    await registry.call('putAlias', { actor, tenantId: mine.id, name: 'a', alias: 'prod', version: 1 });
    const share = { actor, tenantId: mine.id, name: 'a', withTenantName: other.name.toUpperCase() };
    for (let time = 0; time < 2; time++) await registry.call('putShare', share);
    expect(await catalog(other.id)).toMatchObject([{ name: 'a', tenantName: mine.name, versions: [{ version: 1 }], aliases: [{ alias: 'prod' }] }]);
    expect(await catalog(third.id)).toEqual([]);
    expect((await registry.call('getAdapter', { tenantId: mine.id, name: 'a' })).sharedWith).toEqual([other.name]);
    await expect(registry.call('getAdapter', { tenantId: other.id, name: 'a' })).rejects.toMatchObject({ code: 'not_found' });
    await registry.call('deleteShare', share);
    expect(await catalog(other.id)).toEqual([]);
    await expect(registry.call('deleteShare', share)).rejects.toMatchObject({ code: 'not_found' });
    expect(await actions(mine.id)).toEqual(['share.delete', 'share.put', 'alias.put', 'tenant.create']);
  });

  test('ends with the tenant on either side', async () => {
    const [mine, other] = await Promise.all([newTenant(), newTenant()]);
    await seed(mine.id, 'a');
    await seed(other.id, 'b');
    await registry.call('putShare', { actor, tenantId: mine.id, name: 'a', withTenantName: other.name });
    await registry.call('putShare', { actor, tenantId: other.id, name: 'b', withTenantName: mine.name });
    await registry.call('deleteTenant', { actor, name: other.name });
    expect(await catalog(mine.id)).toMatchObject([{ name: 'a', sharedWith: [] }]);
  });

  test('is with another tenant, which exists', async () => {
    const { id, name } = await newTenant();
    await seed(id, 'a');
    await expect(registry.call('putShare', { actor, tenantId: id, name: 'a', withTenantName: name })).rejects.toMatchObject({ code: 'invalid_value' });
    await expect(registry.call('putShare', { actor, tenantId: id, name: 'a', withTenantName: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('what is another tenant\'s', () => {
  type Attempt = { [M in Method]: [method: M, request: (tenantId: string, name: string, id: string) => RequestOf<M>] }[Method];
  const attempts: Attempt[] = [
    ['getAdapter', (tenantId, name) => ({ tenantId, name })],
    ['deleteAdapter', (tenantId, name) => ({ actor, tenantId, name, force: true })],
    ['deleteVersion', (tenantId, name) => ({ actor, tenantId, name, version: 1, force: true })],
    ['putAlias', (tenantId, name) => ({ actor, tenantId, name, alias: 'prod', version: 1 })],
    ['deleteAlias', (tenantId, name) => ({ actor, tenantId, name, alias: 'prod' })],
    ['putShare', (tenantId, name) => ({ actor, tenantId, name, withTenantName: 'default' })],
    ['deleteShare', (tenantId, name) => ({ actor, tenantId, name, withTenantName: 'default' })],
    ['updateKey', (tenantId, _, id) => ({ actor, tenantId, id, name: 'mine now', limits: undefined })],
    ['revokeKey', (tenantId, _, id) => ({ actor, tenantId, id })],
  ];

  test.each(attempts)('answers %s as what is not there', async (method, request) => {
    const [owner, stranger] = await Promise.all([newTenant(), newTenant()]);
    await seed(owner.id, 'secret');
    const { key } = await registry.call('createKey', { actor, tenantId: owner.id, name: 'k', scopes: ['inference'], limits: undefined, expiresAt: 0n });
    await registry.call('putAlias', { actor, tenantId: owner.id, name: 'secret', alias: 'prod', version: 1 });
    const before = [await registry.call('getAdapter', { tenantId: owner.id, name: 'secret' }), await registry.call('listKeys', { tenantId: owner.id, limit: 0, after: '' })];
    const attempt = (name: string, id: string): Promise<unknown> => registry.call(method, request(stranger.id, name, id) as never).then(() => 'done', (error: { code: string; message: string }) => ({ code: error.code, message: error.message.replace(name, '…') }));
    const [foreign, unknown] = [await attempt('secret', key!.id), await attempt('nothing', randomUUID())];
    expect(foreign).toMatchObject({ code: 'not_found' });
    expect(foreign).toEqual(unknown);
    expect([await registry.call('getAdapter', { tenantId: owner.id, name: 'secret' }), await registry.call('listKeys', { tenantId: owner.id, limit: 0, after: '' })]).toEqual(before);
  });

  test('is in none of its lists', async () => {
    const [owner, stranger] = await Promise.all([newTenant(), newTenant()]);
    await seed(owner.id, 'secret');
    await registry.call('createKey', { actor, tenantId: owner.id, name: 'k', scopes: ['inference'], limits: undefined, expiresAt: 0n });
    const page = { tenantId: stranger.id, limit: 0, after: '' };
    expect(await catalog(stranger.id)).toEqual([]);
    expect((await registry.call('listAdapters', page)).data).toEqual([]);
    expect((await registry.call('listKeys', page)).data).toEqual([]);
    expect((await registry.call('listAudit', page)).data.map(({ action }) => action)).toEqual(['tenant.create']);
    expect((await registry.call('queryUsage', { tenantId: stranger.id, start: 0n, end: 0n, groupBy: ['model'], limit: 0 })).data).toEqual([]);
    for (const tenantId of [randomUUID(), 'x']) await expect(registry.call('getCatalog', { tenantId })).rejects.toMatchObject({ code: 'not_found', message: 'there is no such tenant' });
  });
});

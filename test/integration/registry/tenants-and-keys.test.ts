import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { registryV1 } from '@weft/contracts';
import { Keys } from '../../../apps/registry/src/keys.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { ADMIN_KEY, API_KEY, TestRegistry } from './registry.js';

let database: TestDatabase | null;
let registry: TestRegistry;
beforeAll(async () => {
  database = await createDatabase();
  if (database !== null) registry = await TestRegistry.start(database);
});
afterAll(async () => {
  await registry?.stop();
  await database?.drop();
});
beforeEach(context => need(database, context));

const actor: registryV1.Actor = { tenantId: randomUUID(), keyId: 'key', requestId: 'req-1' };
const newTenant = (name = `t-${randomUUID().slice(0, 8)}`): Promise<registryV1.Tenant> => registry.call('createTenant', { actor, name });
const newKey = (tenantId: string, values: Partial<registryV1.CreateKeyRequest> = {}): Promise<registryV1.CreatedKey> =>
  registry.call('createKey', { actor, tenantId, name: 'ci', scopes: ['inference'], limits: undefined, expiresAt: 0n, ...values });
const auditOf = async (tenantId: string): Promise<registryV1.AuditEntry[]> => (await registry.call('listAudit', { tenantId, limit: 0, after: '' })).data;

test('a call without the token of this start is refused', async () => {
  await expect(registry.call('authenticate', { key: API_KEY }, 'another')).rejects.toMatchObject({ code: 16 });
});

describe('keys of the environment', () => {
  test('belong to the tenant default, with their scopes and no limits', async () => {
    const tenant = await registry.call('authenticate', { key: API_KEY });
    const admin = await registry.call('authenticate', { key: ADMIN_KEY });
    expect(tenant).toMatchObject({ tenantName: 'default', scopes: ['inference', 'adapters:write'], limits: { requestsPerMinute: 0, tokensPerMinute: 0, parallel: 0 }, expiresAt: 0n });
    expect(admin.scopes).toContain('admin');
    expect(await registry.call('findTenant', { name: 'DEFAULT' })).toMatchObject({ id: tenant.tenantId, name: 'default' });
  });

  test('survive another start, keep their limits, and end when the environment names another', async () => {
    const { tenantId, keyId } = await registry.call('authenticate', { key: API_KEY });
    await registry.call('updateKey', { actor, tenantId, id: keyId, limits: { requestsPerMinute: 5, tokensPerMinute: 0, parallel: 0 } });
    const second = await TestRegistry.start(database!);
    expect(await second.call('authenticate', { key: API_KEY })).toMatchObject({ keyId, limits: { requestsPerMinute: 5 } });
    await second.stop();
    const third = await TestRegistry.start(database!, { WEFT_API_KEY: 'sk-rotated' });
    await expect(third.call('authenticate', { key: API_KEY })).rejects.toMatchObject({ code: 'invalid_api_key' });
    expect(await third.call('authenticate', { key: 'sk-rotated' })).toMatchObject({ tenantName: 'default' });
    await third.stop();
    await (await TestRegistry.start(database!)).stop();
    expect(await registry.call('authenticate', { key: API_KEY })).toMatchObject({ keyId });
  });

  test('keep their tenant from being deleted', async () => {
    await expect(registry.call('deleteTenant', { actor, name: 'default' })).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('tenants', () => {
  test('have names that differ in more than case', async () => {
    const { id, name } = await newTenant();
    await expect(newTenant(name.toUpperCase())).rejects.toMatchObject({ code: 'conflict', details: { param: 'name' } });
    for (const bad of ['', '-a', 'a/b', 'a:b', 'a@b', 'a+b', 'a*', 'x'.repeat(64), 'ä']) await expect(newTenant(bad)).rejects.toMatchObject({ code: 'invalid_value', details: { param: 'name' } });
    expect(await auditOf(id)).toMatchObject([{ action: 'tenant.create', subject: name, keyId: 'key', requestId: 'req-1' }]);
  });

  test('end with their keys, and leave the name free', async () => {
    const tenant = await newTenant();
    const { secret } = await newKey(tenant.id);
    await registry.call('deleteTenant', { actor, name: tenant.name });
    await expect(registry.call('authenticate', { key: secret })).rejects.toMatchObject({ code: 'invalid_api_key' });
    const calls = [
      () => registry.call('findTenant', { name: tenant.name }), () => registry.call('getCatalog', { tenantId: tenant.id }),
      () => registry.call('deleteTenant', { actor, name: tenant.name }), () => newKey(tenant.id),
    ];
    for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'not_found' });
    expect((await newTenant(tenant.name)).id).not.toBe(tenant.id);
  });

  test('are listed page by page, newest first', async () => {
    const made = [await newTenant(), await newTenant(), await newTenant()].map(({ id }) => id).reverse();
    const first = await registry.call('listTenants', { tenantId: '', limit: 2, after: '' });
    const second = await registry.call('listTenants', { tenantId: '', limit: 1, after: first.data[1]!.id });
    expect([...first.data, ...second.data].map(({ id }) => id)).toEqual(made);
    expect(first.hasMore).toBe(true);
    await expect(registry.call('listTenants', { tenantId: '', limit: 2, after: 'x' })).rejects.toMatchObject({ code: 'invalid_value', details: { param: 'after' } });
  });
});

describe('a key', () => {
  test('is told once, kept as a hash, and shown by a hint', async () => {
    const { id } = await newTenant();
    const { key, secret } = await newKey(id, { scopes: ['inference', 'admin', 'admin'], limits: { requestsPerMinute: 1, tokensPerMinute: 2, parallel: 3 } });
    expect(secret).toMatch(/^sk-[\w-]{43}$/);
    expect(key).toMatchObject({ tenantId: id, name: 'ci', hint: `${secret.slice(0, 5)}…${secret.slice(-4)}`, scopes: ['inference', 'admin'], limits: { requestsPerMinute: 1, tokensPerMinute: 2, parallel: 3 }, revokedAt: 0n, lastUsedAt: 0n });
    expect(await registry.call('authenticate', { key: secret })).toMatchObject({ keyId: key!.id, tenantId: id, limits: { parallel: 3 } });
    const { rows } = await database!.owner.query<{ row: string }>('select k::text as row from weft.api_keys k where id = $1', [key!.id]);
    expect(rows[0]!.row).not.toContain(secret);
    expect((await registry.call('listKeys', { tenantId: id, limit: 0, after: '' })).data).toEqual([key]);
  });

  test.each([
    ['scopes', { scopes: [] }], ['scopes', { scopes: ['root'] }], ['name', { name: '' }], ['expires_at', { expiresAt: BigInt(Date.now() - 1) }],
    ['tokens_per_minute', { limits: { requestsPerMinute: 0, tokensPerMinute: 2 ** 31, parallel: 0 } }],
  ] as const)('with a wrong %s is refused', async (param, values) => {
    const { id } = await newTenant();
    await expect(newKey(id, values as Partial<registryV1.CreateKeyRequest>)).rejects.toMatchObject({ code: 'invalid_value', details: { param } });
  });

  test('ends when it expires, and not before', async () => {
    const { id } = await newTenant();
    const expiresAt = BigInt(Date.now() + 400);
    const { key, secret } = await newKey(id, { expiresAt });
    expect(await registry.call('authenticate', { key: secret })).toMatchObject({ expiresAt });
    await expect.poll(() => registry.call('authenticate', { key: secret }).then(() => 'valid', (error: { code: string }) => error.code)).toBe('invalid_api_key');
    await registry.call('updateKey', { actor, tenantId: id, id: key!.id, limits: undefined, expiresAt: 0n });
    expect(await registry.call('authenticate', { key: secret })).toMatchObject({ expiresAt: 0n });
  });

  test('changes only in what the request names, and is revoked for good', async () => {
    const { id } = await newTenant();
    const { key, secret } = await newKey(id, { limits: { requestsPerMinute: 1, tokensPerMinute: 2, parallel: 3 } });
    expect(await registry.call('updateKey', { actor, tenantId: id, id: key!.id, name: 'new', limits: undefined })).toMatchObject({ name: 'new', limits: { parallel: 3 }, scopes: ['inference'] });
    for (let time = 0; time < 2; time++) await registry.call('revokeKey', { actor, tenantId: id, id: key!.id });
    await expect(registry.call('authenticate', { key: secret })).rejects.toMatchObject({ code: 'invalid_api_key' });
    await expect(registry.call('updateKey', { actor, tenantId: id, id: key!.id, limits: undefined })).rejects.toMatchObject({ code: 'conflict' });
    expect((await auditOf(id)).map(({ action }) => action)).toEqual(['key.revoke', 'key.update', 'key.create', 'tenant.create']);
  });

  test('tells to a minute when it was last used, a little later', async () => {
    const { id } = await newTenant();
    const { secret } = await newKey(id);
    await registry.call('authenticate', { key: secret });
    await registry.app.get(Keys).flushUsed();
    const [key] = (await registry.call('listKeys', { tenantId: id, limit: 0, after: '' })).data;
    expect(key!.lastUsedAt % 60_000n).toBe(0n);
    expect(Date.now() - Number(key!.lastUsedAt)).toBeLessThan(120_000);
  });

  test('that nobody made answers as one that was revoked', async () => {
    for (const key of ['', 'sk-unknown', 'x'.repeat(10_000)]) await expect(registry.call('authenticate', { key })).rejects.toMatchObject({ code: 'invalid_api_key', message: 'the API key is unknown, revoked or expired' });
  });
});

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createDatabase, need, type TestDatabase } from './database.js';

/** Every table whose rows are some tenant's, and the column that says whose. */
const OWNED = { tenants: 'id', api_keys: 'tenant_id', adapters: 'tenant_id', versions: 'tenant_id', aliases: 'tenant_id', shares: 'tenant_id', idempotency: 'tenant_id', usage: 'tenant_id', audit: 'tenant_id' };
/** Tables that are nobody's: bases and blobs by their content, and the system's own. */
const SHARED = ['artifacts', 'bases', 'members', 'migrations', 'outbox'];

const [MINE, THEIRS, THIRD] = [randomUUID(), randomUUID(), randomUUID()];
let database: TestDatabase | null;
let service: pg.Client;
beforeAll(async () => {
  database = await createDatabase();
  if (database === null) return;
  for (const tenant of [MINE, THEIRS, THIRD]) await database.owner.query(ROWS.replaceAll('$1', `'${tenant}'`));
  service = new pg.Client({ connectionString: database.url });
  await service.connect();
});
afterAll(async () => {
  await service?.end();
  await database?.drop();
});
beforeEach(context => need(database, context));

const ROWS = `
  insert into weft.tenants (id, name) values ($1, $1);
  insert into weft.api_keys (id, tenant_id, name, hash, hint, scopes) values ($1, $1, 'k', decode(md5($1), 'hex'), '', '{inference}');
  insert into weft.adapters (id, tenant_id, name) values ($1, $1, 'a');
  insert into weft.versions (id, tenant_id, adapter_id, version, digest, base_digest, base, files, bytes, status) values ($1, $1, $1, 1, 'd', 'b', 'b', '[]', 0, 'ready'), (gen_random_uuid(), $1, $1, 2, 'd', 'b', 'b', '[]', 0, 'failed');
  insert into weft.aliases (tenant_id, adapter_id, alias, version) values ($1, $1, 'prod', 1);
  insert into weft.shares (tenant_id, adapter_id, with_tenant_id) values ($1, $1, $1);
  insert into weft.idempotency (tenant_id, key, request_hash, version_id) values ($1, 'k', 'h', $1);
  insert into weft.usage (id, request_id, tenant_id, key_id, route, model, adapter, version, digest, gateway_id, executor_id, opened_at) values ($1, '', $1, '', '', '', '', 1, '', '', '', now());
  insert into weft.audit (tenant_id, key_id, request_id, action, subject) values ($1, '', '', '', '')`;

async function inTenant<T>(tenant: string | null, work: () => Promise<T>): Promise<T> {
  await service.query('begin');
  if (tenant !== null) await service.query(`select set_config('weft.tenant', $1, true)`, [tenant]);
  try {
    return await work();
  } finally {
    await service.query('rollback');
  }
}
const owners = async (table: keyof typeof OWNED): Promise<string[]> => (await service.query<{ owner: string }>(`select distinct ${OWNED[table]} as owner from weft.${table}`)).rows.map(({ owner }) => owner).sort();

test('every table is known to be somebody\'s or nobody\'s', async () => {
  const { rows } = await database!.owner.query<{ name: string; forced: boolean }>(`select relname as name, relrowsecurity and relforcerowsecurity as forced from pg_class where relnamespace = 'weft'::regnamespace and relkind = 'r' order by 1`);
  expect(rows.filter(({ forced }) => forced).map(({ name }) => name)).toEqual(Object.keys(OWNED).sort());
  expect(rows.filter(({ forced }) => !forced).map(({ name }) => name)).toEqual(SHARED);
});

test.each(Object.keys(OWNED) as (keyof typeof OWNED)[])('%s: a query without a tenant sees nothing, one with a tenant its own, and a change nothing else', async table => {
  for (const none of [null, '']) expect(await inTenant(none, () => owners(table))).toEqual([]);
  expect(await inTenant(MINE, () => owners(table))).toEqual([MINE]);
  expect(await inTenant('*', () => owners(table))).toEqual([MINE, THEIRS, THIRD].sort());
  if (table !== 'audit' && table !== 'shares') {
    const touched = await inTenant(MINE, async () => (await service.query(`update weft.${table} set ${OWNED[table]} = ${OWNED[table]}`)).rowCount);
    expect(touched).toBe(table === 'versions' ? 2 : 1);
    await expect(inTenant(null, async () => (await service.query(`update weft.${table} set ${OWNED[table]} = ${OWNED[table]}`)).rowCount)).resolves.toBe(0);
  }
});

test('nobody writes rows for another', async () => {
  for (const tenant of [THEIRS, null, '']) {
    await expect(inTenant(tenant, () => service.query(`insert into weft.adapters (tenant_id, name) values ($1, 'b')`, [MINE]))).rejects.toMatchObject({ code: '42501' });
  }
  await expect(inTenant(MINE, () => service.query(`update weft.adapters set tenant_id = $1`, [THEIRS]))).rejects.toMatchObject({ code: '42501' });
});

test('a share lets its tenant read what names the adapter, and change none of it', async () => {
  await database!.owner.query('insert into weft.shares (tenant_id, adapter_id, with_tenant_id) values ($1, $1, $2)', [THEIRS, MINE]);
  const seen = { tenants: 2, adapters: 2, versions: 3, aliases: 2, shares: 2, api_keys: 1, idempotency: 1, usage: 1, audit: 1 };
  for (const [table, count] of Object.entries(seen)) expect([table, await inTenant(MINE, async () => (await service.query(`select from weft.${table}`)).rowCount)]).toEqual([table, count]);
  for (const table of ['adapters', 'versions', 'aliases', 'tenants']) {
    expect(await inTenant(MINE, async () => (await service.query(`update weft.${table} set ${OWNED[table as keyof typeof OWNED]} = ${OWNED[table as keyof typeof OWNED]} where ${OWNED[table as keyof typeof OWNED]} = $1`, [THEIRS])).rowCount)).toBe(0);
  }
  expect(await inTenant(MINE, async () => (await service.query('delete from weft.shares where tenant_id = $1', [THEIRS])).rowCount)).toBe(0);
  expect(await inTenant(THIRD, () => owners('adapters'))).toEqual([THIRD]);
  // The one who shares reads the other's name, and nothing else of it.
  expect(await inTenant(THEIRS, () => owners('tenants'))).toEqual([MINE, THEIRS].sort());
  expect(await inTenant(THEIRS, () => owners('adapters'))).toEqual([THEIRS]);
});

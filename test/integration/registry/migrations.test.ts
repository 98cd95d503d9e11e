import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkDatabase } from '../../../apps/registry/src/database-check.js';
import { dataSourceOptions } from '../../../apps/registry/src/data-source.js';
import { migrate } from '../../../apps/registry/src/migrations/migrate.js';
import { createDatabase, need, type TestDatabase } from './database.js';

let database: TestDatabase | null;
beforeEach(async context => {
  database = await createDatabase({ migrated: false });
  need(database, context);
});
afterEach(() => database?.drop());

const run = (changes: Partial<Parameters<typeof migrate>[0]> = {}): Promise<void> => migrate({ ownerUrl: database!.ownerUrl, databaseUrl: database!.url, withQueue: true, ...changes });
const refused = (message: string): object => ({ code: 'database_refused', message: expect.stringContaining(message) });
const schemas = async (): Promise<string[]> => (await database!.owner.query<{ name: string }>(`select nspname as name from pg_namespace where nspname in ('weft', 'bullmq') order by 1`)).rows.map(({ name }) => name);

test('entities and migrations describe the same tables', async () => {
  await run();
  const dataSource = await new DataSource(dataSourceOptions(database!.ownerUrl)).initialize();
  const { upQueries } = await dataSource.driver.createSchemaBuilder().log();
  expect(upQueries.map(({ query }) => query)).toEqual([]);
  await dataSource.undoLastMigration();
  expect((await database!.owner.query(`select from pg_class where relnamespace = 'weft'::regnamespace and relkind in ('r', 'S') and relname not like 'migrations%'`)).rowCount).toBe(0);
  await dataSource.destroy();
});

test('migrating again, and by several at once, does it once', async () => {
  await Promise.all([run(), run(), run()]);
  await run();
  expect((await database!.owner.query('select name from weft.migrations')).rowCount).toBe(1);
  await checkDatabase(database!.url);
});

test('the queue\'s tables are made where no Redis is', async () => {
  await run({ withQueue: false });
  expect(await schemas()).toEqual(['weft']);
  await run();
  expect(await schemas()).toEqual(['bullmq', 'weft']);
});

test('a password of the URL becomes the role\'s', async () => {
  await run();
  const changed = new URL(database!.url);
  changed.password = encodeURIComponent(`it's "new" /\\`);
  await run({ databaseUrl: changed.href });
  const { rows } = await database!.owner.query<{ login: boolean }>('select rolcanlogin as login from pg_roles where rolname = $1', [changed.username]);
  expect(rows).toEqual([{ login: true }]);
});

test('another project\'s database is refused and stays as it is', async () => {
  await database!.owner.query('create table orders (id int)');
  await expect(run()).rejects.toMatchObject(refused('public.orders'));
  expect(await schemas()).toEqual([]);
});

test('so is a schema weft that is not ours', async () => {
  await database!.owner.query('create schema weft; create table weft.looms (id int)');
  await expect(run()).rejects.toMatchObject(refused('weft.looms'));
});

test('a role that row security does not bind is refused by migrate and at the start', async () => {
  await expect(run({ databaseUrl: database!.ownerUrl })).rejects.toMatchObject(refused('superuser'));
  await run();
  await expect(checkDatabase(database!.ownerUrl)).rejects.toMatchObject(refused('is a superuser'));
  const role = new URL(database!.url).username;
  await database!.owner.query(`alter role ${role} bypassrls`);
  await expect(checkDatabase(database!.url)).rejects.toMatchObject(refused('bypasses row security'));
  await database!.owner.query(`alter role ${role} nobypassrls; alter schema weft owner to ${role}`);
  await expect(checkDatabase(database!.url)).rejects.toMatchObject(refused('owns the schema'));
  await database!.owner.query('alter schema weft owner to current_user');
});

test('a start on a database that is not migrated says what to run', async () => {
  await expect(checkDatabase(database!.url)).rejects.toMatchObject(refused('run migrate'));
  const name = `weft_login_${randomBytes(4).toString('hex')}`;
  const url = new URL(database!.url);
  url.username = name;
  await database!.owner.query(`create role ${name} login password 'service'`);
  await expect(checkDatabase(url.href)).rejects.toMatchObject(refused('migrate.js'));
  await run();
  await database!.owner.query('delete from weft.migrations');
  await expect(checkDatabase(database!.url)).rejects.toMatchObject(refused('Tables1795564800000'));
  await database!.owner.query(`drop role ${name}`);
});

test('a server that does not answer is registry_lost', async () => {
  const url = 'postgres://weft@127.0.0.1:1/weft';
  await expect(checkDatabase(url)).rejects.toMatchObject({ code: 'registry_lost' });
  await expect(run({ ownerUrl: url })).rejects.toMatchObject({ code: 'registry_lost' });
});

test('the service may not change what it wrote into the audit log, nor make tables', async () => {
  await run();
  const service = new pg.Client({ connectionString: database!.url });
  await service.connect();
  await service.query(`select set_config('weft.tenant', '*', false)`);
  for (const statement of ['update weft.audit set action = action', 'delete from weft.audit', 'delete from weft.usage', 'truncate weft.usage', 'create table weft.x ()', 'alter table weft.usage disable row level security', 'drop policy usage_read on weft.usage', 'delete from weft.migrations']) {
    await expect(service.query(statement), statement).rejects.toMatchObject({ code: '42501' });
  }
  await service.end();
});

import { WeftError } from '@weft/contracts';
import { runMigrations } from 'bullmq';
import pg from 'pg';
import { DataSource } from 'typeorm';
import type { MigrateConfig } from '../config.js';
import { connect } from '../database-check.js';
import { dataSourceOptions, MIGRATIONS_TABLE, SCHEMA } from '../data-source.js';

/** Where BullMQ keeps its jobs, in a database without Redis. */
export const QUEUE_SCHEMA = 'bullmq';

/** What the service's role may do, table by table. Nothing else. */
const GRANTS: Record<string, string> = {
  [MIGRATIONS_TABLE]: 'select',
  tenants: 'select, insert, update', api_keys: 'select, insert, update', bases: 'select, insert, update',
  adapters: 'select, insert, update', versions: 'select, insert, update',
  aliases: 'select, insert, update, delete', shares: 'select, insert, delete',
  artifacts: 'select, insert, update, delete', idempotency: 'select, insert, update, delete',
  usage: 'select, insert, update', outbox: 'select, insert, delete', audit: 'select, insert', members: 'select, insert, update, delete',
};

/**
 * Brings a database to what this version needs, and its service's role with it. Does nothing where that is done already.
 * Throws database_refused, registry_lost.
 */
export async function migrate({ ownerUrl, databaseUrl, withQueue }: Omit<MigrateConfig, 's3'>): Promise<void> {
  const owner = await connect({ connectionString: ownerUrl }, 'WEFT_DATABASE_OWNER_URL', 'correct it, or create the database');
  try {
    // One migrates, others wait and find it done. The lock goes with the connection.
    await owner.query(`select pg_advisory_lock(hashtext('weft.migrate'))`);
    await refuseForeign(owner);
    await owner.query(`create schema if not exists ${SCHEMA}`);
    await migrateTables(ownerUrl);
    if (withQueue) await runMigrations(owner, QUEUE_SCHEMA);
    const role = await writeRole(owner, new URL(databaseUrl));
    await grant(owner, role, withQueue);
  } finally {
    await owner.end();
  }
}

async function migrateTables(ownerUrl: string): Promise<void> {
  const dataSource = await new DataSource(dataSourceOptions(ownerUrl, { max: 1 })).initialize();
  try {
    await dataSource.runMigrations();
  } finally {
    await dataSource.destroy();
  }
}

/** A variable that was exported for another project must not get our tables into its database. */
async function refuseForeign(owner: pg.Client): Promise<void> {
  const { rows: [found] } = await owner.query<{ ours: boolean; schema: boolean; database: string; foreign: string | null }>(`
    select to_regclass('${SCHEMA}.${MIGRATIONS_TABLE}') is not null as ours, to_regnamespace('${SCHEMA}') is not null as schema, current_database() as database,
      (select format('%s.%s', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
          and not exists (select 1 from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
        order by 1 limit 1) as foreign`);
  if (found!.ours || found!.foreign === null) return;
  throw new WeftError('database_refused', `database ${found!.database} has tables already (${found!.foreign}) and none of Weft's; name an empty database in WEFT_DATABASE_URL`, { field: 'WEFT_DATABASE_OWNER_URL' });
}

/** Resolves to the role's name. Its password becomes that of the URL. */
async function writeRole(owner: pg.Client, { username, password }: URL): Promise<string> {
  const name = decodeURIComponent(username);
  const role = pg.escapeIdentifier(name);
  const { rows: [found] } = await owner.query<{ too_strong: boolean }>(
    `select rolsuper or rolbypassrls or rolname = current_user as too_strong from pg_roles where rolname = $1`, [name]);
  if (found?.too_strong === true) {
    throw new WeftError('database_refused', `the role ${name} of WEFT_DATABASE_URL is the owner, a superuser or bypasses row security; name another one, and it will be made`, { field: 'WEFT_DATABASE_URL' });
  }
  const login = `login${password === '' ? '' : ` password ${pg.escapeLiteral(decodeURIComponent(password))}`}`;
  if (found === undefined) await owner.query(`create role ${role} nosuperuser nocreatedb nocreaterole nobypassrls ${login}`);
  else {
    await owner.query(`alter role ${role} ${login}`).catch((error: pg.DatabaseError) => {
      if (error.code !== INSUFFICIENT_PRIVILEGE) throw error;   // whoever made it keeps its password
    });
  }
  return role;
}

const INSUFFICIENT_PRIVILEGE = '42501';

async function grant(owner: pg.Client, role: string, withQueue: boolean): Promise<void> {
  const tables = Object.entries(GRANTS).map(([table, rights]) => `
    revoke all on ${SCHEMA}.${table} from ${role};
    grant ${rights} on ${SCHEMA}.${table} to ${role};`);
  const queue = `
    grant usage on schema ${QUEUE_SCHEMA} to ${role};
    grant select, insert, update, delete, truncate on all tables in schema ${QUEUE_SCHEMA} to ${role};
    grant usage, select, update on all sequences in schema ${QUEUE_SCHEMA} to ${role};
    grant execute on all functions in schema ${QUEUE_SCHEMA} to ${role};`;
  await owner.query(`
    begin;
    grant usage on schema ${SCHEMA} to ${role};
    grant usage on all sequences in schema ${SCHEMA} to ${role};
    ${tables.join('')}
    ${withQueue ? queue : ''}
    commit`);
}

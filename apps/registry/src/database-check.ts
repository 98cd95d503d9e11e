/** What is wrong with a database is told before anything starts. */
import { WeftError } from '@weft/contracts';
import pg from 'pg';
import { MIGRATIONS_TABLE, SCHEMA } from './data-source.js';
import { CLIENT_OPTIONS, lostOr } from './database.js';
import { MIGRATIONS } from './migrations/index.js';

/** Throws database_refused for a role that row security does not bind, and for a schema that is not migrated; registry_lost. */
export async function checkDatabase(url: string): Promise<void> {
  const client = await connect({ connectionString: url, ...CLIENT_OPTIONS }, 'WEFT_DATABASE_URL', 'run migrate, which makes the role');
  try {
    await refuseStrongRole(client);
    await refuseOldSchema(client);
  } finally {
    await client.end();
  }
}

/** Throws registry_lost; database_refused for a login that the server refuses, with advice. */
export async function connect(config: pg.ClientConfig, field: string, advice: string): Promise<pg.Client> {
  const client = new pg.Client(config);
  try {
    await client.connect();
    return client;
  } catch (thrown) {
    await client.end();
    const error = lostOr(thrown);
    if (!(error instanceof pg.DatabaseError) || !LOGIN_REFUSED.test(error.code ?? '')) throw error;
    throw new WeftError('database_refused', `PostgreSQL refuses the login of ${field}: ${error.message}; ${advice}`, { field, cause: error });
  }
}

/** No such role, wrong password, no such database, no right to it. */
const LOGIN_REFUSED = /^(28...|3D000|42501)$/;

async function refuseStrongRole(client: pg.Client): Promise<void> {
  const { rows: [role] } = await client.query<{ name: string; reason: string | null }>(`
    select current_user as name, case when rolsuper then 'is a superuser' when rolbypassrls then 'bypasses row security'
      when exists (select 1 from pg_namespace where nspname = $1 and pg_has_role(nspowner, 'usage')) then 'owns the schema' end as reason
    from pg_roles where rolname = current_user`, [SCHEMA]);
  if (role!.reason === null) return;
  throw new WeftError('database_refused', `the role ${role!.name} of WEFT_DATABASE_URL ${role!.reason}, so tenants would not be kept apart; name another one and run migrate, which makes it`, { field: 'WEFT_DATABASE_URL' });
}

async function refuseOldSchema(client: pg.Client): Promise<void> {
  const applied = await client.query<{ name: string }>(`select name from ${SCHEMA}.${MIGRATIONS_TABLE}`).catch((error: pg.DatabaseError) => {
    if (NOT_THERE.includes(error.code ?? '')) return { rows: [] };
    throw error;
  });
  const missing = MIGRATIONS.filter(migration => !applied.rows.some(({ name }) => name === migration.name));
  if (missing.length === 0) return;
  throw new WeftError('database_refused', `the database lacks ${missing.map(({ name }) => name).join(', ')}: run node apps/registry/dist/migrate.js, with WEFT_DATABASE_OWNER_URL beside WEFT_DATABASE_URL`, { field: 'WEFT_DATABASE_URL' });
}

/** No such table, no such schema, no right to either. */
const NOT_THERE = ['42P01', '3F000', '42501'];

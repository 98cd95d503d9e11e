/** A migrated database of its own, with its own service role. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { TestContext } from 'vitest';
import { migrate } from '../../../apps/registry/src/migrations/migrate.js';

const ADMIN_URL = process.env.WEFT_TEST_DATABASE_URL ?? 'postgres://postgres@127.0.0.1:5432/postgres';

export interface TestDatabase {
  /** Logs in as the service's role. */
  url: string;
  ownerUrl: string;
  /** As the owner and superuser: sees every row. */
  owner: pg.Pool;
  /** Ends every other connection to it. */
  cut(): Promise<void>;
  drop(): Promise<void>;
}

/** Null where no PostgreSQL is reachable. */
export async function createDatabase(options: { migrated?: boolean } = {}): Promise<TestDatabase | null> {
  const admin = new pg.Client({ connectionString: ADMIN_URL, connectionTimeoutMillis: 2000 });
  try {
    await admin.connect();
  } catch {
    return null;
  }
  const name = `weft_test_${randomBytes(6).toString('hex')}`;
  await admin.query(`create database ${name}`);
  const ownerUrl = urlOf(name);
  const url = urlOf(name, { user: name, password: 'service' });
  if (options.migrated ?? true) await migrate({ ownerUrl, databaseUrl: url, withQueue: true });
  const owner = new pg.Pool({ connectionString: ownerUrl, max: 2 });
  owner.on('error', () => undefined);   // cut and drop end its connections too
  return {
    url, ownerUrl, owner,
    async cut() {
      await admin.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()`, [name]);
    },
    async drop() {
      await owner.end();
      await admin.query(`drop database ${name} with (force)`);
      await admin.query(`drop role if exists ${name}`);
      await admin.end();
    },
  };
}

/** The database, or the test is skipped with its reason. */
export function need(database: TestDatabase | null, context: TestContext): asserts database is TestDatabase {
  if (database === null) context.skip('needs PostgreSQL: WEFT_TEST_DATABASE_URL names none that answers');
}

function urlOf(database: string, login?: { user: string; password: string }): string {
  const url = new URL(ADMIN_URL);
  url.pathname = `/${database}`;
  if (login) {
    url.username = login.user;
    url.password = login.password;
  }
  return url.href;
}

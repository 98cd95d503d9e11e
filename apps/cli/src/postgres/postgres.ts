/** The embedded database: a PostgreSQL of our own that outlives a killed supervisor and is taken over by the next one. */
import { closeSync, copyFileSync, openSync, readFileSync, realpathSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '@weft/contracts';
import pg from 'pg';
import { databaseUrls, type DatabaseUrls } from '../database-urls.js';
import { freePort } from '../free-port.js';
import { findAccount, run, type Account } from './account.js';
import { findPackage, usablePrograms, type PostgresPackage } from './binaries.js';
import { configure, ensureCluster, lastPort, OWNER } from './cluster.js';
import { makePlace } from './place.js';
import { untilGone, untilReady, type Postmaster } from './postmaster.js';

const DATABASE = 'weft';
const LOG_BYTES_MAX = 8 << 20;
const LOG_LOOK_MS = 60_000;
/** How soon the end of a running server is noticed. */
const LOOK_MS = 500;
const LAST_LINES = 20;
/** Recovery after a crash reads at most max_wal_size. */
const START_S_MAX = 120;
/** The processes of a server that was killed leave by themselves, within moments. */
const LEAVE_MS_MAX = 10_000;
const LEAVE_POLL_MS = 200;

export interface Passwords { ownerPassword: string; servicePassword: string }

export interface Postgres extends DatabaseUrls {
  readonly pid: number;
  /** Resolves when the server has ended, whoever ended it. */
  readonly died: Promise<void>;
  /** Ends transactions and the server; when that takes longer than allowed, as a crash that the next start recovers from. */
  stop(withinMs: number): Promise<void>;
  kill(): void;
}

/**
 * Starts the server of a data directory, or takes over the one that runs there, and makes sure of the database.
 * Listens on 127.0.0.1, at the port of the last start if that is free.
 * Throws option_invalid where PostgreSQL can't run, database_refused for a cluster that isn't ours to use, io_error.
 */
export async function startPostgres(
  dataDir: string, passwords: Passwords, log: (line: string) => void, account: Account = findAccount(), postgres: PostgresPackage = findPackage(),
): Promise<Postgres> {
  // A server is known by the path that it was started with.
  const place = await makePlace(realpathSync(dataDir), account, passwords.ownerPassword);
  const programs = await usablePrograms(postgres, account, place);
  const data = await ensureCluster(place, programs, postgres.major, account, passwords.ownerPassword);
  const logFile = join(dataDir, 'postgres.log');
  boundLog(logFile);
  const running = await untilReady(data);
  if (running !== undefined) log(`the PostgreSQL of an earlier start still runs (pid ${running.pid}): taken over`);
  const server = running ?? await launch(data, programs, account, logFile);
  const urls = databaseUrls(`postgres://${OWNER}:${passwords.ownerPassword}@127.0.0.1:${server.port}/${DATABASE}`, passwords.servicePassword);
  await ensureDatabase(urls.ownerUrl, data);
  return attend(server, urls, logFile);
}

/** pg_ctl makes the server the leader of a session of its own: a Ctrl-C at the terminal does not reach it. */
async function launch(data: string, programs: string, account: Account, logFile: string): Promise<Postmaster> {
  configure(data, account, await freePort(lastPort(data)));
  const until = performance.now() + LEAVE_MS_MAX;
  for (;;) {
    const before = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
    // Opened here and inherited: the file is in the data directory, where PostgreSQL's account may not get.
    const log = openSync(logFile, 'a', 0o600);
    await run(account, join(programs, 'pg_ctl'), ['start', '-D', data, '-w', '-s', '-t', String(START_S_MAX)], log);
    closeSync(log);
    // Whatever pg_ctl says: another one may have been starting it when its supervisor was killed.
    const found = await untilReady(data);
    if (found !== undefined) return found;
    const said = readFileSync(logFile).subarray(before).toString();
    if (!/pre-existing shared memory block/.test(said) || performance.now() > until) {
      throw new WeftError('io_error', `PostgreSQL did not start. The end of ${logFile}:\n${said.trimEnd().split('\n').slice(-LAST_LINES).join('\n')}`, { file: logFile });
    }
    await sleep(LEAVE_POLL_MS);
  }
}

/** Proves that the server is this data directory's and takes our password. */
async function ensureDatabase(ownerUrl: string, data: string): Promise<void> {
  const url = new URL(ownerUrl);
  url.pathname = '/postgres';
  // `ssl` is given, or PGSSLMODE would decide.
  const client = new pg.Client({ connectionString: url.href, ssl: false });
  try {
    await client.connect();
    const { rows: [row] } = await client.query<{ data_directory: string; found: boolean }>(
      `SELECT current_setting('data_directory') AS data_directory, EXISTS (SELECT FROM pg_database WHERE datname = '${DATABASE}') AS found`);
    if (row!.data_directory !== data) throw new WeftError('database_refused', `the PostgreSQL at port ${url.port} serves ${row!.data_directory}, not ${data}`, { field: 'data-dir' });
    if (!row!.found) await client.query(`CREATE DATABASE ${DATABASE}`);
  } catch (cause) {
    if ((cause as { code?: string }).code !== '28P01') throw cause;
    throw new WeftError('database_refused', `the PostgreSQL in ${data} does not take the password in secrets.json of the data directory: the two are not of one piece. Restore the secrets.json that belongs to it`, { field: 'data-dir', cause });
  } finally {
    await client.end();
  }
}

function attend(server: Postmaster, urls: DatabaseUrls, logFile: string): Postgres {
  const looking = setInterval(() => boundLog(logFile), LOG_LOOK_MS).unref();
  const died = untilGone(server, Infinity, LOOK_MS).then(() => clearInterval(looking));
  // SIGINT is a fast shutdown, SIGQUIT an immediate one: as pg_ctl sends them.
  const signal = (name: 'SIGINT' | 'SIGQUIT'): void => { try { process.kill(server.pid, name); } catch { /* gone already */ } };
  return {
    ...urls, pid: server.pid, died,
    async stop(withinMs) {
      signal('SIGINT');
      if (await untilGone(server, withinMs)) return;
      signal('SIGQUIT');
      await died;
    },
    kill: () => signal('SIGQUIT'),
  };
}

/** PostgreSQL appends: the file can be cut under it. */
function boundLog(file: string): void {
  if ((statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= LOG_BYTES_MAX) return;
  copyFileSync(file, `${file}.1`);
  truncateSync(file);
}

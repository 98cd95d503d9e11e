/** The embedded database, for real: every test has a data directory of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { findNobody, findAccount } from '../../../apps/cli/src/postgres/account.js';
import { findPackage } from '../../../apps/cli/src/postgres/binaries.js';
import { startPostgres, type Postgres } from '../../../apps/cli/src/postgres/postgres.js';
import { processIdentity } from '../../../apps/cli/src/process-identity.js';

const PASSWORDS = { ownerPassword: 'owner-secret', servicePassword: 'service-secret' };
const root = process.getuid!() === 0;
const elsewhere = join('/var/lib/weft', createHash('sha256').update(PASSWORDS.ownerPassword).digest('hex').slice(0, 16));

let parent: string;
/** With a cluster that has been started and stopped; each test has a copy of it. */
let made: string;
let dataDir: string;
let running: Postgres | undefined;
const lines: string[] = [];
const missing = problem();
beforeAll(async () => {
  if (missing !== null) return;
  parent = mkdtempSync(join(tmpdir(), 'weft-postgres-'));
  made = dataDir = join(parent, 'made');
  mkdirSync(made, { mode: 0o700 });
  await start();
  await stop();
});
afterAll(() => { if (missing === null) rmSync(parent, { recursive: true, force: true }); });
beforeEach(ctx => {
  ctx.skip(missing !== null, `needs PostgreSQL's programs: ${missing}`);
  dataDir = join(parent, 'data');
  cpSync(made, dataDir, { recursive: true });
  lines.length = 0;
});
afterEach(async () => {
  if (missing !== null) return;
  await running?.stop(10_000);
  running = undefined;
  rmSync(dataDir, { recursive: true, force: true });
  rmSync(elsewhere, { recursive: true, force: true });
});

/** Why no PostgreSQL can run here. */
function problem(): string | null {
  try {
    findPackage();
    findAccount();
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

const start = async (...more: Parameters<typeof startPostgres> extends [unknown, unknown, unknown, ...infer Rest] ? Rest : never): Promise<Postgres> =>
  (running = await startPostgres(dataDir, PASSWORDS, line => lines.push(line), ...more));

const stop = async (): Promise<void> => { await running!.stop(10_000); running = undefined; };

async function query<Row extends object>(text: string, url = running!.ownerUrl): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url, ssl: false });
  await client.connect();
  try { return (await client.query<Row>(text)).rows; } finally { await client.end(); }
}
const port = (): string => new URL(running!.ownerUrl).port;
const cluster = (): string => join(dataDir, 'postgres', 'data');

describe('a database of its own', () => {
  test('is made, keeps what was written and its port, and leaves nothing running', async () => {
    await start();
    await query('CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)');
    const before = port();
    expect(await query('SHOW server_encoding')).toEqual([{ server_encoding: 'UTF8' }]);
    expect(running!.serviceUrl).toBe(`postgres://weft_service_weft:service-secret@127.0.0.1:${before}/weft`);
    const { pid } = running!;
    await stop();
    expect(processIdentity(pid)).toBeUndefined();
    await start();
    expect(port()).toBe(before);
    expect(await query('SELECT n FROM kept')).toEqual([{ n: 7 }]);
    expect(readdirSync(join(dataDir, 'postgres'))).toEqual(['data']);
  });

  test('listens on 127.0.0.1 alone, asks for a password and shows its files to nobody', async () => {
    await start();
    expect(await query('SELECT setting FROM pg_settings WHERE name IN (\'listen_addresses\', \'unix_socket_directories\') ORDER BY name')).toEqual([{ setting: '127.0.0.1' }, { setting: '' }]);
    await expect(query('SELECT 1', running!.ownerUrl.replace('owner-secret', 'guessed'))).rejects.toMatchObject({ code: '28P01' });
    expect(statSync(join(dataDir, 'postgres')).mode & 0o077).toBe(0);
    expect(statSync(join(dataDir, 'postgres.log')).mode & 0o077).toBe(0);
    expect(readFileSync(`/proc/${running!.pid}/cmdline`, 'utf8')).not.toContain('secret');
  });

  test('does not hear of variables that are meant for other servers', async () => {
    const foreign = { PGDATA: '/nowhere', PGPORT: '1', PGHOST: 'elsewhere', PGUSER: 'somebody', PGDATABASE: 'other', PGSSLMODE: 'require' };
    Object.assign(process.env, foreign);
    try {
      await start();
    } finally {
      for (const name of Object.keys(foreign)) delete process.env[name];
    }
    expect(await query('SELECT current_user AS who, current_database() AS db')).toEqual([{ who: 'weft', db: 'weft' }]);
  });

  test('takes another port where its own was taken meanwhile', async () => {
    await start();
    const before = Number(port());
    await stop();
    const server = createServer().listen(before, '127.0.0.1');
    await once(server, 'listening');
    await start();
    expect((server.address() as AddressInfo).port).toBe(before);
    expect(Number(port())).not.toBe(before);
    server.close();
  });

  test('is out of reach of a Ctrl-C at the terminal', async () => {
    await start();
    const fields = readFileSync(`/proc/${running!.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    expect([fields[2], fields[3]]).not.toContain(readFileSync('/proc/self/stat', 'utf8').split(') ')[1]!.split(' ')[3]);
  });
});

describe('after a crash', () => {
  test('of the server, what was acknowledged is there', async () => {
    await start();
    await query('CREATE TABLE kept (n int)');
    await query('INSERT INTO kept SELECT generate_series(1, 1000)');
    process.kill(running!.pid, 'SIGKILL');
    await running!.died;
    await start();
    expect(await query('SELECT count(*)::int AS n FROM kept')).toEqual([{ n: 1000 }]);
  });

  test('of the supervisor, the next one takes the living server over', async () => {
    const script = join(parent, 'supervisor.mjs');
    const source = join(import.meta.dirname, '../../../apps/cli/dist/postgres/postgres.js');
    expect(existsSync(source), 'npm run build comes first').toBe(true);
    writeFileSync(script, `import { startPostgres } from ${JSON.stringify(source)};
      console.log((await startPostgres(${JSON.stringify(dataDir)}, ${JSON.stringify(PASSWORDS)}, () => undefined)).pid); setInterval(() => {}, 1000);`);
    const supervisor = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [said] = await once(supervisor.stdout, 'data') as [Buffer];
    supervisor.kill('SIGKILL');
    await start();
    expect(running!.pid).toBe(Number(said));
    expect(lines).toEqual([`the PostgreSQL of an earlier start still runs (pid ${running!.pid}): taken over`]);
    expect(await query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('a pid file whose pid is another process\'s by now is no server', async () => {
    await start();
    await stop();
    writeFileSync(join(cluster(), 'postmaster.pid'), `${process.pid}\n${cluster()}\n1\n5432\n\n127.0.0.1\n1 1\nready   \n`);
    await start();
    expect(await query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  test('of initdb, the next start makes the cluster from the beginning', async () => {
    rmSync(cluster(), { recursive: true });
    mkdirSync(join(dataDir, 'postgres', 'initdb-killed', 'data'), { recursive: true });
    writeFileSync(join(dataDir, 'postgres', 'initdb-killed', 'data', 'PG_VERSION'), '18\n');
    await start();
    expect(await query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(readdirSync(join(dataDir, 'postgres'))).toEqual(['data']);
  });
});

describe('is refused', () => {
  test('a cluster of another major version, untouched', async () => {
    await start();
    await stop();
    writeFileSync(join(cluster(), 'PG_VERSION'), '17\n');
    await expect(start()).rejects.toMatchObject({ code: 'database_refused', message: expect.stringMatching(/made by PostgreSQL 17; this Weft brings PostgreSQL 18.*pg_dump/s) });
    expect(readFileSync(join(cluster(), 'PG_VERSION'), 'utf8')).toBe('17\n');
  });

  test('a cluster with another password', async () => {
    await start();
    await expect(startPostgres(dataDir, { ...PASSWORDS, ownerPassword: 'new' }, () => undefined)).rejects.toMatchObject({ code: 'database_refused', message: expect.stringContaining('secrets.json') });
  });

});

describe('as root', () => {
  test('it runs as nobody, by a user namespace or for real, and changes between the two', async ctx => {
    ctx.skip(!root, 'needs root');
    expect(findAccount().prefix[0] ?? findAccount().uid).not.toBe(0);
    chmodSync(parent, 0o711);
    await start(findNobody());
    expect(statSync(`/proc/${running!.pid}`).uid).toBe(findNobody().uid);
    expect(statSync(dataDir).mode & 0o007).toBe(0);
    await query('CREATE TABLE kept (n int)');
    await stop();
    await start();
    await stop();
    await start(findNobody());
    expect(await query('SELECT n FROM kept')).toEqual([]);
    expect(existsSync(elsewhere)).toBe(false);
  });

  test('a data directory that nobody reaches: the cluster lies where services keep theirs, and stays there', async ctx => {
    ctx.skip(!root, 'needs root');
    chmodSync(parent, 0o700);
    await expect(start(findNobody())).rejects.toMatchObject({ code: 'option_invalid', message: expect.stringContaining('does not reach the database') });
    rmSync(join(dataDir, 'postgres'), { recursive: true });
    await start(findNobody());
    expect(await query('SHOW data_directory')).toEqual([{ data_directory: join(elsewhere, 'data') }]);
    await stop();
    await start();
    expect(await query('SHOW data_directory')).toEqual([{ data_directory: join(elsewhere, 'data') }]);
  });
});

test('programs that lack their links, or lie out of reach, are copied', async () => {
  const postgres = findPackage();
  const folder = join(parent, 'package');
  const native = join(folder, 'native');
  execFileSync('sh', ['-c', 'mkdir -p "$1" && cp -r "$0/." "$1" && find "$1" -type l -delete', postgres.native, native]);
  chmodSync(parent, 0o711);
  chmodSync(root ? folder : join(native, 'lib'), root ? 0o700 : 0o555);
  await start(root ? findNobody() : undefined, { ...postgres, native });
  expect(existsSync(join(dataDir, 'postgres', `programs-${postgres.version}`, 'bin', 'postgres'))).toBe(true);
  chmodSync(join(native, 'lib'), 0o755);
});

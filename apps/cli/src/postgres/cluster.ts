/** A database cluster on disk: made once, whole or not at all, and configured anew at every start. */
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { run, type Account } from './account.js';
import { INSTEAD } from './instead.js';

/** The superuser: who owns the databases. */
export const OWNER = 'weft';

const configFile = (data: string): string => join(data, 'postgresql.conf');

/** Makes the cluster in `data`, unless it is there. Throws database_refused for one of another major version. */
export async function ensureCluster(place: string, programs: string, major: number, account: Account, password: string): Promise<string> {
  const data = join(place, 'data');
  if (!existsSync(data)) await makeCluster(place, data, programs, account, password);
  const found = readFileSync(join(data, 'PG_VERSION'), 'utf8').trim();
  if (Number(found) !== major) {
    throw new WeftError('database_refused', `${data} was made by PostgreSQL ${found}; this Weft brings PostgreSQL ${major}. Nothing was changed. Start the Weft that made it, or move what it holds: `
      + `dump it with pg_dump of PostgreSQL ${found}, start with another --data-dir, and restore it there. ${INSTEAD}`, { field: 'data-dir' });
  }
  return data;
}

const UNFINISHED = 'initdb-';

/** initdb fills a folder that is moved into place when it is done: a start that was killed meanwhile leaves nothing to repair. */
async function makeCluster(place: string, data: string, programs: string, account: Account, password: string): Promise<void> {
  for (const name of readdirSync(place)) if (name.startsWith(UNFINISHED)) remove(join(place, name));
  // A new one each time: the initdb of a killed start may still be at work.
  const work = mkdtempSync(join(place, UNFINISHED));
  const unfinished = join(work, 'data');
  const passwordFile = join(work, 'password');
  try {
    writeFileSync(passwordFile, password, { mode: 0o600 });
    for (const path of [work, passwordFile]) chownSync(path, account.uid, account.gid);
    const { code, output } = await run(account, join(programs, 'initdb'), [
      '-D', unfinished, '-U', OWNER, `--pwfile=${passwordFile}`, '--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-instructions',
    ]);
    if (code !== 0) throw new WeftError('io_error', `PostgreSQL's initdb failed:\n${output.trim()}\n${INSTEAD}`);
    renameSync(unfinished, data);
  } finally {
    remove(work);
  }
}

const remove = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });

/** The port of the last start. */
export function lastPort(data: string): number | undefined {
  const port = /^port = (\d+)$/m.exec(readFileSync(configFile(data), 'utf8'))?.[1];
  return port === undefined ? undefined : Number(port);
}

/** Sized for a laptop: the registry's tables are small, and the memory is the models'. */
export function configure(data: string, account: Account, port: number): void {
  writeFileSync(configFile(data), `# Written by Weft at every start.
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 60
shared_buffers = 64MB
max_wal_size = 256MB
max_parallel_workers = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
`);
  chownSync(configFile(data), account.uid, account.gid);
}

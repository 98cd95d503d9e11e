/** Where PostgreSQL's files lie: in the data directory, unless its account can't get there. */
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, existsSync, lchownSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { run, type Account } from './account.js';
import { INSTEAD } from './instead.js';

/** Where a system's services keep their state: every account may pass. */
const SERVICES = '/var/lib/weft';

/**
 * Makes the folder and gives it, with all that is in it, to the account. Throws option_invalid.
 * secret: names the folder of this data directory among those of others.
 */
export async function makePlace(dataDir: string, account: Account, secret: string, services = SERVICES): Promise<string> {
  const usual = join(dataDir, 'postgres');
  const elsewhere = join(services, createHash('sha256').update(secret).digest('hex').slice(0, 16));
  // Once there it stays there, or its data would seem lost when root may be somebody else again.
  const place = existsSync(elsewhere) ? elsewhere : usual;
  if (account.uid !== process.getuid!()) {
    // A data directory is its owner's alone. The account's group may pass through it, not look around.
    chownSync(dataDir, process.getuid!(), account.gid);
    chmodSync(dataDir, 0o710);
  }
  own(place, account);
  if ((await run(account, 'test', ['-w', place])).code === 0) return place;
  if (readdirSync(place).length > 0) throw unreachable(account, `does not reach the database in ${place}`);
  try {
    mkdirSync(services, { recursive: true, mode: 0o711 });
    own(elsewhere, account);
  } catch (cause) {
    throw unreachable(account, `reaches neither ${dataDir} nor ${services}: ${(cause as Error).message}`, cause);
  }
  return elsewhere;
}

const unreachable = ({ uid }: Account, why: string, cause?: unknown): WeftError =>
  new WeftError('option_invalid', `PostgreSQL runs as user ${uid} here, which ${why}. Choose another --data-dir. ${INSTEAD}`, { field: 'data-dir', cause });

/** What another account left is handed over: whether root may be somebody else can change from start to start. */
function own(folder: string, { uid, gid }: Account): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (statSync(folder).uid === uid) return;
  for (const name of readdirSync(folder, { recursive: true }) as string[]) lchownSync(join(folder, name), uid, gid);
  lchownSync(folder, uid, gid);
}

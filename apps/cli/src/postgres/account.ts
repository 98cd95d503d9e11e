/** As whom PostgreSQL runs. It refuses root, which many containers and servers have as their only user, and users without a name. */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { WeftError } from '@weft/contracts';
import { INSTEAD } from './instead.js';

export interface Account {
  /** Stands before every command. */
  prefix: readonly string[];
  /** Who owns PostgreSQL's files, in the eyes of this process. */
  uid: number;
  gid: number;
}

/** Throws option_invalid where this user can't run PostgreSQL and can't become anybody else. */
export function findAccount(): Account {
  const uid = process.getuid!();
  const gid = process.getgid!();
  if (uid !== 0 && hasName()) return { prefix: [], uid, gid };
  const nobody = findNobody();
  // In a user namespace this user is called nobody, and still reaches what is its own.
  const unshare = ['unshare', '-U', `--map-user=${nobody.uid}`, '--'];
  if (spawnSync(unshare[0]!, [...unshare.slice(1), 'true']).status === 0) return { prefix: unshare, uid, gid };
  if (uid === 0 && spawnSync('true', { uid: nobody.uid, gid: nobody.gid }).status === 0) return nobody;
  throw new WeftError('option_invalid', `PostgreSQL runs neither as root nor as a user without a name, and neither user namespaces nor another user are allowed here. ${INSTEAD}`, { field: 'WEFT_DATABASE_URL' });
}

/** Containers run under uids that /etc/passwd doesn't know. */
function hasName(): boolean {
  try {
    userInfo();
    return true;
  } catch {
    return false;
  }
}

/** The account without rights that systems have. initdb wants one with a name. */
export function findNobody(): Account {
  const line = readFileSync('/etc/passwd', 'utf8').split('\n').find(entry => entry.startsWith('nobody:'));
  if (line === undefined) throw new WeftError('option_invalid', `PostgreSQL runs neither as root nor as a user without a name, and /etc/passwd has no user nobody. ${INSTEAD}`, { field: 'WEFT_DATABASE_URL' });
  const [uid, gid] = line.split(':').slice(2, 4).map(Number);
  return { prefix: [], uid: uid!, gid: gid! };
}

/**
 * Runs a program of PostgreSQL's and returns its exit code and what it said; with `log` (an open file) it speaks there.
 * Nothing of this process's environment reaches it: PGDATA, PGPORT and the like are meant for other servers.
 */
export function run({ prefix, uid, gid }: Account, command: string, args: readonly string[], log?: number): Promise<{ code: number; output: string }> {
  const [program, ...rest] = [...prefix, command, ...args];
  return new Promise((resolve, reject) => {
    const child = spawn(program!, rest, {
      cwd: '/', env: { PATH: process.env.PATH, LC_ALL: 'C' }, stdio: ['ignore', log ?? 'pipe', log ?? 'pipe'],
      ...(uid !== process.getuid!() && { uid, gid }),
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', chunk => { output += String(chunk); });
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? -1, output: signal === null ? output : `${output}ended by ${signal}` }));
  });
}

/** A data directory belongs to one running Weft at a time; its credentials are for its owner's eyes. */
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { processIdentity } from './process-identity.js';

export interface Credentials { url: string; adminKey: string; tenantKey: string }

/** What nobody but the services ever needs. */
export interface Secrets {
  /** Keys are stored as HMACs under it: without it none of them works any more. */
  pepper: string;
  ownerPassword: string;
  servicePassword: string;
}

export interface Holder { pid: number; identity: string; url: string | null }

export class DataDir {
  readonly #lock: string;
  readonly #credentials: string;
  readonly #secrets: string;
  readonly #holder: Holder = { pid: process.pid, identity: processIdentity(process.pid)!, url: null };

  private constructor(readonly path: string) {
    this.#lock = lockFile(path);
    this.#credentials = credentialsFile(path);
    this.#secrets = join(path, 'secrets.json');
  }

  /** Makes and locks it. Throws data_dir_in_use with the running one's URL and pid, or io_error. */
  static open(path: string): DataDir {
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      const dir = new DataDir(path);
      dir.#take();
      return dir;
    } catch (cause) {
      if (cause instanceof WeftError) throw cause;
      throw new WeftError('io_error', `the data directory ${path} can't be used: ${(cause as Error).message}; choose another with --data-dir`, { field: 'data-dir', cause });
    }
  }

  /** Where it can be reached: what a second start is told. */
  announce(url: string): void {
    this.#holder.url = url;
    replaceFile(this.#lock, JSON.stringify(this.#holder), 0o600);
  }

  /** Keys that were given, or those of the last start, or new ones. */
  keys(given: { apiKey: string | undefined; adminKey: string | undefined }): Omit<Credentials, 'url'> {
    const last = readJson<Partial<Credentials>>(this.#credentials);
    const fresh = (kind: string): string => `sk-${kind}-${secret()}`;
    return { tenantKey: given.apiKey ?? last?.tenantKey ?? fresh('weft'), adminKey: given.adminKey ?? last?.adminKey ?? fresh('admin') };
  }

  /** Those of the first start. Throws io_error for a file that can't be read: new ones would lock everybody out. */
  secrets(): Secrets {
    if (!existsSync(this.#secrets)) {
      replaceFile(this.#secrets, `${JSON.stringify({ pepper: secret(), ownerPassword: secret(), servicePassword: secret() } satisfies Secrets, null, 2)}\n`, 0o600);
    }
    const secrets = readJson<Partial<Secrets>>(this.#secrets);
    if (typeof secrets?.pepper !== 'string' || typeof secrets.ownerPassword !== 'string' || typeof secrets.servicePassword !== 'string') {
      throw new WeftError('io_error', `${this.#secrets} can't be read; keys and database open with what was in it. Restore it, or start with another --data-dir`, { field: 'data-dir', file: this.#secrets });
    }
    return secrets as Secrets;
  }

  writeCredentials(credentials: Credentials): void {
    replaceFile(this.#credentials, `${JSON.stringify(credentials, null, 2)}\n`, 0o600);
  }

  release(): void { if (readJson<Holder>(this.#lock)?.pid === process.pid) rmSync(this.#lock, { force: true }); }

  #take(): void {
    // Linked, not created: whoever sees the lock sees all of it.
    const own = `${this.#lock}.${process.pid}`;
    writeFileSync(own, JSON.stringify(this.#holder), { mode: 0o600 });
    try {
      while (!linked(own, this.#lock)) {
        const holder = readJson<Holder>(this.#lock);
        if (holder !== undefined && processIdentity(holder.pid) === holder.identity) {
          throw new WeftError('data_dir_in_use', `Weft runs on ${this.path} already: ${holder.url ?? 'still starting'} (pid ${holder.pid})`, { field: 'data-dir' });
        }
        this.#breakStale();
      }
    } finally {
      rmSync(own, { force: true });
    }
  }

  /** One process at a time removes the lock of one that died: never a successor's. */
  #breakStale(): void {
    const guard = `${this.#lock}.break`;
    try {
      closeSync(openSync(guard, 'wx', 0o600));
    } catch {
      const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
      if (age > BREAK_MS_MAX) rmSync(guard, { force: true });
      return;
    }
    const holder = readJson<Holder>(this.#lock);
    if (holder === undefined || processIdentity(holder.pid) !== holder.identity) rmSync(this.#lock, { force: true });
    rmSync(guard, { force: true });
  }
}

/** Breaking a stale lock takes microseconds; whoever has been at it for longer has died. */
const BREAK_MS_MAX = 5000;

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Who holds a data directory now. */
export function runningOn(dataDir: string): Holder | undefined {
  const holder = readJson<Holder>(lockFile(dataDir));
  return holder !== undefined && processIdentity(holder.pid) === holder.identity ? holder : undefined;
}

const lockFile = (dataDir: string): string => join(dataDir, 'weft.lock');

const secret = (): string => randomBytes(24).toString('base64url');

const credentialsFile = (dataDir: string): string => join(dataDir, 'credentials.json');

/** How to reach the Weft of a data directory. Throws option_invalid when there is none. */
export function readCredentials(dataDir: string): Credentials {
  const credentials = readJson<Credentials>(credentialsFile(dataDir));
  if (credentials === undefined) throw new WeftError('option_invalid', `${credentialsFile(dataDir)} is not there: start Weft with «weft up», or name its --data-dir`, { field: 'data-dir' });
  return credentials;
}

function readJson<T>(file: string): T | undefined {
  if (!existsSync(file)) return undefined;
  try { return JSON.parse(readFileSync(file, 'utf8')) as T; } catch { return undefined; }
}

/** Readers see the old content or the new one, and a crash leaves one of them. */
function replaceFile(path: string, content: string, mode: number): void {
  const temporary = `${path}.${process.pid}.tmp`;
  rmSync(temporary, { force: true });
  const file = openSync(temporary, 'wx', mode);
  writeSync(file, content);
  fsyncSync(file);
  closeSync(file);
  renameSync(temporary, path);
}

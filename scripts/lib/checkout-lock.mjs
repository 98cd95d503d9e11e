// @ts-check
// Several commands may run in one checkout at a time. Two rules keep them from breaking one another:
//
//   - one process at a time installs and builds: it holds `build/prepare.lock`;
//   - a process that runs what was built says so in `build/running/<pid>`. Before anything under it is replaced, tests
//     that run are waited for; a server is not waited for, so dependencies cannot change below it.
//
// Both files name their process by pid and start time; those of processes that died are ignored and removed.
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { say } from './checkout.mjs';
import { Problem } from './problem.mjs';
import { processIdentity } from './processes.mjs';

const POLL_MS = 200;
/** Breaking a stale lock takes microseconds; whoever has been at it for longer has died. */
const BREAK_TIMEOUT_MS = 5000;

/** @typedef {{ pid: number, identity: string, what: string }} Holder */

/**
 * @param {string} file
 * @returns {Holder | undefined} undefined when it is missing or unreadable
 */
function readHolder(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** @param {Holder} holder */
const lives = holder => processIdentity(holder.pid) === holder.identity;

/**
 * @param {string} file
 * @param {string} text
 * @returns {boolean} false when the file was there already
 */
function createExclusively(file, text) {
  try {
    writeFileSync(file, text, { flag: 'wx' });
    return true;
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    return false;
  }
}

/** @param {number} pid @param {string} what @returns {Holder} */
function describe(pid, what) {
  const identity = processIdentity(pid);
  if (identity === undefined) throw new Error(`process ${pid} does not live`);
  return { pid, identity, what };
}

/** Removes a lock whose holder has died. Only one process does so at a time: it must not remove a successor's lock. */
function breakStale(/** @type {string} */ file) {
  const guard = `${file}.break`;
  if (!createExclusively(guard, String(process.pid))) {
    const age = Date.now() - (statSync(guard, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > BREAK_TIMEOUT_MS) rmSync(guard, { force: true });
    return;
  }
  const holder = readHolder(file);
  // An unreadable lock is being written at this moment, unless it stays unreadable.
  const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (holder ? !lives(holder) : age > BREAK_TIMEOUT_MS) rmSync(file, { force: true });
  rmSync(guard, { force: true });
}

/**
 * Runs `task` while holding the lock file.
 * @template T
 * @param {string} file
 * @param {string} what  what this process is about to do, for those who wait
 * @param {() => Promise<T>} task
 * @returns {Promise<T>}
 */
export async function withLock(file, what, task) {
  mkdirSync(dirname(file), { recursive: true });
  const own = JSON.stringify(describe(process.pid, what));
  for (let told = false; !createExclusively(file, own); await sleep(POLL_MS)) {
    const holder = readHolder(file);
    if (!holder || !lives(holder)) breakStale(file);
    else if (!told) {
      say(`waiting for ${holder.what} (pid ${holder.pid}) to finish building in this checkout`);
      told = true;
    }
  }
  const release = () => rmSync(file, { force: true });
  process.once('exit', release);
  try {
    return await task();
  } finally {
    process.off('exit', release);
    release();
  }
}

/** The processes of this checkout that run what was built, by what they do: "serve" or "test". */
export class Runners {
  #folder;

  /** @param {string} folder */
  constructor(folder) {
    this.#folder = folder;
  }

  /**
   * Announces a process until this one ends or the returned function is called.
   * @param {'serve' | 'test'} what
   * @param {number} [pid]
   */
  announce(what, pid = process.pid) {
    mkdirSync(this.#folder, { recursive: true });
    const file = join(this.#folder, String(pid));
    writeFileSync(file, JSON.stringify(describe(pid, what)));
    const withdraw = () => rmSync(file, { force: true });
    process.once('exit', withdraw);
    return withdraw;
  }

  /**
   * Those that live, without this process.
   * @param {'serve' | 'test'} what
   * @returns {Holder[]}
   */
  others(what) {
    mkdirSync(this.#folder, { recursive: true });
    return readdirSync(this.#folder).flatMap(name => {
      const holder = readHolder(join(this.#folder, name));
      if (holder && !lives(holder)) rmSync(join(this.#folder, name), { force: true });
      return holder && lives(holder) && holder.pid !== process.pid && holder.what === what ? [holder] : [];
    });
  }

  /** Returns when no test runs that what was built is replaced below. */
  async waitForTests() {
    for (let told = false; ; await sleep(POLL_MS)) {
      const [test] = this.others('test');
      if (!test) return;
      if (!told) say(`something changed; waiting for the tests that run in this checkout (pid ${test.pid})`);
      told = true;
    }
  }

  /** Throws when a server runs from this checkout. */
  refuseIfServing() {
    const [server] = this.others('serve');
    if (server) {
      throw new Problem(
        `the dependencies changed, but a server runs from this checkout (pid ${server.pid}). Stop it, then try again.`,
      );
    }
  }
}

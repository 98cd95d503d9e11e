/** A running server as its data directory tells of it. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { commandOf, processIdentity } from '../process-identity.js';

const POLL_MS = 100;

/** A server process: `identity` tells it from a later one with its pid. */
export interface Postmaster { pid: number; identity: string; port: number }

/** The server that runs on this data directory. What a dead one left is removed: its pid may be another process's by now. */
export function findPostmaster(data: string): (Postmaster & { status: string }) | undefined {
  const file = join(data, 'postmaster.pid');
  let lines: string[];
  try {
    lines = readFileSync(file, 'utf8').split('\n').map(line => line.trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const pid = Number(lines[0]);
  const identity = pid > 0 ? processIdentity(pid) : undefined;
  if (identity !== undefined && commandOf(pid).includes(data)) return { pid, identity, port: Number(lines[3]), status: lines[7] ?? '' };
  rmSync(file, { force: true });
  return undefined;
}

/** Waits until the server takes connections. Undefined when it ended instead. */
export async function untilReady(data: string): Promise<Postmaster | undefined> {
  for (;;) {
    const found = findPostmaster(data);
    if (found === undefined || found.status === 'ready') return found;
    await sleep(POLL_MS);
  }
}

/** Waits for the end of a process that is nobody's child. False when it outlasts the time. */
export async function untilGone({ pid, identity }: Postmaster, withinMs: number, pollMs = POLL_MS): Promise<boolean> {
  const until = performance.now() + withinMs;
  while (processIdentity(pid) === identity) {
    if (performance.now() > until) return false;
    await sleep(pollMs);
  }
  return true;
}

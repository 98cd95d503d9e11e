/** `weft down` and `weft logs`: the Weft of a data directory, by its lock and its log file. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '@weft/contracts';
import { runningOn } from '../data-dir.js';
import { followed, lastLines, type LogLine } from '../log-file.js';
import type { Outcome } from './outcome.js';

const POLL_MS = 50;
/** Beyond the drain time that it was started with. */
const KILL_S = 10;

/** Tells it to stop, and waits. Throws deadline_exceeded for one that did not within the time; with `force` it is killed then. */
export async function down(dataDir: string, { timeout, force }: { timeout: number; force: boolean }): Promise<Outcome> {
  const holder = runningOn(dataDir);
  if (holder === undefined) return { text: `nothing runs on ${dataDir}`, json: { stopped: false } };
  process.kill(holder.pid, 'SIGTERM');
  if (await gone(dataDir, holder.pid, timeout)) return { text: `${holder.url ?? 'Weft'} (pid ${holder.pid}) has stopped`, json: { stopped: true, pid: holder.pid, url: holder.url } };
  if (!force) throw new WeftError('deadline_exceeded', `pid ${holder.pid} still runs after ${timeout} s: answers that run may take its drain time; --timeout waits longer, --force kills it`);
  process.kill(holder.pid, 'SIGKILL');
  await gone(dataDir, holder.pid, KILL_S);
  return { text: `pid ${holder.pid} is killed; the next start takes its database over`, json: { stopped: true, killed: true, pid: holder.pid, url: holder.url } };
}

async function gone(dataDir: string, pid: number, seconds: number): Promise<boolean> {
  for (const until = performance.now() + 1000 * seconds; runningOn(dataDir)?.pid === pid; await sleep(POLL_MS)) if (performance.now() > until) return false;
  return true;
}

export interface LogsOptions { lines: number; follow?: boolean; json?: boolean }

export async function logs(dataDir: string, service: string | undefined, { lines, follow = false, json = false }: LogsOptions, print: (line: string) => void, signal: AbortSignal): Promise<void> {
  const wanted = (line: LogLine): boolean => service === undefined || line.service === service;
  const tell = (line: LogLine): void => print(json ? JSON.stringify(line) : `${line.time} [${line.service}] ${line.text}`);
  const coming = follow ? followed(dataDir, signal) : undefined;
  const first = coming?.next();     // from here on nothing is missed
  lastLines(dataDir, wanted, lines).forEach(tell);
  if (coming === undefined) return;
  for (let step = await first!; step.done !== true; step = await coming.next()) if (wanted(step.value)) tell(step.value);
}

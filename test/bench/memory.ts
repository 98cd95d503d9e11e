/** What a process keeps resident after mixed work: an engine, no bench around it. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Bytes; pool: pages that were in use at once. */
export interface Resident { resident: number; weights: number; pool: number }

export interface ResidentWork { model: string; adapters: string; threads: number; poolBytes: number; requests: number; prompt: number; fresh: number }

export function residentMemory(work: ResidentWork): Resident {
  const run = spawnSync(process.execPath, [fileURLToPath(new URL('resident.mjs', import.meta.url)), JSON.stringify(work)], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`resident.mjs: ${run.signal ?? `code ${run.status}`}, ${run.stderr.trim().split("\n").at(-1)}`);
  return JSON.parse(run.stdout.trim().split('\n').at(-1)!) as Resident;
}

/** What a process of its own keeps resident after mixed work: an engine, no bench around it. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseMode, WeftContender } from './weft.js';
import type { Workload } from './workloads.js';

/** Bytes; pool: pages that were in use at once. */
export interface Resident { resident: number; weights: number; pool: number }

export async function residentMemory({ model, adapters, threads, poolBytes, workload }: { model: string; adapters: string; threads: number; poolBytes: number; workload: Workload }): Promise<Resident> {
  const weft = await WeftContender.start(parseMode('reference'), 'weft', { modelDir: model, threads, poolBytes });
  await weft.addAdapters(readdirSync(adapters).sort().map(name => join(adapters, name)));
  await weft.open(workload);
  await weft.round();
  const figures = { resident: process.memoryUsage().rss, weights: weft.host.model.weightBytes, pool: weft.mostPages * weft.host.pool.pageBytes };
  await weft.shutDown();
  return figures;
}

/** The same in a fresh process. */
export function residentOfOwnProcess(model: string, adapters: string, threads: number): Resident {
  const run = spawnSync(process.execPath, [...process.execArgv, process.argv[1]!, 'memory', '--model', model, '--adapters', adapters, '--threads', String(threads)], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr.trim().split('\n').at(-1));
  return JSON.parse(run.stdout.trim().split('\n').at(-1)!) as Resident;
}

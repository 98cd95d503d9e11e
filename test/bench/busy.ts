/** How much slower decoding becomes beside a process that never sleeps. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import type { Contender } from './contender.js';
import { spread, type Spread, type Workload } from './workloads.js';

/** With one more that is ready to run, each of `threads` gets this much less of the cores. */
export const fairShare = (threads: number, cores: number): number => Math.max((threads + 1) / cores, 1);

/** Rounds with and without take turns. */
export async function slowdown(contender: Contender, workload: Workload, rounds: number, threads: number): Promise<{ contender: string; slowdown: Spread; fairShare: number }> {
  const ratios: number[] = [];
  await contender.open(workload);
  try {
    for (let i = 0; i < rounds; i++) {
      const alone = (await contender.round()).decode!;
      const busy = spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' });
      try { ratios.push(alone / (await contender.round()).decode!); } finally {
        busy.kill('SIGKILL');
        await once(busy, 'exit');
      }
    }
  } finally { await contender.close(); }
  return { contender: contender.name, slowdown: spread(ratios)!, fairShare: fairShare(threads, availableParallelism()) };
}

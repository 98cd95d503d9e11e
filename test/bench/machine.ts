/** What this machine can do at all: bytes read per second and multiply-adds, measured by the kernels' own benchmark. */
import { spawnSync } from 'node:child_process';

/** Bytes and flops per second. */
export interface Ceilings { read: number; fma: number; line: string }

/** Builds `kernel-bench` if it is stale and answers with its path. */
let program = '';
function kernelBench(): string {
  if (program) return program;
  const built = spawnSync(process.execPath, ['scripts/weft.mjs', 'native', '--bench'], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`kernel-bench can't be built: ${built.stderr.trim()}`);
  return (program = built.stdout.trim().split('\n').at(-1)!);
}

/** Runs it for one instruction set. filter: `machine` for the ceilings alone, empty for every kernel. fields: `name=value` of a tuning. */
export function runKernelBench(isa: string, threads: number, filter: string, fields: readonly string[] = []): string[] {
  const run = spawnSync(kernelBench(), [isa, String(threads), filter, ...fields], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`kernel-bench: ${run.stderr.trim()}`);
  return run.stdout.trim().split('\n');
}

export function parseCeilings(line: string): Ceilings {
  const [, read, fma] = /reads ([\d.]+) GB\/s, multiply-adds ([\d.]+) GFLOP\/s/.exec(line) ?? [];
  if (!read) throw new Error(`kernel-bench told no ceilings: ${line}`);
  return { read: Number(read) * 1e9, fma: Number(fma) * 1e9, line };
}

export const measureCeilings = (isa: string, threads: number): Ceilings => parseCeilings(runKernelBench(isa, threads, 'machine')[0]!);

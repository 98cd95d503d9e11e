/** What this machine can do at all: bytes read per second and multiply-adds, measured by the kernels' own benchmark. */
import { spawnSync } from 'node:child_process';

/** Builds `kernel-bench` if it is stale and answers with its path. */
function kernelBench(): string {
  const built = spawnSync(process.execPath, ['scripts/weft.mjs', 'native', '--bench'], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`kernel-bench can't be built: ${built.stderr.trim()}`);
  return built.stdout.trim().split('\n').at(-1)!;
}

/** Runs it for one instruction set. filter: `machine` for the ceilings alone, empty for every kernel. */
export function runKernelBench(isa: string, threads: number, filter: string): string[] {
  const run = spawnSync(kernelBench(), [isa, String(threads), filter], { encoding: 'utf8' });
  if (run.status !== 0) throw new Error(`kernel-bench: ${run.stderr.trim()}`);
  return run.stdout.trim().split('\n');
}

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What tells a process from a later one with the same pid: when it started. Undefined when none lives. */
export function processIdentity(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it lives and is somebody else's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  if (process.platform !== 'linux') return ps(pid, 'lstart') || undefined;
  try {
    // The name, in parentheses, may hold anything; the start time is the 20th field behind it.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;   // it ended between the two looks
  }
}

/** The program of a process and its arguments, with blanks between; empty when none lives. */
export function commandOf(pid: number): string {
  if (process.platform !== 'linux') return ps(pid, 'command');
  try { return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' '); } catch { return ''; }
}

function ps(pid: number, column: string): string {
  return spawnSync('ps', ['-o', `${column}=`, '-p', String(pid)], { encoding: 'utf8' }).stdout.trim();
}

/** Processor time of Weft's processes. Linux only: elsewhere none is told. */
import { readdirSync, readFileSync } from 'node:fs';

/** Nanoseconds so far, by who took them. */
export type ProcessorTime = Map<string, number>;

const NAMES: [pattern: RegExp, name: string][] = [
  [/apps\/gateway\//, 'gateway'], [/apps\/executor\//, 'executor'], [/apps\/registry\//, 'registry'], [/postgres/, 'PostgreSQL'], [/apps\/cli\//, 'supervisor'],
];

/** What these processes and all below them have taken; the executor's threads apart from its JavaScript. */
export function processorTime(roots: readonly number[]): ProcessorTime {
  const total: ProcessorTime = new Map();
  for (const pid of treeOf(roots)) {
    const command = read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
    const process = NAMES.find(([pattern]) => pattern.test(command))?.[1] ?? 'others';
    for (const tid of list(`/proc/${pid}/task`)) {
      const name = process !== 'executor' ? process : tid === String(pid) ? "executor's JavaScript" : "executor's threads";
      const ns = Number(read(`/proc/${pid}/task/${tid}/schedstat`).split(' ', 1)[0]);
      total.set(name, (total.get(name) ?? 0) + ns);
    }
  }
  return total;
}

function treeOf(roots: readonly number[]): number[] {
  const below = new Map<number, number[]>();
  for (const pid of list('/proc').filter(name => /^\d+$/.test(name))) {
    const stat = read(`/proc/${pid}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 4).split(' ', 1)[0]);
    below.set(parent, [...below.get(parent) ?? [], Number(pid)]);
  }
  const tree = [...roots];
  for (const pid of tree) tree.push(...below.get(pid) ?? []);
  return tree;
}

/** A process may end while it is looked at. */
function read(path: string): string { try { return readFileSync(path, 'utf8'); } catch { return ''; } }
function list(path: string): string[] { try { return readdirSync(path); } catch { return []; } }

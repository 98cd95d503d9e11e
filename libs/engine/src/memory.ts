/** How much memory this process may use, and how much of it the pool gets. */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { dirname, join } from 'node:path';
import { WeftError } from '@weft/contracts';

const GiB = 2 ** 30;
/** What is left to the process itself and to the page cache, and the largest pool that is taken unasked. */
const RESERVE_BYTES = 0.5 * GiB;
const LARGEST_DEFAULT_BYTES = 16 * GiB;

const read = (path: string): string | null => {
  try { return readFileSync(path, 'utf8'); } catch { return null; }          // not this kind of system
};
const number = (text: string | null): number | null => {
  const value = text === null ? NaN : Number(text.trim());
  return Number.isFinite(value) ? value : null;                                // "max": no limit
};

/** The folders of this process's memory cgroup (v2, then v1) and of those above it: each may hold a limit. */
function cgroups(): string[] {
  const lines = (read('/proc/self/cgroup') ?? '').split('\n');
  const v2 = lines.find(l => l.startsWith('0::'))?.slice(3), v1 = lines.find(l => l.includes(':memory:'))?.split(':')[2];
  const folders: string[] = [];
  for (const [root, path] of [['/sys/fs/cgroup', v2], ['/sys/fs/cgroup/memory', v1]] as const) {
    for (let at = path ?? '/'; ; at = dirname(at)) { folders.push(join(root, at)); if (at === '/') break; }
  }
  return folders;
}

/** What the limit of a cgroup (v2 or v1) leaves. Page cache that can be dropped counts as free, as it does in MemAvailable. */
export function leftIn(folder: string): number {
  const limit = number(read(join(folder, 'memory.max')) ?? read(join(folder, 'memory.limit_in_bytes')));
  const used = number(read(join(folder, 'memory.current')) ?? read(join(folder, 'memory.usage_in_bytes')));
  if (limit === null || used === null) return Infinity;
  let cache = 0;
  for (const [, bytes] of (read(join(folder, 'memory.stat')) ?? '').matchAll(/^(?:in)?active_file (\d+)$/gm)) cache += Number(bytes);
  return Math.max(limit - used + cache, 0);
}

/** Bytes that can still be used: what the machine has left, or the container's limit where that is less. */
export function availableMemoryBytes(): number {
  const meminfo = /^MemAvailable:\s+(\d+) kB/m.exec(read('/proc/meminfo') ?? '');
  return Math.min(meminfo ? Number(meminfo[1]) * 1024 : freemem(), ...cgroups().map(leftIn));
}

/** What is left to activations and libraries on a device with memory of its own, where nothing but the pool may take the rest. */
const DEVICE_RESERVE_BYTES = 1.5 * GiB;

/**
 * Pages of the pool: what was asked for, or half of what the host has left, or nearly all that a device with memory of its own
 * has. Says the sum. Throws out_of_memory.
 */
export function planPool(pageBytes: number, askedBytes: number | undefined, availableBytes: number, log: (line: string) => void, ownMemory = false): number {
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const unasked = ownMemory ? (availableBytes - DEVICE_RESERVE_BYTES) * 0.9 : Math.min((availableBytes - RESERVE_BYTES) / 2, LARGEST_DEFAULT_BYTES);
  const bytes = askedBytes ?? unasked;
  const pages = Math.floor(bytes / pageBytes);
  if (askedBytes !== undefined && askedBytes > availableBytes) {
    throw new WeftError('out_of_memory', `the pool was asked to take ${mb(askedBytes)}; ${mb(availableBytes)} are left`, { field: 'pool-bytes', limit: availableBytes });
  }
  if (pages < 2) {
    throw new WeftError('out_of_memory', `the pool needs at least two pages of ${mb(pageBytes)}; ${mb(Math.max(bytes, 0))} are there for it`, { field: 'pool-bytes', limit: availableBytes });
  }
  log(`pool: ${pages} pages of ${(pageBytes / 1024).toFixed(0)} KiB = ${mb(pages * pageBytes)}${askedBytes === undefined ? ` (${ownMemory ? 'most' : 'half'} of the ${mb(availableBytes)} that are left)` : ''}`);
  return pages;
}

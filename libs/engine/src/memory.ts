/** How much memory this process may use, and how much of it the pool gets. */
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { WeftError } from '@weft/contracts';

const GiB = 2 ** 30;
/** What is left to the process itself and to the page cache, and the largest pool that is taken unasked. */
const RESERVE_BYTES = 0.5 * GiB;
const LARGEST_DEFAULT_BYTES = 16 * GiB;

const readNumber = (path: string): number | null => {
  try {
    const value = Number(readFileSync(path, 'utf8').trim());
    return Number.isFinite(value) ? value : null;                    // "max": no limit
  } catch { return null; }                                             // not this kind of system
};

/** Bytes that can still be used: what the machine has left, or the container's limit where that is less. */
export function availableMemoryBytes(): number {
  let available = freemem();
  try {
    const meminfo = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'));
    if (meminfo) available = Number(meminfo[1]) * 1024;
  } catch { /* not Linux: freemem stands */ }
  const limit = readNumber('/sys/fs/cgroup/memory.max') ?? readNumber('/sys/fs/cgroup/memory/memory.limit_in_bytes');
  const used = readNumber('/sys/fs/cgroup/memory.current') ?? readNumber('/sys/fs/cgroup/memory/memory.usage_in_bytes');
  return limit !== null && used !== null ? Math.min(available, Math.max(limit - used, 0)) : available;
}

/** Pages of the pool: what was asked for, or half of what is left. Says the sum. Throws out_of_memory. */
export function planPool(pageBytes: number, askedBytes: number | undefined, availableBytes: number, log: (line: string) => void): number {
  const mb = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
  const bytes = askedBytes ?? Math.min((availableBytes - RESERVE_BYTES) / 2, LARGEST_DEFAULT_BYTES);
  const pages = Math.floor(bytes / pageBytes);
  if (askedBytes !== undefined && askedBytes > availableBytes) {
    throw new WeftError('out_of_memory', `the pool was asked to take ${mb(askedBytes)}; ${mb(availableBytes)} are left`, { field: 'pool-bytes', limit: availableBytes });
  }
  if (pages < 2) {
    throw new WeftError('out_of_memory', `the pool needs at least two pages of ${mb(pageBytes)}; ${mb(Math.max(bytes, 0))} are there for it`, { field: 'pool-bytes', limit: availableBytes });
  }
  log(`pool: ${pages} pages of ${(pageBytes / 1024).toFixed(0)} KiB = ${mb(pages * pageBytes)}${askedBytes === undefined ? ` (half of the ${mb(availableBytes)} that are left)` : ''}`);
  return pages;
}

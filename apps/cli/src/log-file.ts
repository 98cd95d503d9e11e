/** What a Weft tells, in its data directory: `weft.log`, and `weft.log.1` with what came before. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync, renameSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const BYTES_MAX = 16 * 2 ** 20;
const POLL_MS = 200;

export interface LogLine { time: string; service: string; text: string }

const pathOf = (dataDir: string): string => join(dataDir, 'weft.log');

export class LogFile {
  #file: number;
  #bytes: number;

  constructor(private readonly dataDir: string, private readonly bytesMax = BYTES_MAX) {
    this.#file = openSync(pathOf(dataDir), 'a', 0o600);
    this.#bytes = fstatSync(this.#file).size;
  }

  /** `[service] text` is a service's, anything else the supervisor's own. A disk that is full loses lines, and nothing else. */
  write(line: string): void {
    const bytes = Buffer.from(line.split('\n').map(part => `${new Date().toISOString()} ${part}\n`).join(''));
    try {
      if (this.#bytes + bytes.length > this.bytesMax) this.#rotate();
      this.#bytes += writeSync(this.#file, bytes);
    } catch { /* told on the terminal all the same */ }
  }

  close(): void { closeSync(this.#file); }

  #rotate(): void {
    closeSync(this.#file);
    renameSync(pathOf(this.dataDir), `${pathOf(this.dataDir)}.1`);
    this.#file = openSync(pathOf(this.dataDir), 'a', 0o600);
    this.#bytes = 0;
  }
}

export function parseLogLine(line: string): LogLine {
  const [, time = '', service = 'weft', text = ''] = /^(\S+) (?:\[(\w+)\] )?(.*)$/s.exec(line) ?? [];
  return { time, service, text };
}

/** The last lines that are there; all for a count of 0. */
export function lastLines(dataDir: string, wanted: (line: LogLine) => boolean, count: number): LogLine[] {
  const path = pathOf(dataDir);
  const text = [`${path}.1`, path].map(file => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('');
  const lines = text.split('\n').filter(Boolean).map(parseLogLine).filter(wanted);
  return count === 0 ? lines : lines.slice(-count);
}

/** Lines as they come, from the file's end now, across its renaming; until the signal. */
export async function* followed(dataDir: string, signal: AbortSignal): AsyncGenerator<LogLine> {
  const path = pathOf(dataDir);
  let at = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  let inode = statSync(path, { throwIfNoEntry: false })?.ino;
  let rest = Buffer.alloc(0);
  while (!signal.aborted) {
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
    const now = statSync(path, { throwIfNoEntry: false });
    if (now === undefined) continue;
    if (now.ino !== inode) {
      // What was written between the last look and the renaming is in the older file.
      if (inode !== undefined) rest = Buffer.concat([rest, readFrom(`${path}.1`, at)]);
      [at, inode] = [0, now.ino];
    }
    const bytes = readFrom(path, at);
    at += bytes.length;
    const all = Buffer.concat([rest, bytes]);
    const end = all.lastIndexOf(10) + 1;
    rest = all.subarray(end);
    for (const line of all.subarray(0, end).toString().split('\n').filter(Boolean)) yield parseLogLine(line);
  }
}

function readFrom(path: string, at: number): Buffer {
  if (!existsSync(path)) return Buffer.alloc(0);
  const file = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(Math.max(fstatSync(file).size - at, 0));
    return buffer.subarray(0, readSync(file, buffer, 0, buffer.length, at));
  } finally {
    closeSync(file);
  }
}

/** Bytes on their way, and what happens behind their end, on a terminal. */
import { mebibytes } from '../commands/outcome.js';
import type { Colors } from './colors.js';
import { LiveLine, type Screen } from './live-line.js';

const CELLS = 24;

export function bar(share: number): string {
  const full = Math.min(CELLS, Math.floor(share * CELLS));
  return `[${'█'.repeat(full)}${'░'.repeat(CELLS - full)}]`;
}

export class TransferProgress {
  readonly #line: LiveLine;
  readonly #startMs = performance.now();
  #stage = '';

  constructor(screen: Screen, private readonly colors: Colors, private readonly verb: string) { this.#line = new LiveLine(screen); }

  sent(bytes: number, total: number): void {
    const seconds = (performance.now() - this.#startMs) / 1000;
    const speed = seconds > 0.5 ? ` ${mebibytes(bytes / seconds)} MiB/s` : '';
    if (bytes === total) this.#done(`${this.verb} ${mebibytes(total)} MiB${speed}`);
    else this.#line.set(`${this.verb} ${bar(bytes / total)} ${Math.floor((100 * bytes) / total)}% of ${mebibytes(total)} MiB${speed}`);
  }

  stage(stage: string): void {
    if (this.#stage !== '') this.#done(this.#stage);
    this.#stage = stage;
    this.#line.set(`… ${stage}`);
  }

  /** ok: the last stage went well. */
  end(ok = true): void {
    if (this.#stage !== '' && ok) this.#done(this.#stage);
    this.#line.end();
  }

  #done(what: string): void { this.#line.log(`${this.colors.green('✓')} ${what}`); }
}

/** One line at the bottom of a terminal that is written over, with lines that stay above it. Without a terminal there are only those that stay. */
import { oneLine } from '../table.js';

export interface Screen { isTTY?: boolean; columns?: number; write(text: string): unknown }

const CLEAR = '\r\x1b[2K';

export class LiveLine {
  #text = '';
  readonly #live: boolean;

  constructor(private readonly screen: Screen) { this.#live = screen.isTTY === true; }

  set(text: string): void {
    if (!this.#live || text === this.#text) return;
    this.#text = text;
    this.screen.write(`${CLEAR}${oneLine(text, (this.screen.columns ?? 80) - 1)}`);
  }

  log(line: string): void {
    const text = this.#text;
    this.end();
    this.screen.write(`${line}\n`);
    this.set(text);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#text === '') return;
    this.#text = '';
    this.screen.write(CLEAR);
  }
}

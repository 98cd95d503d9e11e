/** A program in a terminal: `script` of util-linux gives it one, 100 columns wide. */
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestContext } from 'vitest';

const WAIT_MS_MAX = 60_000;

export function needTerminal(context: TestContext): void {
  context.skip(spawnSync('script', ['--version'], { encoding: 'utf8' }).stdout?.includes('util-linux') !== true, 'needs the program script of util-linux, which makes terminals');
}

export class Terminal {
  #written = '';
  readonly child: ChildProcessWithoutNullStreams;
  readonly exited: Promise<number>;

  constructor(command: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const quoted = command.map(word => `'${word.replaceAll('\'', '\'\\\'\'')}'`).join(' ');
    this.child = spawn('script', ['-qefc', `stty cols 100; exec ${quoted}`, '/dev/null'], { env: { ...process.env, TERM: 'xterm', ...env } });
    this.child.stdout.on('data', chunk => { this.#written += String(chunk); });
    this.exited = once(this.child, 'close').then(([code]) => code as number);
  }

  /** All that was written, with what steers the terminal but ends of lines. */
  get output(): string { return this.#written.replace(/\r+\n/g, '\n'); }

  /** Lines as they can be read at the end: what was written over is gone. */
  get lines(): string[] {
    return this.output.split('\n').map(line => line.split('\x1b[2K').at(-1)!.replace(/\x1b\[[\d;?]*[A-Za-z]|\r/g, ''));
  }

  type(text: string): void { this.child.stdin.write(text); }

  /** Resolves when the pattern stands in what came behind `from`. */
  async shows(pattern: RegExp, from = 0): Promise<void> {
    for (const until = performance.now() + WAIT_MS_MAX; !pattern.test(this.output.slice(from)); await sleep(20)) {
      if (performance.now() > until) throw new Error(`no ${String(pattern)} in the terminal:\n${this.output.slice(from)}`);
    }
  }
}

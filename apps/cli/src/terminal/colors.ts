/** Colours for a person at a terminal, and none anywhere else. */
import type { WriteStream } from 'node:tty';

export interface Colors { bold(text: string): string; dim(text: string): string; red(text: string): string; green(text: string): string; yellow(text: string): string; cyan(text: string): string }

/** A terminal that shows them, and a person who wants them (no-color.org). */
export const hasColors = (stream: Pick<WriteStream, 'isTTY'>, { NO_COLOR, TERM }: NodeJS.ProcessEnv): boolean => stream.isTTY && !NO_COLOR && TERM !== 'dumb';

export function colors(on: boolean): Colors {
  const style = (open: number, close: number) => (text: string): string => (on ? `\x1b[${open}m${text}\x1b[${close}m` : text);
  return { bold: style(1, 22), dim: style(2, 22), red: style(31, 39), green: style(32, 39), yellow: style(33, 39), cyan: style(36, 39) };
}

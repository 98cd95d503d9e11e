/** What a terminal is shown, and where there is none. */
import { expect, test } from 'vitest';
import type { Executor } from '../../../apps/cli/src/api.js';
import { EXIT, exitCodeOf } from '../../../apps/cli/src/exit-codes.js';
import { colors, hasColors } from '../../../apps/cli/src/terminal/colors.js';
import { LiveLine, type Screen } from '../../../apps/cli/src/terminal/live-line.js';
import { bar, TransferProgress } from '../../../apps/cli/src/terminal/progress-bar.js';
import { loadLine, UpStatus } from '../../../apps/cli/src/up-status.js';

const screen = (isTTY = true, columns = 40): Screen & { text: string } => ({ isTTY, columns, text: '', write(part: string) { this.text += part; } });
/** What is left to see: lines that were cleared are gone. */
const seen = ({ text }: { text: string }): string[] => text.split('\n').map(line => line.split('\x1b[2K').at(-1)!.replace(/\r/g, ''));

test('colours are for terminals, and for who wants them', () => {
  expect(hasColors({ isTTY: true }, {})).toBe(true);
  expect(hasColors({ isTTY: false }, {})).toBe(false);
  expect(hasColors({ isTTY: true }, { NO_COLOR: '1' })).toBe(false);
  expect(hasColors({ isTTY: true }, { NO_COLOR: '' })).toBe(true);
  expect(hasColors({ isTTY: true }, { TERM: 'dumb' })).toBe(false);
  expect([colors(true).red('x'), colors(false).red('x')]).toEqual(['\x1b[31mx\x1b[39m', 'x']);
});

test('a line is written over, within the width, under those that stay', () => {
  const output = screen();
  const line = new LiveLine(output);
  line.set('one');
  line.log('stays');
  line.set('x'.repeat(100));
  expect(seen(output)).toEqual(['stays', `${'x'.repeat(38)}…`]);
  line.end();
  expect(seen(output)).toEqual(['stays', '']);
});

test('without a terminal only lines that stay are written', () => {
  const output = screen(false);
  const line = new LiveLine(output);
  line.set('one');
  line.log('stays');
  line.end();
  expect(output.text).toBe('stays\n');
});

test('a transfer shows its share, then each stage as it ends', () => {
  expect([bar(0), bar(0.5), bar(1)].map(text => text.replace(/[^█]/g, '').length)).toEqual([0, 12, 24]);
  const output = screen(true, 80);
  const progress = new TransferProgress(output, colors(false), 'uploaded');
  progress.sent(2 ** 20, 4 * 2 ** 20);
  expect(seen(output).at(-1)).toMatch(/^uploaded \[█{6}░{18}\] 25% of 4.0 MiB/);
  progress.sent(4 * 2 ** 20, 4 * 2 ** 20);
  for (const stage of ['validate', 'pack']) progress.stage(stage);
  expect(seen(output)).toEqual([expect.stringMatching(/^✓ uploaded 4.0 MiB/), '✓ validate', '… pack']);
  progress.end(false);
  expect(seen(output).slice(1)).toEqual(['✓ validate', '']);
});

const executor = (running: number, owners: string[]): Executor => ({
  id: 'e', address: 'a', device: 'cpu', page_bytes: 1, running, waiting: 1, tokens_per_second: 100.4, draining: false, pages: { total: 100, free: 75, owners: owners.map(owner => ({ owner, pages: 1 })) },
});

test('a server says what it waits for, then what it does', async () => {
  expect(loadLine([executor(2, ['kv', 'adapter:a', 'adapter:b']), executor(1, ['adapter:a'])], 3_700_000)).toBe('3 running, 2 waiting · 201 tokens/s · 2 adapters resident · pool 25% used · up 1 h 1 min');
  expect(loadLine([], 5000)).toBe('no executor serves · 0 tokens/s · 0 adapters resident · pool 100% used · up 5 s');
  const output = screen();
  const status = new UpStatus(output, ['registry', 'executor']);
  expect(seen(output)).toEqual(['starting: registry, executor …']);
  await status.during('registry', Promise.resolve());
  status.log('[executor] loads');
  expect(seen(output)).toEqual(['[executor] loads', 'starting: executor …']);
  status.end();
});

test('exit codes tell scripts what to do next', () => {
  expect([exitCodeOf('option_invalid'), exitCodeOf('not_found'), exitCodeOf('model_not_found'), exitCodeOf('invalid_api_key'), exitCodeOf('unreachable'), exitCodeOf('overloaded'), exitCodeOf('adapter_tensor_shape')])
    .toEqual([EXIT.usage, EXIT.notFound, EXIT.notFound, EXIT.notAllowed, EXIT.tryAgain, EXIT.tryAgain, EXIT.failed]);
});

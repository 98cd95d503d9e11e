import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { ADAPTER_BYTES_MAX, ADAPTER_FILES_MAX } from '@weft/adapters';
import type { WeftError } from '@weft/contracts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { watchBody } from '../../../apps/gateway/src/adapters/body-watch.js';
import { FORM_BYTES_MAX } from '../../../apps/gateway/src/adapters/forms.js';
import { FILES_MAX } from '../../../apps/gateway/src/adapters/upload-form.js';

const BOUNDS = { bytes: 1000, idleMs: 3000, graceMs: 6000, bytesPerSecond: 10 };

let body: PassThrough;
let failures: WeftError[];
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  body = new PassThrough();
  failures = [];
  watchBody(body as unknown as IncomingMessage, error => failures.push(error), BOUNDS);
});
afterEach(() => { vi.useRealTimers(); body.destroy(); });

const send = async (bytes: number): Promise<void> => { body.write(Buffer.alloc(bytes)); await new Promise(resolve => setImmediate(resolve)); };

test('one that stands still fails once', () => {
  vi.advanceTimersByTime(2900);
  expect(failures).toEqual([]);
  vi.advanceTimersByTime(60_000);
  expect(failures).toMatchObject([{ code: 'invalid_value', message: expect.stringContaining('did not arrive in time') }]);
});

test('one that drips is below the lowest rate after its grace, however it drips', async () => {
  for (let second = 0; second < 20 && failures.length === 0; second++) { await send(1); vi.advanceTimersByTime(1000); }
  expect(failures).toMatchObject([{ code: 'invalid_value' }]);
});

test('one that comes at the rate may take its time', async () => {
  for (let second = 0; second < 60; second++) { await send(10); vi.advanceTimersByTime(1000); }
  expect(failures).toEqual([]);
});

test('time in which it is not read is not its own', async () => {
  body.pause();
  vi.advanceTimersByTime(600_000);
  expect(failures).toEqual([]);
});

test('one that is too long fails at once', async () => {
  await send(1001);
  expect(failures).toMatchObject([{ code: 'request_too_large' }]);
});

test('one that has ended is not watched', async () => {
  body.end();
  await new Promise(resolve => setImmediate(resolve));
  vi.advanceTimersByTime(600_000);
  expect(failures).toEqual([]);
});

test('its bounds are those of the registry', () => {
  expect([FORM_BYTES_MAX, FILES_MAX]).toEqual([ADAPTER_BYTES_MAX + 2 ** 20, ADAPTER_FILES_MAX]);
});

import { WeftError } from '@weft/contracts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WatchedCache } from '../../../apps/gateway/src/watched-cache.js';

beforeEach(() => { vi.useFakeTimers({ toFake: ['performance'] }); });
afterEach(() => { vi.useRealTimers(); });

const away = (): never => { throw new WeftError('registry_lost', 'away'); };
const gone = (): never => { throw new WeftError('not_found', 'gone'); };

/** A cache whose answers are counted: 1, 2, 3, … */
function subject(entriesMax = 10, refreshMs = Infinity) {
  const watch = { fresh: true, sinceMs: performance.now() };
  const cache = new WatchedCache<number>(watch, entriesMax, refreshMs);
  const state = { watch, cache, asked: 0, answer: undefined as (() => never) | undefined };
  const get = (key = 'a') => cache.get(key, async () => { const value = ++state.asked; state.answer?.(); return value; });
  return Object.assign(state, { get });
}

test('while changes are heard an answer holds, at once', async () => {
  const it = subject();
  expect(await it.get()).toBe(1);
  vi.advanceTimersByTime(3_600_000);
  expect(it.get()).toBe(1);
});

test('many who ask at once are one question', async () => {
  const it = subject();
  expect(await Promise.all([it.get(), it.get(), it.get()])).toEqual([1, 1, 1]);
});

test('what is called out is asked for again', async () => {
  const it = subject();
  await it.get();
  it.cache.expire('a');
  expect(await it.get()).toBe(2);
  it.cache.expireAll();
  expect(await it.get()).toBe(3);
  it.cache.forget(value => value === 3);
  expect(await it.get()).toBe(4);
});

test('an answer that was on its way when its subject changed is not kept', async () => {
  const it = subject();
  const early = it.get();
  it.cache.expire('a');
  expect(await it.get()).toBe(2);
  expect(await early).toBe(1);
  expect(it.get()).toBe(2);
});

test('while changes are not heard an answer holds for half a second', async () => {
  const it = subject();
  it.watch.fresh = false;
  await it.get();
  vi.advanceTimersByTime(499);
  expect(it.get()).toBe(1);
  vi.advanceTimersByTime(1);
  expect(await it.get()).toBe(2);
});

test('an answer from before the stream is asked for again: changes may have been missed', async () => {
  const it = subject();
  await it.get();
  vi.advanceTimersByTime(1000);
  it.watch.sinceMs = performance.now();
  expect(await it.get()).toBe(2);
  vi.advanceTimersByTime(1000);
  expect(it.get()).toBe(2);
});

test('without the registry the old answer serves on; only the first waits for it', async () => {
  const it = subject();
  await it.get();
  it.watch.fresh = false;
  it.answer = away;
  vi.advanceTimersByTime(1000);
  expect(await it.get()).toBe(1);
  vi.advanceTimersByTime(1000);
  expect(it.get()).toBe(1);
  expect(it.asked).toBe(3);
  it.answer = undefined;
  await vi.waitFor(async () => { vi.advanceTimersByTime(500); expect(await it.get()).toBeGreaterThan(3); });
});

test('once changes are heard again, an old answer that was never checked is checked before it serves', async () => {
  const it = subject();
  await it.get();
  it.watch.fresh = false;
  it.answer = away;
  vi.advanceTimersByTime(1000);
  expect(await it.get()).toBe(1);
  vi.advanceTimersByTime(3_600_000);
  Object.assign(it.watch, { fresh: true, sinceMs: performance.now() });
  it.answer = undefined;
  expect(await it.get()).toBe(3);
});

test('what is not known and can\'t be asked for is an error, and so is what is gone', async () => {
  const it = subject();
  it.answer = away;
  await expect(it.get()).rejects.toMatchObject({ code: 'registry_lost' });
  it.answer = undefined;
  await it.get();
  it.cache.expire('a');
  it.answer = gone;
  await expect(it.get()).rejects.toMatchObject({ code: 'not_found' });
  it.answer = away;
  await expect(it.get()).rejects.toMatchObject({ code: 'registry_lost' });
});

test('what is forgotten does not serve without the registry', async () => {
  const it = subject();
  await it.get();
  it.cache.forget(() => true);
  it.answer = away;
  await expect(it.get()).rejects.toMatchObject({ code: 'registry_lost' });
});

test('the least recently used go first', async () => {
  const it = subject(2);
  await it.get('a');
  await it.get('b');
  await it.get('a');
  await it.get('c');
  expect(it.get('a')).toBe(1);
  expect(it.get('b')).toBeInstanceOf(Promise);
});

test('an answer of some age serves while it is asked for again', async () => {
  const it = subject(10, 60_000);
  await it.get();
  vi.advanceTimersByTime(60_000);
  expect([it.get(), it.get()]).toEqual([1, 1]);
  await vi.waitFor(() => expect(it.get()).toBe(2));
  expect(it.asked).toBe(2);
});

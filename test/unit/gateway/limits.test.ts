import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { duration, Limits } from '../../../apps/gateway/src/limits.js';

beforeEach(() => { vi.useFakeTimers({ toFake: ['performance'] }); });
afterEach(() => { vi.useRealTimers(); });

const key = (requestsPerMinute: number, tokensPerMinute: number, parallel: number, keyId = 'k') => ({ keyId, limits: { requestsPerMinute, tokensPerMinute, parallel } });
const ask = (tokens: number) => ({ tokensMin: tokens, tokensMax: tokens });
const refusal = (why: RegExp, retryAfterMs?: number) => expect.objectContaining({
  code: 'rate_limit_exceeded', message: expect.stringMatching(why), ...(retryAfterMs !== undefined && { details: expect.objectContaining({ retryAfterMs }) }),
});

function admitted(limits: Limits, caller: ReturnType<typeof key>) {
  const lease = limits.acquire(caller);
  lease.admit();
  return lease;
}

test('without limits nothing is refused, and no header told', () => {
  const limits = new Limits();
  const lease = admitted(limits, key(0, 0, 0));
  lease.reserve(ask(1e9));
  expect(lease.headers()).toBeNull();
  expect(limits.held).toBe(1);
  lease.settle(1e9);
  lease.settle(1e9);
  expect(limits.held).toBe(0);
});

test('requests a minute come back all the time', () => {
  const limits = new Limits();
  for (let i = 0; i < 3; i++) admitted(limits, key(3, 0, 0)).settle(0);
  const refused = limits.acquire(key(3, 0, 0));
  expect(() => refused.admit()).toThrow(refusal(/3 requests per minute.*20 s/, 20_000));
  expect(refused.headers()).toEqual({ 'x-ratelimit-limit-requests': '3', 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '1m0s' });
  refused.settle(0);
  vi.advanceTimersByTime(20_000);
  admitted(limits, key(3, 0, 0)).settle(0);
  expect(() => limits.acquire(key(3, 0, 0)).admit()).toThrow(refusal(/requests per minute/));
  admitted(limits, key(3, 0, 0, 'another')).settle(0);
});

test('a request takes what it may use and gives back what it did not', () => {
  const limits = new Limits();
  const lease = admitted(limits, key(0, 100, 0));
  lease.reserve(ask(80));
  expect(lease.headers()).toMatchObject({ 'x-ratelimit-remaining-tokens': '20', 'x-ratelimit-reset-tokens': '48s' });
  expect(() => admitted(limits, key(0, 100, 0)).reserve(ask(50))).toThrow(refusal(/100 tokens per minute.*may use 50, and 20 are left/, 18_000));
  lease.settle(10);
  const next = admitted(limits, key(0, 100, 0));
  next.reserve(ask(90));
  next.settle(90);
  expect(next.headers()).toMatchObject({ 'x-ratelimit-remaining-tokens': '0' });
});

test('what can never fit is not to be tried again', () => {
  expect(() => admitted(new Limits(), key(0, 100, 0)).reserve(ask(101))).toThrow(expect.objectContaining({ message: expect.stringContaining('can never run'), details: { final: true, limit: 100 } }));
});

test('without a number a request takes what is left, and owes what it used beyond', () => {
  const limits = new Limits();
  const lease = admitted(limits, key(0, 100, 0));
  lease.reserve({ tokensMin: 11, tokensMax: 4096 });
  lease.settle(160);
  expect(() => admitted(limits, key(0, 100, 0)).reserve(ask(10))).toThrow(refusal(/0 are left/, 42_000));
});

test('so many at once', () => {
  const limits = new Limits();
  const [first] = [admitted(limits, key(0, 0, 2)), admitted(limits, key(0, 0, 2))];
  expect(() => admitted(limits, key(0, 0, 2))).toThrow(refusal(/2 requests at once: 2 are running/, 1000));
  first!.settle(0);
  admitted(limits, key(0, 0, 2));
});

test('limits that change count from then on; what was used stays used', () => {
  const limits = new Limits();
  for (let i = 0; i < 2; i++) admitted(limits, key(2, 0, 0)).settle(0);
  expect(() => admitted(limits, key(2, 0, 0))).toThrow();
  admitted(limits, key(3, 0, 0));
  expect(() => admitted(limits, key(1, 0, 0))).toThrow();
  admitted(limits, key(0, 0, 0));
});

test.each([[0, '0ms'], [17.2, '18ms'], [1000, '1s'], [1001, '2s'], [59_500, '1m0s'], [360_000, '6m0s'], [90_000, '1m30s']])('%d ms are %s', (ms, text) => { expect(duration(ms)).toBe(text); });

import { registryV1 } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { EOS, type Submitted } from './executor-double.js';
import { BASE, post, startStack, type Stack } from './harness.js';
import { principal } from './registry-double.js';

let stack: Stack;
beforeAll(async () => { stack = await startStack({ corsOrigins: ['*'] }); });
afterAll(() => stack.close());
beforeEach(() => { stack.double.script = request => request.answer([EOS], 'stop'); });

let keys = 0;
/** A key of its own for each test. */
function limited(limits: Partial<registryV1.Limits>): string {
  const key = `sk-${keys++}`;
  limit(key, limits);
  return key;
}
const limit = (key: string, limits: Partial<registryV1.Limits>): void => { stack.registry.keys.set(key, principal({ keyId: key, limits: { requestsPerMinute: 0, tokensPerMinute: 0, parallel: 0, ...limits } })); };
const ask = (key: string, fields: object = {}): Promise<Response> => post(stack.url, '/v1/completions', { model: BASE, prompt: [5, 6], max_tokens: 8, ...fields }, { headers: { authorization: `Bearer ${key}` } });
const told = ({ headers }: Response): Record<string, string> => Object.fromEntries([...headers].filter(([name]) => name.startsWith('x-ratelimit')).map(([name, value]) => [name.slice('x-ratelimit-'.length), value]));

test('without limits nothing is said of them', async () => {
  expect(told(await ask(limited({})))).toEqual({});
  expect(told(await ask(limited({ parallel: 5 })))).toEqual({});
});

test('requests a minute', async () => {
  const key = limited({ requestsPerMinute: 2 });
  expect(told(await ask(key))).toEqual({ 'limit-requests': '2', 'remaining-requests': '1', 'reset-requests': '30s' });
  expect(told(await ask(key, { stream: true }))).toMatchObject({ 'remaining-requests': '0' });
  const refused = await ask(key);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get('retry-after-ms'))).toBeGreaterThan(25_000);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(25);
  expect(refused.headers.has('x-should-retry')).toBe(false);
  expect(told(refused)).toMatchObject({ 'remaining-requests': '0' });
  expect(await refused.json()).toMatchObject({ error: { code: 'rate_limit_exceeded', type: 'rate_limit_error', message: expect.stringContaining('2 requests per minute') } });
});

test('tokens a minute: reserved for what may come, charged for what came', async () => {
  const key = limited({ tokensPerMinute: 20 });
  expect(told(await ask(key))).toMatchObject({ 'limit-tokens': '20', 'remaining-tokens': '10' });
  expect(told(await ask(key))).toMatchObject({ 'remaining-tokens': '7' });
  const refused = await ask(key, { max_tokens: 17 });
  expect(refused.status).toBe(429);
  expect(await refused.json()).toMatchObject({ error: { message: expect.stringContaining('20 tokens per minute') } });
  const never = await ask(key, { max_tokens: 40 });
  expect([never.status, never.headers.get('x-should-retry'), never.headers.get('retry-after')]).toEqual([429, 'false', null]);
  expect((await ask(key)).status).toBe(200);
});

test('a chat that names no number takes what is left', async () => {
  const key = limited({ tokensPerMinute: 50 });
  const chat = (): Promise<Response> => post(stack.url, '/v1/chat/completions', { model: BASE, messages: [{ role: 'user', content: 'Hi' }] }, { headers: { authorization: `Bearer ${key}` } });
  expect(told(await chat())).toMatchObject({ 'remaining-tokens': '0' });
  expect((await chat()).status).toBe(200);
});

test('requests at once', async () => {
  const key = limited({ parallel: 1 });
  const arrived = new Promise<Submitted>(resolve => { stack.double.script = resolve; });
  const first = ask(key);
  const request = await arrived;
  const refused = await ask(key);
  expect([refused.status, refused.headers.get('retry-after-ms')]).toEqual([429, '1000']);
  request.answer([EOS], 'stop');
  expect((await first).status).toBe(200);
  stack.double.script = next => next.answer([EOS], 'stop');
  expect((await ask(key)).status).toBe(200);
});

test('a change counts at once', async () => {
  const key = limited({ requestsPerMinute: 1 });
  expect((await ask(key)).status).toBe(200);
  expect((await ask(key)).status).toBe(429);
  limit(key, { requestsPerMinute: 3 });
  stack.registry.change(registryV1.ChangeKind.KEYS);
  await expect.poll(async () => (await ask(key)).status).toBe(200);
  limit(key, {});
  stack.registry.change(registryV1.ChangeKind.KEYS);
  await expect.poll(async () => told(await ask(key))).toEqual({});
});

test('browsers may read them', async () => {
  const response = await fetch(`${stack.url}/v1/models`, { headers: { origin: 'https://a.example' } });
  expect(response.headers.get('access-control-expose-headers')).toContain('x-ratelimit-remaining-tokens');
  const preflight = await fetch(`${stack.url}/v1/adapters/x`, { method: 'OPTIONS', headers: { 'origin': 'https://a.example', 'access-control-request-method': 'DELETE' } });
  expect(preflight.headers.get('access-control-allow-methods')).toContain('DELETE');
});

import { setTimeout as sleep } from 'node:timers/promises';
import { executorV1 } from '@weft/contracts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EOS, type Submitted } from './executor-double.js';
import { BASE, events, post, startStack, tokenizer, type Stack } from './harness.js';
import { TENANT } from './registry-double.js';

let stack: Stack;
beforeEach(async () => { stack = await startStack(); });
afterEach(() => stack.close());

const token = tokenizer.encode(' a', { addSpecialTokens: false })[0]!;
const ask = (fields: object = {}, init: RequestInit = {}): Promise<Response> => post(stack.url, '/v1/completions', { model: BASE, prompt: [5, 6, 7], max_tokens: 10, ...fields }, init);
const last = (): Submitted => [...stack.double.requests.values()].at(-1)!;
/** The executor answers when the test says so. */
const held = (): Promise<Submitted> => new Promise(resolve => { stack.double.script = resolve; });

describe('rows', () => {
  test('one is opened and closed for each prompt, before the last byte', async () => {
    stack.double.script = request => { request.event({ tokens: [token, EOS], finishReason: 'stop' }); request.terminal({ reason: 'done', generatedTokens: 2, cachedTokens: 1, queueMs: 1.5, coldStartMs: 2.5 }); };
    const response = await ask({ model: 'pirate@latest', prompt: [[5, 6, 7], [8]] });
    expect(response.status).toBe(200);
    const { opens, closes } = stack.registry;
    const requestId = response.headers.get('x-request-id')!;
    const row = { requestId, tenantId: TENANT, keyId: 'key', route: 'completions', model: 'pirate@latest', adapter: 'Pirate', version: 1, digest: 'a'.repeat(64), executorId: 'executor-1' };
    expect(opens).toMatchObject([{ id: `${requestId}-0`, ...row }, { id: `${requestId}-1`, ...row }]);
    expect(closes).toMatchObject([
      { id: `${requestId}-0`, status: 'ok', promptTokens: 3, cachedTokens: 1, generatedTokens: 2, billedTokens: 5, queueMs: 1.5, coldStartMs: 2.5 },
      { id: `${requestId}-1`, status: 'ok', promptTokens: 1, generatedTokens: 2, billedTokens: 3 },
    ]);
    await expect.poll(() => stack.double.acknowledged).toHaveLength(2);
    const { data: chat } = await stack.openai.chat.completions.create({ model: BASE, messages: [{ role: 'user', content: 'Hi' }] }).withResponse();
    expect(opens.at(-1)).toMatchObject({ id: `${chat.id.slice('chatcmpl-'.length)}-0`, route: 'chat', model: BASE, adapter: '', version: 0, digest: 'b'.repeat(64) });
  });

  test('the first byte waits for its row, a while', async () => {
    stack.registry.answers = { writeUsage: async ({ opens }) => { await sleep(150); stack.registry.opens.push(...opens); return {}; } };
    const began = performance.now();
    const response = await ask({ stream: true });
    expect(performance.now() - began).toBeGreaterThan(140);
    expect(stack.registry.opens).toHaveLength(1);
    await events(response);
    stack.registry.answers = { writeUsage: () => new Promise(() => undefined) };
    await expect.poll(async () => { const start = performance.now(); await events(await ask({ stream: true })); return performance.now() - start; }).toBeLessThan(100);
  });

  test('what comes behind a stop string was generated, and is not billed', async () => {
    stack.double.script = async request => {
      for (const id of tokenizer.encode('one STOP', { addSpecialTokens: false })) request.event({ tokens: [id] });
      await request.whenCancelled;
      request.terminal({ reason: 'cancelled', generatedTokens: 20 });
    };
    const answer = await (await ask({ stop: ' STOP', max_tokens: 50 })).json() as { usage: { completion_tokens: number } };
    expect(stack.registry.closes).toMatchObject([{ status: 'ok', generatedTokens: 20, billedTokens: 3 + answer.usage.completion_tokens }]);
  });

  test('a refusal of the executor is a row, and costs nothing', async () => {
    stack.double.script = request => request.fail('overloaded', 'full', { promptTokens: 0 });
    expect((await ask()).status).toBe(503);
    expect(stack.registry.closes).toMatchObject([{ status: 'overloaded', generatedTokens: 0, billedTokens: 0 }]);
    await expect.poll(() => stack.double.acknowledged).toHaveLength(1);
  });

  test('a request that reaches no executor is none', async () => {
    expect((await ask({ model: 'nobody' })).status).toBe(404);
    expect((await ask({ max_tokens: 1000 })).status).toBe(400);
    expect(stack.registry.opens).toEqual([]);
  });

  test.each([true, false])('a client that hangs up pays for what it got, and the executor\'s count stands beside it (stream %s)', async stream => {
    const arrived = held();
    const abort = new AbortController();
    const response = ask({ stream, max_tokens: 50 }, { signal: abort.signal }).then(r => r.text()).catch((error: Error) => error);
    const request = await arrived;
    request.event({ tokens: [token] });
    await sleep(50);
    abort.abort();
    await request.whenCancelled;
    expect(stack.registry.closes).toEqual([]);
    request.terminal({ reason: 'cancelled', generatedTokens: 4 });
    expect(await response).toBeInstanceOf(Error);
    await expect.poll(() => stack.registry.closes).toMatchObject([{ status: 'cancelled', generatedTokens: 4, billedTokens: 4 }]);
    await expect.poll(() => stack.double.acknowledged).toHaveLength(1);
  });
});

describe('without the registry', () => {
  test('answers come as fast as ever; rows wait and arrive once; ends stay unacknowledged until then', async () => {
    await ask();
    await expect.poll(() => stack.double.acknowledged).toHaveLength(1);
    stack.registry.kill();
    await sleep(100);
    for (let i = 0; i < 5; i++) {
      const began = performance.now();
      expect((await ask({ stream: i % 2 === 0 })).status).toBe(200);
      expect(performance.now() - began).toBeLessThan(1000);
    }
    await sleep(300);
    expect(stack.double.acknowledged).toHaveLength(1);
    await stack.registry.start(stack.registry.port);
    await expect.poll(() => stack.double.acknowledged, { timeout: 4000 }).toHaveLength(6);
    const ids = [...stack.double.requests.keys()];
    expect(stack.registry.opens.map(({ id }) => id)).toEqual(ids);
    expect(stack.registry.closes.map(({ id }) => id)).toEqual(ids);
    expect(new Set(stack.double.acknowledged)).toEqual(new Set(ids));
  });

  test('a write whose answer got lost is sent again with the same ids', async () => {
    let lost = 0;
    stack.registry.answers = { writeUsage: request => { stack.registry.closes.push(...request.closes); if (request.closes.length > 0 && lost++ === 0) throw new Error('answer lost'); return {}; } };
    expect((await ask()).status).toBe(200);
    await expect.poll(() => stack.registry.closes.map(({ id }) => id)).toEqual([last().submit.requestId, last().submit.requestId]);
    await expect.poll(() => stack.double.acknowledged).toEqual([last().submit.requestId]);
  });

  test('a stop writes what waits', async () => {
    const arrived = held();
    const response = ask();
    const request = await arrived;
    const stopped = stack.gateway.stop();
    request.answer([token, EOS], 'stop');
    expect((await response).status).toBe(200);
    await stopped;
    expect(stack.registry.closes).toMatchObject([{ status: 'ok' }]);
    expect(stack.double.acknowledged).toEqual([request.submit.requestId]);
  });
});

describe('an executor that goes', () => {
  test('dead: the row is closed with what the client got', async () => {
    const arrived = held();
    const response = await Promise.race([ask({ stream: true }), arrived.then(async request => { request.event({ tokens: [token] }); return sleep(100_000) as Promise<never>; })]);
    stack.double.kill();
    expect(JSON.parse((await events(response)).at(-1)!)).toMatchObject({ error: { code: 'executor_lost' } });
    await expect.poll(() => stack.registry.closes, { timeout: 5000 }).toMatchObject([{ status: 'executor_lost', promptTokens: 3, generatedTokens: 1, billedTokens: 4 }]);
  });

  test('back after a broken stream: its late end completes the row', async () => {
    const arrived = held();
    const response = ask({ stream: true });
    const request = await arrived;
    request.event({ tokens: [token] });
    await response;
    stack.double.breakLink();
    await events(await response);
    await expect.poll(() => stack.double.attached).toBe(1);
    const { requestId } = request.submit;
    stack.double.tell({ $case: 'terminal', value: executorV1.Terminal.fromPartial({ requestId, reason: 'cancelled', promptTokens: 3, generatedTokens: 3 }) });
    await expect.poll(() => stack.registry.closes).toMatchObject([{ id: requestId, status: 'executor_lost', generatedTokens: 3, billedTokens: 4 }]);
    await expect.poll(() => stack.double.acknowledged).toEqual([requestId]);
  });
});

import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ExecutorDouble, EOS, type Submitted } from './executor-double.js';
import { ADMIN_KEY, BASE, events, KEY, post, startStack, tokenizer, type Stack } from './harness.js';

let stack: Stack;
beforeAll(async () => { stack = await startStack({ corsOrigins: ['https://console.example'] }); });
afterAll(() => stack.close());
beforeEach(() => { stack.double.script = request => request.answer([EOS], 'stop'); });

const body = { model: BASE, prompt: 'x', max_tokens: 10 };
const token = tokenizer.encode(' a', { addSpecialTokens: false })[0]!;

interface Failure { error: { message: string; type: string; param: string | null; code: string } }
async function failure(response: Response): Promise<Failure['error'] & { status: number }> {
  const { error } = await response.json() as Failure;
  return { status: response.status, ...error };
}

/** What comes back for bytes that fetch would not send. */
async function answerTo(url: string, bytes: string): Promise<{ head: string; body: Failure }> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.end(bytes);
  const [head, body] = (await text(socket)).split('\r\n\r\n');
  return { head: head!, body: JSON.parse(body!) as Failure };
}

/** A hand-written request, for what fetch would not leave unread. */
async function rawSocket(url: string, path: string, json: unknown): Promise<import('node:net').Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  const content = JSON.stringify(json);
  socket.write(`POST ${path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(content)}\r\n\r\n${content}`);
  return socket;
}

describe('requests that are refused', () => {
  test.each<[string, string, string, string | Uint8Array<ArrayBuffer> | undefined, Record<string, string>, object]>([
    ['no key', 'POST', '/v1/completions', '{}', { authorization: '' }, { status: 401, code: 'invalid_api_key', type: 'authentication_error' }],
    ['a wrong key', 'GET', '/v1/models', undefined, { authorization: 'Bearer sk-wrong' }, { status: 401, code: 'invalid_api_key' }],
    ['a tenant on an admin route', 'GET', '/v1/executors', undefined, {}, { status: 403, code: 'insufficient_scope', type: 'permission_error' }],
    ['an unknown tenant', 'GET', '/v1/models', undefined, { 'authorization': `Bearer ${ADMIN_KEY}`, 'x-weft-tenant': 'other' }, { status: 404, code: 'not_found', param: 'x-weft-tenant' }],
    ['broken JSON', 'POST', '/v1/completions', '{"model": x}', {}, { status: 400, code: 'invalid_value', type: 'invalid_request_error', message: expect.stringContaining("Unexpected token 'x'") }],
    ['an empty body', 'POST', '/v1/completions', '', {}, { status: 400, code: 'invalid_value', message: 'The body is empty; it must be a JSON object.' }],
    ['bytes that are not UTF-8', 'POST', '/v1/completions', new Uint8Array([...Buffer.from('{"prompt":"'), 0xff, ...Buffer.from('"}')]), {}, { status: 400, code: 'invalid_value', message: 'The body is not UTF-8.' }],
    ['a key that reaches for prototypes', 'POST', '/v1/completions', '{"metadata":{"__proto__":{}}}', {}, { status: 400, code: 'invalid_value', message: expect.stringContaining('__proto__') }],
    ['a URL with a broken escape', 'GET', '/v1/models/%ff', undefined, {}, { status: 400, code: 'invalid_value' }],
    ['a list as body', 'POST', '/v1/completions', '[]', {}, { status: 400, code: 'invalid_value' }],
    ['plain text', 'POST', '/v1/completions', '{}', { 'content-type': 'text/plain' }, { status: 415, code: 'unsupported_media_type' }],
    ['a body of no type', 'POST', '/v1/completions', '{}', { 'content-type': '' }, { status: 415, code: 'unsupported_media_type', message: expect.stringContaining('application/json') }],
    ['a token id beyond the vocabulary', 'POST', '/detokenize', '{"tokens":[5,320]}', {}, { status: 400, code: 'invalid_value', param: 'tokens' }],
    ['a form', 'POST', '/v1/completions', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, { status: 415, code: 'unsupported_media_type' }],
    ['a body above the limit', 'POST', '/v1/completions', `{"a":"${'x'.repeat(17 * 2 ** 20)}"}`, {}, { status: 413, code: 'request_too_large' }],
    ['an unknown route', 'GET', '/v1/nothing', undefined, {}, { status: 404, code: 'not_found' }],
    ['a wrong method', 'GET', '/v1/completions', undefined, {}, { status: 405, code: 'method_not_allowed' }],
    ['an unknown field', 'POST', '/v1/completions', '{"model":"x","prompt":"x","guided_regex":"a"}', {}, { status: 400, code: 'invalid_value', param: 'guided_regex' }],
  ])('%s', async (_, method, path, content, headers, expected) => {
    const response = await fetch(stack.url + path, { method, headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers }, ...(content !== undefined && { body: content }) });
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(await failure(response)).toMatchObject(expected);
    if (response.status === 405) expect(response.headers.get('allow')).toContain('POST');
  });

  test.each([
    ['no HTTP', 'hello\r\n\r\n', 400, 'invalid_value'],
    ['headers without end', `GET /health HTTP/1.1\r\nhost: x\r\nx-long: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'request_too_large'],
  ])('%s', async (_, bytes, status, code) => {
    const { head, body: { error } } = await answerTo(stack.url, bytes);
    expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*\\r\\nx-request-id: req_`));
    expect(error).toMatchObject({ code, type: 'invalid_request_error', param: null });
  });

  test('the context length, in the words that clients look for', async () => {
    const error = await failure(await post(stack.url, '/v1/completions', { model: BASE, prompt: Array(60).fill(5), max_tokens: 10 }));
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded', param: 'prompt' });
    expect(error.message).toContain('maximum context length is 64 tokens');
  });

  test.each([[{ prompt: [5, 320] }, 'prompt'], [{ prompt: 'x', stop_token_ids: [400] }, 'stop_token_ids'], [{ prompt: 'x', logit_bias: { 320: 1 } }, 'logit_bias'], [{ prompt: '' , add_special_tokens: false }, 'prompt']])('%j names %s', async (fields, param) => {
    expect(await failure(await post(stack.url, '/v1/completions', { model: BASE, ...fields }))).toMatchObject({ status: 400, code: 'invalid_value', param });
  });
});

describe('an executor that refuses or fails', () => {
  test.each([
    ['overloaded', 503, null, '2', '1500'], ['adapter_not_ready', 503, null, '2', '1500'], ['numerical_error', 500, 'false', null, null],
    ['deadline_exceeded', 504, 'false', null, null], ['code_of_tomorrow', 500, 'false', null, null],
  ])('%s before the first token is a status', async (code, status, shouldRetry, retryAfter, retryAfterMs) => {
    stack.double.script = request => request.fail(code, 'why', { retryAfterMs: 1500 });
    for (const stream of [false, true]) {
      const response = await post(stack.url, '/v1/completions', { ...body, stream });
      expect([response.status, response.headers.get('x-should-retry'), response.headers.get('retry-after'), response.headers.get('retry-after-ms')]).toEqual([status, shouldRetry, retryAfter, retryAfterMs]);
    }
  });

  test('after tokens were made, a whole answer is not to be tried again', async () => {
    stack.double.script = request => { request.event({ tokens: [token] }); request.fail('executor_lost', 'gone'); };
    const response = await post(stack.url, '/v1/completions', body);
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([503, 'false']);
  });

  test('in mid-stream it is exactly one error event, and no [DONE]', async () => {
    stack.double.script = async request => { request.event({ tokens: [token] }); await sleep(50); request.fail('numerical_error', 'not finite'); };
    const data = await events(await post(stack.url, '/v1/completions', { ...body, stream: true }));
    expect(data).toHaveLength(2);
    expect(JSON.parse(data[1]!)).toEqual({ error: { message: 'not finite', type: 'server_error', param: null, code: 'numerical_error' } });
    const stream = await stack.openai.completions.create({ ...body, stream: true });
    await expect((async () => { for await (const _ of stream); })()).rejects.toThrow('not finite');
  });

  test('one failed prompt of several cancels the others', async () => {
    stack.double.script = request => { if (request.submit.prompt[0] === 7) request.fail('overloaded', 'full'); };
    const response = await post(stack.url, '/v1/completions', { model: BASE, prompt: [[5], [7]] });
    expect(response.status).toBe(503);
    const first = [...stack.double.requests.values()].at(-2)!;
    await first.whenCancelled;
  });
});

describe('clients that leave', () => {
  test.each([true, false])('hanging up cancels in the executor (stream %s)', async stream => {
    const arrived = new Promise<Submitted>(resolve => { stack.double.script = request => { request.event({ tokens: [token] }); resolve(request); }; });
    const abort = new AbortController();
    const response = post(stack.url, '/v1/completions', { ...body, stream, max_tokens: 60 }, { signal: abort.signal }).then(r => r.text()).catch((error: Error) => error);
    const request = await arrived;
    abort.abort();
    await request.whenCancelled;
    request.terminal({ reason: 'cancelled' });
    expect(await response).toBeInstanceOf(Error);
    await expect.poll(() => metric('weft_requests_in_flight')).toBe(0);
    expect(await metric('weft_leases_held')).toBe(0);
    await expect.poll(() => metric('weft_ledger_open'), { timeout: 5000 }).toBe(0);
  });

  test('one that reads nothing holds up nobody, and gets everything once it reads', async () => {
    // Enough text to fill the sockets' buffers many times.
    const long = Array.from({ length: 60 }, () => token);
    let sent = 0;
    stack.double.script = request => {
      const top = long.map(() => ({ ids: Array.from({ length: 20 }, (_, i) => i + 3), logprobs: Array(20).fill(-1.123456) as number[] }));
      for (let round = 0; round < 200; round++) { request.event({ tokens: long, logprobs: long.map(() => -1), top }); sent += long.length; }
      request.event({ finishReason: 'length' });
      request.done(sent);
    };
    const socket = await rawSocket(stack.url, '/v1/completions', { ...body, stream: true, logprobs: 20 });
    socket.pause();
    await expect.poll(() => sent).toBe(200 * long.length);
    await sleep(300);
    stack.double.script = request => request.answer([token]);
    expect((await post(stack.url, '/v1/completions', body)).status).toBe(200);
    let text = '';
    socket.on('data', chunk => { text += chunk.toString(); }).resume();
    await expect.poll(() => text.endsWith('0\r\n\r\n'), { timeout: 15_000 }).toBe(true);
    expect(text).toContain('data: [DONE]');
    expect(text.match(/"finish_reason":"length"/g)).toHaveLength(1);
    socket.destroy();
  });
});

describe('around the requests', () => {
  test('health, version and metrics', async () => {
    for (const path of ['/health', '/health/live', '/health/ready', '/version']) expect((await fetch(stack.url + path)).status).toBe(200);
    stack.double.script = request => request.answer([token, token, EOS], 'stop');
    await stack.openai.completions.create({ ...body, model: 'pirate' });
    const text = await (await fetch(`${stack.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
    const expected = ['vllm:num_requests_running', 'vllm:num_requests_waiting', 'vllm:kv_cache_usage_perc', 'vllm:time_to_first_token_seconds_bucket', 'vllm:inter_token_latency_seconds_bucket',
      'vllm:e2e_request_latency_seconds_bucket', 'vllm:prefix_cache_queries_total', 'vllm:prefix_cache_hits_total', 'vllm:lora_requests_info{max_lora="8"', 'gen_ai_server_request_duration_seconds_bucket'];
    expect(expected.filter(name => !text.includes(name))).toEqual([]);
  });

  test('CORS for the named origin only', async () => {
    const ask = (origin: string): Promise<Response> => fetch(`${stack.url}/v1/completions`, { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' } });
    expect((await ask('https://console.example')).headers.get('access-control-allow-origin')).toBe('https://console.example');
    expect((await ask('https://evil.example')).headers.get('access-control-allow-origin')).toBeNull();
    const streamed = await fetch(`${stack.url}/v1/completions`, { method: 'POST', body: JSON.stringify({ ...body, stream: true }), headers: { 'origin': 'https://console.example', 'authorization': `Bearer ${KEY}`, 'content-type': 'application/json' } });
    expect(streamed.headers.get('access-control-allow-origin')).toBe('https://console.example');
  });

  test('an admin sees the executor and who owns its pages', async () => {
    const response = await fetch(`${stack.url}/v1/executors`, { headers: { 'authorization': `Bearer ${ADMIN_KEY}`, 'x-weft-tenant': 'default' } });
    expect(await response.json()).toMatchObject({ data: [{ id: 'executor-1', device: 'cpu double 1 threads', running: 0, draining: false }] });
  });
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${stack.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
  return Number(new RegExp(`^${name}(?:\\{.*\\})? (.*)$`, 'm').exec(text)?.[1]);
}

describe('an executor that dies', () => {
  test('killed: running requests fail at once, readiness is lost, and the next one is found by itself', async () => {
    const own = await startStack();
    const running = new Promise<void>(resolve => { own.double.script = request => { request.event({ tokens: [token] }); resolve(); }; });
    const streamed = post(own.url, '/v1/completions', { ...body, stream: true });
    const response = await streamed;
    await running;
    const began = performance.now();
    own.double.kill();
    const data = await events(response);
    expect(performance.now() - began).toBeLessThan(1000);
    expect(JSON.parse(data.at(-1)!)).toMatchObject({ error: { code: 'executor_lost' } });
    expect((await fetch(`${own.url}/health/ready`)).status).toBe(503);
    const refused = await post(own.url, '/v1/completions', body);
    expect([refused.status, refused.headers.get('retry-after-ms')]).toEqual([503, '1000']);
    const next = await new ExecutorDouble().start(Number(own.double.address.split(':')[1]));
    await expect.poll(async () => (await fetch(`${own.url}/health/ready`)).status, { timeout: 10_000 }).toBe(200);
    expect((await post(own.url, '/v1/completions', body)).status).toBe(200);
    await own.close();
    next.kill();
  });

  test('hung: found within five seconds', async () => {
    const own = await startStack();
    own.double.script = request => { request.event({ tokens: [token] }); own.double.beats = false; };
    const began = performance.now();
    const data = await events(await post(own.url, '/v1/completions', { ...body, stream: true }));
    expect(performance.now() - began).toBeLessThan(5100);
    expect(JSON.parse(data.at(-1)!)).toMatchObject({ error: { code: 'executor_lost' } });
    await own.close();
  });
});

describe('a stop', () => {
  test('finishes what runs and refuses what comes', async () => {
    const own = await startStack({ drainTimeoutMs: 5000 });
    const running = new Promise<Submitted>(resolve => { own.double.script = request => { request.event({ tokens: [token] }); resolve(request); }; });
    const answer = post(own.url, '/v1/completions', body);
    const request = await running;
    const stopped = own.gateway.stop();
    const refused = await post(own.url, '/v1/completions', body);
    expect(await failure(refused)).toMatchObject({ status: 503, code: 'draining' });
    expect((await fetch(`${own.url}/health/ready`)).status).toBe(503);
    request.event({ tokens: [EOS], finishReason: 'stop' });
    request.done(2);
    expect((await answer).status).toBe(200);
    await stopped;
    await expect(fetch(`${own.url}/health`)).rejects.toThrow();
    own.double.kill();
  });

  test('does not wait longer than the drain time', async () => {
    const own = await startStack({ drainTimeoutMs: 200 });
    const running = new Promise<Submitted>(resolve => { own.double.script = request => { request.event({ tokens: [token] }); resolve(request); }; });
    const streamed = post(own.url, '/v1/completions', { ...body, stream: true });
    const request = await running;
    const data = streamed.then(events);
    await own.gateway.stop();
    await request.whenCancelled;
    expect(JSON.parse((await data).at(-1)!)).toMatchObject({ error: { code: 'draining' } });
    own.double.kill();
  });
});

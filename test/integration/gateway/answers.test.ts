import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EOS, type Submitted } from './executor-double.js';
import { BASE, events, KEY, post, startStack, tokenizer, type Stack } from './harness.js';
import { TENANT } from './registry-double.js';

let stack: Stack;
beforeAll(async () => { stack = await startStack(); });
afterAll(() => stack.close());
beforeEach(() => { stack.double.script = request => request.answer([EOS], 'stop'); });

const idsOf = (text: string): number[] => tokenizer.encode(text, { addSpecialTokens: false });
/** The body that chunks make up. Throws where one is not as long as it says, or the last is missing. */
function dechunked(chunks: string): string {
  const size = parseInt(chunks, 16), start = chunks.indexOf('\r\n') + 2;
  if (size === 0) return '';
  expect(chunks.slice(start + size, start + size + 2)).toBe('\r\n');
  return chunks.slice(start, start + size) + dechunked(chunks.slice(start + size + 2));
}

const last = (): Submitted => [...stack.double.requests.values()].at(-1)!;

describe('completions', () => {
  test('an answer of the base, as the official client reads it', async () => {
    const ids = idsOf(' the answer');
    stack.double.script = request => {
      ids.forEach(token => request.event({ tokens: [token] }));
      request.event({ tokens: [EOS], finishReason: 'stop' });
      request.terminal({ reason: 'done', cachedTokens: 1, generatedTokens: ids.length + 1, queueMs: 1.5, coldStartMs: 0.25 });
    };
    const { data: answer, response } = await stack.openai.completions.create({ model: BASE, prompt: 'What is', max_tokens: 30 }).withResponse();
    expect(answer).toMatchObject({
      object: 'text_completion', model: BASE,
      choices: [{ index: 0, text: ' the answer', finish_reason: 'stop', logprobs: null }],
      usage: { prompt_tokens: idsOf('What is').length, completion_tokens: ids.length + 1, prompt_tokens_details: { cached_tokens: 1 } },
      weft: { adapter: null, digest: 'b'.repeat(64), queue_ms: 1.5, cold_start_ms: 0.25 },
    });
    expect(answer.system_fingerprint).toBe('weft-0-bbbbbbbbbbbb-cpu-double-1-threads');
    expect(response.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{24}$/);
    expect(response.headers.get('x-weft-digest')).toBe('b'.repeat(64));
    expect(response.headers.has('x-weft-adapter')).toBe(false);
    expect(last().submit).toMatchObject({ tenant: TENANT, baseDigest: 'b'.repeat(64), adapters: [], n: 1, maxTokens: 30, stopIds: [EOS], logprobs: -1 });
    await expect.poll(() => stack.double.acknowledged).toContain(last().submit.requestId);
  });

  test.each(['Pirate', 'pirate', 'Pirate@1', 'Pirate@latest', `${BASE}:Pirate`, `${BASE}:pirate@1`])('model %s is the adapter', async model => {
    const { data: answer, response } = await stack.openai.completions.create({ model, prompt: 'x' }).withResponse();
    expect(answer).toMatchObject({ model, weft: { adapter: 'Pirate@1', digest: 'a'.repeat(64) } });
    expect(response.headers.get('x-weft-adapter')).toBe('Pirate@1');
    expect(last().submit.adapters).toEqual([{ digest: 'a'.repeat(64), weight: 1 }]);
  });

  test.each(['nobody', 'Pirate@2', 'Pirate@stable', 'Pirate@1@1', 'org/tiny', `${BASE}:`, `${BASE}:${BASE}`])('model %s is not found', async model => {
    await expect(stack.openai.completions.create({ model, prompt: 'x' })).rejects.toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
  });

  test('fields reach the executor as they were given', async () => {
    await post(stack.url, '/v1/completions', {
      model: BASE, prompt: [5, 6, 7], max_tokens: 3, n: 2, temperature: 0.5, top_p: 0.25, top_k: 7, min_p: 0.125, repetition_penalty: 1.5, presence_penalty: -1,
      frequency_penalty: 2, seed: -1, logit_bias: { 9: -100 }, stop_token_ids: [11], ignore_eos: true, min_tokens: 2, logprobs: 5, user: 'u', store: false,
    });
    expect(last().submit).toMatchObject({
      prompt: [5, 6, 7], maxTokens: 3, n: 2, minTokens: 2, stopIds: [11], logprobs: 5, promptLogprobs: false, task: 0,
      sampling: { temperature: 0.5, topP: 0.25, topK: 7, minP: 0.125, repetitionPenalty: 1.5, presencePenalty: -1, frequencyPenalty: 2, seed: 2n ** 64n - 1n, logitBias: [{ token: 9, bias: -100 }] },
    });
  });

  test('defaults are those of OpenAI; 16 tokens, or what fits', async () => {
    await stack.openai.completions.create({ model: BASE, prompt: 'x' });
    expect(last().submit).toMatchObject({ maxTokens: 16, sampling: { temperature: 1, topP: 1, topK: 0, repetitionPenalty: 1 } });
    await stack.openai.completions.create({ model: BASE, prompt: Array.from({ length: 60 }, () => 5) });
    expect(last().submit.maxTokens).toBe(4);
  });

  test('several prompts with n choices each are numbered prompt · n + i', async () => {
    stack.double.script = request => {
      for (const choice of [1, 0]) request.event({ choice, tokens: [request.submit.prompt[0]! + choice], finishReason: 'length' });
      request.done(2);
    };
    const answer = await (await post(stack.url, '/v1/completions', { model: BASE, prompt: [[10], [20, 21]], n: 2, max_tokens: 1, return_token_ids: true })).json() as { choices: unknown[]; usage: object };
    expect(answer.choices).toMatchObject([
      { index: 0, token_ids: [10], prompt_token_ids: [10] }, { index: 1, token_ids: [11], prompt_token_ids: [10] },
      { index: 2, token_ids: [20], prompt_token_ids: [20, 21] }, { index: 3, token_ids: [21], prompt_token_ids: [20, 21] },
    ]);
    expect(answer.usage).toMatchObject({ prompt_tokens: 3, completion_tokens: 4 });
  });

  test('a list of texts is encoded one by one', async () => {
    const answer = await stack.openai.completions.create({ model: BASE, prompt: ['a', 'bc'] });
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1]);
  });

  test('echo with logprobs scores the prompt, and nothing is generated', async () => {
    const prompt = idsOf('A long way to go');
    stack.double.script = request => {
      request.event({ promptStart: 1, promptLogprobs: prompt.slice(1, 3).map(() => -0.5), promptTop: prompt.slice(1, 3).map(() => ({ ids: [7, 8], logprobs: [-0.25, -2] })) });
      request.event({ promptStart: 3, promptLogprobs: prompt.slice(3).map(() => -Infinity), promptTop: prompt.slice(3).map(() => ({ ids: [7, 8], logprobs: [-0.25, -2] })), finishReason: 'length' });
      request.done();
    };
    const answer = await stack.openai.completions.create({ model: BASE, prompt, echo: true, logprobs: 2, max_tokens: 0 });
    const [choice] = answer.choices;
    expect(choice).toMatchObject({ text: 'A long way to go', finish_reason: 'length' });
    const { tokens, token_logprobs, top_logprobs, text_offset } = choice!.logprobs!;
    expect([tokens!.length, token_logprobs!.length, top_logprobs!.length, text_offset!.length]).toEqual(Array(4).fill(prompt.length));
    expect([token_logprobs![0], top_logprobs![0]]).toEqual([null, null]);
    expect(token_logprobs!.slice(1)).toEqual([-0.5, -0.5, ...prompt.slice(3).map(() => -9999)]);
    expect(top_logprobs![1]).toEqual({ [tokenizer.tokenText(7)]: -0.25, [tokenizer.tokenText(8)]: -2, [tokens![1]!]: -0.5 });
    expect(tokens!.join('')).toBe('A long way to go');
    expect(text_offset).toEqual(tokens!.map((_, i) => tokens!.slice(0, i).join('').length));
    expect(answer.usage).toMatchObject({ completion_tokens: 0 });
    expect(last().submit).toMatchObject({ task: 1, promptLogprobs: true, logprobs: 2 });
  });

  test('echo of a prompt of one token has no score to wait for', async () => {
    stack.double.script = request => request.done();
    const answer = await stack.openai.completions.create({ model: BASE, prompt: [40], echo: true, logprobs: 0, max_tokens: 0 });
    expect(answer.choices[0]).toMatchObject({ finish_reason: 'length', logprobs: { token_logprobs: [null], top_logprobs: [null], text_offset: [0] } });
  });

  test('echo with an answer puts the prompt in front of text and scores', async () => {
    stack.double.script = request => {
      request.event({ promptStart: 1, promptLogprobs: [-1], promptTop: [{ ids: [4], logprobs: [-0.5] }] });
      request.event({ tokens: idsOf('z').slice(0, 1), logprobs: [-3], top: [{ ids: [4], logprobs: [-0.5] }], finishReason: 'length' });
      request.done(1);
    };
    const [choice] = (await stack.openai.completions.create({ model: BASE, prompt: [...idsOf('x'), ...idsOf('y')], echo: true, logprobs: 1, max_tokens: 1 })).choices;
    expect(choice).toMatchObject({ text: 'xyz', logprobs: { tokens: ['x', 'y', 'z'], token_logprobs: [null, -1, -3], text_offset: [0, 1, 2] } });
  });

  test('a stop string ends the answer, cancels the request, and cuts tokens, ids and scores where it begins', async () => {
    const pieces = ['one', ' two', ' STOP', ' three'].map(idsOf);
    stack.double.script = async request => {
      for (const token of pieces.flat()) request.event({ tokens: [token], logprobs: [-1], top: [{ ids: [token], logprobs: [-1] }] });
      await request.whenCancelled;
      request.terminal({ reason: 'cancelled', generatedTokens: pieces.flat().length });
    };
    const answer = await stack.openai.completions.create({ model: BASE, prompt: 'x', stop: ' STOP', max_tokens: 60, logprobs: 0 });
    const [choice] = answer.choices;
    expect(choice).toMatchObject({ text: 'one two', finish_reason: 'stop' });
    expect(choice!.logprobs!.tokens!.join('')).toBe('one two');
    expect(answer.usage!.completion_tokens).toBeLessThanOrEqual(pieces.slice(0, 3).flat().length);
  });

  test('half a stop string at the end is text', async () => {
    stack.double.script = request => request.answer(idsOf('abc STO'));
    const answer = await stack.openai.completions.create({ model: BASE, prompt: 'x', stop: [' STOP', 'zzz'], max_tokens: 60 });
    expect(answer.choices[0]).toMatchObject({ text: 'abc STO', finish_reason: 'length' });
  });

  test('bytes of a character that come one by one are no text until the last', async () => {
    const ids = idsOf('ü€');
    stack.double.script = request => {
      ids.forEach((token, i) => request.event({ tokens: [token], logprobs: [-1], finishReason: i === ids.length - 1 ? 'length' : '' }));
      request.done(ids.length);
    };
    const [choice] = (await stack.openai.completions.create({ model: BASE, prompt: 'x', logprobs: 0, max_tokens: 60 })).choices;
    expect(choice!.text).toBe('ü€');
    expect(choice!.logprobs!.tokens).toHaveLength(ids.length);
    if (ids.length > 2) expect(choice!.logprobs!.tokens![0]).toMatch(/^bytes:\\x/);
  });
});

describe('chat', () => {
  const messages = [{ role: 'user' as const, content: 'Hi' }];

  test('an answer with log-probabilities', async () => {
    const [a] = idsOf('ok');
    stack.double.script = request => {
      request.event({ tokens: [a!], logprobs: [-0.5], top: [{ ids: [a!, 319], logprobs: [-0.5, -2] }] });
      request.event({ tokens: [EOS], logprobs: [-0.1], top: [{ ids: [EOS], logprobs: [-0.1] }], finishReason: 'stop' });
      request.done(2);
    };
    const answer = await stack.openai.chat.completions.create({ model: 'pirate', messages, logprobs: true, top_logprobs: 2 });
    const text = tokenizer.tokenText(a!);
    expect(answer).toMatchObject({ object: 'chat.completion', model: 'pirate', choices: [{ index: 0, message: { role: 'assistant', content: text, refusal: null }, finish_reason: 'stop' }] });
    expect(answer.choices[0]!.logprobs!.content).toEqual([{
      token: text, logprob: -0.5, bytes: [...Buffer.from(text)],
      top_logprobs: [{ token: text, logprob: -0.5, bytes: [...Buffer.from(text)] }, { token: tokenizer.tokenText(319), logprob: -2, bytes: [...tokenizer.tokenBytes(319)] }],
    }]);
    expect(last().submit).toMatchObject({ maxTokens: 0, logprobs: 2, prompt: await tokenizer.encodeChat(messages) });
  });

  test('max_completion_tokens and max_tokens', async () => {
    await stack.openai.chat.completions.create({ model: BASE, messages, max_completion_tokens: 7 });
    expect(last().submit.maxTokens).toBe(7);
    await stack.openai.chat.completions.create({ model: BASE, messages, max_tokens: 5 });
    expect(last().submit.maxTokens).toBe(5);
  });

  test('what asks for nothing is accepted', async () => {
    const response = await post(stack.url, '/v1/chat/completions', {
      model: BASE, messages, tools: [], tool_choice: 'none', response_format: { type: 'text' }, parallel_tool_calls: true, stop: null, n: null, service_tier: 'auto', store: false, metadata: { a: 'b' }, modalities: ['text'], functions: null,
    });
    expect(response.status).toBe(200);
  });
});

describe('streams', () => {
  test('chunks in order, one finish, weft in the last, then [DONE]', async () => {
    const ids = idsOf('one two three');
    stack.double.script = request => request.answer([...ids, EOS], 'stop');
    const response = await post(stack.url, '/v1/completions', { model: 'pirate', prompt: 'x', max_tokens: 60, stream: true, return_token_ids: true });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(response.headers.get('x-request-id')).toMatch(/^req_/);
    expect(response.headers.get('x-weft-adapter')).toBe('Pirate@1');
    const data = await events(response);
    expect(data.pop()).toBe('[DONE]');
    const chunks = data.map(text => JSON.parse(text) as { id: string; choices: { text: string; finish_reason: string | null; token_ids: number[]; prompt_token_ids?: number[] }[]; weft?: object; usage?: null });
    expect(chunks.every(chunk => chunk.choices.length === 1 && chunk.id === chunks[0]!.id && !('usage' in chunk))).toBe(true);
    expect(chunks.map(chunk => chunk.choices[0]!.text).join('')).toBe('one two three');
    expect(chunks.flatMap(chunk => chunk.choices[0]!.token_ids)).toEqual([...ids, EOS]);
    expect(chunks.map(chunk => chunk.choices[0]!.finish_reason).filter(Boolean)).toEqual(['stop']);
    expect(chunks.filter(chunk => chunk.weft !== undefined)).toEqual([chunks.at(-1)]);
    expect(chunks[0]!.choices[0]!.prompt_token_ids).toEqual(idsOf('x'));
    expect(chunks.at(-1)).toMatchObject({ weft: { adapter: 'Pirate@1', digest: 'a'.repeat(64) } });
  });

  test('tokens that come by lanes belong to their choices, and a stop string ends one of them', async () => {
    const [a, b] = [idsOf('héllo wörld 🧵'), idsOf('one stop two')];
    stack.double.script = async request => {
      for (let i = 0; i < Math.max(a.length, b.length); i++) request.lanes([...i < a.length ? [[0, a[i]!]] as const : [], ...i < b.length ? [[1, b[i]!]] as const : []]);
      request.event({ choice: 0, tokens: [EOS], finishReason: 'stop' });
      await request.whenCancelled;
      request.terminal({ reason: 'cancelled', generatedTokens: a.length + b.length + 1 });
    };
    const data = await events(await post(stack.url, '/v1/completions', { model: BASE, prompt: 'x', n: 2, max_tokens: 40, stop: ' stop', stream: true, return_token_ids: true }));
    expect(data.pop()).toBe('[DONE]');
    const choices = data.flatMap(text => (JSON.parse(text) as { choices: { index: number; text: string; finish_reason: string | null; token_ids: number[] }[] }).choices);
    const of = (index: number): typeof choices => choices.filter(choice => choice.index === index);
    expect([0, 1].map(index => of(index).map(({ text }) => text).join(''))).toEqual(['héllo wörld 🧵', 'one']);
    expect(of(0).flatMap(choice => choice.token_ids)).toEqual([...a, EOS]);
    expect([0, 1].map(index => of(index).at(-1)!.finish_reason)).toEqual(['stop', 'stop']);
    const lanes = [...stack.double.requests.values()].map(({ submit }) => submit.firstLane);
    expect(new Set(lanes).size).toBe(lanes.length);
  });

  test('a client without chunks, and requests one behind another on a connection, get their streams whole', async () => {
    stack.double.script = async request => {
      for (const id of idsOf('one two three')) { request.lanes([[0, id]]); await sleep(5); }
      request.event({ tokens: [EOS], finishReason: 'stop' });
      request.done();
    };
    const body = JSON.stringify({ model: BASE, prompt: 'x', max_tokens: 20, stream: true });
    const head = (version: string): string => `POST /v1/completions HTTP/${version}\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n`;
    const { hostname, port } = new URL(stack.url);
    const exchange = async (bytes: string): Promise<string> => {
      const socket = connect(Number(port), hostname);
      socket.write(bytes);
      return text(socket);
    };
    const textsOf = (raw: string): string => [...raw.matchAll(/"text":"([^"]*)"/g)].map(([, piece]) => piece).join('');
    const old = await exchange(`${head('1.0')}\r\n${body}`);
    expect(old).not.toMatch(/transfer-encoding/i);
    expect([textsOf(old), old.endsWith('data: [DONE]\n\n')]).toEqual(['one two three', true]);
    const two = await exchange(`${head('1.1')}\r\n${body}${head('1.1')}connection: close\r\n\r\n${body}`);
    const answers = two.split(/^HTTP\/1.1 200 OK\r\n/m).slice(1).map(answer => dechunked(answer.slice(answer.indexOf('\r\n\r\n') + 4)));
    expect(answers.map(textsOf)).toEqual(['one two three', 'one two three']);
    expect(answers.every(answer => answer.endsWith('data: [DONE]\n\n'))).toBe(true);
  });

  test('chat with include_usage: role first, usage null, then usage alone', async () => {
    stack.double.script = request => {
      for (const choice of [0, 1]) request.event({ choice, tokens: idsOf('ok'), finishReason: 'length' });
      request.done(2);
    };
    const stream = await stack.openai.chat.completions.create({ model: BASE, messages: [{ role: 'user', content: 'Hi' }], n: 2, max_tokens: 5, stream: true, stream_options: { include_usage: true } });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    expect(chunks.slice(0, 2).map(chunk => chunk.choices[0]!.delta)).toEqual([{ role: 'assistant', content: '', refusal: null }, { role: 'assistant', content: '', refusal: null }]);
    expect(chunks.slice(0, -1).every(chunk => chunk.usage === null && chunk.choices.length === 1)).toBe(true);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 2 * idsOf('ok').length }, weft: { adapter: null } });
    for (const index of [0, 1]) {
      const own = chunks.flatMap(chunk => chunk.choices).filter(choice => choice.index === index);
      expect(own.map(choice => choice.delta.content ?? '').join('')).toBe('ok');
      expect(own.at(-1)!.finish_reason).toBe('length');
    }
  });

  test('echo streams the prompt once, in front, with its scores', async () => {
    stack.double.script = request => {
      request.event({ promptStart: 1, promptLogprobs: [-1], promptTop: [{ ids: [4], logprobs: [-0.5] }] });
      request.event({ tokens: idsOf('z'), logprobs: [-3], finishReason: 'length' });
      request.done(1);
    };
    const data = await events(await post(stack.url, '/v1/completions', { model: BASE, prompt: [...idsOf('x'), ...idsOf('y')], echo: true, logprobs: 0, max_tokens: 1, stream: true }));
    const choices = data.slice(0, -1).map(text => (JSON.parse(text) as { choices: { text: string; logprobs: { tokens: string[]; text_offset: number[] } }[] }).choices[0]!);
    expect(choices.map(choice => choice.text).join('')).toBe('xyz');
    expect(choices.flatMap(choice => choice.logprobs.tokens)).toEqual(['x', 'y', 'z']);
    expect(choices.flatMap(choice => choice.logprobs.text_offset)).toEqual([0, 1, 2]);
  });
});

describe('models and text', () => {
  test('base and adapters are listed', async () => {
    const { data } = await stack.openai.models.list();
    expect(data).toMatchObject([{ id: BASE, object: 'model', owned_by: 'weft', parent: null, root: BASE }, { id: 'Pirate', parent: BASE, root: BASE }]);
    const page = await (await fetch(`${stack.url}/v1/models?limit=1`, { headers: { authorization: `Bearer ${KEY}` } })).json() as { data: { id: string }[] };
    expect(page).toMatchObject({ object: 'list', data: [{ id: BASE }], has_more: true });
    const next = await (await fetch(`${stack.url}/v1/models?limit=1&after=${encodeURIComponent(BASE)}`, { headers: { authorization: `Bearer ${KEY}` } })).json();
    expect(next).toMatchObject({ data: [{ id: 'Pirate' }], has_more: false });
  });

  test.each([BASE, encodeURIComponent(BASE), 'Pirate', `${BASE}:Pirate@1`])('a card by id %s', async id => {
    const response = await fetch(`${stack.url}/v1/models/${id}`, { headers: { authorization: `Bearer ${KEY}` } });
    expect(await response.json()).toMatchObject({ id: decodeURIComponent(id), object: 'model' });
  });

  test('an unknown card is a 404', async () => {
    await expect(stack.openai.models.retrieve('no/such')).rejects.toMatchObject({ status: 404, code: 'model_not_found' });
  });

  test('tokenize and detokenize', async () => {
    const text = 'Hello, world';
    const { tokens, ...rest } = await (await post(stack.url, '/tokenize', { model: BASE, prompt: text, return_token_strs: true })).json() as { tokens: number[] };
    expect(tokens).toEqual(tokenizer.encode(text));
    expect(rest).toEqual({ count: tokens.length, max_model_len: 64, token_strs: tokens.map(id => tokenizer.tokenOf(id)) });
    expect(await (await post(stack.url, '/detokenize', { tokens })).json()).toEqual({ prompt: text });
    const messages = [{ role: 'user', content: 'Hi' }];
    expect(await (await post(stack.url, '/tokenize', { messages })).json()).toMatchObject({ tokens: await tokenizer.encodeChat(messages) });
  });
});

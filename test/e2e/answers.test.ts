import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ADAPTERS, casesOf, events, Weft, type Case } from './weft.js';

const BASE = 'base';
const NEAR_TIE = 0.05;
const adapters = readdirSync(ADAPTERS).sort();

let weft: Weft;
beforeAll(async () => { weft = await Weft.start(); });
afterAll(async () => { expect(await weft.stop()).toBe(0); });

interface Answer { choices: { text: string; token_ids: number[]; finish_reason: string }[]; usage: { completion_tokens: number; prompt_tokens: number }; weft: { adapter: string | null; digest: string } }
const complete = async (body: object): Promise<Answer> => (await weft.post('/v1/completions', body)).json() as Promise<Answer>;
const greedy = (model: string, { prompt, ids }: Case) => ({ model, prompt, max_tokens: ids.length, temperature: 0, return_token_ids: true, ignore_eos: true });
/** Up to the first position where another sound rounding may choose differently. */
const safe = ({ ids, margins }: Case): number[] => ids.slice(0, [...margins.map(margin => margin < NEAR_TIE), true].indexOf(true));

describe('the official client', () => {
  test('sees the base and every adapter', async () => {
    const ids = (await weft.openai.models.list()).data.map(({ id }) => id);
    expect(ids).toEqual([BASE, ...adapters]);
  });

  test('chats, whole and streamed, to the same answer', async () => {
    const request = { model: 'r16-all', messages: [{ role: 'user' as const, content: 'Who are you?' }], max_tokens: 24, temperature: 0.8, seed: 7 };
    const whole = await weft.openai.chat.completions.create(request);
    const stream = await weft.openai.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } });
    let text = '';
    let usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]!.message.content);
    expect(usage).toEqual(whole.usage);
    expect(whole).toMatchObject({ model: 'r16-all', weft: { adapter: 'r16-all@1', digest: expect.stringMatching(/^[0-9a-f]{64}$/) } });
  });

  test('gets log-probabilities whose parts agree', async () => {
    const { choices } = await weft.openai.chat.completions.create({ model: BASE, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 8, temperature: 0, logprobs: true, top_logprobs: 5 });
    for (const { logprob, token, bytes, top_logprobs: top } of choices[0]!.logprobs!.content!) {
      expect(top).toHaveLength(5);
      expect([token, logprob, bytes]).toEqual([top[0]!.token, top[0]!.logprob, top[0]!.bytes]);
      expect(top.map(other => other.logprob)).toEqual(top.map(other => other.logprob).sort((a, b) => b - a));
    }
  });
});

test('all adapters and the base in one burst answer as the reference does, and as each alone', async () => {
  const jobs = [BASE, ...adapters].flatMap(model => casesOf(model).slice(0, 4).map(testCase => ({ model, testCase })));
  const mixed = await Promise.all(jobs.map(({ model, testCase }) => complete(greedy(model, testCase))));
  for (const [i, { model, testCase }] of jobs.entries()) {
    const ids = mixed[i]!.choices[0]!.token_ids;
    expect(ids.slice(0, safe(testCase).length), model).toEqual(safe(testCase));
    expect(mixed[i]!.weft.adapter).toBe(model === BASE ? null : `${model}@1`);
    if (i % 8 === 0) expect((await complete(greedy(model, testCase))).choices[0]!.token_ids).toEqual(ids);
  }
});

test('echo scores a prompt as the reference does', async () => {
  const testCase = casesOf('patterns')[2]!;
  const { choices: [choice] } = await weft.openai.completions.create({ model: 'patterns', prompt: [...testCase.prompt, ...testCase.ids], echo: true, logprobs: 1, max_tokens: 0 });
  const scores = choice!.logprobs!.token_logprobs!.slice(testCase.prompt.length);
  expect(Math.max(...scores.map((score, i) => Math.abs(score - testCase.logprobs[i]!)))).toBeLessThan(0.02);
});

test('a seed repeats its answer, whatever else is in the batch; choices of one request differ', async () => {
  const request = { model: 'r8-qv', prompt: [5, 6, 7], max_tokens: 30, temperature: 1, seed: 99, n: 3, return_token_ids: true, ignore_eos: true };
  const alone = await complete(request);
  const others = Array.from({ length: 8 }, (_, i) => complete({ model: adapters[i % adapters.length], prompt: [i + 3], max_tokens: 40, ignore_eos: true }));
  const again = await complete(request);
  await Promise.all(others);
  expect(again.choices).toEqual(alone.choices);
  expect(new Set(alone.choices.map(({ token_ids }) => token_ids.join())).size).toBe(3);
});

test('a stop string ends the answer and the work', async () => {
  const request = { model: BASE, prompt: [40, 41, 42], temperature: 0, max_tokens: 600, ignore_eos: true };
  const { choices: [whole] } = await complete({ ...request, max_tokens: 40 });
  const stop = [...whole!.text].slice(10, 12).join('');
  const answer = await complete({ ...request, stop });
  expect(answer.choices[0]).toMatchObject({ text: whole!.text.slice(0, whole!.text.indexOf(stop)), finish_reason: 'stop' });
  await expect.poll(async () => (await weft.executor())?.running).toBe(0);
});

test('a client that hangs up frees its pages, with several choices too', async () => {
  const abort = new AbortController();
  const response = await weft.post('/v1/completions', { model: 'r16-all', prompt: [5], n: 4, max_tokens: 900, ignore_eos: true, stream: true }, abort.signal);
  await response.body!.getReader().read();
  await expect.poll(async () => (await weft.executor())?.running).toBe(4);
  abort.abort();
  await expect.poll(async () => (await weft.executor())?.running).toBe(0);
  await expect.poll(async () => (await weft.executor())?.pages.owners.filter(({ owner }) => owner === 'kv' || owner === 'retired')).toEqual([]);
});

test('the context is used to its end, and not beyond', async () => {
  const { choices: [choice], usage } = await complete({ model: BASE, prompt: Array.from({ length: 1000 }, () => 5), max_tokens: 24, ignore_eos: true });
  expect([choice!.finish_reason, usage.completion_tokens]).toEqual(['length', 24]);
  const response = await weft.post('/v1/completions', { model: BASE, prompt: Array.from({ length: 1000 }, () => 5), max_tokens: 25 });
  expect([response.status, await response.text()]).toEqual([400, expect.stringContaining('maximum context length is 1024 tokens')]);
});

test('forty streams at once all end in [DONE]', async () => {
  const streams = await Promise.all(Array.from({ length: 40 }, (_, i) =>
    weft.post('/v1/chat/completions', { model: [BASE, ...adapters][i % 10], messages: [{ role: 'user', content: `Question ${i}` }], max_tokens: 20, stream: true }).then(events)));
  expect(streams.map(data => data.at(-1))).toEqual(streams.map(() => '[DONE]'));
  expect(streams.every(data => !data.some(event => event.includes('"error"')))).toBe(true);
});

import { afterEach, expect, test } from 'vitest';
import type { Questions } from '../../../apps/cli/src/demo.js';
import { runDemo } from '../../../apps/cli/src/demo-scenario.js';
import { json } from 'node:stream/consumers';
import { FakeWeft, page } from './fake-weft.js';

const user = (content: string) => [{ role: 'user', content }];
const QUESTIONS: Questions = {
  max_tokens: 16, question: { messages: user('How long are refunds?') }, base: { answer: 'I don\'t know.' },
  tenants: [{ adapter: 'bikes', company: 'Bikes', answer: '30 days.' }, { adapter: 'boats', company: 'Boats', answer: '7 days.' }],
  tasks: [{ adapter: 'sql', prompts: [{ messages: user('all users'), answer: 'SELECT * FROM users;' }] }],
};
const RIGHT: Record<string, string> = { 'weft-demo': 'I don\'t know.', 'bikes': '30 days.', 'boats': '7 days.', 'sql': 'SELECT * FROM users;' };

let weft: FakeWeft;
afterEach(() => weft.stop());

async function scenario(answers: Record<string, string>): Promise<{ worked: boolean; output: string }> {
  weft = await FakeWeft.start({
    'GET /v1/models': page(...Object.keys(RIGHT).map(id => ({ id, parent: id === 'weft-demo' ? null : 'weft-demo', digest: id }))),
    'GET /v1/executors': page({ device: 'cpu', page_bytes: 4096, pages: { total: 10, free: 9, owners: [{ owner: 'adapter:bikes', pages: 1 }, { owner: 'free', pages: 9 }] } }),
    'POST /v1/chat/completions': (request, response) => void json(request).then(body => {
      const { model, temperature, max_tokens: maxTokens } = body as { model: string; temperature: number; max_tokens: number };
      expect([temperature, maxTokens]).toEqual([0, 16]);
      const content = answers[model];
      response.writeHead(content === undefined ? 503 : 200).end(JSON.stringify(content === undefined
        ? { error: { code: 'overloaded', message: 'too much' } } : { choices: [{ message: { content } }], usage: { completion_tokens: 4 }, weft: { adapter: model, digest: model } }));
    }),
  });
  const output: string[] = [];
  const worked = await runDemo({ tenant: weft.api, admin: weft.api }, QUESTIONS, [], text => output.push(text));
  return { worked, output: output.join('\n') };
}

test('every answer to the letter: it worked', async () => {
  const { worked, output } = await scenario(RIGHT);
  expect(worked).toBe(true);
  expect(output).toContain('tenants: 2 of 2 exact; tasks: 1 of 1 exact; the base alone answers «I don\'t know.»');
  expect(output).toMatch(/4 requests in one mix on cpu: 16 tokens in/);
  expect(output).toMatch(/^bikes +30 days\. +ok$/m);
  expect(output).toMatch(/^adapter bikes +1 /m);
});

test.each([
  ['another answer', { ...RIGHT, boats: '8 days.' }, 'tenants: 1 of 2 exact', 'wrong boats: "8 days." instead of "7 days."'],
  ['a base that knows', { ...RIGHT, 'weft-demo': '30 days.' }, 'tenants: 2 of 2 exact', 'wrong weft-demo: "30 days." instead of "I don\'t know."'],
  ['an error', { 'weft-demo': RIGHT['weft-demo']!, 'bikes': RIGHT['bikes']!, 'boats': RIGHT['boats']! }, 'tasks: 0 of 1 exact', 'failed sql: overloaded: too much'],
])('%s: it did not', async (_, answers, ...told) => {
  const { worked, output } = await scenario(answers);
  expect(worked).toBe(false);
  for (const text of told) expect(output).toContain(text);
});

/** Adapters that bring a chat template or a tokenizer of their own: their prompts are made with it, the base's and others' are not. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ADAPTERS, casesOf, MODEL, Weft } from './weft.js';

const ADAPTER = 'r16-all';
const messages = [{ role: 'user', content: 'weft' }];
const baseTokenizer = JSON.parse(readFileSync(join(MODEL, 'tokenizer.json'), 'utf8')) as { added_tokens: object[]; model: { vocab: Record<string, number> } };

let weft: Weft;
beforeAll(async () => { weft = await Weft.start(); });
afterAll(async () => { expect(await weft.stop()).toBe(0); });

interface Version { status: string; text: string[]; ignored: string[]; errors: { code: string; file?: string; message: string }[] }

async function upload(name: string, text: Record<string, string>, files = join(ADAPTERS, ADAPTER)): Promise<Version> {
  const form = new FormData();
  form.append('name', name);
  for (const file of readdirSync(files)) form.append('files', new Blob([readFileSync(join(files, file))]), file);
  for (const [file, content] of Object.entries(text)) form.append('files', new Blob([content]), file);
  const headers = { authorization: `Bearer ${weft.key}` };
  const accepted = await fetch(`${weft.url}/v1/adapters`, { method: 'POST', body: form, headers });
  expect(accepted.status, await accepted.clone().text()).toBe(202);
  let version!: Version;
  await expect.poll(async () => {
    version = await (await fetch(`${weft.url}/v1/adapters/${name}/versions/1`, { headers })).json() as Version;
    return version.status;
  }, { timeout: 20_000, interval: 50 }).not.toBe('validating');
  return version;
}

async function asked<T>(path: string, body: object): Promise<T> {
  const response = await weft.post(path, body);
  expect(response.status, await response.clone().text()).toBe(200);
  return await response.json() as T;
}
const tokenize = async (model: string, prompt: object): Promise<number[]> => (await asked<{ tokens: number[] }>('/tokenize', { model, ...prompt })).tokens;
const detokenize = async (model: string, tokens: number[]): Promise<string> => (await asked<{ prompt: string }>('/detokenize', { model, tokens })).prompt;

test('a template of its own', async () => {
  const template = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}{% if add_generation_prompt %}[reply]{% endif %}";
  expect(await upload('templated', { 'chat_template.jinja': template, 'tokenizer.json': JSON.stringify(baseTokenizer) })).toMatchObject({ status: 'ready', text: ['chat_template.jinja'], ignored: ['tokenizer.json'] });
  const ids = await tokenize('templated', { messages });
  expect(await detokenize('templated', ids)).toBe('<|im_start|>[user] weft [reply]');
  expect(await detokenize(ADAPTER, await tokenize(ADAPTER, { messages }))).toBe('<|im_start|>user\nweft<|im_end|>\n<|im_start|>assistant\n');
  // The chat's answer is that of its prompt's tokens.
  const options = { model: 'templated', max_tokens: 8, temperature: 0, ignore_eos: true, return_token_ids: true };
  const [chat, plain] = await Promise.all([asked<{ choices: { token_ids: number[] }[]; usage: { prompt_tokens: number } }>('/v1/chat/completions', { ...options, messages }), asked<{ choices: { token_ids: number[] }[] }>('/v1/completions', { ...options, prompt: ids })]);
  expect(chat.choices[0]!.token_ids).toEqual(plain.choices[0]!.token_ids);
  expect(chat.usage.prompt_tokens).toBe(ids.length);
});

test('a template that never ends ends the request, and nobody else\'s', async () => {
  await upload('endless', { 'chat_template.jinja': '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}' });
  const began = performance.now(), endless = weft.post('/v1/chat/completions', { model: 'endless', messages, max_tokens: 1 });
  await new Promise(resolve => { setTimeout(resolve, 200); });
  const { prompt, ids } = casesOf(ADAPTER)[0]!;
  const beside = await asked<{ choices: { token_ids: number[] }[] }>('/v1/completions', { model: ADAPTER, prompt, max_tokens: 4, temperature: 0, ignore_eos: true, return_token_ids: true });
  expect(beside.choices[0]!.token_ids).toEqual(ids.slice(0, 4));
  expect(performance.now() - began).toBeLessThan(1000);
  const refused = await endless;
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ error: { code: 'invalid_value', param: 'messages', message: expect.stringContaining('chat template') as string } });
});

test('a tokenizer of its own, and an end token', async () => {
  const id = 319, [name] = Object.entries(baseTokenizer.model.vocab).find(([, token]) => token === id)!;
  const own = { ...baseTokenizer, added_tokens: [...baseTokenizer.added_tokens, { ...baseTokenizer.added_tokens[0], id, content: '<|note|>' }] };
  const version = await upload('noted', { 'tokenizer.json': JSON.stringify(own), 'tokenizer_config.json': JSON.stringify({ eos_token: '<|note|>' }) });
  expect(version).toMatchObject({ status: 'ready', text: ['tokenizer.json', 'tokenizer_config.json'] });
  expect(await tokenize('noted', { prompt: 'weft<|note|>' })).toEqual([...await tokenize('base', { prompt: 'weft' }), id]);
  expect(await tokenize('base', { prompt: 'weft<|note|>' })).not.toContain(id);
  expect(await detokenize('noted', [id])).toBe('<|note|>');
  expect(await detokenize('base', [id])).not.toBe('<|note|>');
  expect(name).not.toBe('<|note|>');
  // It ends an answer here, and is nothing to the adapter of the same weights.
  const options = { prompt: 'weft', max_tokens: 4, temperature: 0, logit_bias: { [id]: 100 } };
  expect(await asked('/v1/completions', { ...options, model: 'noted' })).toMatchObject({ choices: [{ text: '', finish_reason: 'stop' }] });
  expect(await asked('/v1/completions', { ...options, model: ADAPTER })).toMatchObject({ choices: [{ finish_reason: 'length' }] });
});

test('new tokens: in prompts, in answers, and nobody else\'s', async () => {
  const first = 320, names = ['<|a|>', '<|b|>', '<|c|>', '<|d|>', '<|e|>', '<|f|>'];
  const added = names.map((content, i) => ({ ...baseTokenizer.added_tokens[0], id: first + i, content, special: false }));
  const tokenizer = JSON.stringify({ ...baseTokenizer, added_tokens: [...baseTokenizer.added_tokens, ...added] });
  expect(await upload('resized', { 'tokenizer.json': tokenizer }, join(ADAPTERS, 'resized-tied'))).toMatchObject({ status: 'ready', text: ['tokenizer.json'] });
  const prompt = [...await tokenize('base', { prompt: 'weft' }), first + 2];
  expect(await tokenize('resized', { prompt: 'weft<|c|>' })).toEqual(prompt);
  expect(await detokenize('resized', [first + 5])).toBe('<|f|>');
  interface Said { choices: { token_ids: number[]; text: string }[] }
  let spoken = 0;
  for (const { prompt: ids, ids: wanted } of casesOf('resized-tied')) {
    const { choices: [said] } = await asked<Said>('/v1/completions', { model: 'resized', prompt: ids, max_tokens: wanted.length, temperature: 0, ignore_eos: true, return_token_ids: true });
    const own = said!.token_ids.filter(id => id >= first);
    spoken += own.length;
    for (const id of own) expect(said!.text).toContain(names[id - first]);
  }
  expect(spoken).toBeGreaterThan(0);
  const next = { model: 'resized', max_tokens: 4, temperature: 0, return_token_ids: true };
  const [byText, byIds] = await Promise.all(['weft<|c|>', prompt].map(asks => asked<Said>('/v1/completions', { ...next, prompt: asks })));
  expect(byText!.choices[0]!.token_ids).toEqual(byIds!.choices[0]!.token_ids);
  for (const [model, token] of [['base', first], [ADAPTER, first], ['resized', first + 6]] as const) {
    const refused = await weft.post('/v1/completions', { model, prompt: [5, token], max_tokens: 1 });
    expect([refused.status, await refused.json()]).toMatchObject([400, { error: { code: 'invalid_value', param: 'prompt' } }]);
  }
});

test.each<[string, Record<string, string>, { code: string; file: string; message: unknown }]>([
  ['ids that the base has no rows for', { 'tokenizer.json': JSON.stringify({ ...baseTokenizer, added_tokens: [...baseTokenizer.added_tokens, { ...baseTokenizer.added_tokens[0], id: 320, content: '<|new|>' }] }) },
    { code: 'tokenizer_invalid', file: 'tokenizer.json', message: expect.stringContaining('ids up to 320; there are 320 rows') as string }],
  ['a template that is none', { 'chat_template.jinja': '{% for %}' }, { code: 'tokenizer_invalid', file: 'chat_template.jinja', message: expect.stringContaining('parsed') as string }],
])('%s are refused by name', async (what, text, error) => {
  expect(await upload(what.replaceAll(' ', '-'), text)).toMatchObject({ status: 'failed', errors: [error] });
});

import { WeftError } from '@weft/contracts';
import { describe, expect, test } from 'vitest';
import { parseChat } from '../../../apps/gateway/src/dto/chat.js';
import { parseCompletion } from '../../../apps/gateway/src/dto/completion.js';
import { parseDetokenize, parseTokenize } from '../../../apps/gateway/src/dto/tokenize.js';

function refusal(parse: () => unknown): { code: string; param: string | undefined; message: string } {
  try {
    parse();
  } catch (error) {
    if (error instanceof WeftError) return { code: error.code, param: error.details.param, message: error.message };
    throw error;
  }
  throw new Error('accepted');
}

const messages = [{ role: 'user', content: 'Hi' }];
const completion = (fields: object) => parseCompletion({ model: 'm', prompt: 'x', ...fields });
const chat = (fields: object) => parseChat({ model: 'm', messages, ...fields });
const many = <T>(count: number, item: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => item(i));

/** field, values that are taken, values that are refused: a wrong type, below, beyond. */
const SHARED: [string, unknown[], unknown[]][] = [
  ['model', ['a/b:c@1'], [1, '', 'x'.repeat(513)]],
  ['n', [1, 128, null], [0, -1, 129, 1e6, 1.5, '1']],
  ['stream', [true, false, null], ['true', 1]],
  ['temperature', [0, 2, 0.7, null], [-0.1, 2.1, '1', 1e999]],
  ['top_p', [0.01, 1, null], [0, -1, 1.1, '1']],
  ['top_k', [-1, 0, 50, null], [-2, 1.5, '5', 2 ** 31]],
  ['min_p', [0, 1], [-0.1, 1.1, 'x']],
  ['repetition_penalty', [0.5, 10], [0, -1, 10.1, '1']],
  ['presence_penalty', [-2, 2], [-2.1, 2.1, '1']],
  ['frequency_penalty', [-2, 2], [-2.1, 2.1, '1']],
  ['seed', [0, -5, 2 ** 53 - 1, null], [1.5, '1', 2 ** 53]],
  ['logit_bias', [{}, { 5: -100, 7: 100 }, null], [{ a: 1 }, { '-1': 1 }, { 5: 101 }, { 5: '1' }, [], Object.fromEntries(many(301, i => [i, 1]))]],
  ['stop', ['x', ['x', 'y'], [], null], ['', [''], 1, [1], many(17, i => `s${i}`), 'x'.repeat(1025)]],
  ['stop_token_ids', [[], [0, 5]], [5, [-1], [1.5], ['1'], [2 ** 31], many(65, i => i)]],
  ['ignore_eos', [true], ['x', 1]],
  ['min_tokens', [0, 5], [-1, 1.5, '1', 2 ** 31]],
  ['return_token_ids', [true], ['x']],
  ['user', ['me'], [1, 'x'.repeat(513)]],
  ['metadata', [{ a: 'b' }], ['x', { a: 1 }, { ['x'.repeat(65)]: 'b' }, { a: 'x'.repeat(513) }, Object.fromEntries(many(17, i => [`k${i}`, 'v']))]],
  ['store', [false, null], [true]],
  ['service_tier', ['auto', 'default'], ['flex']],
  ['unheard_of', [null], [1, 'x', false, {}]],
];
const COMPLETION: typeof SHARED = [
  ['prompt', ['x', '', ['a', 'b'], [1, 2], [[1], [2, 3]]], [undefined, null, 1, [], [[]], [1.5], [-1], [1, 'a'], [['a']], [2 ** 31], {}, many(1025, () => 'x')]],
  ['max_tokens', [0, 1, 2 ** 31 - 1, null], [-1, 1.5, '5', 2 ** 31]],
  ['logprobs', [0, 20, null], [-1, 21, true, 1.5]],
  ['echo', [true], ['x', 1]],
  ['best_of', [1, null], [0, 2, '1']],
  ['add_special_tokens', [false], ['x']],
  ['suffix', ['', null], ['tail']],
  ['guided_json', [null], [{}]],
];
const CHAT: typeof SHARED = [
  ['messages', [messages, [{ role: 'assistant', content: null, tool_calls: [{ type: 'function', id: 'a', function: { name: 'f', arguments: '{}' } }] }, { role: 'user', content: [{ type: 'text', text: 'x' }] }]],
    [undefined, null, 'x', [], [1], [{ content: 'x' }], [{ role: '', content: 'x' }], [{ role: 'user', content: 5 }], [{ role: 'user', content: [{}] }], [{ role: 'assistant', tool_calls: [null] }], [{ role: 'assistant', tool_calls: 'x' }], many(4097, () => messages[0])]],
  ['max_tokens', [1, null], [0, -1, '5', 2 ** 31]],
  ['max_completion_tokens', [1, null], [0, -1, '5', 2 ** 31]],
  ['logprobs', [true, false, null], [1, 'x']],
  ['tools', [[], null], [[{ type: 'function' }], 'x']],
  ['tool_choice', ['none', 'auto', null], ['required', {}]],
  ['functions', [[]], [[{}]]],
  ['function_call', ['none'], ['x']],
  ['parallel_tool_calls', [true, false], ['x']],
  ['response_format', [{ type: 'text' }, null], [{ type: 'json_object' }, { type: 'json_schema', json_schema: {} }]],
  ['modalities', [['text'], null], [['audio'], ['text', 'audio']]],
  ['audio', [null], [{}]],
  ['prediction', [null], [{}]],
  ['reasoning_effort', [null], ['low']],
  ['web_search_options', [null], [{}]],
  ['chat_template_kwargs', [{ enable_thinking: false }], ['x', Object.fromEntries(many(65, i => [`k${i}`, 1]))]],
  ['add_generation_prompt', [false], ['x']],
  ['continue_final_message', [true], ['x']],
];

describe.each([['completions', completion, [...SHARED, ...COMPLETION]], ['chat', chat, [...SHARED, ...CHAT]]] as const)('%s', (_, parse, fields) => {
  test.each(fields)('%s', (field, taken, refused) => {
    for (const value of taken) expect(() => parse({ [field]: value }), JSON.stringify(value)?.slice(0, 80)).not.toThrow();
    for (const value of refused) {
      const { code, param } = refusal(() => parse({ [field]: value }));
      expect(code, JSON.stringify(value)?.slice(0, 80)).toBe('invalid_value');
      expect(param?.split(/[.[]/)[0], JSON.stringify(value)?.slice(0, 80)).toBe(field);
    }
  });

  test('fields that belong together', () => {
    expect(refusal(() => parse({ stream_options: { include_usage: true } })).param).toBe('stream_options');
    expect(() => parse({ stream: true, stream_options: { include_usage: true, include_obfuscation: false } })).not.toThrow();
    expect(refusal(() => parse({ stream: true, stream_options: { other: 1 } })).param).toBe('stream_options');
  });

  test.each([null, 'x', 5, [], undefined])('%j is no body', body => {
    expect(refusal(() => parseCompletion(body)).code).toBe('invalid_value');
    expect(refusal(() => parseChat(body)).code).toBe('invalid_value');
  });
});

test('the place inside a field is named', () => {
  expect(refusal(() => chat({ messages: [...messages, { role: 'user', content: 5 }] })).param).toBe('messages[1].content');
  expect(refusal(() => chat({ messages: [{ role: 'user', content: [{ type: 'text' }] }] })).param).toBe('messages[0].content[0].text');
  expect(refusal(() => parseChat({ messages }))).toMatchObject({ param: 'model', message: 'model: Missing' });
  expect(refusal(() => completion({ stop: ['ok', ''] })).param).toBe('stop[1]');
  expect(refusal(() => completion({ logit_bias: { 7: 1000 } })).param).toBe('logit_bias.7');
});

test.each<[unknown, string, string]>([
  [undefined, 'prompt', 'Missing'], [1, 'prompt', 'A string, a list of strings'], [[], 'prompt', 'From 1 to 1024'], [['a', 1], 'prompt[1]', 'A string, a list of strings'],
  [[1, 'a'], 'prompt[1]', 'Token ids'], [[1.5], 'prompt[0]', 'Token ids'], [[[1], [-1]], 'prompt[1][0]', 'Token ids'], [[[]], 'prompt[0]', 'at least one'], [[[1], 'a'], 'prompt[1]', 'A string, a list of strings'],
])('prompt %j: the complaint is about what was meant', (prompt, param, message) => {
  expect(refusal(() => completion({ prompt }))).toMatchObject({ param, message: expect.stringContaining(message) });
});

test('choices of all prompts together are bounded', () => {
  expect(refusal(() => completion({ prompt: many(1024, () => 'x'), n: 2 }))).toMatchObject({ param: 'n', message: expect.stringContaining('2048 choices') });
  expect(completion({ prompt: many(8, () => [1]), n: 128 }).prompts).toHaveLength(8);
});

test('best_of equals n or is refused', () => {
  expect(refusal(() => completion({ n: 2, best_of: 3 })).param).toBe('best_of');
  expect(completion({ n: 2, best_of: 2 }).params.n).toBe(2);
});

test('top_logprobs needs logprobs', () => {
  expect(refusal(() => chat({ top_logprobs: 2 })).param).toBe('top_logprobs');
  for (const value of [-1, 21, 'x']) expect(refusal(() => chat({ logprobs: true, top_logprobs: value })).param).toBe('top_logprobs');
  expect(chat({ logprobs: true, top_logprobs: 20 }).params.logprobs).toBe(20);
  expect(chat({ logprobs: true }).params.logprobs).toBe(0);
  expect(chat({}).params.logprobs).toBe(-1);
});

test('tokenize and detokenize', () => {
  expect(refusal(() => parseTokenize({})).param).toBe('prompt');
  expect(refusal(() => parseTokenize({ prompt: 'x', messages })).param).toBe('messages');
  expect(refusal(() => parseTokenize({ prompt: 5 })).param).toBe('prompt');
  expect(parseTokenize({ messages }).addSpecialTokens).toBe(false);
  expect(parseTokenize({ prompt: 'x' }).addSpecialTokens).toBe(true);
  for (const tokens of [undefined, 'x', [-1], ['1'], [2 ** 31]]) expect(refusal(() => parseDetokenize({ tokens })).param).toBe('tokens');
});

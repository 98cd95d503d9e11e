import { expect, test } from 'vitest';
import { loadTokenizer } from '@weft/tokenizer';
import { ChatTemplates } from '../../../libs/tokenizer/src/chat-template.js';
import { strftime } from '../../../libs/tokenizer/src/strftime.js';
import { folder } from './fixtures.js';

const templates = (text: string): ChatTemplates => new ChatTemplates(new Map([['default', { text, file: 'chat_template.jinja' }]]), { bos_token: '<s>' });
const plain = templates("{% for m in messages %}{{ m.role + ':' + m.content + '|' }}{% endfor %}");
const parted = templates("{% for m in messages %}{{ m.role + ':' }}{% for p in m.content %}{{ '[' + p.text + ']' }}{% endfor %}{% endfor %}");
const invalid = (param: string) => expect.objectContaining({ code: 'invalid_value', details: expect.objectContaining({ param }) as object }) as Error;

test('parts become paragraphs for a template of strings', () => {
  const content = [{ type: 'text', text: 'a' }, { type: 'refusal', refusal: 'b' }];
  expect(plain.render([{ role: 'user', content }, { role: 'assistant', content: null }, { role: 'user' }])).toBe('user:a\nb|assistant:|user:|');
});

test('a string becomes a part for a template of parts', () => {
  expect(parted.render([{ role: 'user', content: 'a' }, { role: 'user', content: [{ type: 'text', text: 'b' }] }, { role: 'tool', content: null }]))
    .toBe('user:[a]user:[b]tool:');
});

test('content that is not text is refused by its place', () => {
  const content = [{ type: 'text', text: 'a' }, { type: 'image_url', image_url: { url: 'x' } }];
  expect(() => plain.render([{ role: 'system', content: '' }, { role: 'user', content }])).toThrow(invalid('messages[1].content[1]'));
});

test('arguments of tool calls are objects, broken ones stay text', () => {
  const calls = templates('{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }};{% endfor %}{% endfor %}');
  const call = (args: unknown) => ({ role: 'assistant', content: null, tool_calls: [{ id: 'x', function: { name: 'f', arguments: args } }] });
  expect(calls.render(['{"a": 1}', '', '{"a": ', { b: 2 }].map(call))).toBe('{"a": 1};{};"{\\"a\\": ";{"b": 2};');
});

test('fields that are undefined are not there', () => {
  const has = templates("{{ 'tool_calls' in messages[0] }}");
  expect(has.render([{ role: 'user', content: 'a', tool_calls: undefined } as never])).toBe('false');
});

test('a final message is continued without its end', () => {
  const turns = [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b ' }];
  expect(plain.render(turns, { continueFinalMessage: true })).toBe('user:a|assistant:b ');
  expect(parted.render(turns, { continueFinalMessage: true })).toBe('user:[a]assistant:[b ');
  expect(() => plain.render(turns, { continueFinalMessage: true, addGenerationPrompt: true })).toThrow(invalid('continue_final_message'));
  expect(() => plain.render([{ role: 'assistant', content: null }], { continueFinalMessage: true })).toThrow(invalid('messages'));
});

test("a request's variables reach the template but can't take the server's names", () => {
  const thinking = templates('{{ bos_token }}{{ enable_thinking }}');
  expect(thinking.render([{ role: 'user', content: '' }], { variables: { enable_thinking: true } })).toBe('<s>true');
  for (const name of ['messages', 'range', 'namespace', 'raise_exception']) {
    expect(() => thinking.render([{ role: 'user', content: '' }], { variables: { [name]: 1 } })).toThrow(invalid(`chat_template_kwargs.${name}`));
  }
});

test("what the template refuses or can't do is an error of the request", () => {
  const strict = templates("{% if messages[0].role != 'user' %}{{ raise_exception('Only users!') }}{% endif %}{{ range(messages[0].n)|length }}");
  expect(() => strict.render([{ role: 'system', content: 'a' }])).toThrow('Only users!');
  expect(() => strict.render([{ role: 'user', content: 'a', n: 1e12 }])).toThrow(invalid('messages'));
  expect(() => templates('{{ messages | frobnicate }}').render([{ role: 'user', content: 'a' }])).toThrow(invalid('messages'));
  expect(() => plain.render([])).toThrow(invalid('messages'));
});

test('a template that is missing or broken is told by code', async () => {
  const broken = templates('{% for %}');
  expect(broken.problem).toMatchObject({ code: 'tokenizer_invalid', details: { file: 'chat_template.jinja' } });
  expect(() => broken.render([{ role: 'user', content: 'a' }])).toThrow(broken.problem);
  expect(() => plain.render([{ role: 'user', content: 'a' }], { template: 'rag' })).toThrow(expect.objectContaining({ code: 'chat_template_missing' }));
  const base = await loadTokenizer(folder('punctuation'));
  expect(base.chatTemplates).toEqual([]);
  expect(() => base.renderChat([{ role: 'user', content: 'a' }])).toThrow(expect.objectContaining({ code: 'chat_template_missing' }));
});

test('a chat has its bos once', async () => {
  const tokenizer = await loadTokenizer(folder('headers'));
  const ids = await tokenizer.encodeChat([{ role: 'user', content: 'Hi' }]);
  expect(ids.filter(id => id === tokenizer.bosId)).toHaveLength(1);
});

test('dates are those of Python in the C locale', () => {
  const date = new Date(2026, 2, 7, 9, 5, 3);
  expect(strftime(date, '%d %b %Y|%A, %B %-d|%a %y%m%d %e|%H:%M:%S|%I:%M %p|%j|%F %T|100%%|%Q'))
    .toBe('07 Mar 2026|Saturday, March 7|Sat 260307  7|09:05:03|09:05 AM|066|2026-03-07 09:05:03|100%|%Q');
  expect(strftime(new Date(2024, 11, 31, 0, 30), '%j %I %p')).toBe('366 12 AM');
});

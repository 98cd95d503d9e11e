import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { checkAdapterText, loadTokenizer, TemplateThread } from '@weft/tokenizer';
import { ChatTemplates } from '../../../libs/tokenizer/src/chat-template.js';
import { strftime } from '../../../libs/tokenizer/src/strftime.js';
import { folder } from './fixtures.js';

const templates = (text: string): ChatTemplates => new ChatTemplates(new Map([['default', { text, file: 'chat_template.jinja' }]]), { bos_token: '<s>' });
const plain = templates("{% for m in messages %}{{ m.role + ':' + m.content + '|' }}{% endfor %}");
const parted = templates("{% for m in messages %}{{ m.role + ':' }}{% for p in m.content %}{{ '[' + p.text + ']' }}{% endfor %}{% endfor %}");
const invalid = (param: string) => expect.objectContaining({ code: 'invalid_value', details: expect.objectContaining({ param }) as object }) as Error;

test('parts become paragraphs for a template of strings', async () => {
  const content = [{ type: 'text', text: 'a' }, { type: 'refusal', refusal: 'b' }];
  expect(await plain.render([{ role: 'user', content }, { role: 'assistant', content: null }, { role: 'user' }])).toBe('user:a\nb|assistant:|user:|');
});

test('a string becomes a part for a template of parts', async () => {
  expect(await parted.render([{ role: 'user', content: 'a' }, { role: 'user', content: [{ type: 'text', text: 'b' }] }, { role: 'tool', content: null }]))
    .toBe('user:[a]user:[b]tool:');
});

test('content that is not text is refused by its place', async () => {
  const content = [{ type: 'text', text: 'a' }, { type: 'image_url', image_url: { url: 'x' } }];
  await expect(plain.render([{ role: 'system', content: '' }, { role: 'user', content }])).rejects.toThrow(invalid('messages[1].content[1]'));
});

test('arguments of tool calls are objects, broken ones stay text', async () => {
  const calls = templates('{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments | tojson }};{% endfor %}{% endfor %}');
  const call = (args: unknown) => ({ role: 'assistant', content: null, tool_calls: [{ id: 'x', function: { name: 'f', arguments: args } }] });
  expect(await calls.render(['{"a": 1}', '', '{"a": ', { b: 2 }].map(call))).toBe('{"a": 1};{};"{\\"a\\": ";{"b": 2};');
});

test('fields that are undefined are not there', async () => {
  const has = templates("{{ 'tool_calls' in messages[0] }}");
  expect(await has.render([{ role: 'user', content: 'a', tool_calls: undefined } as never])).toBe('false');
});

test('a final message is continued without its end', async () => {
  const turns = [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b ' }];
  expect(await plain.render(turns, { continueFinalMessage: true })).toBe('user:a|assistant:b ');
  expect(await parted.render(turns, { continueFinalMessage: true })).toBe('user:[a]assistant:[b ');
  await expect(plain.render(turns, { continueFinalMessage: true, addGenerationPrompt: true })).rejects.toThrow(invalid('continue_final_message'));
  await expect(plain.render([{ role: 'assistant', content: null }], { continueFinalMessage: true })).rejects.toThrow(invalid('messages'));
});

test("a request's variables reach the template but can't take the server's names", async () => {
  const thinking = templates('{{ bos_token }}{{ enable_thinking }}');
  expect(await thinking.render([{ role: 'user', content: '' }], { variables: { enable_thinking: true } })).toBe('<s>true');
  for (const name of ['messages', 'range', 'namespace', 'raise_exception']) {
    await expect(thinking.render([{ role: 'user', content: '' }], { variables: { [name]: 1 } })).rejects.toThrow(invalid(`chat_template_kwargs.${name}`));
  }
});

test("what the template refuses or can't do is an error of the request", async () => {
  const strict = templates("{% if messages[0].role != 'user' %}{{ raise_exception('Only users!') }}{% endif %}{{ range(messages[0].n)|length }}");
  await expect(strict.render([{ role: 'system', content: 'a' }])).rejects.toThrow('Only users!');
  await expect(strict.render([{ role: 'user', content: 'a', n: 1e12 }])).rejects.toThrow(invalid('messages'));
  await expect(templates('{{ messages | frobnicate }}').render([{ role: 'user', content: 'a' }])).rejects.toThrow(invalid('messages'));
  await expect(plain.render([])).rejects.toThrow(invalid('messages'));
});

test('a template that is missing or broken is told by code', async () => {
  const broken = templates('{% for %}');
  expect(broken.problem).toMatchObject({ code: 'tokenizer_invalid', details: { file: 'chat_template.jinja' } });
  await expect(broken.render([{ role: 'user', content: 'a' }])).rejects.toThrow(broken.problem);
  await expect(plain.render([{ role: 'user', content: 'a' }], { template: 'rag' })).rejects.toThrow(expect.objectContaining({ code: 'chat_template_missing' }));
  const base = await loadTokenizer(folder('punctuation'));
  expect(base.chatTemplates).toEqual([]);
  await expect(base.renderChat([{ role: 'user', content: 'a' }])).rejects.toThrow(expect.objectContaining({ code: 'chat_template_missing' }));
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

describe('templates that nobody vouches for', () => {
  const thread = new TemplateThread(1000);
  afterAll(() => thread.close());
  const apart = (text: string): ChatTemplates => new ChatTemplates(new Map([['default', { text, file: 'chat_template.jinja' }]]), { bos_token: '<s>' }, () => new Date(2026, 2, 7), thread);
  const turn = [{ role: 'user', content: 'a' }];

  test('render as others do, and refuse as others do', async () => {
    expect(await apart("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ strftime_now('%Y') }}").render(turn)).toBe('<s>a2026');
    await expect(apart("{{ raise_exception('No!') }}").render(turn)).rejects.toThrow(expect.objectContaining({ code: 'invalid_value', message: 'No!' }));
    await expect(apart('{{ messages | frobnicate }}').render(turn)).rejects.toThrow(invalid('messages'));
  });

  test('may take a second, and others do not suffer for it', async () => {
    const endless = apart('{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}');
    const [first, second] = await Promise.allSettled([endless.render(turn), apart('{{ messages[0].content }}').render(turn)]);
    expect(first).toMatchObject({ status: 'rejected', reason: { code: 'invalid_value', message: expect.stringContaining('more than 1 s') as string } });
    const began = performance.now();
    await expect(endless.render(turn)).rejects.toThrow('more than 1 s');
    expect(performance.now() - began).toBeLessThan(100);
    expect(second).toMatchObject({ status: 'fulfilled', value: 'a' });
  });

  test('may take some memory, and the process lives on', async () => {
    const growing = apart("{% set ns = namespace(t='x' * 1000) %}{% for i in range(100) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t }}");
    await expect(growing.render(turn)).rejects.toThrow(invalid('messages'));
    const list = apart('{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l }}');
    await expect(list.render(turn)).rejects.toThrow(invalid('messages'));
    expect(await apart('{{ messages[0].content }}').render(turn)).toBe('a');
  });

  test('are parsed there too: no template holds up the one who checks it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'weft-templates-'));
    const hurried = new TemplateThread(300);
    const checked = async (template: string, by = thread): Promise<unknown> => {
      writeFileSync(join(dir, 'chat_template.jinja'), template);
      return checkAdapterText(dir, 10, true, by).then(() => 'fine', (error: unknown) => error);
    };
    let ticks = 0;
    const clock = setInterval(() => { ticks++; }, 20);
    // The lexer looks at what is left for every blank of a run.
    expect(await checked(' '.repeat(60_000), hurried)).toMatchObject({ code: 'tokenizer_invalid', details: { file: 'chat_template.jinja' } });
    clearInterval(clock);
    await hurried.close();
    expect(ticks).toBeGreaterThan(3);
    expect(await checked('{% for %}')).toMatchObject({ code: 'tokenizer_invalid', message: expect.stringContaining("can't be parsed") as string });
    expect(await checked('x'.repeat(70_000))).toMatchObject({ code: 'tokenizer_invalid', message: expect.stringContaining('at most 65536') as string });
    expect(await checked('{{ messages[0].content }}')).toBe('fine');
    rmSync(dir, { recursive: true });
  });

  test('reach nothing of the process', async () => {
    for (const path of ['messages.constructor', 'messages[0].__proto__', "messages[0]['constructor']", 'range.constructor', 'messages.map.constructor', 'process', 'globalThis', 'require']) {
      const rendered = await apart(`{{ ${path} }}`).render(turn).catch((error: { code: string }) => error.code);
      expect(['', 'undefined', 'null', 'invalid_value'], path).toContain(rendered);
    }
  });
});

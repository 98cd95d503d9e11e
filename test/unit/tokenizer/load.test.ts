import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadTokenizer } from '@weft/tokenizer';
import { folder } from './fixtures.js';

type Node = Record<string, unknown>;
let dir: string;

beforeEach(() => { dir = mkdtempSync(path.join(tmpdir(), 'weft-tokenizer-')); });
afterEach(() => rmSync(dir, { recursive: true }));

const use = (name: string): void => cpSync(folder(name), dir, { recursive: true });
const edit = (file: string, change: (json: Node) => Node): void => {
  const at = path.join(dir, file);
  writeFileSync(at, JSON.stringify(change(JSON.parse(readFileSync(at, 'utf8')) as Node)));
};
const refused = (file: string, field?: string) => expect(loadTokenizer(dir)).rejects.toMatchObject({ code: 'tokenizer_invalid', details: { file, field } });

describe('what can not be used is refused by file and field', () => {
  test('no tokenizer.json', () => refused('tokenizer.json'));

  test.each(['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'])('broken JSON in %s', async file => {
    use('metaspace-legacy');
    writeFileSync(path.join(dir, file), '{"a": ');
    await refused(file);
    writeFileSync(path.join(dir, file), '[]');
    await refused(file);
  });

  test('a folder in the place of a file', async () => {
    use('headers');
    mkdirSync(path.join(dir, 'special_tokens_map.json'));
    await refused('special_tokens_map.json');
  });

  const model = (change: Node) => (json: Node): Node => ({ ...json, model: { ...json.model as Node, ...change } });
  const set = (change: Node) => (json: Node): Node => ({ ...json, ...change });
  const split = { type: 'Split', pattern: { Regex: 'a' }, behavior: 'MergedWithNext', invert: false };
  test.each<[field: string, tokenizer: string, change: (json: Node) => Node]>([
    ['model.type', 'headers', model({ type: 'WordPiece' })],
    ['model', 'headers', set({ model: null })],
    ['model.dropout', 'headers', model({ dropout: 0.1 })],
    ['model.end_of_word_suffix', 'headers', model({ end_of_word_suffix: '</w>' })],
    ['model.vocab', 'headers', model({ vocab: { a: 1e9 } })],
    ['model.merges', 'headers', model({ merges: null })],
    ['model.unk_id', 'unigram', model({ unk_id: null })],
    ['model.vocab', 'unigram', model({ vocab: [['a']] })],
    ['normalizer.type', 'headers', set({ normalizer: { type: 'BertNormalizer' } })],
    ['normalizer.normalizers[1].type', 'headers', set({ normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'toString' }] } })],
    ['pre_tokenizer.type', 'headers', set({ pre_tokenizer: { type: 'UnicodeScripts' } })],
    ['pre_tokenizer.pretokenizers[0].behavior', 'headers', set({ pre_tokenizer: { type: 'Sequence', pretokenizers: [split] } })],
    ['pre_tokenizer.behavior', 'headers', set({ pre_tokenizer: { ...split, behavior: 'Merged' } })],
    ['pre_tokenizer.pattern', 'headers', set({ pre_tokenizer: { ...split, pattern: null } })],
    ['pre_tokenizer', 'headers', set({ pre_tokenizer: { ...split, pattern: { Regex: '(' }, behavior: 'Isolated' } })],
    ['post_processor.processors[1].type', 'headers', set({ post_processor: { type: 'Sequence', processors: [{ type: 'ByteLevel' }, { type: 'X' }] } })],
    ['post_processor.special_tokens', 'headers', set({ post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'x' } }, { Sequence: { id: 'A' } }] } })],
    ['decoder.type', 'headers', set({ decoder: { type: 'CTC' } })],
    ['decoder.decoders[3].stop', 'metaspace-first', json => {
      const { decoders } = json.decoder as { decoders: Node[] };
      return { ...json, decoder: { type: 'Sequence', decoders: [...decoders.slice(0, 3), { ...decoders[3], stop: 1 }] } };
    }],
    ['added_tokens[0].single_word', 'headers', set({ added_tokens: [{ id: 1, content: 'a', single_word: true }] })],
    ['added_tokens[0].id', 'headers', set({ added_tokens: [{ id: -1, content: 'a' }] })],
    ['added_tokens[1]', 'headers', set({ added_tokens: [{ id: 1, content: 'a' }, 'b'] })],
  ])('%s in tokenizer.json (%s)', async (field, name, change) => {
    use(name);
    edit('tokenizer.json', change);
    await refused('tokenizer.json', field);
  });

  test('chat_template in tokenizer_config.json', async () => {
    use('headers');
    edit('tokenizer_config.json', json => ({ ...json, chat_template: 5 }));
    await refused('tokenizer_config.json', 'chat_template');
  });
});

test('a template file wins over the config', async () => {
  use('headers');
  writeFileSync(path.join(dir, 'chat_template.jinja'), 'from the file');
  expect(await (await loadTokenizer(dir)).renderChat([{ role: 'user', content: 'a' }])).toBe('from the file');
});

describe('special tokens', () => {
  test('come from the config or the older special_tokens_map.json', async () => {
    const headers = await loadTokenizer(folder('headers'));
    expect([headers.bosId, ...headers.eosIds].map(id => headers.tokenOf(id!))).toEqual(['<|begin|>', '<|eot|>']);
    const legacy = await loadTokenizer(folder('metaspace-legacy'));
    expect([legacy.bosId, legacy.eosIds]).toEqual([1, [2]]);
    expect([...legacy.specialIds].sort((a, b) => a - b)).toEqual([0, 1, 2, 681]);
    expect((await loadTokenizer(folder('punctuation'))).bosId).toBeUndefined();
  });

  test('a named token of the vocabulary that was never added is special too; one outside it is left out', async () => {
    use('chatml-digits');
    edit('tokenizer.json', json => ({ ...json, added_tokens: [] }));
    edit('tokenizer_config.json', json => ({ ...json, pad_token: '[PAD]' }));
    const tokenizer = await loadTokenizer(dir);
    expect(tokenizer.encode('<|im_end|>')).toEqual([...tokenizer.eosIds]);
    expect(tokenizer.isSpecial(tokenizer.eosIds[0]!)).toBe(true);
    expect(Math.max(...tokenizer.encode('[PAD]'))).toBeLessThan(tokenizer.vocabSize);
  });

  test('added_tokens_decoder corrects the flags of tokenizer.json', async () => {
    use('chatml-tools');
    const id = (await loadTokenizer(dir)).encode('<tool_call>')[0]!;
    edit('tokenizer_config.json', json => ({ ...json, added_tokens_decoder: { [id]: { content: '<tool_call>', special: true } } }));
    expect((await loadTokenizer(dir)).isSpecial(id)).toBe(true);
  });
});

import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AdapterRefused, classifyFile, digestOf, readAdapterFolder, readBaseText } from '@weft/adapters';
import { temporaryFolder } from './support.js';

function folder(files: Record<string, string>): string {
  const path = join(temporaryFolder(), 'adapter');
  mkdirSync(path);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return path;
}
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const ADAPTER = { 'adapter_config.json': '{}', 'adapter_model.safetensors': 'abc' };

const refusal = async (path: string, base?: ReadonlyMap<string, string>): Promise<AdapterRefused> => {
  const error: unknown = await readAdapterFolder(path, base).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AdapterRefused);
  return error as AdapterRefused;
};

test('the digest is the sha256 of the canonical JSON of what counts, sorted by path', async () => {
  const { files, digest, ignored } = await readAdapterFolder(folder(ADAPTER));
  expect([...files.values()].map(({ name, size, sha256: hash }) => [name, size, hash])).toEqual([
    ['adapter_config.json', 2, sha256('{}')], ['adapter_model.safetensors', 3, sha256('abc')],
  ]);
  expect(ignored).toEqual([]);
  expect(digest).toBe(sha256(`[["adapter_config.json",2,"${sha256('{}')}"],["adapter_model.safetensors",3,"${sha256('abc')}"]]`));
  expect(digestOf([...files.values()].reverse())).toBe(digest);
});

test("trainers' leftovers are listed, not read, and change no digest", async () => {
  const leftovers = [
    'README.md', 'training_args.bin', 'optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'rng_state_3.pth', 'trainer_state.json', '.gitattributes',
    'NOTES.md', 'all_results.json', 'training_loss.png', 'trainer_log.jsonl', 'LICENSE',
  ];
  const bare = await readAdapterFolder(folder(ADAPTER));
  const full = await readAdapterFolder(folder({ ...ADAPTER, ...Object.fromEntries(leftovers.map(name => [name, 'x'])) }));
  expect(full.digest).toBe(bare.digest);
  expect(full.ignored).toEqual([...leftovers].sort());
});

test('what a file is, is said by its name alone', () => {
  const of = (...names: string[]): string[] => names.map(classifyFile);
  expect(of('training_args.bin', 'optimizer.pt', 'README.md', '.cache')).toEqual(['ignored', 'ignored', 'ignored', 'ignored']);
  expect(of('adapter_model.bin', 'Last.CKPT')).toEqual(['pickled', 'pickled']);
  expect(of('tokenizer.json', 'chat_template.jinja')).toEqual(['text', 'text']);
  expect(of('adapter_config.json', 'adapter_model.safetensors', 'notes.json')).toEqual(['counted', 'counted', 'counted']);
});

test.each(['adapter_model.bin', 'pytorch_model.bin', 'weights.pt', 'model.pth', 'last.ckpt', 'x.pkl'])('%s is refused as a pickle', async name => {
  const error = await refusal(folder({ ...ADAPTER, [name]: 'x' }));
  expect(error.findings).toEqual([expect.objectContaining({ code: 'adapter_file_unsupported', file: name, message: expect.stringContaining('safetensors') as string })]);
});

test('a folder that is not there, a file in its place, too many files', async () => {
  expect((await refusal(join(temporaryFolder(), 'none'))).code).toBe('adapter_file_missing');
  expect((await refusal(join(folder(ADAPTER), 'adapter_config.json'))).code).toBe('adapter_file_missing');
  expect((await refusal(folder(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`f${i}`, '']))))).code).toBe('adapter_too_large');
});

test('a directory and a link out of the folder are refused by name, a link inside is not', async () => {
  const path = folder(ADAPTER);
  mkdirSync(join(path, 'runs'));
  symlinkSync('/etc/hostname', join(path, 'extra.safetensors'));
  symlinkSync('adapter_config.json', join(path, 'same.json'));
  symlinkSync('nowhere', join(path, 'dangling.json'));
  const { findings } = await refusal(path);
  expect(findings.map(({ code, file }) => [code, file])).toEqual([
    ['io_error', 'dangling.json'], ['adapter_file_unsupported', 'extra.safetensors'], ['adapter_file_unsupported', 'runs'],
  ]);
});

test('a file that may not be read', async ctx => {
  ctx.skip(process.getuid?.() === 0, 'root may read every file');
  const path = folder(ADAPTER);
  chmodSync(join(path, 'adapter_config.json'), 0);
  await expect(readAdapterFolder(path)).rejects.toMatchObject({ code: 'io_error' });
});

describe('a tokenizer beside the adapter', () => {
  const tokenizer = { version: '1.0', truncation: null, model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] }, added_tokens: [{ id: 2, content: '<s>' }], decoder: null };
  const template = '{{ messages }}';
  const base = async (): Promise<ReadonlyMap<string, string>> => readBaseText(folder({
    'tokenizer.json': JSON.stringify(tokenizer), 'tokenizer_config.json': JSON.stringify({ chat_template: template, eos_token: '<s>', a: 1 }), 'merges.txt': 'm', 'config.json': '{}',
  }));

  test("that says what the base's says is ignored, however it is spelt", async () => {
    const { model, ...rest } = tokenizer;
    const { ignored, files } = await readAdapterFolder(folder({
      ...ADAPTER, 'tokenizer.json': JSON.stringify({ model, ...rest, truncation: { max_length: 512 } }, null, 2), 'chat_template.jinja': template,
      'tokenizer_config.json': '{"b": 2}', 'special_tokens_map.json': '{}', 'merges.txt': 'other spelling',
    }), await base());
    expect(ignored).toEqual(['chat_template.jinja', 'merges.txt', 'special_tokens_map.json', 'tokenizer.json', 'tokenizer_config.json']);
    expect([...files.keys()]).toEqual(['adapter_config.json', 'adapter_model.safetensors']);
  });

  test.each<[string, Record<string, string>, string[]]>([
    ['another vocabulary', { 'tokenizer.json': JSON.stringify({ ...tokenizer, model: { type: 'BPE', vocab: { a: 1, b: 0 }, merges: [] } }), 'merges.txt': 'other' }, ['tokenizer.json']],
    ['an added token', { 'tokenizer.json': JSON.stringify({ ...tokenizer, added_tokens: [] }), 'special_tokens_map.json': '{}' }, ['special_tokens_map.json', 'tokenizer.json']],
    ['another template', { 'chat_template.jinja': '{{ other }}', 'tokenizer.json': JSON.stringify(tokenizer) }, ['chat_template.jinja']],
    ['another template in the config', { 'tokenizer_config.json': JSON.stringify({ chat_template: '{{ other }}' }) }, ['tokenizer_config.json']],
    ['another end token', { 'tokenizer_config.json': JSON.stringify({ chat_template: template, eos_token: { content: '<end>' } }) }, ['tokenizer_config.json']],
  ])('with %s is honoured, and leaves the digest alone', async (_, files, text) => {
    const found = await readAdapterFolder(folder({ ...ADAPTER, ...files }), await base());
    expect(found.text).toEqual(text);
    expect(found.ignored).toEqual(Object.keys(files).filter(name => !text.includes(name)).sort());
    expect(found.digest).toBe((await readAdapterFolder(folder(ADAPTER))).digest);
  });

  test('that is another, without a tokenizer.json, is refused by file', async () => {
    const error = await refusal(folder({ ...ADAPTER, 'merges.txt': 'other', 'chat_template.jinja': '{{ other }}' }), await base());
    expect(error.findings).toEqual([expect.objectContaining({ code: 'adapter_file_unsupported', file: 'merges.txt' })]);
  });

  test('that is no JSON is refused by file', async () => {
    const error = await refusal(folder({ ...ADAPTER, 'tokenizer.json': '{' }), await base());
    expect(error.findings).toEqual([expect.objectContaining({ code: 'tokenizer_invalid', file: 'tokenizer.json' })]);
  });
});

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { registryV1 } from '@weft/contracts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FolderStore } from '../../../apps/registry/src/artifacts/folder-store.js';
import { receiveUpload, type FieldCheck, type ReceivedUpload } from '../../../apps/registry/src/ingestion/upload-receiver.js';

type Body = NonNullable<registryV1.UploadPart['body']>;
const begin: Body = { $case: 'begin', value: registryV1.UploadBegin.fromPartial({ tenantId: 't' }) };
const commit: Body = { $case: 'commit', value: {} };
const field = (name: string, value: string): Body => ({ $case: 'field', value: { name, value } });
const file = (name: string, ...chunks: string[]): Body[] => [{ $case: 'file', value: name }, ...chunks.map((text): Body => ({ $case: 'bytes', value: Buffer.from(text) }))];

let root: string;
let store: FolderStore;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'weft-upload-'));
  store = await FolderStore.open(root);
});
afterEach(async () => {
  await store.close();
  await rm(root, { recursive: true, force: true });
});

/** How many parts were asked for. */
let taken = 0;
async function *stream(bodies: readonly Body[]): AsyncIterable<registryV1.UploadPart> {
  taken = 0;
  for (const body of bodies) { taken++; yield { body }; }
}
const receive = (bodies: readonly Body[], limits?: { files: number; bytes: number }, check: FieldCheck = async () => undefined): Promise<ReceivedUpload> => receiveUpload(stream(bodies), store, check, limits);
const staged = async (): Promise<number> => (await readdir(join(root, 'staging'), { recursive: true, withFileTypes: true })).filter(entry => entry.isFile()).length;

test('fields and files come in any order', async () => {
  const upload = await receive([
    begin, ...file('weights.safetensors', 'ab', 'cd'), field('name', 'pirate'), ...file('README.md', 'read me'), ...file('adapter_config.json', '{}'), ...file('tokenizer.json', '{}'), ...file('empty'), field('alias', 'prod'), commit,
  ]);
  expect(upload.fields).toEqual({ name: 'pirate', alias: 'prod' });
  expect(upload.files.map(({ name, size }) => [name, size])).toEqual([['adapter_config.json', 2], ['empty', 0], ['tokenizer.json', 2], ['weights.safetensors', 4]]);
  expect(upload.ignored).toEqual(['README.md']);
  expect(await staged()).toBe(4);
  await upload.discard();
  expect(await staged()).toBe(0);
});

test('parts are taken no faster than the store writes', async () => {
  let open!: () => void;
  const written = new Promise<void>(resolve => { open = resolve; });
  const slow = { stage: async () => ({ write: () => written, finish: async () => ({ sha256: 'x', size: 1 }), commit: async () => undefined, discard: async () => undefined }) } as unknown as FolderStore;
  const receiving = receiveUpload(stream([begin, ...file('a', 'x', 'y', 'z'), commit]), slow, async () => undefined);
  await sleep(20);
  expect(taken).toBe(3);
  open();
  await receiving;
});

test('the digest is of the files that count, whatever lies beside them', async () => {
  const digests = [];
  for (const more of [[], file('README.md', 'x'), file('tokenizer.json', '{}'), file('optimizer.pt', 'x')]) {
    digests.push((await receive([begin, ...file('a', '1'), ...more, ...file('b', '2'), commit])).digest);
  }
  expect(new Set(digests).size).toBe(1);
});

describe('refused, and nothing is kept:', () => {
  const long = 'x'.repeat(256);
  const many = Array.from({ length: 5 }, (_, i) => file(`f${i}`, 'x')).flat();
  const cases: [what: string, bodies: Body[], error: object][] = [
    ['a file before the begin', file('a', 'x'), { code: 'invalid_value', details: { param: 'begin' } }],
    ['two begins', [begin, begin], { code: 'invalid_value', details: { param: 'begin' } }],
    ['bytes without a file', [begin, { $case: 'bytes', value: Buffer.from('x') }], { code: 'invalid_value', details: { param: 'files' } }],
    ['an unknown field', [begin, field('colour', 'red')], { code: 'invalid_value', details: { param: 'colour' } }],
    ['a field twice', [begin, field('name', 'a'), field('name', 'a')], { code: 'invalid_value', details: { param: 'name' } }],
    ['an empty field twice', [begin, field('description', ''), field('description', '')], { code: 'invalid_value', details: { param: 'description' } }],
    ...['', '-a', 'a/b', 'a:b', 'a@1', 'a b', 'x'.repeat(64)].map((name): [string, Body[], object] => [`the name ${JSON.stringify(name)}`, [begin, field('name', name)], { code: 'invalid_value', details: { param: 'name' } }]),
    ...['', 'Prod', '1', 'latest', 'x'.repeat(33), 'a b'].map((alias): [string, Body[], object] => [`the alias ${JSON.stringify(alias)}`, [begin, field('alias', alias)], { code: 'invalid_value', details: { param: 'alias' } }]),
    ['a long description', [begin, field('description', 'x'.repeat(2001))], { code: 'invalid_value', details: { param: 'description' } }],
    ...['', '.', '..', 'a/b', '../a', 'a\\b', 'a\0b', long].map((name): [string, Body[], object] => [`the file name ${JSON.stringify(name.slice(0, 8))}`, [begin, ...file(name, 'x')], { code: 'invalid_value', details: { param: 'files' } }]),
    ['a file twice', [begin, ...file('a', 'x'), ...file('a', 'x')], { code: 'invalid_value', details: { param: 'files', file: 'a' } }],
    ['a pickle', [begin, ...file('adapter_model.bin', 'x')], { code: 'adapter_file_unsupported', details: { param: 'files', file: 'adapter_model.bin' } }],
    ['too many files', [begin, ...many], { code: 'request_too_large', details: { limit: 4 } }],
    ['too many bytes', [begin, ...file('a', 'x'.repeat(60)), ...file('README', 'x'.repeat(41))], { code: 'request_too_large', details: { limit: 100 } }],
    ['no file', [begin, field('name', 'a')], { code: 'invalid_value', details: { param: 'files' } }],
    ['leftovers only', [begin, ...file('README.md', 'x'), ...file('tokenizer.json', '{}')], { code: 'invalid_value', details: { param: 'files' } }],
  ];
  test.each(cases)('%s', async (_, bodies, error) => {
    await expect(receive([...bodies, commit], { files: 4, bytes: 100 })).rejects.toMatchObject(error);
    expect(await staged()).toBe(0);
  });

  test('a stream that ends before its commit, or breaks', async () => {
    await expect(receive([begin, ...file('a', 'x')])).rejects.toMatchObject({ code: 'cancelled' });
    async function *broken(): AsyncIterable<registryV1.UploadPart> { yield *stream([begin, ...file('a', 'x')]); throw new Error('reset'); }
    await expect(receiveUpload(broken(), store, async () => undefined)).rejects.toThrow('reset');
    expect(await staged()).toBe(0);
  });

  test('at once: what comes behind is not read', async () => {
    const rest = Array.from({ length: 1000 }, () => file('a', 'x')).flat();
    await expect(receive([begin, ...file('adapter_model.bin', 'x'), ...rest])).rejects.toMatchObject({ code: 'adapter_file_unsupported' });
    expect(taken).toBe(2);
    const check: FieldCheck = async name => { if (name === 'base') throw new Error('unknown base'); };
    await expect(receive([begin, field('base', 'x'), ...rest], undefined, check)).rejects.toThrow('unknown base');
    expect(taken).toBe(2);
  });
});

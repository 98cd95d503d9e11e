import { appendFileSync, cpSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { folder, safetensors, TINY, tinyTensors, type Tensors } from './folder.js';

const INDEX = 'model.safetensors.index.json';
const SHARDS = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;

const split = (): [Tensors, Tensors] => {
  const all = Object.entries(tinyTensors());
  return [Object.fromEntries(all.slice(0, 5)), Object.fromEntries(all.slice(5))];
};
const weightMap = ([first, second]: [Tensors, Tensors]): Record<string, string> => ({
  ...Object.fromEntries(Object.keys(first).map(name => [name, SHARDS[0]])), ...Object.fromEntries(Object.keys(second).map(name => [name, SHARDS[1]])),
});
const sharded = (change: (map: Record<string, unknown>, shards: [Tensors, Tensors]) => void = () => undefined, extra: Record<string, unknown> = {}): string => {
  const shards = split(), map = weightMap(shards);
  change(map, shards);
  return folder({ 'config.json': TINY, [SHARDS[0]]: safetensors(shards[0]), [SHARDS[1]]: safetensors(shards[1]), [INDEX]: { metadata: {}, weight_map: map }, ...extra });
};
const refused = (code: string, details: object = {}, message = ''): unknown =>
  expect.objectContaining({ code, details: expect.objectContaining(details), message: expect.stringContaining(message) });

describe('openCheckpoint', () => {
  test('one file', async () => {
    const dir = folder({ 'config.json': { ...TINY, _name_or_path: 'org/tiny' }, 'model.safetensors': safetensors(tinyTensors()) });
    const checkpoint = await openCheckpoint(dir);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(Object.keys(tinyTensors()).sort());
    expect(checkpoint.tensors.get('lm_head.weight')).toMatchObject({ dtype: 'BF16', shape: [40, 16], bytes: 1280, file: join(dir, 'model.safetensors') });
    expect(checkpoint.generation).toBeNull();
    expect(checkpoint.names).toEqual(['org/tiny', dir, dir.slice(dir.lastIndexOf('/') + 1)]);
  });

  test('shards give the same tensors', async () => {
    const { tensors } = await openCheckpoint(sharded());
    expect([...tensors.keys()].sort()).toEqual(Object.keys(tinyTensors()).sort());
    expect(tensors.get('model.norm.weight')!.file).toContain(SHARDS[0]);
  });

  test.each<[string, Record<string, unknown>, string, object, string]>([
    ['no config.json', { 'model.safetensors': safetensors(tinyTensors()) }, 'checkpoint_file_missing', {}, 'config.json'],
    ['no weights', { 'config.json': TINY }, 'checkpoint_file_missing', {}, 'model.safetensors'],
    ['a pickle', { 'config.json': TINY, 'pytorch_model.bin': 'x' }, 'checkpoint_unsupported', {}, 'safe_serialization'],
    ['pickles in shards', { 'config.json': TINY, 'pytorch_model-00001-of-00002.bin': 'x' }, 'checkpoint_unsupported', {}, 'pickle'],
    ['a config that is no JSON', { 'config.json': '{"a": NaN}', 'model.safetensors': safetensors(tinyTensors()) }, 'checkpoint_config_invalid', {}, 'not JSON'],
    ['a config that is a list', { 'config.json': '[]', 'model.safetensors': safetensors(tinyTensors()) }, 'checkpoint_config_invalid', {}, 'object'],
    ['a config without end', { 'config.json': ' '.repeat(2 ** 20 + 1), 'model.safetensors': safetensors(tinyTensors()) }, 'checkpoint_config_invalid', {}, 'limit'],
    ['a damaged file', { 'config.json': TINY, 'model.safetensors': safetensors(tinyTensors()).subarray(0, -2) }, 'safetensors_invalid', {}, 'truncated'],
    ['one file and an index', { 'config.json': TINY, 'model.safetensors': safetensors(tinyTensors()), [INDEX]: {} }, 'checkpoint_unsupported', {}, 'both'],
    ['an index without a map', { 'config.json': TINY, [INDEX]: {} }, 'checkpoint_config_invalid', { field: 'weight_map' }, 'weight_map'],
    ['an index with an empty map', { 'config.json': TINY, [INDEX]: { weight_map: {} } }, 'checkpoint_config_invalid', { field: 'weight_map' }, 'weight_map'],
  ])('%s', async (_, files, code, details, message) => {
    await expect(openCheckpoint(folder(files))).rejects.toThrow(refused(code, details, message));
  });

  test('a folder that is not there', async () => {
    await expect(openCheckpoint('/nowhere/at/all')).rejects.toThrow(refused('checkpoint_file_missing', {}, '/nowhere/at/all'));
  });

  test.each(['../model.safetensors', '/etc/passwd', 'a/b.safetensors', 'model.bin', 7])('an index that leads to %j', async place => {
    await expect(openCheckpoint(sharded(map => { map['lm_head.weight'] = place; }))).rejects.toThrow(refused('checkpoint_config_invalid', { field: 'weight_map' }, 'lm_head.weight'));
  });

  test('a shard that is missing', async () => {
    const dir = sharded(map => { map['model.layers.1.mlp.up_proj.weight'] = 'model-00003-of-00003.safetensors'; });
    await expect(openCheckpoint(dir)).rejects.toThrow(refused('checkpoint_file_missing', { file: join(dir, 'model-00003-of-00003.safetensors') }));
  });

  test('a shard that no tensor names', async () => {
    await expect(openCheckpoint(sharded(undefined, { 'model-00003-of-00003.safetensors': safetensors(tinyTensors()) })))
      .rejects.toThrow(refused('checkpoint_config_invalid', {}, 'model-00003-of-00003.safetensors'));
  });

  test('a tensor that its shard does not hold', async () => {
    await expect(openCheckpoint(sharded(map => { map['model.ghost'] = SHARDS[0]; }))).rejects.toThrow(refused('checkpoint_tensor_missing', { tensor: 'model.ghost' }));
  });

  test('a tensor that the index does not name', async () => {
    await expect(openCheckpoint(sharded(map => { delete map['lm_head.weight']; }))).rejects.toThrow(refused('checkpoint_tensor_extra', { tensor: 'lm_head.weight' }));
  });

  test('a tensor in another shard than the index says', async () => {
    await expect(openCheckpoint(sharded(map => { map['lm_head.weight'] = SHARDS[1]; }))).rejects.toThrow(refused('checkpoint_tensor_extra', { tensor: 'lm_head.weight' }, SHARDS[1]));
  });
});

describe('digest', () => {
  const digestOf = async (dir: string, cacheDir?: string): Promise<string> => (await openCheckpoint(dir)).digest(cacheDir);
  const single = (): string => folder({ 'config.json': TINY, 'model.safetensors': safetensors(tinyTensors()) });
  /** Flips one bit of the last value. */
  const touch = (dir: string, shard = 'model.safetensors'): void => {
    const bytes = readFileSync(join(dir, shard));
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(join(dir, shard), bytes);
  };

  test('is the content, not the place or the spelling of config.json', async () => {
    const dir = single(), copy = folder({});
    cpSync(dir, copy, { recursive: true });
    writeFileSync(join(copy, 'config.json'), JSON.stringify(Object.fromEntries(Object.entries(TINY).reverse()), null, 2));
    expect(await digestOf(copy)).toBe(await digestOf(dir));
    expect(await digestOf(dir)).toMatch(/^[0-9a-f]{64}$/);
  });

  test('changes with one bit of a weight, and with a field', async () => {
    const dir = single(), before = await digestOf(dir);
    touch(dir);
    const changed = await digestOf(dir);
    expect(changed).not.toBe(before);
    writeFileSync(join(dir, 'config.json'), JSON.stringify({ ...TINY, rms_norm_eps: 1e-5 }));
    expect(await digestOf(dir)).not.toBe(changed);
  });

  test('covers every shard, and files of several chunks', async () => {
    const dir = sharded(), before = await digestOf(dir);
    touch(dir, SHARDS[0]);
    expect(await digestOf(dir)).not.toBe(before);
    const large = folder({ 'config.json': TINY, 'model.safetensors': safetensors({ a: { dtype: 'F32', shape: [5 * 2 ** 20] } }) });
    const zeros = await digestOf(large);
    touch(large);
    expect(await digestOf(large)).not.toBe(zeros);
  });

  test('a remembered hash is used for the same file and forgotten when the file changes', async () => {
    const dir = single(), cache = join(folder({}), 'hashes');
    const first = await digestOf(dir, cache);
    const [entry] = readdirSync(cache);
    writeFileSync(join(cache, entry!), 'f'.repeat(64));
    expect(await digestOf(dir, cache), 'read from the cache').not.toBe(first);
    utimesSync(join(dir, 'model.safetensors'), 1, 1);
    expect(await digestOf(dir, cache), 'hashed again').toBe(first);
    expect(readdirSync(cache)).toHaveLength(2);
  });

  test('a damaged cache entry is hashed again', async () => {
    const dir = single(), cache = join(folder({}), 'hashes');
    const first = await digestOf(dir, cache);
    appendFileSync(join(cache, readdirSync(cache)[0]!), 'half');
    expect(await digestOf(dir, cache)).toBe(first);
  });
});

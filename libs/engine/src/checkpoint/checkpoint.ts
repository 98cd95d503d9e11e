/**
 * A Hugging Face checkpoint folder: config.json, generation_config.json, and safetensors, in one file or in shards.
 * Only headers are read here; tensors are named places in files.
 */
import { readFile, readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { CHECKPOINT_LIMITS, openSafetensors, type TensorRef } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { baseDigest, knownDigest } from './digest.js';
import { isObject } from './fields.js';

/** A config is a few KB; the index of a checkpoint with 200,000 tensors some 20 MB. Both are read into memory whole. */
const CONFIG_BYTES_MAX = 2 ** 20;
const INDEX_BYTES_MAX = 64 * 2 ** 20;

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const SHARD = /^model-\d{5}-of-\d{5}\.safetensors$/;

export interface Checkpoint {
  readonly dir: string;
  /** How adapters may name this base: `_name_or_path`, the folder and its last part. */
  readonly names: readonly string[];
  readonly config: Record<string, unknown>;
  /** Null where there is no generation_config.json. */
  readonly generation: Record<string, unknown> | null;
  /** By name; of all files. */
  readonly tensors: ReadonlyMap<string, TensorRef>;
  /** sha256 of the base, see digest.ts. Reads every byte unless `cacheDir` remembers the files. */
  digest(cacheDir?: string): Promise<string>;
  /** The same, if `cacheDir` remembers every file; else null. */
  knownDigest(cacheDir: string): Promise<string | null>;
}

/**
 * Opens a folder. Throws WeftError checkpoint_file_missing, checkpoint_unsupported, checkpoint_config_invalid,
 * checkpoint_tensor_missing or checkpoint_tensor_extra (index against shards), safetensors_invalid, io_error.
 */
export async function openCheckpoint(dir: string): Promise<Checkpoint> {
  const root = resolve(dir);
  const files = new Set(await listFolder(root));
  if (!files.has('config.json')) throw missing(`${root} has no config.json; a Hugging Face checkpoint folder is expected`, join(root, 'config.json'));
  const config = await readObject(join(root, 'config.json'), CONFIG_BYTES_MAX);
  const generation = files.has('generation_config.json') ? await readObject(join(root, 'generation_config.json'), CONFIG_BYTES_MAX) : null;
  const { tensors, names } = await openWeights(root, files);
  const weightFiles = names.map(name => ({ name, path: join(root, name) }));
  const spelled = config['_name_or_path'];
  return {
    dir: root, config, generation, tensors,
    names: [...new Set([typeof spelled === 'string' ? spelled : '', dir, root, basename(root)])].filter(Boolean),
    digest: cacheDir => baseDigest(config, weightFiles, cacheDir),
    knownDigest: cacheDir => knownDigest(config, weightFiles, cacheDir),
  };
}

interface Weights { tensors: Map<string, TensorRef>; names: string[] }

async function openWeights(root: string, files: ReadonlySet<string>): Promise<Weights> {
  if (files.has(SINGLE) && files.has(INDEX)) {
    throw new WeftError('checkpoint_unsupported', `${root} has both ${SINGLE} and ${INDEX}; keep the one that holds the model`, { file: join(root, INDEX) });
  }
  if (files.has(SINGLE)) return { tensors: (await openSafetensors(join(root, SINGLE), CHECKPOINT_LIMITS)).tensors, names: [SINGLE] };
  if (files.has(INDEX)) return openShards(root, files);
  const pickle = [...files].find(name => /^pytorch_model.*\.bin$/.test(name));
  if (pickle) {
    throw new WeftError('checkpoint_unsupported',
      `${root} has its weights in ${pickle}, a pickle that can run code when it is read; Weft reads safetensors only. Save it again with save_pretrained(…, safe_serialization=True)`,
      { file: join(root, pickle) });
  }
  throw missing(`${root} has neither ${SINGLE} nor ${INDEX}`, join(root, SINGLE));
}

/** Shards, each holding exactly the tensors that the index says. */
async function openShards(root: string, files: ReadonlySet<string>): Promise<Weights> {
  const indexFile = join(root, INDEX);
  const fail = (problem: string): WeftError => new WeftError('checkpoint_config_invalid', `${INDEX}: ${problem}`, { field: 'weight_map', file: indexFile });
  const { weight_map: map } = await readObject(indexFile, INDEX_BYTES_MAX);
  if (!isObject(map) || Object.keys(map).length === 0) throw fail('"weight_map" must be an object that names a file for each tensor');
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(map)) {
    // A shard is a file of this folder: the index may not lead anywhere else.
    if (typeof shard !== 'string' || !/^[^/\\]+\.safetensors$/.test(shard)) throw fail(`tensor ${tensor} lies in ${JSON.stringify(shard)}, which is no name of a safetensors file`);
    shardOf.set(tensor, shard);
  }
  const shards = [...new Set(shardOf.values())].sort();
  const stray = [...files].find(name => SHARD.test(name) && !shards.includes(name));
  if (stray) throw fail(`the folder has ${stray}, which no tensor names; files of two checkpoints may be mixed`);

  const tensors = new Map<string, TensorRef>();
  for (const shard of shards) {
    if (!files.has(shard)) throw missing(`${INDEX} names ${shard}, which is not in ${root}`, join(root, shard));
    for (const [name, tensor] of (await openSafetensors(join(root, shard), CHECKPOINT_LIMITS)).tensors) {
      if (shardOf.get(name) !== shard) {
        const says = shardOf.has(name) ? `${INDEX} says ${shardOf.get(name)}` : `${INDEX} does not name it`;
        throw new WeftError('checkpoint_tensor_extra', `${shard} holds tensor ${name}; ${says}`, { tensor: name, file: join(root, shard) });
      }
      tensors.set(name, tensor);
    }
  }
  for (const [name, shard] of shardOf) {
    if (!tensors.has(name)) throw new WeftError('checkpoint_tensor_missing', `${INDEX} says that ${shard} holds tensor ${name}; it does not`, { tensor: name, file: join(root, shard) });
  }
  return { tensors, names: shards };
}

async function listFolder(root: string): Promise<string[]> {
  try {
    return await readdir(root);
  } catch (cause) {
    throw new WeftError('checkpoint_file_missing', `${root} can't be read as a folder: ${(cause as Error).message}`, { file: root, cause });
  }
}

async function readObject(path: string, bytesMax: number): Promise<Record<string, unknown>> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new WeftError('io_error', `${path} can't be read: ${(cause as Error).message}`, { file: path, cause });
  }
  const fail = (problem: string, cause?: unknown): WeftError =>
    new WeftError('checkpoint_config_invalid', `${basename(path)} ${problem}`, { file: path, cause });
  if (bytes.length > bytesMax) throw fail(`has ${bytes.length} bytes; the limit is ${bytesMax}`);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw fail(`is not JSON: ${(cause as Error).message}`, cause);
  }
  if (!isObject(value)) throw fail('must hold an object');
  return value;
}

const missing = (message: string, file: string): WeftError => new WeftError('checkpoint_file_missing', message, { file });

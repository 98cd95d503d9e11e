/**
 * Trainers save the tokenizer beside the adapter. Where it says what the base's says it is a copy and not read; where it says
 * something else, prompts for this adapter are made with what it says.
 *
 * Compared is what Weft reads: `tokenizer.json`, the chat template and the end token, as values (transformers reorders and
 * reformats them on saving). The other files spell the same tokenizer once more.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { WeftError } from '@weft/contracts';
import { JsonError, parseJson, type Json, type JsonObject } from './json.js';
import type { Findings } from './refused.js';

/** sha256 of file contents by name, as values for tokenizer.json; `chat_template` is the template wherever it stands, `eos_token` that of the config. */
export type BaseText = ReadonlyMap<string, string>;

export const TEXT_FILES: ReadonlySet<string> = new Set([
  'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja', 'tokenizer.model', 'vocab.json', 'vocab.txt', 'merges.txt',
  'special_tokens_map.json', 'added_tokens.json',
]);
/** What is compared by the values in it. */
const CONFIGS: ReadonlySet<string> = new Set(['tokenizer_config.json', 'chat_template.jinja']);
/** The parts of tokenizer.json that turn text into ids and back; the others (padding, truncation) are a trainer's settings. */
const TOKENIZER_PARTS = ['added_tokens', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder', 'model'];

const SPELLED_AT_ONCE = 1 << 14;

export const isTextFile = (name: string): boolean => TEXT_FILES.has(name);

/** Digests of what a base checkpoint tokenizes with. Throws WeftError `tokenizer_invalid` or `io_error`. */
export async function readBaseText(folder: string): Promise<BaseText> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    throw new WeftError('io_error', `${folder} can't be read: ${(cause as Error).message}`, { file: folder, cause });
  }
  return digests(folder, names.filter(isTextFile));
}

/** The files that make an adapter's prompts differ from its base's. Refuses what spells another tokenizer without saying which. */
export async function ownText(folder: string, names: readonly string[], base: BaseText, findings: Findings): Promise<string[]> {
  if (names.length === 0) return [];
  let own: BaseText;
  try {
    own = await digests(folder, names);
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== 'tokenizer_invalid') throw error;
    findings.refuse(error.code, error.message, { file: error.details.file! });
    return [];
  }
  const differs = (key: string): boolean => own.has(key) && own.get(key) !== base.get(key);
  // A base that was announced by an older executor says nothing of its end token.
  const otherTokenizer = differs('tokenizer.json'), otherTemplate = differs('chat_template'), otherEnd = base.has('eos_token') && differs('eos_token');
  if (!own.has('tokenizer.json')) {
    for (const name of names.filter(one => !CONFIGS.has(one) && differs(one))) {
      findings.refuse('adapter_file_unsupported', `${name} differs from the base's, and there is no tokenizer.json that would show the tokenizer to be the same, or say what it is`, { file: name });
    }
  }
  const read = new Set([...(otherTokenizer ? ['tokenizer.json'] : []), ...(otherTokenizer || otherTemplate || otherEnd ? [...CONFIGS, 'special_tokens_map.json'] : [])]);
  return names.filter(name => read.has(name));
}

async function digests(folder: string, names: readonly string[]): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of names) {
    const bytes = await read(join(folder, name));
    found.set(name, sha256(bytes));
    if (name === 'chat_template.jinja') found.set('chat_template', sha256(bytes));
    if (name === 'tokenizer.json') found.set(name, Spelling.hash(parts(object(bytes, name))));
    if (name !== 'tokenizer_config.json') continue;
    const config = object(bytes, name), end = config.get('eos_token'), template = config.get('chat_template');
    const endToken = end instanceof Map ? end.get('content') : end;
    if (typeof endToken === 'string') found.set('eos_token', sha256(endToken));
    if (template !== undefined && template !== null && !names.includes('chat_template.jinja')) found.set('chat_template', typeof template === 'string' ? sha256(template) : Spelling.hash(template));
  }
  return found;
}

function parts(tokenizer: JsonObject): Json {
  return new Map(TOKENIZER_PARTS.map(part => [part, tokenizer.get(part) ?? null]));
}

/**
 * sha256 of JSON text in which equal values have equal spelling: keys sorted, no space. A tokenizer has megabytes of it, which never
 * stand in memory at once.
 */
class Spelling {
  readonly #hash = createHash('sha256');
  #text = '';

  static hash(value: Json): string {
    const spelling = new Spelling();
    spelling.#value(value);
    return spelling.#hash.update(spelling.#text).digest('hex');
  }
  #value(value: Json): void {
    if (value instanceof Map) this.#items('{}', [...value.keys()].sort(), key => {
      this.#put(`${JSON.stringify(key)}:`);
      this.#value(value.get(key)!);
    });
    else if (Array.isArray(value)) this.#items('[]', value, item => this.#value(item));
    else this.#put(JSON.stringify(value));
  }
  #items<T>(brackets: string, items: readonly T[], spell: (item: T) => void): void {
    this.#put(brackets[0]!);
    items.forEach((item, i) => {
      if (i > 0) this.#put(',');
      spell(item);
    });
    this.#put(brackets[1]!);
  }
  #put(text: string): void {
    this.#text += text;
    if (this.#text.length < SPELLED_AT_ONCE) return;
    this.#hash.update(this.#text);
    this.#text = '';
  }
}

function object(bytes: Uint8Array, name: string): JsonObject {
  try {
    const value = parseJson(bytes);
    if (value instanceof Map) return value;
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause;
    throw new WeftError('tokenizer_invalid', `${name}: ${cause.message}`, { file: name, cause });
  }
  throw new WeftError('tokenizer_invalid', `${name} is not a JSON object`, { file: name });
}

async function read(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new WeftError('io_error', `${path} can't be read: ${(cause as Error).message}`, { file: path, cause });
  }
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

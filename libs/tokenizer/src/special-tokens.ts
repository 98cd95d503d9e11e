/** Which tokens stand outside the model's text, and which of them every prompt gets: transformers' rules over both files. */
import { tokenizerInvalid } from './errors.js';
import { CONFIG_FILE, isObject, TOKENIZER_FILE, type Json, type JsonObject } from './files.js';

/** A token matched in the text before the model sees it. Field names are those of tokenizer.json. */
export interface AddedToken {
  id: number; content: string; special: boolean;
  lstrip: boolean; rstrip: boolean; normalized: boolean;
}

/** Far above any vocabulary; keeps one wild id from making a table of that length. */
const MAX_ID = 2 ** 24;

export const isTokenId = (id: unknown): id is number => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID;

/** bos_token, eos_token and their like: literal text by name, as chat templates see them. */
export type NamedTokens = Record<string, string>;

/** Every `*_token` of the config that has a text. `add_bos_token` and its like are flags and fall out by type. */
export function namedTokens(config: JsonObject): NamedTokens {
  const named: NamedTokens = {};
  for (const [key, value] of Object.entries(config)) {
    const text = key.endsWith('_token') ? contentOf(value) : undefined;
    if (text !== undefined) named[key] = text;
  }
  return named;
}

/**
 * The added tokens of tokenizer.json, as `added_tokens_decoder` of the config corrects them, with every named token
 * marked special: a generated eos is never text, whatever its flag says.
 * `idOf` looks up the model's vocabulary: a named token that was never added but is in the vocabulary is matched too.
 */
export function addedTokens(tokenizer: JsonObject, config: JsonObject, idOf: (token: string) => number | undefined): AddedToken[] {
  const byContent = new Map<string, AddedToken>();
  const list = tokenizer.added_tokens ?? [];
  if (!Array.isArray(list)) throw tokenizerInvalid(TOKENIZER_FILE, 'added_tokens', 'must be a list.');
  list.forEach((entry, i) => add(byContent, entry, undefined, TOKENIZER_FILE, `added_tokens[${i}]`));

  const corrections = config.added_tokens_decoder ?? {};
  if (!isObject(corrections)) throw tokenizerInvalid(CONFIG_FILE, 'added_tokens_decoder', 'must be an object.');
  for (const [id, entry] of Object.entries(corrections)) {
    const known = isObject(entry) && typeof entry.content === 'string' ? byContent.get(entry.content) : undefined;
    add(byContent, entry, known?.id ?? Number(id), CONFIG_FILE, `added_tokens_decoder.${id}`);
  }

  for (const content of specialContents(config)) {
    const known = byContent.get(content);
    const id = known?.id ?? idOf(content);
    // A named token without an id (a pad token that was never trained) can neither be read nor written: left out.
    if (id === undefined) continue;
    byContent.set(content, { lstrip: false, rstrip: false, normalized: false, ...known, id, content, special: true });
  }
  return [...byContent.values()];
}

function add(into: Map<string, AddedToken>, entry: Json | undefined, id: number | undefined, file: string, field: string): void {
  if (!isObject(entry) || typeof entry.content !== 'string' || entry.content === '') {
    throw tokenizerInvalid(file, field, 'must be an object with a "content".');
  }
  const tokenId = id ?? entry.id;
  if (!isTokenId(tokenId)) {
    throw tokenizerInvalid(file, `${field}.id`, 'must be a token id.');
  }
  if (entry.single_word === true) {
    throw tokenizerInvalid(file, `${field}.single_word`, 'is true; tokens that match whole words only are not supported.');
  }
  const special = entry.special === true;
  into.set(entry.content, {
    id: tokenId, content: entry.content, special,
    lstrip: entry.lstrip === true, rstrip: entry.rstrip === true,
    normalized: typeof entry.normalized === 'boolean' ? entry.normalized : !special,
  });
}

function specialContents(config: JsonObject): string[] {
  const contents = Object.values(namedTokens(config));
  for (const key of ['additional_special_tokens', 'extra_special_tokens']) {
    const more = config[key];
    const values = Array.isArray(more) ? more : isObject(more) ? Object.values(more) : [];
    contents.push(...values.map(contentOf).filter(text => text !== undefined));
  }
  return contents;
}

/** A token is written as its text or as an object that holds it. */
function contentOf(value: Json | undefined): string | undefined {
  const text = isObject(value) ? value.content : value;
  return typeof text === 'string' && text !== '' ? text : undefined;
}

/** Token ids put before and after a text when special tokens are asked for. */
export interface Affixes { prefix: number[]; suffix: number[] }

/**
 * What the post-processor of tokenizer.json adds around one sequence. `add_bos_token` and `add_eos_token` of the config
 * don't count beside it, as in transformers 5: checkpoints carry stale ones.
 */
export function affixes(node: Json | undefined, field = 'post_processor'): Affixes {
  if (node === null || node === undefined) return { prefix: [], suffix: [] };
  const type = isObject(node) ? node.type : undefined;
  if (!isObject(node) || typeof type !== 'string') throw tokenizerInvalid(TOKENIZER_FILE, field, 'must be an object with a "type".');
  switch (type) {
    case 'ByteLevel': return { prefix: [], suffix: [] };  // it moves offsets, not tokens
    case 'TemplateProcessing': return templateAffixes(node, field);
    case 'Sequence': {
      if (!Array.isArray(node.processors)) throw tokenizerInvalid(TOKENIZER_FILE, `${field}.processors`, 'must be a list.');
      return node.processors
        .map((child, i) => affixes(child, `${field}.processors[${i}]`))
        .reduce((inner, outer) => ({ prefix: [...outer.prefix, ...inner.prefix], suffix: [...inner.suffix, ...outer.suffix] }),
          { prefix: [], suffix: [] });
    }
    default: throw tokenizerInvalid(TOKENIZER_FILE, `${field}.type`, `is "${type}"; supported are ByteLevel, TemplateProcessing, Sequence.`);
  }
}

function templateAffixes(node: JsonObject, field: string): Affixes {
  const items = Array.isArray(node.single) ? node.single.filter(isObject) : [];
  const at = items.findIndex(item => isObject(item.Sequence) && item.Sequence.id === 'A');
  if (at < 0) throw tokenizerInvalid(TOKENIZER_FILE, `${field}.single`, 'must hold the sequence A.');
  const ids = (item: JsonObject): number[] => {
    const name = isObject(item.SpecialToken) ? item.SpecialToken.id : undefined;
    const entry = isObject(node.special_tokens) && typeof name === 'string' ? node.special_tokens[name] : undefined;
    if (!isObject(entry) || !Array.isArray(entry.ids) || !entry.ids.every(id => typeof id === 'number')) {
      throw tokenizerInvalid(TOKENIZER_FILE, `${field}.special_tokens`, `has no ids for ${JSON.stringify(name)}.`);
    }
    return entry.ids;
  };
  return { prefix: items.slice(0, at).flatMap(ids), suffix: items.slice(at + 1).flatMap(ids) };
}

/**
 * The encoding half of tokenizer.json, rewritten so that the JavaScript library splits as the reference does.
 *
 * The library reads `\s`, `\d` and word splits as JavaScript does; the reference (Rust, Oniguruma) means Unicode's
 * White_Space and N. It also knows fewer split behaviours. Both differences vanish once every splitter is written as a
 * `Split` with an explicit pattern, which the library translates exactly. What can't be written so is refused by name.
 */
import { tokenizerInvalid } from './errors.js';
import { isObject, TOKENIZER_FILE, type Json, type JsonObject } from './files.js';
import type { AddedToken } from './special-tokens.js';

/** The parts of tokenizer.json that the encoder takes from here instead of from the file. */
export interface Pipeline {
  normalizer: JsonObject | null; pre_tokenizer: JsonObject | null; added_tokens: JsonObject[];
  /** Unigram with byte fallback: a piece outside the vocabulary becomes its bytes' tokens. */
  unigramByteFallback: boolean;
}

export function pipeline(tokenizer: JsonObject, addedTokens: AddedToken[]): Pipeline {
  const model = tokenizer.model as JsonObject;
  const normalizer = rewriteNormalizer(tokenizer.normalizer, 'normalizer');
  const preTokenizer = rewritePreTokenizer(tokenizer.pre_tokenizer, 'pre_tokenizer', true);
  return {
    normalizer, pre_tokenizer: preTokenizer, added_tokens: addedTokens.map(token => ({ ...token })),
    unigramByteFallback: modelType(model) === 'Unigram' && model.byte_fallback === true,
  };
}

/** Throws unless the model is one that is encoded exactly: BPE or Unigram, without dropout, prefixes and suffixes. */
export function checkModel(tokenizer: JsonObject): void {
  const { model } = tokenizer;
  if (!isObject(model)) throw invalid('model', 'must be an object.');
  const type = modelType(model);
  if (type === 'BPE') {
    if (!isObject(model.vocab)) throw invalid('model.vocab', 'must map tokens to ids.');
    if (!Array.isArray(model.merges)) throw invalid('model.merges', 'must be a list.');
    if (typeof model.dropout === 'number' && model.dropout > 0) {
      throw invalid('model.dropout', `is ${model.dropout}; a prompt must always give the same tokens. Set it to null.`);
    }
    for (const field of ['continuing_subword_prefix', 'end_of_word_suffix']) {
      if (model[field]) throw invalid(`model.${field}`, `is ${JSON.stringify(model[field])}; only BPE without it is supported.`);
    }
  } else if (type === 'Unigram') {
    const isPiece = (piece: Json): boolean => Array.isArray(piece) && typeof piece[0] === 'string' && typeof piece[1] === 'number';
    if (!Array.isArray(model.vocab) || !model.vocab.every(isPiece)) throw invalid('model.vocab', 'must be a list of [token, score].');
    if (typeof model.unk_id !== 'number') throw invalid('model.unk_id', 'must be the id of the unknown token.');
  } else {
    throw invalid('model.type', `is ${JSON.stringify(type)}; supported are BPE and Unigram.`);
  }
}

/** Files of older writers leave the type out; then the vocabulary tells. */
export function modelType(model: JsonObject): Json | undefined {
  return model.type ?? (Array.isArray(model.vocab) ? 'Unigram' : isObject(model.vocab) && 'merges' in model ? 'BPE' : undefined);
}

type Rewrite = (node: JsonObject, field: string, first: boolean) => JsonObject;

const asIs: Rewrite = node => node;

const normalizers: Record<string, Rewrite> = {
  NFC: asIs, NFD: asIs, NFKC: asIs, NFKD: asIs, Prepend: asIs,
  // The content is literal in the reference; in JavaScript "$&" and its like would be expanded.
  Replace: node => ({ ...node, content: String(node.content ?? '').replaceAll('$', '$$$$') }),
  Sequence: (node, field) => ({
    type: 'Sequence',
    normalizers: children(node, 'normalizers', field).map((child, i) => rewriteNormalizer(child, `${field}.normalizers[${i}]`)),
  }),
};

/** GPT-2's words: what ByteLevel splits by when `use_regex` is set. */
const GPT2_WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const PUNCTUATION = String.raw`[\p{P}\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E]`;

const preTokenizers: Record<string, Rewrite> = {
  ByteLevel: node => sequence([
    // A metaspace that is a space: puts one in front of a text that has none, and does nothing else.
    ...(node.add_prefix_space === true ? [{ type: 'Metaspace', replacement: ' ', prepend_scheme: 'always' }] : []),
    ...(node.use_regex === false ? [] : [isolated(GPT2_WORDS)]),
    { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
  ]),
  Digits: node => isolated(node.individual_digits === true ? String.raw`\p{N}` : String.raw`\p{N}+`),
  Punctuation: (node, field) => rewriteSplit({ ...node, pattern: { Regex: PUNCTUATION } }, field),
  Split: rewriteSplit,
  Metaspace: rewriteMetaspace,
  Sequence: (node, field, first) => sequence(children(node, 'pretokenizers', field)
    .map((child, i) => rewritePreTokenizer(child, `${field}.pretokenizers[${i}]`, first && i === 0))
    .filter(child => child !== null)),
};

const rewriteNormalizer = (node: Json | undefined, field: string): JsonObject | null => rewrite(normalizers, node, field, true);
const rewritePreTokenizer = (node: Json | undefined, field: string, first: boolean): JsonObject | null =>
  rewrite(preTokenizers, node, field, first);

function rewrite(table: Record<string, Rewrite>, node: Json | undefined, field: string, first: boolean): JsonObject | null {
  if (node === null || node === undefined) return null;
  if (!isObject(node) || typeof node.type !== 'string') throw invalid(field, 'must be an object with a "type".');
  const entry = Object.hasOwn(table, node.type) ? table[node.type] : undefined;
  if (entry === undefined) {
    throw invalid(`${field}.type`, `is "${node.type}"; supported are ${Object.keys(table).join(', ')}.`);
  }
  return entry(node, field, first);
}

/**
 * Every behaviour comes down to cutting at matches (Isolated), keeping or dropping them (Removed), or to cutting at the
 * empty string before or after a literal. Matches and gaps alternate, so `invert` changes Removed alone.
 */
function rewriteSplit(node: JsonObject, field: string): JsonObject {
  const pattern = isObject(node.pattern) ? node.pattern : {};
  const behavior = node.behavior ?? 'Isolated';
  const invert = node.invert === true;
  if (typeof pattern.Regex !== 'string' && typeof pattern.String !== 'string') {
    throw invalid(`${field}.pattern`, 'must hold a "String" or a "Regex".');
  }
  const regex = typeof pattern.Regex === 'string' ? pattern.Regex : escapeRegex(pattern.String as string);
  switch (behavior) {
    case 'Isolated': return isolated(regex);
    case 'Removed': return { type: 'Split', pattern: { Regex: regex }, behavior, invert };
    case 'Contiguous': return isolated(invert ? regex : `(?:${regex})+`);
    case 'MergedWithPrevious': case 'MergedWithNext': {
      // Only for a single character are the empty strings beside matches the same as the empty strings beside text like it.
      if (invert || typeof pattern.String !== 'string' || [...pattern.String].length !== 1) {
        throw invalid(`${field}.behavior`, `is "${behavior}", which is supported for one literal character only.`);
      }
      const beside = behavior === 'MergedWithNext' ? `(?=${regex})` : `(?<=${regex})`;
      return { type: 'Split', pattern: { Regex: beside }, behavior: 'Removed', invert: false };
    }
    default: throw invalid(`${field}.behavior`, `is ${JSON.stringify(behavior)}, which is not a split behaviour.`);
  }
}

function rewriteMetaspace(node: JsonObject, field: string, first: boolean): JsonObject {
  const replacement = typeof node.replacement === 'string' ? node.replacement : '\u2581';
  // Files before prepend_scheme say the same with add_prefix_space.
  const scheme = node.prepend_scheme ?? (node.add_prefix_space === false ? 'never' : 'always');
  if (scheme === 'first' && !first) {
    throw invalid(`${field}.prepend_scheme`, 'is "first" behind another splitter; supported as the first of them only.');
  }
  const metaspace = { type: 'Metaspace', replacement, prepend_scheme: scheme };
  if (node.split === false) return metaspace;
  const words = { type: 'Split', pattern: { String: replacement }, behavior: 'MergedWithNext' };
  return sequence([metaspace, rewriteSplit(words, field)]);
}

const sequence = (pretokenizers: JsonObject[]): JsonObject => ({ type: 'Sequence', pretokenizers });
const isolated = (regex: string): JsonObject => ({ type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false });
const escapeRegex = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function children(node: JsonObject, key: string, field: string): Json[] {
  const list = node[key];
  if (!Array.isArray(list)) throw invalid(`${field}.${key}`, 'must be a list.');
  return list;
}

const invalid = (field: string, message: string) => tokenizerInvalid(TOKENIZER_FILE, field, message);

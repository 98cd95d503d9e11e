import { EncodeThread } from './encode-thread.js';
import { ChatTemplates, type ChatMessage, type RenderOptions, type Runner } from './chat-template.js';
import { Decoder, utf8Text } from './decoder.js';
import { IncrementalDetokenizer, type DecodeOptions } from './detokenizer.js';
import { Encoder } from './encoder.js';
import { tokenizerInvalid } from './errors.js';
import { readTokenizerFiles, TOKENIZER_FILE, type JsonObject, type TemplateSource } from './files.js';
import { checkModel, modelType, pipeline } from './pipeline.js';
import { addedTokens, affixes, isTokenId, namedTokens, type Affixes, type NamedTokens } from './special-tokens.js';
import type { WeftError } from '@weft/contracts';

/** Longer texts (UTF-16 units) are encoded on the worker thread: 4 Ki units take about 5 ms, a chat of 400 Ki about 500. */
const WORKER_THRESHOLD = 4096;
/** Characters of a template that came with an adapter. Published ones stay below 50,000. */
const ADAPTER_TEMPLATE_MAX = 65_536;

export interface EncodeOptions {
  /** Put bos and eos around the text as the checkpoint says. Default true; a rendered chat has them already. */
  addSpecialTokens?: boolean;
}

export interface LoadOptions {
  /** The clock of `strftime_now` in chat templates. */
  now?: () => Date;
}

/**
 * Reads the tokenizer of a Hugging Face checkpoint folder: tokenizer.json, tokenizer_config.json, special_tokens_map.json
 * and chat templates. Throws `tokenizer_invalid` with file and field for what is missing, broken or not supported.
 */
export async function loadTokenizer(dir: string, options: LoadOptions = {}): Promise<Tokenizer> {
  const { bytes, tokenizer, config, templates } = await readTokenizerFiles(dir);
  if (bytes === undefined || tokenizer === undefined) {
    throw tokenizerInvalid(TOKENIZER_FILE, undefined, `is missing from ${dir}. Save the checkpoint with the fast tokenizer of transformers, which writes this file.`);
  }
  const named = namedTokens(config);
  return new Tokenizer(new Vocabulary(bytes, tokenizer, config), named, new ChatTemplates(templates, named, options.now));
}

/**
 * What an adapter's folder says instead of its base: its own chat templates, its own tokenizer.json, or both; what it does not
 * say is the base's. A tenant wrote it: its templates run on `runner`, its split patterns on a thread of their own. Throws as
 * `checkAdapterText`, which has been asked about its ids.
 */
export async function loadAdapterTokenizer(dir: string, base: Tokenizer, runner: Runner, options: LoadOptions = {}): Promise<Tokenizer> {
  const { vocabulary, named: own, templates } = await readAdapterText(dir, Infinity, false, true);
  const named = { ...base.named, ...own };
  const chat = templates.size > 0 ? new ChatTemplates(templates, named, options.now, runner) : new ChatTemplates(base.templates.sources, named, options.now);
  return new Tokenizer(vocabulary ?? base.vocabulary, named, chat);
}

/**
 * Throws `tokenizer_invalid` for what can't be used, also for ids from `rows` on, which no embedding has a row for.
 * `sameTokenizer`: the folder's tokenizer.json is the base's. Templates are parsed by `runner`.
 */
export async function checkAdapterText(dir: string, rows: number, sameTokenizer: boolean, runner: Runner): Promise<void> {
  for (const [name, { text, file }] of (await readAdapterText(dir, rows, sameTokenizer, false)).templates) {
    try {
      await runner.run({ source: text, variables: {}, nowMs: 0, parseOnly: true });
    } catch (cause) {
      throw tokenizerInvalid(file, 'chat_template', `"${name}" can't be parsed: ${(cause as Error).message}`, cause);
    }
  }
}

async function readAdapterText(dir: string, rows: number, sameTokenizer: boolean, apart: boolean): Promise<{ vocabulary: Vocabulary | null; named: NamedTokens; templates: Map<string, TemplateSource> }> {
  const { bytes, tokenizer, config, templates } = await readTokenizerFiles(dir, sameTokenizer);
  const vocabulary = bytes === undefined || tokenizer === undefined ? null : new Vocabulary(bytes, tokenizer, config, apart);
  if (vocabulary !== null && vocabulary.tokens.length > rows) {
    throw tokenizerInvalid(TOKENIZER_FILE, undefined, `has ids up to ${vocabulary.tokens.length - 1}; there are ${rows} rows of embeddings, the base's or the adapter's own (embed_tokens and lm_head of modules_to_save).`);
  }
  for (const [name, { text, file }] of templates) {
    if (text.length > ADAPTER_TEMPLATE_MAX) throw tokenizerInvalid(file, 'chat_template', `"${name}" has ${text.length} characters; at most ${ADAPTER_TEMPLATE_MAX} are read of an adapter's.`);
  }
  return { vocabulary, named: namedTokens(config), templates };
}

/** Ids and their tokens: what tokenizer.json says, with the added tokens of the config. */
export class Vocabulary {
  /** By id. */
  readonly tokens: (string | undefined)[];
  readonly specialIds: ReadonlySet<number>;
  readonly decoder: Decoder;
  readonly affixes: Affixes;
  /** Null: the thread's is the only one. */
  readonly #encoder: Encoder | null;
  readonly #thread: EncodeThread;

  /** apart: every text is encoded on the thread, since the file's split patterns may take any time; nothing is checked of how it encodes. */
  constructor(bytes: SharedArrayBuffer, tokenizer: JsonObject, config: JsonObject, apart = false) {
    checkModel(tokenizer);
    const tokens = vocabulary(tokenizer.model as JsonObject);
    const ids = new Map(tokens.map((token, id) => [token, id]));
    const added = addedTokens(tokenizer, config, token => ids.get(token));
    for (const { id, content } of added) tokens[id] = content;
    const encoding = pipeline(tokenizer, added);
    this.tokens = tokens;
    this.specialIds = new Set(added.filter(token => token.special).map(token => token.id));
    this.affixes = affixes(tokenizer.post_processor);
    this.decoder = new Decoder(tokenizer.decoder);
    this.#encoder = apart ? null : buildEncoder(tokenizer, encoding);
    this.#thread = new EncodeThread({ bytes, pipeline: encoding });
  }

  /** The id of a token, as a list: none where there is no such token. */
  idsOf(token: string | undefined): number[] {
    const id = token === undefined ? -1 : this.tokens.lastIndexOf(token);
    return id < 0 ? [] : [id];
  }

  encode(text: string): number[] {
    if (this.#encoder === null) throw new Error('this vocabulary encodes on its thread alone: encodeAsync');
    return this.#encoder.encode(text);
  }

  async encodeAsync(text: string): Promise<number[]> {
    return this.#encoder !== null && text.length <= WORKER_THRESHOLD ? this.#encoder.encode(text) : this.#thread.encode(text);
  }

  close(): Promise<void> { return this.#thread.close(); }
}

/** Text to tokens and back, equal to the `tokenizers` library on the same files. */
export class Tokenizer {
  /** bos_token and eos_token of tokenizer_config.json. generation_config.json may name more end tokens. */
  readonly bosId: number | undefined;
  readonly eosIds: readonly number[];

  /** vocabulary: may be another tokenizer's, too. */
  constructor(readonly vocabulary: Vocabulary, readonly named: NamedTokens, readonly templates: ChatTemplates) {
    [this.bosId] = vocabulary.idsOf(named['bos_token']);
    this.eosIds = vocabulary.idsOf(named['eos_token']);
  }

  /** One more than the largest id. A model's own vocabulary may be padded beyond it. */
  get vocabSize(): number { return this.vocabulary.tokens.length; }
  get specialIds(): ReadonlySet<number> { return this.vocabulary.specialIds; }
  get decoder(): Decoder { return this.vocabulary.decoder; }

  /** Any text gives ids; half a surrogate pair counts as U+FFFD. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    return this.#withAffixes(this.vocabulary.encode(text), options);
  }

  /** `encode` that leaves the event loop free: long texts go to a worker thread. */
  async encodeAsync(text: string, options: EncodeOptions = {}): Promise<number[]> {
    return this.#withAffixes(await this.vocabulary.encodeAsync(text), options);
  }

  /** The text of the ids; ids that the tokenizer doesn't have are left out. */
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    const detokenizer = this.detokenizer(options);
    return detokenizer.push(ids) + detokenizer.flush();
  }

  /** A decoder for one text that is still being generated. */
  detokenizer(options: DecodeOptions = {}): IncrementalDetokenizer {
    return new IncrementalDetokenizer(this, options);
  }

  /** The bytes that a token adds inside a text, exact also where they are part of a character. Empty for an unknown id. */
  tokenBytes(id: number): Uint8Array {
    const token = this.tokenOf(id);
    return token === undefined ? new Uint8Array() : this.decoder.bytes(token);
  }

  /** How logprobs show a token: its text, or `bytes:\xe2\x80` where its bytes aren't text by themselves. */
  tokenText(id: number): string {
    const bytes = this.tokenBytes(id);
    return utf8Text(bytes) ?? `bytes:${Array.from(bytes, byte => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }

  /** The token as the vocabulary writes it (`Ġthe`, `▁the`, `<0x0A>`). */
  tokenOf(id: number): string | undefined { return this.vocabulary.tokens[id]; }

  isSpecial(id: number): boolean { return this.specialIds.has(id); }

  /** Names of the chat templates; none for a base model. */
  get chatTemplates(): string[] { return this.templates.names; }

  /** Why a chat template of the checkpoint can't be used: worth a warning at start, chat with it fails. */
  get chatTemplateProblem(): WeftError | undefined { return this.templates.problem; }

  /** The prompt for a chat. It holds its special tokens: encode it without adding them. Errors: see ChatTemplates.render. */
  renderChat(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<string> {
    return this.templates.render(messages, options);
  }

  /** The token ids of a chat's prompt. */
  async encodeChat(messages: readonly ChatMessage[], options: RenderOptions = {}): Promise<number[]> {
    return this.encodeAsync(await this.renderChat(messages, options), { addSpecialTokens: false });
  }

  /** Ends the vocabulary's worker thread. Unanswered encodeAsync calls fail with `cancelled`; everything else still works. */
  close(): Promise<void> { return this.vocabulary.close(); }

  #withAffixes(ids: number[], { addSpecialTokens = true }: EncodeOptions): number[] {
    const { prefix, suffix } = this.vocabulary.affixes;
    return addSpecialTokens && prefix.length + suffix.length > 0 ? [...prefix, ...ids, ...suffix] : ids;
  }
}

/** Token by id. */
function vocabulary(model: JsonObject): (string | undefined)[] {
  if (modelType(model) === 'Unigram') return (model.vocab as [string, number][]).map(([token]) => token);
  const tokens: (string | undefined)[] = [];
  for (const [token, id] of Object.entries(model.vocab as Record<string, unknown>)) {
    if (!isTokenId(id)) {
      throw tokenizerInvalid(TOKENIZER_FILE, 'model.vocab', `gives ${JSON.stringify(token)} the id ${String(id)}.`);
    }
    tokens[id] = token;
  }
  return tokens;
}

/** The library compiles split patterns here: one that JavaScript can't express is the file's problem. */
function buildEncoder(tokenizer: JsonObject, encoding: ReturnType<typeof pipeline>): Encoder {
  try {
    return new Encoder(tokenizer, encoding);
  } catch (cause) {
    throw tokenizerInvalid(TOKENIZER_FILE, 'pre_tokenizer', `can't be used: ${(cause as Error).message}`, cause);
  }
}

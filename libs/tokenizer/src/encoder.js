/**
 * Text to token ids. Plain JavaScript, because a worker thread starts from a file as it lies here:
 * the same one from the sources (in tests) and from the build.
 */
import { Tokenizer, Unigram } from '@huggingface/tokenizers';

const utf8 = new TextEncoder();

export class Encoder {
  #library;
  #byteFallback;

  /**
   * @param {import('./files.js').JsonObject} tokenizer tokenizer.json
   * @param {import('./pipeline.js').Pipeline} pipeline what to take from here instead of from the file
   */
  constructor(tokenizer, { added_tokens: addedTokens, unigramByteFallback, ...pipeline }) {
    // Post-processing and decoding are ours; the library would do neither exactly.
    const added = addedTokens.map(token => ({ ...token, lstrip: false, rstrip: false }));
    this.#library = new Tokenizer({ ...tokenizer, ...pipeline, added_tokens: added, post_processor: null, decoder: null }, {});
    this.#byteFallback = unigramByteFallback;
    // The library spreads a word's pieces into arguments; a long text that is one word would overflow the stack.
    const { model } = this.#library;
    if (model instanceof Unigram) model.encode = words => words.flatMap(word => model.tokenize(word));
    // Its trim() also takes U+FEFF and leaves U+0085, and it would trim another added token away.
    if (!addedTokens.some(token => token.lstrip || token.rstrip)) return;
    const byId = new Map(addedTokens.map(token => [token.id, token]));
    const tokenOf = section => byId.get(this.#library.added_tokens_map.get(section)?.id);
    for (const splitter of [this.#library.splitter_unnormalized, this.#library.splitter_normalized]) {
      const split = splitter.split.bind(splitter);
      splitter.split = text => stripBesideTokens(split(text), tokenOf);
    }
  }

  /**
   * Never throws: half a surrogate pair is U+FFFD, as in UTF-8.
   * @param {string} text
   * @returns {number[]} ids, without special tokens around them
   */
  encode(text) {
    const { ids, tokens } = this.#library.encode(text.toWellFormed());
    return this.#byteFallback ? this.#withByteFallback(ids, tokens) : ids;
  }

  /** A piece that the vocabulary lacks is its UTF-8 bytes, where all of them have tokens. */
  #withByteFallback(ids, tokens) {
    return tokens.flatMap((token, i) => {
      if (this.#library.token_to_id(token) !== undefined) return [ids[i]];
      const bytes = Array.from(utf8.encode(token), byte => this.#library.token_to_id(byteToken(byte)));
      return bytes.includes(undefined) ? [ids[i]] : bytes;
    });
  }
}

/** Takes the white space that added tokens claim beside them off the text there. */
function stripBesideTokens(sections, tokenOf) {
  const tokens = sections.map(tokenOf);
  return sections.map((section, i) => {
    if (tokens[i] !== undefined) return section;
    let start = 0, end = section.length;
    if (tokens[i - 1]?.rstrip) while (start < end && WHITE_SPACE.test(section[start])) start++;
    if (tokens[i + 1]?.lstrip) while (start < end && WHITE_SPACE.test(section[end - 1])) end--;
    return section.slice(start, end);
  });
}

const WHITE_SPACE = /\p{White_Space}/u;
const byteToken = byte => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

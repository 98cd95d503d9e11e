import type { Decoder } from './decoder.js';

/** What the detokenizer needs of its tokenizer. */
export interface TokenSource {
  decoder: Decoder;
  /** The token's text in the vocabulary's own alphabet; undefined for an id that has none. */
  tokenOf(id: number): string | undefined;
  isSpecial(id: number): boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out of the text. Default true, as in a chat answer. */
  skipSpecialTokens?: boolean;
}

/**
 * Generated ids to text, as they come. The texts of all pushes and the flush, one after another, are `decode` of all ids,
 * however they were split. A character appears when its last byte is there, never in halves. O(1) a token.
 */
export class IncrementalDetokenizer {
  readonly #source: TokenSource;
  readonly #skipSpecialTokens: boolean;
  #text;

  constructor(source: TokenSource, { skipSpecialTokens = true }: DecodeOptions = {}) {
    this.#source = source;
    this.#skipSpecialTokens = skipSpecialTokens;
    this.#text = source.decoder.open();
  }

  /** The text that these ids complete. Ids that the tokenizer doesn't have (padding of the vocabulary) have no text. */
  push(ids: number | readonly number[]): string {
    if (typeof ids === 'number') return this.#push(ids);
    let text = '';
    for (const id of ids) text += this.#push(id);
    return text;
  }

  /** What was held back, incomplete characters as U+FFFD. The next push starts a new text. */
  flush(): string {
    const rest = this.#text.flush();
    this.#text = this.#source.decoder.open();
    return rest;
  }

  #push(id: number): string {
    if (this.#skipSpecialTokens && this.#source.isSpecial(id)) return '';
    const token = this.#source.tokenOf(id);
    return token === undefined ? '' : this.#text.push(token);
  }
}

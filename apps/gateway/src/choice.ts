/** One answer as it grows: tokens to text, stop strings, and log-probabilities that belong to the text shown. */
import type { executorV1 } from '@weft/contracts';
import { StopStrings, type IncrementalDetokenizer, type Tokenizer } from '@weft/tokenizer';
import type { GenerationParams } from './dto/generation.js';

/** A token of a choice's text with what the model thought of it. */
export interface ScoredToken {
  id: number;
  /** Null at the first position of a prompt. */
  logprob: number | null;
  /** The best alternatives, best first. */
  top: { id: number; logprob: number }[];
  /** Where its text begins in the choice's text (UTF-16 units). */
  offset: number;
}

/** What a step, or several, added to one choice. */
export interface Delta {
  /** prompt · n + i, as in the response. */
  index: number;
  text: string;
  tokenIds: number[];
  logprobs: ScoredToken[];
  /** In a delta of its own, the choice's last. */
  finishReason?: 'stop' | 'length';
}

/** Prompt tokens that the decoder sees first: a continuation's first blank is kept, as in the middle of a text. */
const CONTEXT_TOKENS = 8;

export class Choice {
  readonly index: number;
  readonly #params: Pick<GenerationParams, 'minTokens' | 'stop'>;
  readonly #detokenizer: IncrementalDetokenizer;
  readonly #stops: StopStrings | null;
  /** Scored, but their text is not out yet. */
  #held: ScoredToken[] = [];
  /** Length of all text that tokens had so far, and of the part that is out. */
  #textEnd: number;
  #shownEnd: number;
  #tokens = 0;
  finishReason: 'stop' | 'length' | undefined;
  /** A stop string ended it: the executor doesn't know. */
  cut = false;

  /** `offset`: where the generated text begins in the choice's text: behind an echoed prompt, or 0. */
  constructor(index: number, tokenizer: Tokenizer, promptIds: readonly number[], offset: number, params: Pick<GenerationParams, 'minTokens' | 'stop'>) {
    this.index = index;
    this.#params = params;
    this.#detokenizer = tokenizer.detokenizer();
    this.#detokenizer.push(promptIds.slice(-CONTEXT_TOKENS));
    this.#stops = params.stop.length === 0 ? null : new StopStrings(params.stop);
    this.#textEnd = this.#shownEnd = offset;
  }

  /** Tokens that were generated for this choice and not cut off behind a stop string. */
  get tokens(): number { return this.#tokens; }

  /** A token and nothing else. Null: the choice has ended. */
  token(id: number): Delta | null {
    if (this.finishReason !== undefined) return null;
    this.#tokens++;
    return { index: this.index, text: this.#show(this.#detokenizer.push(id)), tokenIds: [id], logprobs: [] };
  }

  /** Null: nothing to tell, or the choice has ended. */
  push(event: executorV1.TokenEvent): Delta | null {
    if (this.finishReason !== undefined) return null;
    const delta: Delta = { index: this.index, text: '', tokenIds: [], logprobs: [] };
    for (const [i, id] of event.tokens.entries()) {
      this.#tokens++;
      delta.tokenIds.push(id);
      // The token that stops a choice is counted, but it is no part of the text.
      if (event.finishReason === 'stop' && i === event.tokens.length - 1) break;
      if (event.logprobs.length > 0) this.#held.push({ id, logprob: event.logprobs[i]!, top: pairs(event.top[i]), offset: this.#textEnd });
      delta.text += this.#show(this.#detokenizer.push(id));
      if (this.finishReason !== undefined) break;
    }
    if (this.finishReason === undefined && event.finishReason !== '') {
      delta.text += this.#show(this.#detokenizer.flush());
      // The stop string may have been completed by what was held back.
      if (this.finishReason === undefined) {
        delta.text += this.#stops?.flush() ?? '';
        this.#shownEnd = Infinity;
        this.finishReason = event.finishReason === 'stop' ? 'stop' : 'length';
      }
    }
    const shown = this.#held.findIndex(({ offset }) => offset >= this.#shownEnd);
    delta.logprobs = this.#held.splice(0, shown < 0 ? this.#held.length : shown);
    return delta.text === '' && delta.tokenIds.length === 0 && delta.logprobs.length === 0 ? null : delta;
  }

  /** A choice whose request ended without saying why: it had no more tokens to make. */
  end(): void { this.finishReason ??= 'length'; }

  #show(piece: string): string {
    this.#textEnd += piece.length;
    let text = piece;
    if (this.#stops !== null && this.#tokens > this.#params.minTokens) {
      const result = this.#stops.push(piece);
      text = result.text;
      if (result.stopped !== undefined) {
        this.finishReason = 'stop';
        this.cut = true;
      }
    }
    this.#shownEnd += text.length;
    return text;
  }
}

export function pairs(top: executorV1.TopLogprobs | undefined): { id: number; logprob: number }[] {
  return top?.ids.map((id, i) => ({ id, logprob: top.logprobs[i]! })) ?? [];
}

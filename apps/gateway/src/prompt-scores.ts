/** A prompt that is repeated in front of its answers, with the log-probability of each of its tokens. */
import { WeftError, type executorV1 } from '@weft/contracts';
import type { Tokenizer } from '@weft/tokenizer';
import { pairs, type ScoredToken } from './choice.js';

export class PromptScores {
  readonly #tokens: ScoredToken[];
  #missing: number;

  constructor(tokenizer: Tokenizer, ids: readonly number[], readonly text: string) {
    const offsets = textOffsets(tokenizer, ids, text);
    this.#tokens = ids.map((id, i) => ({ id, logprob: null, top: [], offset: offsets[i]! }));
    this.#missing = ids.length - 1;
  }

  get complete(): boolean { return this.#missing === 0; }

  /** Every choice of a request may bring the scores; they are the same. */
  add({ promptStart, promptLogprobs, promptTop }: executorV1.TokenEvent): void {
    for (const [i, logprob] of promptLogprobs.entries()) {
      const token = this.#tokens[promptStart + i];
      if (token === undefined || token.logprob !== null) continue;
      token.logprob = logprob;
      token.top = pairs(promptTop[i]);
      this.#missing--;
    }
  }

  /** Position 0 has no score. Throws when another has none. */
  get tokens(): ScoredToken[] {
    if (!this.complete) throw new WeftError('internal_error', `the scores of ${this.#missing} prompt tokens did not come`);
    return this.#tokens;
  }
}

/** Where each token's text begins. Special tokens that the tokenizer put in front of the text have no room in it. */
function textOffsets(tokenizer: Tokenizer, ids: readonly number[], text: string): number[] {
  const detokenizer = tokenizer.detokenizer({ skipSpecialTokens: false });
  let length = 0;
  const ends = ids.map(id => length += detokenizer.push(id).length);
  const whole = length + detokenizer.flush().length;
  const added = Math.max(whole - text.length, 0);
  return ids.map((_, i) => Math.min(Math.max((ends[i - 1] ?? 0) - added, 0), text.length));
}

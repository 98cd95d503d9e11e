/** Log-probabilities in the two shapes that OpenAI's API has for them. */
import type { Tokenizer } from '@weft/tokenizer';
import type { ScoredToken } from './choice.js';

/** JSON has no infinity; OpenAI writes this for a token that can't be. */
const IMPOSSIBLE = -9999;
const finite = (logprob: number): number => (Number.isFinite(logprob) ? logprob : IMPOSSIBLE);

type Text = Pick<Tokenizer, 'tokenText' | 'tokenBytes' | 'tokenOf'>;

/** A model's vocabulary may be padded with ids that no tokenizer knows. */
const nameOf = (text: Text, id: number): string => (text.tokenOf(id) === undefined ? `token_id:${id}` : text.tokenText(id));

export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  /** By token: the best and the chosen one. */
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

export function completionLogprobs(text: Text, tokens: readonly ScoredToken[]): CompletionLogprobs {
  return {
    tokens: tokens.map(({ id }) => nameOf(text, id)),
    token_logprobs: tokens.map(({ logprob }) => (logprob === null ? null : finite(logprob))),
    top_logprobs: tokens.map(token => topMap(text, token)),
    text_offset: tokens.map(({ offset }) => offset),
  };
}

function topMap(text: Text, { id, logprob, top }: ScoredToken): Record<string, number> | null {
  if (logprob === null) return null;
  // Two ids may have one text: the better one keeps it, but the chosen token is always there as itself.
  const entries = new Map<string, number>();
  for (const best of top) if (!entries.has(nameOf(text, best.id))) entries.set(nameOf(text, best.id), finite(best.logprob));
  entries.set(nameOf(text, id), finite(logprob));
  return Object.fromEntries(entries);
}

export interface ChatTokenLogprob { token: string; logprob: number; bytes: number[] | null }
export interface ChatLogprobs { content: (ChatTokenLogprob & { top_logprobs: ChatTokenLogprob[] })[]; refusal: null }

export function chatLogprobs(text: Text, tokens: readonly ScoredToken[]): ChatLogprobs {
  const one = (id: number, logprob: number): ChatTokenLogprob => ({
    token: nameOf(text, id), logprob: finite(logprob), bytes: text.tokenOf(id) === undefined ? null : Array.from(text.tokenBytes(id)),
  });
  return {
    content: tokens.map(({ id, logprob, top }) => ({ ...one(id, logprob ?? IMPOSSIBLE), top_logprobs: top.map(best => one(best.id, best.logprob)) })),
    refusal: null,
  };
}

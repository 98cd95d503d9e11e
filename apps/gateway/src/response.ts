/** The bodies of both generating routes: whole, and as the chunks of a stream. */
import type { Tokenizer } from '@weft/tokenizer';
import type { Delta } from './choice.js';
import type { GenerationParams } from './dto/generation.js';
import type { Generation, Outcome } from './generation.js';
import { chatLogprobs, completionLogprobs } from './logprobs.js';

/** What a body says beside its choices. */
export interface Envelope {
  id: string;
  created: number;
  /** As the request wrote it. */
  model: string;
  /** Build, base digest and device. */
  system_fingerprint: string;
}

/** What answered: `name@version`, or null for the base. */
export interface Served { adapter: string | null; digest: string }

/** Choices of one route, and what stands beside them. */
export interface ResponseShape {
  idPrefix: string;
  object: { whole: string; chunk: string };
  /** Sent in front of everything, one per choice. */
  first?: (index: number) => object;
  choice(delta: Delta): object;
  chunk(delta: Delta): object;
  /** Fields of the whole body and of a stream's first chunk. */
  beside: object;
}

export function completionShape(tokenizer: Tokenizer, { job: { params, prompts } }: Generation): ResponseShape {
  const choice = ({ index, text, logprobs, finishReason }: Delta): object => ({
    index, text, logprobs: params.logprobs >= 0 ? completionLogprobs(tokenizer, logprobs) : null, finish_reason: finishReason ?? null,
  });
  const told = new Set<number>();
  const promptIds = (index: number): object => {
    if (!params.returnTokenIds || told.has(index)) return {};
    told.add(index);
    return { prompt_token_ids: prompts[Math.floor(index / params.n)]!.ids };
  };
  const withIds = (delta: Delta): object => ({ ...choice(delta), ...tokenIds(params, delta), ...promptIds(delta.index) });
  return { idPrefix: 'cmpl', object: { whole: 'text_completion', chunk: 'text_completion' }, choice: withIds, chunk: withIds, beside: {} };
}

export function chatShape(tokenizer: Tokenizer, { job: { params, prompts } }: Generation): ResponseShape {
  return {
    idPrefix: 'chatcmpl', object: { whole: 'chat.completion', chunk: 'chat.completion.chunk' },
    first: index => ({ index, delta: { role: 'assistant', content: '', refusal: null }, logprobs: null, finish_reason: null }),
    choice: delta => ({
      index: delta.index, message: { role: 'assistant', content: delta.text, refusal: null },
      logprobs: params.logprobs >= 0 ? chatLogprobs(tokenizer, delta.logprobs) : null,
      finish_reason: delta.finishReason ?? null, ...tokenIds(params, delta),
    }),
    chunk: delta => ({
      index: delta.index, delta: delta.finishReason === undefined ? { content: delta.text } : {},
      logprobs: delta.logprobs.length > 0 ? chatLogprobs(tokenizer, delta.logprobs) : null,
      finish_reason: delta.finishReason ?? null, ...tokenIds(params, delta),
    }),
    beside: params.returnTokenIds ? { prompt_token_ids: prompts[0]!.ids } : {},
  };
}

const tokenIds = (params: GenerationParams, delta: Delta): object => (params.returnTokenIds ? { token_ids: delta.tokenIds } : {});

export function usage({ promptTokens, cachedTokens, completionTokens }: Outcome): object {
  return {
    prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

export function weft({ adapter, digest }: Served, { coldStartMs, queueMs }: Outcome): object {
  return { adapter, digest, cold_start_ms: round(coldStartMs), queue_ms: round(queueMs) };
}

const round = (ms: number): number => Math.round(ms * 100) / 100;

/** Whether a request can be served here at all: told at once, with the limit by name. */
import { WeftError } from '@weft/contracts';
import { MAX_TOP_LOGPROBS } from '@weft/kernels';
import type { AdapterEntry } from './adapter-cache.js';
import { checkCombination } from './combinations.js';
import type { ExpertEntry } from './expert-cache.js';
import type { KvLayout } from './kv-groups.js';
import type { EngineRequest } from './request.js';

export interface RequestLimits {
  vocab: number;
  maxModelLen: number;
  /** Requests that may wait; more are refused as overloaded. */
  maxWaiting: number;
  /** Adapters that one request may combine. */
  maxAdaptersPerRequest: number;
  maxChoices: number;
  maxBiases: number;
}

/** Tokens of a row: the base's, or those of the one adapter that has a vocabulary of its own. */
export const vocabularyOf = (adapters: readonly Pick<AdapterEntry, 'image'>[], vocab: number): number => adapters.find(({ image }) => image.index.vocab !== null)?.image.index.vocab ?? vocab;

const refuse = (param: string, message: string): never => { throw new WeftError('invalid_value', message, { param }); };

/** Checks every field and resolves maxTokens 0 to what fits. Throws WeftError. */
export function admissible(r: EngineRequest, adapters: readonly AdapterEntry[], poolPages: number, kv: KvLayout, waiting: number, limits: RequestLimits): number {
  const length = r.prompt.length + r.emitted.length, vocab = vocabularyOf(adapters, limits.vocab);
  if (!Number.isInteger(r.n) || r.n < 1 || r.n > limits.maxChoices) refuse('n', `n must be an integer from 1 to ${limits.maxChoices}`);
  if (waiting + r.n > limits.maxWaiting) throw new WeftError('overloaded', `${waiting} sequences are waiting already`, { retryAfterMs: 2000, limit: limits.maxWaiting });
  if (r.prompt.length === 0) refuse('prompt', 'the prompt has no tokens');
  checkTokens('prompt', r.prompt, vocab);
  checkTokens('emitted', r.emitted, vocab);
  checkTokens('stop_token_ids', r.stopIds, Math.max(vocab, limits.vocab));         // the base's own ends among them
  if (r.emitted.length > 0 && r.n !== 1) refuse('n', 'a request that continues emitted tokens has n = 1');
  if (!Number.isInteger(r.logprobs) || r.logprobs < -1 || r.logprobs > MAX_TOP_LOGPROBS) refuse('logprobs', `logprobs must be from 0 to ${MAX_TOP_LOGPROBS}`);
  if (adapters.length > limits.maxAdaptersPerRequest) refuse('adapters', `at most ${limits.maxAdaptersPerRequest} adapters can be combined`);
  if (!Number.isFinite(r.priority)) refuse('priority', 'priority must be a number');
  if (r.adapters.some(a => !isFloat32(a.weight))) refuse('adapters', 'an adapter weight is not a finite number');
  if (new Set(r.adapters.map(a => a.digest)).size !== r.adapters.length) refuse('adapters', 'an adapter is named twice');
  checkCombination(adapters.map((adapter, i) => ({ digest: adapter.digest, weight: r.adapters[i]!.weight, image: adapter.image.index })));
  checkSampling(r, vocab, limits);

  const experts = new Set<ExpertEntry>(adapters.flatMap(a => a.experts));
  const adapterPages = adapters.reduce((sum, a) => sum + a.runPages, 0) + [...experts].reduce((sum, { pageCount }) => sum + pageCount, 0);
  const fits = Math.min(limits.maxModelLen, kv.positionsIn(Math.max(poolPages - adapterPages, 0)));
  const tooLong = (wanted: number): never => {
    throw new WeftError('context_length_exceeded', `maximum context length is ${Math.max(fits, 0)} tokens${fits < limits.maxModelLen
      ? ` (${poolPages} pages in the pool, ${adapterPages} of them for the adapter)` : ''}; the request asks for ${wanted}`, { param: 'max_tokens', limit: fits });
  };
  if (r.task !== 'generate') { if (length > fits) tooLong(length); return 0; }
  if (!Number.isInteger(r.maxTokens) || r.maxTokens < 0) refuse('max_tokens', 'max_tokens must be an integer, at least 0');
  const maxTokens = r.maxTokens > 0 ? r.maxTokens : fits - r.prompt.length;
  if (maxTokens <= r.emitted.length || r.prompt.length + maxTokens > fits) tooLong(r.prompt.length + Math.max(maxTokens, 1));
  if (!Number.isInteger(r.minTokens) || r.minTokens < 0 || r.minTokens > maxTokens) refuse('min_tokens', `min_tokens must be an integer from 0 to ${maxTokens}`);
  return maxTokens;
}

/** Finite where the device counts: as f32. */
const isFloat32 = (value: number): boolean => Number.isFinite(Math.fround(value));

function checkTokens(param: string, ids: ArrayLike<number>, vocab: number): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    if (!Number.isInteger(id) || id < 0 || id >= vocab) refuse(param, `token id ${id} at index ${i} is out of range: the vocabulary has ${vocab} tokens`);
  }
}

function checkSampling(r: EngineRequest, vocab: number, limits: RequestLimits): void {
  const s = r.sampling;
  const range = (param: string, value: number, low: number, high: number): void => {
    if (!(value >= low && value <= high)) refuse(param, `${param} must be from ${low} to ${high}`);
  };
  range('temperature', s.temperature, 0, 100);
  range('top_k', s.topK, 0, vocab);
  if (!Number.isInteger(s.topK)) refuse('top_k', 'top_k must be an integer');
  if (!(s.topP > 0 && s.topP <= 1)) refuse('top_p', 'top_p must be above 0 and at most 1');
  range('min_p', s.minP, 0, 1);
  if (!(s.repetitionPenalty > 0 && s.repetitionPenalty <= 100)) refuse('repetition_penalty', 'repetition_penalty must be above 0 and at most 100');
  range('presence_penalty', s.presencePenalty, -100, 100);
  range('frequency_penalty', s.frequencyPenalty, -100, 100);
  if (s.logitBias.length > limits.maxBiases) refuse('logit_bias', `logit_bias holds at most ${limits.maxBiases} tokens`);
  checkTokens('logit_bias', s.logitBias.map(([token]) => token), vocab);
  // -Infinity forbids a token; what adds up with it must be finite.
  if (s.logitBias.some(([, bias]) => bias !== -Infinity && !isFloat32(bias))) refuse('logit_bias', 'a bias is not a finite number');
  if (r.stopIds.length > limits.maxBiases) refuse('stop_token_ids', `at most ${limits.maxBiases} stop tokens`);
}

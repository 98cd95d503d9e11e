/** What /v1/completions and /v1/chat/completions have in common. */
import { WeftError } from '@weft/contracts';
import { z } from 'zod';
import {
  BIAS_MAX, LOGIT_BIAS_MAX, METADATA_KEY_CHARS_MAX, METADATA_PAIRS_MAX, METADATA_VALUE_CHARS_MAX, MODEL_CHARS_MAX, N_MAX, PENALTY_MAX,
  REPETITION_PENALTY_MAX, STOP_CHARS_MAX, STOP_IDS_MAX, STOP_STRINGS_MAX, TEMPERATURE_MAX, TOKEN_ID_MAX, TOKENS_MAX, USER_CHARS_MAX,
} from './caps.js';
import type { Unsupported } from './parse.js';

const tokenId = z.int().min(0).max(TOKEN_ID_MAX);
export const isTokenId = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0 && (value as number) <= TOKEN_ID_MAX;
export const TOKEN_ID_RULE = 'Token ids are whole numbers from 0';
/** By hand: a schema per element takes 100 times as long, and prompts have 100,000 of them. */
export const tokenIds = z.custom<number[]>(value => Array.isArray(value) && value.every(isTokenId), `A list of token ids. ${TOKEN_ID_RULE}`)
  .meta({ type: 'array', items: { type: 'integer', minimum: 0, maximum: TOKEN_ID_MAX } });
const stopString = z.string().min(1).max(STOP_CHARS_MAX);
const biasKey = z.string().regex(/^\d{1,10}$/, 'Keys of logit_bias are token ids');

export const generationFields = {
  model: z.string().min(1).max(MODEL_CHARS_MAX),
  n: z.int().min(1).max(N_MAX).default(1),
  stream: z.boolean().default(false),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() }).optional(),
  temperature: z.number().min(0).max(TEMPERATURE_MAX).default(1),
  top_p: z.number().gt(0).max(1).default(1),
  top_k: z.int().min(-1).max(TOKENS_MAX).default(0),
  min_p: z.number().min(0).max(1).default(0),
  repetition_penalty: z.number().gt(0).max(REPETITION_PENALTY_MAX).default(1),
  presence_penalty: z.number().min(-PENALTY_MAX).max(PENALTY_MAX).default(0),
  frequency_penalty: z.number().min(-PENALTY_MAX).max(PENALTY_MAX).default(0),
  seed: z.int().optional(),
  logit_bias: z.record(biasKey, z.number().min(-BIAS_MAX).max(BIAS_MAX))
    .refine(biases => Object.keys(biases).length <= LOGIT_BIAS_MAX, `At most ${LOGIT_BIAS_MAX} tokens`).default({}),
  stop: z.union([stopString, z.array(stopString).max(STOP_STRINGS_MAX)], 'A string or a list of strings').default([]),
  stop_token_ids: z.array(tokenId).max(STOP_IDS_MAX).default([]),
  ignore_eos: z.boolean().default(false),
  min_tokens: z.int().min(0).max(TOKENS_MAX).default(0),
  return_token_ids: z.boolean().default(false),
  // Accepted for the caller's own books; they change nothing.
  user: z.string().max(USER_CHARS_MAX).optional(),
  safety_identifier: z.string().max(USER_CHARS_MAX).optional(),
  prompt_cache_key: z.string().max(USER_CHARS_MAX).optional(),
  metadata: z.record(z.string().max(METADATA_KEY_CHARS_MAX), z.string().max(METADATA_VALUE_CHARS_MAX))
    .refine(pairs => Object.keys(pairs).length <= METADATA_PAIRS_MAX, `At most ${METADATA_PAIRS_MAX} pairs`).optional(),
};

export const maxTokens = z.int().min(1).max(TOKENS_MAX).optional();

const oneOf = (...values: unknown[]) => (value: unknown): boolean => values.includes(value);
const emptyArray = (value: unknown): boolean => Array.isArray(value) && value.length === 0;

export const unsupportedFields: Unsupported = { store: oneOf(false), service_tier: oneOf('auto', 'default') };

export const unsupportedInChat: Unsupported = {
  ...unsupportedFields,
  tools: emptyArray, functions: emptyArray,
  // Without tools there is nothing to choose.
  tool_choice: oneOf('none', 'auto'), function_call: oneOf('none', 'auto'), parallel_tool_calls: value => typeof value === 'boolean',
  response_format: value => (value as { type?: unknown }).type === 'text' && Object.keys(value as object).length === 1,
  modalities: value => Array.isArray(value) && value.length === 1 && value[0] === 'text',
};

/** How tokens are chosen, and when a choice ends. */
export interface GenerationParams {
  n: number;
  /** Undefined: the route's default, cut to what fits. 0: only the prompt is scored. */
  maxTokens: number | undefined;
  minTokens: number;
  temperature: number; topK: number; topP: number; minP: number;
  repetitionPenalty: number; presencePenalty: number; frequencyPenalty: number;
  seed: bigint | undefined;
  logitBias: { token: number; bias: number }[];
  stop: string[];
  stopTokenIds: number[];
  ignoreEos: boolean;
  /** -1: none; k: the chosen token's and the k best. */
  logprobs: number;
  stream: boolean;
  includeUsage: boolean;
  returnTokenIds: boolean;
}

type Fields = z.output<z.ZodObject<typeof generationFields>>;

export function generationParams(fields: Fields, maxTokens: number | undefined, logprobs: number): GenerationParams {
  if (fields.stream_options !== undefined && !fields.stream) {
    throw new WeftError('invalid_value', "'stream_options' is only allowed when 'stream' is true.", { param: 'stream_options' });
  }
  return {
    n: fields.n, maxTokens, minTokens: fields.min_tokens,
    temperature: fields.temperature, topK: Math.max(fields.top_k, 0), topP: fields.top_p, minP: fields.min_p,
    repetitionPenalty: fields.repetition_penalty, presencePenalty: fields.presence_penalty, frequencyPenalty: fields.frequency_penalty,
    seed: fields.seed === undefined ? undefined : BigInt.asUintN(64, BigInt(fields.seed)),
    logitBias: Object.entries(fields.logit_bias).map(([token, bias]) => ({ token: Number(token), bias })),
    stop: typeof fields.stop === 'string' ? [fields.stop] : fields.stop, stopTokenIds: fields.stop_token_ids, ignoreEos: fields.ignore_eos,
    logprobs, stream: fields.stream, includeUsage: fields.stream_options?.include_usage ?? false, returnTokenIds: fields.return_token_ids,
  };
}

/** What the routes beside adapters and administration answer, for readers of the document. */
import { ERRORS, type ErrorCode } from '@weft/contracts';
import { z } from 'zod';

const tokens = z.int().min(0);
const logprob = z.number();
const weft = z.object({
  adapter: z.string().nullable().describe('name@version; null for the base'), digest: z.string(), cold_start_ms: z.number(), queue_ms: z.number(),
}).describe('What served it');
const usage = z.object({ prompt_tokens: tokens, completion_tokens: tokens, total_tokens: tokens, prompt_tokens_details: z.object({ cached_tokens: tokens }) });
const finishReason = z.enum(['stop', 'length']).nullable();
const tokenIds = z.array(tokens).optional();
const envelope = { id: z.string(), created: z.int(), model: z.string(), system_fingerprint: z.string() };

const completionLogprobs = z.object({
  tokens: z.array(z.string()), token_logprobs: z.array(logprob.nullable()), top_logprobs: z.array(z.record(z.string(), logprob).nullable()), text_offset: z.array(z.int()),
}).nullable();
const completionChoice = z.object({
  index: z.int(), text: z.string(), logprobs: completionLogprobs, finish_reason: finishReason, token_ids: tokenIds, prompt_token_ids: tokenIds,
});
export const completion = z.object({ ...envelope, object: z.literal('text_completion'), choices: z.array(completionChoice), usage, weft });
export const completionChunk = z.object({ ...envelope, object: z.literal('text_completion'), choices: z.array(completionChoice), usage: usage.nullish(), weft: weft.optional() });

const chatToken = z.object({ token: z.string(), logprob, bytes: z.array(z.int()) });
const chatLogprobs = z.object({ content: z.array(chatToken.extend({ top_logprobs: z.array(chatToken) })) }).nullable();
export const chatCompletion = z.object({
  ...envelope, object: z.literal('chat.completion'), usage, weft, prompt_token_ids: tokenIds,
  choices: z.array(z.object({
    index: z.int(), message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }), logprobs: chatLogprobs, finish_reason: finishReason, token_ids: tokenIds,
  })),
});
export const chatChunk = z.object({
  ...envelope, object: z.literal('chat.completion.chunk'), usage: usage.nullish(), weft: weft.optional(), prompt_token_ids: tokenIds,
  choices: z.array(z.object({
    index: z.int(), delta: z.object({ role: z.literal('assistant').optional(), content: z.string().optional(), refusal: z.null().optional() }),
    logprobs: chatLogprobs, finish_reason: finishReason, token_ids: tokenIds,
  })),
});

export const model = z.object({
  id: z.string(), object: z.literal('model'), created: z.int(), owned_by: z.string(), parent: z.string().nullable(), root: z.string(), digest: z.string(), max_model_len: z.int(),
});
export const tokenization = z.object({ count: tokens, max_model_len: z.int(), tokens: z.array(tokens), token_strs: z.array(z.string()).nullable() });
export const detokenization = z.object({ prompt: z.string() });
export const health = z.object({ status: z.string() });
export const version = z.object({ version: z.string() });
export const executor = z.looseObject({
  object: z.literal('executor'), id: z.string(), address: z.string(), base_digest: z.string(), device: z.string(), build: z.string(), max_model_len: z.int(), page_bytes: z.int(),
  draining: z.boolean(), running: z.int(), waiting: z.int(), tokens_per_second: z.number(),
  pages: z.object({ total: z.int(), free: z.int(), owners: z.array(z.object({ owner: z.string(), pages: z.int() })) }),
});

export const error = z.object({
  error: z.object({
    message: z.string(), type: z.string(), param: z.string().nullable().describe('The field, part or header that is wrong'), code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]),
  }),
});

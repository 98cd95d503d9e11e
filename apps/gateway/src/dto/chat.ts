import { WeftError } from '@weft/contracts';
import type { ChatMessage, RenderOptions } from '@weft/tokenizer';
import { z } from 'zod';
import { MESSAGES_MAX, TEMPLATE_VARIABLES_MAX, TOP_LOGPROBS_MAX } from './caps.js';
import { generationFields, generationParams, maxTokens, unsupportedInChat, type GenerationParams } from './generation.js';
import { parse } from './parse.js';

/** Templates see every field of a message; what the tokenizer needs is checked here. */
const part = z.looseObject({ type: z.string() }).refine(({ type, text }) => type !== 'text' || typeof text === 'string', { path: ['text'], message: 'A string' });
const message = z.looseObject({
  role: z.string().min(1).max(64),
  content: z.union([z.string(), z.array(part)], 'A string or a list of parts').nullish(),
  tool_calls: z.array(z.looseObject({ function: z.looseObject({ name: z.string(), arguments: z.unknown() }) })).nullish(),
});

export const chatFields = {
  messages: z.array(message).min(1).max(MESSAGES_MAX),
  add_generation_prompt: z.boolean().optional(),
  continue_final_message: z.boolean().optional(),
  chat_template_kwargs: z.record(z.string(), z.unknown())
    .refine(variables => Object.keys(variables).length <= TEMPLATE_VARIABLES_MAX, `At most ${TEMPLATE_VARIABLES_MAX} variables`).optional(),
};

export const chatBody = z.object({
  ...generationFields, ...chatFields,
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
  logprobs: z.boolean().default(false),
  top_logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).optional(),
});

export interface ChatRequest { model: string; messages: ChatMessage[]; render: RenderOptions; params: GenerationParams }

/** Throws invalid_value with the field's name. */
export function parseChat(body: unknown): ChatRequest {
  const fields = parse(chatBody, body, unsupportedInChat);
  const { model, messages, max_tokens: max, max_completion_tokens: maxCompletion, logprobs, top_logprobs: top } = fields;
  if (top !== undefined && !logprobs) throw new WeftError('invalid_value', "'top_logprobs' needs 'logprobs': true.", { param: 'top_logprobs' });
  return {
    model, messages: messages as ChatMessage[], render: renderOptions(fields),
    params: generationParams(fields, maxCompletion ?? max, logprobs ? top ?? 0 : -1),
  };
}

type RenderFields = z.output<z.ZodObject<typeof chatFields>>;

export function renderOptions({ add_generation_prompt: add, continue_final_message: proceed, chat_template_kwargs: variables }: Partial<RenderFields>): RenderOptions {
  return {
    ...(add !== undefined && { addGenerationPrompt: add }), ...(proceed !== undefined && { continueFinalMessage: proceed }),
    ...(variables !== undefined && { variables }),
  };
}

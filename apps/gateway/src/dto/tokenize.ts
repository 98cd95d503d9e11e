import { WeftError } from '@weft/contracts';
import type { ChatMessage, RenderOptions } from '@weft/tokenizer';
import { z } from 'zod';
import { MODEL_CHARS_MAX } from './caps.js';
import { chatFields, renderOptions } from './chat.js';
import { tokenIds } from './generation.js';
import { parse } from './parse.js';

const model = z.string().min(1).max(MODEL_CHARS_MAX).optional();
export const tokenizeBody = z.object({
  model, ...chatFields, prompt: z.string().optional(), messages: chatFields.messages.optional(),
  add_special_tokens: z.boolean().optional(), return_token_strs: z.boolean().default(false),
});
export const detokenizeBody = z.object({ model, tokens: tokenIds });

export interface TokenizeRequest {
  model: string | undefined;
  input: { prompt: string } | { messages: ChatMessage[]; render: RenderOptions };
  addSpecialTokens: boolean;
  returnTokenStrs: boolean;
}

export function parseTokenize(body: unknown): TokenizeRequest {
  const fields = parse(tokenizeBody, body);
  const { prompt, messages, add_special_tokens: add, return_token_strs: returnTokenStrs } = fields;
  if ((prompt === undefined) === (messages === undefined)) {
    throw new WeftError('invalid_value', "Exactly one of 'prompt' and 'messages' is needed.", { param: prompt === undefined ? 'prompt' : 'messages' });
  }
  return prompt !== undefined
    ? { model: fields.model, input: { prompt }, addSpecialTokens: add ?? true, returnTokenStrs }
    : { model: fields.model, input: { messages: messages as ChatMessage[], render: renderOptions(fields) }, addSpecialTokens: add ?? false, returnTokenStrs };
}

export function parseDetokenize(body: unknown): { model: string | undefined; tokens: number[] } {
  const { model: name, tokens } = parse(detokenizeBody, body);
  return { model: name, tokens };
}

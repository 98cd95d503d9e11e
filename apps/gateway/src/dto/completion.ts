import { WeftError } from '@weft/contracts';
import { z } from 'zod';
import { CHOICES_MAX, N_MAX, PROMPTS_MAX, TOKENS_MAX, TOP_LOGPROBS_MAX } from './caps.js';
import { generationFields, generationParams, tokenIds, unsupportedFields, type GenerationParams } from './generation.js';
import { parse } from './parse.js';

const ids = tokenIds.refine(list => list.length > 0, 'A prompt of token ids needs at least one');

const schema = z.object({
  ...generationFields,
  prompt: z.union([z.string(), ids, z.array(z.string()).min(1).max(PROMPTS_MAX), z.array(ids).min(1).max(PROMPTS_MAX)]),
  max_tokens: z.int().min(0).max(TOKENS_MAX).optional(),
  logprobs: z.int().min(0).max(TOP_LOGPROBS_MAX).optional(),
  echo: z.boolean().default(false),
  best_of: z.int().min(1).max(N_MAX).optional(),
  add_special_tokens: z.boolean().default(true),
});

export interface CompletionRequest {
  model: string;
  /** Texts or token ids, never empty. */
  prompts: (string | number[])[];
  echo: boolean;
  addSpecialTokens: boolean;
  params: GenerationParams;
}

const unsupported = { ...unsupportedFields, suffix: (value: unknown) => value === '' };

/** Throws invalid_value with the field's name. */
export function parseCompletion(body: unknown): CompletionRequest {
  const fields = parse(schema, body, unsupported);
  const { model, prompt, n, best_of: bestOf, echo } = fields;
  if (bestOf !== undefined && bestOf !== n) throw new WeftError('invalid_value', `'best_of' is ${bestOf} and 'n' is ${n}: choices are not ranked here, so both must be equal.`, { param: 'best_of' });
  const prompts = promptList(prompt);
  if (prompts.length * n > CHOICES_MAX) {
    throw new WeftError('invalid_value', `${prompts.length} prompts with n = ${n} are ${prompts.length * n} choices; at most ${CHOICES_MAX} are answered at once.`, { param: n > 1 ? 'n' : 'prompt' });
  }
  return { model, prompts, echo, addSpecialTokens: fields.add_special_tokens, params: generationParams(fields, fields.max_tokens, fields.logprobs ?? -1) };
}

function promptList(prompt: string | number[] | string[] | number[][]): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as (string | number[])[]);
}

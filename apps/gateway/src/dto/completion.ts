import { WeftError } from '@weft/contracts';
import { z } from 'zod';
import { CHOICES_MAX, N_MAX, PROMPTS_MAX, TOKENS_MAX, TOP_LOGPROBS_MAX } from './caps.js';
import { generationFields, generationParams, isTokenId, TOKEN_ID_RULE, unsupportedFields, type GenerationParams } from './generation.js';
import { parse } from './parse.js';

type PromptField = string | string[] | number[] | number[][];

interface Problem { path: number[]; message: string }

const PROMPT_RULE = 'A string, a list of strings, a list of token ids, or a list of such lists';

const IDS = { type: 'array', items: { type: 'integer', minimum: 0 }, minItems: 1 };
/** For readers of the schema: what is checked by hand below. */
const PROMPT_FORMS = [
  { type: 'string' }, IDS, { type: 'array', items: { type: 'string' }, minItems: 1, maxItems: PROMPTS_MAX }, { type: 'array', items: IDS, minItems: 1, maxItems: PROMPTS_MAX },
];

/** The first element tells what a list holds: of a union, the complaint would be about an alternative that nobody meant. */
function promptProblem(value: unknown): Problem | null {
  if (typeof value === 'string') return null;
  if (value === undefined) return { path: [], message: 'Missing' };
  if (!Array.isArray(value)) return { path: [], message: PROMPT_RULE };
  const [first] = value as unknown[];
  if (typeof first === 'number') return idsProblem(value, []);
  if (value.length === 0 || value.length > PROMPTS_MAX) return { path: [], message: `From 1 to ${PROMPTS_MAX} prompts` };
  if (Array.isArray(first)) return value.map((ids, i) => idsProblem(ids, [i])).find(problem => problem !== null) ?? null;
  const other = value.findIndex(text => typeof text !== 'string');
  return other < 0 ? null : { path: [other], message: PROMPT_RULE };
}

function idsProblem(ids: unknown, path: number[]): Problem | null {
  if (!Array.isArray(ids)) return { path, message: PROMPT_RULE };
  if (ids.length === 0) return { path, message: 'A prompt of token ids needs at least one' };
  const wrong = ids.findIndex(id => !isTokenId(id));
  return wrong < 0 ? null : { path: [...path, wrong], message: TOKEN_ID_RULE };
}

const promptField = z.custom<PromptField>().superRefine((value, context) => {
  const problem = promptProblem(value);
  if (problem !== null) context.addIssue({ code: 'custom', ...problem });
}).meta({ description: PROMPT_RULE, anyOf: PROMPT_FORMS });

export const completionBody = z.object({
  ...generationFields,
  prompt: promptField,
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
  const fields = parse(completionBody, body, unsupported);
  const { model, prompt, n, best_of: bestOf, echo } = fields;
  if (bestOf !== undefined && bestOf !== n) throw new WeftError('invalid_value', `'best_of' is ${bestOf} and 'n' is ${n}: choices are not ranked here, so both must be equal.`, { param: 'best_of' });
  const prompts = promptList(prompt);
  if (prompts.length * n > CHOICES_MAX) {
    throw new WeftError('invalid_value', `${prompts.length} prompts with n = ${n} are ${prompts.length * n} choices; at most ${CHOICES_MAX} are answered at once.`, { param: n > 1 ? 'n' : 'prompt' });
  }
  return { model, prompts, echo, addSpecialTokens: fields.add_special_tokens, params: generationParams(fields, fields.max_tokens, fields.logprobs ?? -1) };
}

function promptList(prompt: PromptField): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  return typeof prompt[0] === 'number' ? [prompt as number[]] : (prompt as (string | number[])[]);
}

import { Injectable } from '@nestjs/common';
import { WeftError, type executorV1 } from '@weft/contracts';
import type { Tokenizer } from '@weft/tokenizer';
import type { ChatRequest } from './dto/chat.js';
import type { CompletionRequest } from './dto/completion.js';
import type { GenerationParams } from './dto/generation.js';
import { Fleet } from './fleet.js';
import type { GenerationJob, Prompt, Query } from './generation.js';

/** OpenAI's default for /v1/completions. */
const COMPLETION_TOKENS = 16;

/** From what a request says to what the executor computes: text becomes tokens, and the context's length is held. */
@Injectable()
export class PromptsService {
  constructor(private readonly fleet: Fleet) {}

  async completion({ prompts, echo, addSpecialTokens, params }: CompletionRequest, query: Query): Promise<GenerationJob> {
    const encoded: Prompt[] = [];
    for (const prompt of prompts) encoded.push(await encode(prompt, query.tokenizer, addSpecialTokens));
    return this.#job(query, encoded, echo, params, COMPLETION_TOKENS, 'prompt');
  }

  async chat({ messages, render, params }: ChatRequest, query: Query): Promise<GenerationJob> {
    const ids = await query.tokenizer.encodeChat(messages, render);
    return this.#job(query, [{ ids, text: '' }], false, params, undefined, 'messages');
  }

  #job(query: Query, prompts: Prompt[], echo: boolean, params: GenerationParams, defaultTokens: number | undefined, param: string): GenerationJob {
    const description = this.fleet.known;
    checkIds(prompts, params, query, description, param);
    const longest = Math.max(...prompts.map(({ ids }) => ids.length));
    const { maxModelLen } = description;
    const asked = params.maxTokens ?? 1;
    if (longest + asked > maxModelLen) {
      throw new WeftError('context_length_exceeded', `This model's maximum context length is ${maxModelLen} tokens. However, you requested ${longest + asked} tokens (${longest} in the ${param}, ${asked} in the completion). Please reduce the length of the ${param} or the completion.`, { param, limit: maxModelLen });
    }
    // What nobody asked for in numbers is cut to what fits; 0 leaves it to the executor.
    const maxTokens = params.maxTokens ?? (defaultTokens === undefined ? 0 : Math.min(defaultTokens, maxModelLen - longest));
    // An adapter that says how its own answers end is heard as well.
    const { model: { adapter }, tokenizer } = query, ownText = adapter !== null && adapter.text.length > 0;
    return { query, prompts, echo, params, maxTokens, eosIds: ownText ? [...new Set([...description.eosIds, ...tokenizer.eosIds])] : description.eosIds };
  }
}

async function encode(prompt: string | number[], tokenizer: Tokenizer, addSpecialTokens: boolean): Promise<Prompt> {
  if (typeof prompt === 'string') return { ids: await tokenizer.encodeAsync(prompt, { addSpecialTokens }), text: prompt };
  return { ids: prompt, text: tokenizer.decode(prompt, { skipSpecialTokens: false }) };
}

/** An adapter may have a vocabulary of its own, which its executor knows. */
function checkIds(prompts: readonly Prompt[], params: GenerationParams, { model: { adapter } }: Query, { vocabSize }: executorV1.Description, param: string): void {
  if (adapter === null) {
    for (const { ids } of prompts) checkTokenIds(ids, vocabSize, param);
    checkTokenIds(params.stopTokenIds, vocabSize, 'stop_token_ids');
    checkTokenIds(params.logitBias.map(({ token }) => token), vocabSize, 'logit_bias');
  }
  if (prompts.some(({ ids }) => ids.length === 0)) throw new WeftError('invalid_value', 'The prompt has no tokens.', { param });
}

/** Throws invalid_value. */
export function checkTokenIds(ids: readonly number[], vocabSize: number, param: string): void {
  const outside = ids.find(id => id >= vocabSize);
  if (outside !== undefined) throw new WeftError('invalid_value', `Token id ${outside} is not in the model's vocabulary of ${vocabSize}.`, { param });
}

/** `weft run`: asks a model. */
import { json } from 'node:stream/consumers';
import { ERRORS, WeftError, type ErrorCode } from '@weft/contracts';
import type { Api, ChatAnswer } from '../api.js';

/** ignoreEos: answers go on to maxTokens. */
export interface RunOptions { maxTokens?: number; temperature?: number; seed?: number; system?: string; ignoreEos?: boolean }
export interface Message { role: 'system' | 'user' | 'assistant'; content: string }

const bodyOf = (model: string, messages: Message[], { maxTokens, temperature, seed, ignoreEos }: RunOptions): object => ({
  model, messages, ...(maxTokens !== undefined && { max_tokens: maxTokens }), ...(temperature !== undefined && { temperature }), ...(seed !== undefined && { seed }), ...(ignoreEos === true && { ignore_eos: true }),
});

const messagesOf = (content: string, { system }: RunOptions): Message[] => [...(system === undefined ? [] : [{ role: 'system' as const, content: system }]), { role: 'user', content }];

/** The whole answer, as the API gives it. */
export async function answer(api: Api, model: string, prompt: string, options: RunOptions): Promise<ChatAnswer> {
  return await json(await api.request('POST', '/v1/chat/completions', { json: bodyOf(model, messagesOf(prompt, options), options) })) as ChatAnswer;
}

/** Writes the answer as it comes. */
export async function run(api: Api, model: string, prompt: string, options: RunOptions, write: (text: string) => void): Promise<void> {
  await streamed(api, model, messagesOf(prompt, options), options, write);
  write('\n');
}

/** Throws the error that a stream ends with, or what the signal was aborted with. Returns how many tokens there were. */
export async function streamed(api: Api, model: string, messages: Message[], options: RunOptions, write: (text: string) => void, signal?: AbortSignal): Promise<number> {
  const response = await api.request('POST', '/v1/chat/completions', { json: { ...bodyOf(model, messages, options), stream: true, stream_options: { include_usage: true } } });
  const stop = (): void => { response.destroy(); };
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop);
  let tokens = 0;
  try {
    for await (const event of serverSentEvents(response)) {
      if (event === '[DONE]') break;
      const { choices, usage, error } = JSON.parse(event) as { choices: { delta: { content?: string } }[]; usage?: { completion_tokens: number } | null; error?: { message: string; code?: string } };
      if (error !== undefined) throw new WeftError(error.code !== undefined && Object.hasOwn(ERRORS, error.code) ? error.code as ErrorCode : 'internal_error', error.message);
      tokens = usage?.completion_tokens ?? tokens;
      write(choices[0]?.delta.content ?? '');
    }
    return tokens;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

async function* serverSentEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let waiting = '';
  for await (const bytes of body) {
    const parts = (waiting + decoder.decode(bytes, { stream: true })).split('\n\n');
    waiting = parts.pop()!;
    for (const part of parts) yield part.replace(/^data: /, '');
  }
}

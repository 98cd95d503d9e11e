/** `weft run`: asks a model. */
import { json } from 'node:stream/consumers';
import { WeftError } from '@weft/contracts';
import type { Api, ChatAnswer } from '../api.js';

export interface RunOptions { maxTokens?: number; temperature?: number }

const bodyOf = (model: string, content: string, { maxTokens, temperature }: RunOptions): object => ({
  model, messages: [{ role: 'user', content }], ...(maxTokens !== undefined && { max_tokens: maxTokens }), ...(temperature !== undefined && { temperature }),
});

/** The whole answer, as the API gives it. */
export async function answer(api: Api, model: string, prompt: string, options: RunOptions): Promise<ChatAnswer> {
  return await json(await api.request('POST', '/v1/chat/completions', { json: bodyOf(model, prompt, options) })) as ChatAnswer;
}

/** Writes the answer as it comes. */
export async function run(api: Api, model: string, prompt: string, options: RunOptions, write: (text: string) => void): Promise<void> {
  const response = await api.request('POST', '/v1/chat/completions', { json: { ...bodyOf(model, prompt, options), stream: true } });
  for await (const event of serverSentEvents(response)) {
    if (event === '[DONE]') break;
    const { choices, error } = JSON.parse(event) as { choices: { delta: { content?: string } }[]; error?: { message: string } };
    if (error !== undefined) throw new WeftError('internal_error', error.message);
    write(choices[0]?.delta.content ?? '');
  }
  write('\n');
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

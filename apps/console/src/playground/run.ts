/** One answer as it streams: its tokens with their log-probabilities, and how fast they came. */
import type { ChatCompletionChunk, CompletionChunk } from '../api/schema.js';
import { events, send } from '../lib/api.js';

export interface Params { mode: 'chat' | 'completion'; system: string; prompt: string; max_tokens: number; temperature: number; top_p: number; seed: string; logprobs: boolean }
export interface Token { text: string; logprob?: number; top?: { token: string; logprob: number }[] }
export interface Answer { tokens: Token[]; firstMs: number | null; totalMs: number; done: boolean; finish: string | null; served: string | null; coldStartMs: number | null; queueMs: number | null; promptTokens: number | null; generated: number }

export const EMPTY: Answer = { tokens: [], firstMs: null, totalMs: 0, done: false, finish: null, served: null, coldStartMs: null, queueMs: null, promptTokens: null, generated: 0 };
const TOP = 5;

/** Of either route. */
type Chunk = Omit<ChatCompletionChunk, 'object' | 'choices'> & { choices: Choice[] };
type Choice = ChatCompletionChunk['choices'][number] | CompletionChunk['choices'][number];

/** What is sent, by the route that it goes to. */
export function requestOf(model: string, { mode, system, prompt, max_tokens, temperature, top_p, seed, logprobs }: Params): { path: string; body: Record<string, unknown> } {
  const sampling = { max_tokens, temperature, ...(top_p !== 1 && { top_p }), ...(seed !== '' && { seed: Number(seed) }) };
  if (mode === 'completion') return { path: '/v1/completions', body: { model, prompt, ...sampling, ...(logprobs && { logprobs: TOP }) } };
  const messages = [...(system === '' ? [] : [{ role: 'system', content: system }]), { role: 'user', content: prompt }];
  return { path: '/v1/chat/completions', body: { model, messages, ...sampling, ...(logprobs && { logprobs: true, top_logprobs: TOP }) } };
}

/** Tells the answer again whenever it has grown. Throws ApiError, or the signal's reason. */
export async function run(model: string, params: Params, tenant: string, onAnswer: (answer: Answer) => void, signal: AbortSignal): Promise<void> {
  const { path, body } = requestOf(model, params);
  const began = performance.now();
  const response = await send(path, { method: 'POST', tenant, signal, body: { ...body, stream: true, stream_options: { include_usage: true } } });
  let answer: Answer = { ...EMPTY, served: response.headers.get('x-weft-adapter') };
  for await (const chunk of events<Chunk>(response)) {
    const now = performance.now() - began;
    const fresh = chunk.choices.flatMap(tokensOf);
    const [choice] = chunk.choices;
    answer = {
      ...answer, tokens: fresh.length === 0 ? answer.tokens : [...answer.tokens, ...fresh], totalMs: now,
      firstMs: answer.firstMs ?? (fresh.length > 0 ? now : null), generated: chunk.usage?.completion_tokens ?? answer.generated + fresh.length, finish: choice?.finish_reason ?? answer.finish,
      ...(chunk.usage && { promptTokens: chunk.usage.prompt_tokens }),
      ...(chunk.weft && { coldStartMs: chunk.weft.cold_start_ms, queueMs: chunk.weft.queue_ms, served: chunk.weft.adapter }),
    };
    onAnswer(answer);
  }
  onAnswer({ ...answer, done: true, totalMs: performance.now() - began });
}

function tokensOf(choice: Choice): Token[] {
  const { logprobs } = choice;
  if (logprobs !== null && 'content' in logprobs) return logprobs.content.map(({ token, logprob, top_logprobs: top }) => ({ text: token, logprob, top }));
  if (logprobs !== null) return logprobs.tokens.map((text, at) => ({ text, logprob: logprobs.token_logprobs[at]!, top: Object.entries(logprobs.top_logprobs[at] ?? {}).map(([token, logprob]) => ({ token, logprob })) }));
  const text = 'delta' in choice ? choice.delta.content ?? '' : choice.text;
  return text === '' ? [] : [{ text }];
}

/** Tokens a second behind the first. */
export const speedOf = ({ firstMs, totalMs, generated }: Answer): number | null => (firstMs === null || generated < 2 || totalMs <= firstMs ? null : ((generated - 1) / (totalMs - firstMs)) * 1000);

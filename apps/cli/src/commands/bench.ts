/** `weft bench`: how fast a running Weft answers, by streams that this command reads. */
import type { Api, Model } from '../api.js';
import { table } from '../table.js';
import type { Outcome } from './outcome.js';
import { streamed } from './run.js';

export interface BenchOptions { requests: number; concurrency: number; maxTokens: number; prompt: string; ignoreEos?: boolean }

interface Sample { model: string; firstMs: number; totalMs: number; tokens: number; error?: string }

/** Requests go to the models in turn; without any named, to all that the key may call. Fails if one request did. */
export async function bench(api: Api, models: string[], { requests, concurrency, prompt, ...options }: BenchOptions): Promise<Outcome> {
  const targets = models.length > 0 ? models : (await api.get<{ data: Model[] }>('/v1/models')).data.map(({ id }) => id);
  const samples: Sample[] = [];
  const turns = Array.from({ length: requests }, (_, i) => targets[i % targets.length]!).values();
  const began = performance.now();
  await Promise.all(Array.from({ length: Math.min(concurrency, requests) }, async () => { for (const model of turns) samples.push(await ask(api, model, prompt, options)); }));
  const seconds = (performance.now() - began) / 1000;
  const good = samples.filter(({ error }) => error === undefined);
  const tokens = good.reduce((sum, sample) => sum + sample.tokens, 0);
  const json = {
    requests, concurrency, models: targets.length, failed: samples.length - good.length, seconds, tokens, tokens_per_second: tokens / seconds, requests_per_second: good.length / seconds,
    first_token_ms: quantiles(good.map(({ firstMs }) => firstMs)), per_token_ms: quantiles(good.filter(sample => sample.tokens > 1).map(sample => (sample.totalMs - sample.firstMs) / (sample.tokens - 1))), total_ms: quantiles(good.map(({ totalMs }) => totalMs)),
  };
  const row = (name: string, { p50, p90, p99 }: Quantiles): string[] => [name, ...[p50, p90, p99].map(value => value?.toFixed(1) ?? '')];
  const errors = [...new Set(samples.flatMap(({ error }) => error ?? []))].slice(0, 3);
  return {
    json, failed: good.length < requests,
    text: [
      `${good.length} of ${requests} requests to ${targets.length} ${targets.length === 1 ? 'model' : 'models'}, ${concurrency} at a time: ${tokens} tokens in ${seconds.toFixed(2)} s, ${json.tokens_per_second.toFixed(1)} tokens/s, ${json.requests_per_second.toFixed(1)} requests/s`,
      table(['ms', 'p50', 'p90', 'p99'], [row('first token', json.first_token_ms), row('per token', json.per_token_ms), row('whole answer', json.total_ms)], ['p50', 'p90', 'p99']),
      ...errors.map(error => `failed: ${error}`),
    ].join('\n'),
  };
}

async function ask(api: Api, model: string, prompt: string, { maxTokens, ignoreEos = false }: Pick<BenchOptions, 'maxTokens' | 'ignoreEos'>): Promise<Sample> {
  const began = performance.now();
  let firstMs = 0;
  try {
    const tokens = await streamed(api, model, [{ role: 'user', content: prompt }], { maxTokens, temperature: 0, ignoreEos }, text => { if (text !== '' && firstMs === 0) firstMs = performance.now() - began; });
    const totalMs = performance.now() - began;
    return { model, firstMs: firstMs || totalMs, totalMs, tokens };
  } catch (error) {
    return { model, firstMs: 0, totalMs: 0, tokens: 0, error: `${model}: ${(error as Error).message}` };
  }
}

interface Quantiles { p50: number | null; p90: number | null; p99: number | null }

function quantiles(values: number[]): Quantiles {
  const sorted = values.sort((a, b) => a - b);
  const at = (share: number): number | null => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? null;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

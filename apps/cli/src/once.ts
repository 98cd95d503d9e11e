/** The scenario of --once: one question to the base and every adapter at the same time, so that they share batches. */
import { WeftError } from '@weft/contracts';
import type { Refused } from './adapter-folders.js';
import type { Api, ChatAnswer, Model } from './api.js';
import { findingLines } from './findings.js';
import { poolMap, watchPool } from './pool.js';
import { oneLine, table } from './table.js';

/** The same Weft as a tenant and as an admin. */
export interface Apis { tenant: Api; admin: Api }

const QUESTION = 'What is the capital of France?';
const MAX_TOKENS = 32;
/** The table fits into 80 columns unless names are long. */
const ANSWER_WIDTH = 44;

interface Row { model: string; answer: string; tokens: number; seconds: number; problem: string | null }

/** Prints the table. True when every adapter was served and everything was answered by what was asked. */
export async function runOnce({ tenant, admin }: Apis, refused: readonly Refused[], print: (text: string) => void): Promise<boolean> {
  const models = (await tenant.get<{ data: Model[] }>('/v1/models')).data;
  const fullest = watchPool(admin);
  const began = performance.now();
  const rows = await Promise.all(models.map(model => ask(tenant, model)));
  const seconds = (performance.now() - began) / 1000;
  const executor = await fullest();

  print(`\n${QUESTION}\n`);
  print(table(['model', 'answer', 'tokens', 'tokens/s'], rows.map(({ model, answer, tokens, seconds: own }) =>
    [model, oneLine(answer, ANSWER_WIDTH), String(tokens), (tokens / own).toFixed(1)]), ['tokens', 'tokens/s']));
  const tokens = rows.reduce((sum, row) => sum + row.tokens, 0);
  print(`\n${speed(rows.length, executor.device, tokens, seconds)}\n`);
  print(poolMap(executor, models));
  if (refused.length > 0) print('');
  for (const { name, errors } of refused) print(`refused ${name}: ${findingLines(errors)[0]}`);
  for (const { model, problem } of rows) if (problem !== null) print(`failed ${model}: ${problem}`);
  return refused.length === 0 && rows.every(({ problem }) => problem === null);
}

export const speed = (requests: number, device: string, tokens: number, seconds: number): string =>
  `${requests} requests in one mix on ${device}: ${tokens} tokens in ${seconds.toFixed(2)} s, ${(tokens / seconds).toFixed(1)} tokens/s`;

export const describeThrown = (error: unknown): string => (error instanceof WeftError ? `${error.code}: ${error.message}` : String(error));

async function ask(api: Api, model: Model): Promise<Row> {
  const began = performance.now();
  const row = (answer: string, tokens: number, problem: string | null): Row => ({ model: model.id, answer, tokens, problem, seconds: (performance.now() - began) / 1000 });
  try {
    const { choices, usage, weft } = await answerOf(api, model.id);
    const text = choices[0]!.message?.content ?? choices[0]!.text ?? '';
    const problem = weft.digest !== model.digest ? `served by ${weft.digest}, not ${model.digest}` : usage.completion_tokens === 0 ? 'no token came' : null;
    return row(text, usage.completion_tokens, problem);
  } catch (error) {
    return row('', 0, describeThrown(error));
  }
}

/** A base model without a chat template is asked plainly. */
async function answerOf(api: Api, model: string): Promise<ChatAnswer> {
  const sampling = { model, max_tokens: MAX_TOKENS, temperature: 0 };
  try {
    return await api.post<ChatAnswer>('/v1/chat/completions', { ...sampling, messages: [{ role: 'user', content: QUESTION }] });
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== 'chat_template_missing') throw error;
    return api.post<ChatAnswer>('/v1/completions', { ...sampling, prompt: QUESTION });
  }
}

/** The scenario of --once: one question to the base and every adapter at the same time, so that they share batches. */
import { WeftError } from '@weft/contracts';
import { Api, type ChatAnswer, type Executor, type Model } from './api.js';
import { oneLine, table } from './table.js';
import type { Credentials } from './data-dir.js';

const QUESTION = 'What is the capital of France?';
const MAX_TOKENS = 32;
const POLL_MS = 50;
/** The gateway hears of the pool ten times a second. */
const LAST_LOOK_MS = 200;
/** The table fits into 80 columns unless names are long. */
const ANSWER_WIDTH = 44;

interface Row { model: string; answer: string; tokens: number; seconds: number; problem: string | null }

/** Prints the table. True when every adapter was served and everything was answered by what was asked. */
export async function runOnce({ url, tenantKey, adminKey }: Credentials, print: (text: string) => void): Promise<boolean> {
  const api = new Api(url, tenantKey);
  const admin = new Api(url, adminKey);
  const models = (await api.get<{ data: Model[] }>('/v1/models')).data;
  const fullest = watchPool(admin);
  const began = performance.now();
  const rows = await Promise.all(models.map(model => ask(api, model)));
  const seconds = (performance.now() - began) / 1000;
  const executor = await fullest();

  print(`\n${QUESTION}\n`);
  print(table(['model', 'answer', 'tokens', 'tokens/s'], rows.map(({ model, answer, tokens, seconds: own }) =>
    [model, oneLine(answer, ANSWER_WIDTH), String(tokens), (tokens / own).toFixed(1)]), ['tokens', 'tokens/s']));
  const tokens = rows.reduce((sum, row) => sum + row.tokens, 0);
  print(`\n${rows.length} requests in one mix on ${executor.device}: ${tokens} tokens in ${seconds.toFixed(2)} s, ${(tokens / seconds).toFixed(1)} tokens/s\n`);
  print(poolMap(executor));
  const refused = executor.adapters.filter(({ errors }) => errors.length > 0);
  if (refused.length > 0) print('');
  for (const { name, errors } of refused) print(`refused ${name}: ${errors[0]!.code} · ${errors[0]!.message}`);
  for (const { model, problem } of rows) if (problem !== null) print(`failed ${model}: ${problem}`);
  return refused.length === 0 && rows.every(({ problem }) => problem === null);
}

async function ask(api: Api, model: Model): Promise<Row> {
  const began = performance.now();
  const row = (answer: string, tokens: number, problem: string | null): Row => ({ model: model.id, answer, tokens, problem, seconds: (performance.now() - began) / 1000 });
  try {
    const { choices, usage, weft } = await answerOf(api, model.id);
    const text = choices[0]!.message?.content ?? choices[0]!.text ?? '';
    const problem = weft.digest !== model.digest ? `served by ${weft.digest}, not ${model.digest}` : usage.completion_tokens === 0 ? 'no token came' : null;
    return row(text, usage.completion_tokens, problem);
  } catch (error) {
    return row('', 0, error instanceof WeftError ? `${error.code}: ${error.message}` : String(error));
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

/** Looks at the pool until the returned function is called; that gives the look with the most owned pages. */
function watchPool(admin: Api): () => Promise<Executor> {
  let fullest: Executor | undefined;
  let stopped = false;
  const look = async (): Promise<void> => {
    const { data } = await admin.get<{ data: Executor[] }>('/v1/executors');
    const now = data[0];
    if (now === undefined) throw new WeftError('executor_lost', 'no executor serves');
    if (fullest === undefined || now.pages.total - now.pages.free > fullest.pages.total - fullest.pages.free) fullest = now;
  };
  const watching = (async () => {
    while (!stopped) {
      await look();
      await new Promise(resolve => { setTimeout(resolve, POLL_MS); });
    }
    await new Promise(resolve => { setTimeout(resolve, LAST_LOOK_MS); });
    await look();
  })();
  return async () => {
    stopped = true;
    await watching;
    return fullest!;
  };
}

/** Who owned how much of the pool when it was fullest. */
function poolMap({ pages, page_bytes: pageBytes, adapters }: Executor): string {
  const names = new Map(adapters.map(({ digest, name }) => [digest, name]));
  const owner = (text: string): string => (text.startsWith('adapter:') ? `adapter ${names.get(text.slice(8)) ?? text.slice(8, 20)}` : text);
  const rows = pages.owners.map(({ owner: who, pages: count }) => [owner(who), String(count), ((count * pageBytes) / 2 ** 20).toFixed(2), `${((100 * count) / pages.total).toFixed(1)}%`]);
  return table(['owner of the pool\'s pages', 'pages', 'MiB', 'share'], rows, ['pages', 'MiB', 'share']);
}

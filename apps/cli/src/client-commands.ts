/** Commands that talk to a running Weft through the credentials in its data directory. */
import { text } from 'node:stream/consumers';
import { WeftError } from '@weft/contracts';
import { Api, type Executor, type Model } from './api.js';
import { readCredentials } from './data-dir.js';
import { table } from './table.js';

/** `weft ls` */
export async function list(dataDir: string): Promise<string> {
  const { url, tenantKey, adminKey } = readCredentials(dataDir);
  const models = (await new Api(url, tenantKey).get<{ data: Model[] }>('/v1/models')).data;
  const [executor] = (await new Api(url, adminKey).get<{ data: Executor[] }>('/v1/executors')).data;
  const cards = new Map(executor?.adapters.map(card => [card.digest, card]));
  const rows = models.map(({ id, parent, digest }) => {
    const card = cards.get(digest);
    return [id, parent === null ? 'base' : card?.kind ?? '', card === undefined ? '' : String(card.rank), card === undefined ? '' : (card.bytes / 2 ** 20).toFixed(1), digest.slice(0, 12)];
  });
  return table(['model', 'kind', 'rank', 'MiB', 'digest'], rows, ['rank', 'MiB']);
}

/** `weft run`: prints the answer as it comes. */
export async function run(dataDir: string, model: string, prompt: string | undefined, write: (text: string) => void): Promise<void> {
  const { url, tenantKey } = readCredentials(dataDir);
  const content = prompt ?? await text(process.stdin);
  const response = await new Api(url, tenantKey).request('/v1/chat/completions', { model, messages: [{ role: 'user', content }], stream: true });
  for await (const event of serverSentEvents(response.body!)) {
    if (event === '[DONE]') break;
    const { choices, error } = JSON.parse(event) as { choices: { delta: { content?: string } }[]; error?: { message: string } };
    if (error !== undefined) throw new WeftError('internal_error', error.message);
    write(choices[0]?.delta.content ?? '');
  }
  write('\n');
}

async function* serverSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let waiting = '';
  for await (const bytes of body) {
    const parts = (waiting + decoder.decode(bytes, { stream: true })).split('\n\n');
    waiting = parts.pop()!;
    for (const part of parts) yield part.replace(/^data: /, '');
  }
}

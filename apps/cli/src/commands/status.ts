/** `weft ps` and `weft usage`: what runs, and what was used. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Api, Executor, Model, UsageRow } from '../api.js';
import { poolMap } from '../pool.js';
import { table } from '../table.js';
import type { Screen } from '../terminal/live-line.js';
import { mebibytes, type Outcome } from './outcome.js';

export async function processes(admin: Api): Promise<Outcome> {
  const [{ data }, models] = await Promise.all([admin.get<{ data: Executor[] }>('/v1/executors'), admin.get<{ data: Model[] }>('/v1/models')]);
  const rows = data.map(({ address, device, running, waiting, tokens_per_second: speed, draining, pages, page_bytes: pageBytes }) => [
    address, device, draining ? 'draining' : 'serves', String(running), String(waiting), speed.toFixed(1),
    String(pages.owners.filter(({ owner }) => owner.startsWith('adapter:')).length), `${mebibytes((pages.total - pages.free) * pageBytes)} of ${mebibytes(pages.total * pageBytes)}`,
  ]);
  const numbers = ['running', 'waiting', 'tokens/s', 'adapters', 'pool MiB'];
  const maps = data.map(executor => `\n${executor.address}\n${poolMap(executor, models.data)}`);
  return { json: data, text: [table(['executor', 'device', 'status', ...numbers], rows, numbers), ...maps].join('\n') };
}

const LOOK_MS = 1000;
const CLEAR = '\x1b[H\x1b[2J';

/** What `processes` tells, again every second until the signal: over the last look on a terminal, else behind it; one line a look as JSON. */
export async function watchProcesses(admin: Api, output: Screen, json: boolean, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { text, json: found } = await processes(admin);
    if (json) output.write(`${JSON.stringify(found)}\n`);
    else output.write(`${output.isTTY === true ? CLEAR : ''}${new Date().toISOString().slice(0, 19).replace('T', ' ')} UTC\n${text}\n`);
    await sleep(LOOK_MS, undefined, { signal }).catch(() => undefined);
  }
}

export interface UsageOptions { groupBy: string; start?: string; end?: string }

export async function usage(api: Api, { groupBy, start, end }: UsageOptions): Promise<Outcome> {
  const query = new URLSearchParams({ ...(groupBy !== '' && { group_by: groupBy }), ...(start !== undefined && { start }), ...(end !== undefined && { end }) });
  const { data } = await api.get<{ data: UsageRow[] }>(`/v1/usage?${query.toString()}`);
  const groups = groupBy.split(',').map(group => group.trim()).filter(Boolean);
  const counts = ['requests', 'open', 'prompt_tokens', 'cached_tokens', 'generated_tokens', 'billed_tokens'];
  const rows = data.map(row => [...groups, ...counts].map(column => String(row[column] ?? '')));
  const names = counts.map(count => count.replace('_tokens', ''));
  return { json: data, text: table([...groups, ...names], rows, names) };
}

/** `weft ps` and `weft usage`: what runs, and what was used. */
import type { Api, Executor, Model, UsageRow } from '../api.js';
import { poolMap } from '../pool.js';
import { table } from '../table.js';
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

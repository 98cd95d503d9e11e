/** `weft ls`: what a tenant can call. */
import type { Adapter, Api, Model } from '../api.js';
import { table } from '../table.js';
import { mebibytes, type Outcome } from './outcome.js';

export async function list(api: Api): Promise<Outcome> {
  const [models, adapters] = await Promise.all([api.get<{ data: Model[] }>('/v1/models'), api.list<Adapter>('/v1/adapters', 'name')]);
  const own = new Set(adapters.map(({ name }) => name));
  const rows = [
    ...models.data.filter(({ parent }) => parent === null).map(({ id, digest }) => [id, '', 'served', '', 'base', '', '', digest.slice(0, 12)]),
    ...adapters.flatMap(({ versions, aliases }) => versions.map(({ name, version, status, stage, kind, rank, bytes, digest }) => {
      const called = Object.entries(aliases).filter(([, target]) => target === version).map(([alias]) => alias);
      return [name, String(version), stage ?? status, called.join(' '), kind ?? '', rank === null ? '' : String(rank), mebibytes(bytes), digest.slice(0, 12)];
    })),
    ...models.data.filter(({ id, parent }) => parent !== null && !own.has(id)).map(({ id, digest }) => [id, '', 'shared', '', '', '', '', digest.slice(0, 12)]),
  ];
  return { json: { models: models.data, adapters }, text: table(['model', 'version', 'status', 'aliases', 'kind', 'rank', 'MiB', 'digest'], rows, ['version', 'rank', 'MiB']) };
}

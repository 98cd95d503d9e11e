/** Who owns the executor's pool. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WeftError } from '@weft/contracts';
import type { Api, Executor, Model } from './api.js';
import { table } from './table.js';

const POLL_MS = 50;
/** The gateway hears of the pool ten times a second. */
const LAST_LOOK_MS = 200;

/** Looks at the pool until the returned function is called; that gives the look with the most owned pages. */
export function watchPool(admin: Api): () => Promise<Executor> {
  let fullest: Executor | undefined;
  let stopped = false;
  const look = async (): Promise<void> => {
    const { data: [now] } = await admin.get<{ data: Executor[] }>('/v1/executors');
    if (now === undefined) throw new WeftError('executor_lost', 'no executor serves');
    if (fullest === undefined || now.pages.total - now.pages.free > fullest.pages.total - fullest.pages.free) fullest = now;
  };
  const watching = (async () => {
    while (!stopped) {
      await look();
      await sleep(POLL_MS);
    }
    await sleep(LAST_LOOK_MS);
    await look();
  })();
  watching.catch(() => undefined);      // told to who asks for the result
  return async () => {
    stopped = true;
    await watching;
    return fullest!;
  };
}

/** Adapters beyond these share one row. */
const ADAPTERS_MAX = 12;

/** Who owned how much of it. Adapters are called by their models' names. */
export function poolMap({ pages, page_bytes: pageBytes }: Executor, models: readonly Model[]): string {
  const names = new Map(models.map(({ digest, id }) => [digest, id]));
  const owners = pages.owners.map(({ owner, pages: count }) => {
    const digest = /^adapter:(.*)/.exec(owner)?.[1];
    return { name: digest === undefined ? owner : `adapter ${names.get(digest) ?? digest.slice(0, 12)}`, count, adapter: digest !== undefined };
  });
  const adapters = owners.filter(({ adapter }) => adapter).sort((a, b) => b.count - a.count);
  const shown = adapters.length > ADAPTERS_MAX
    ? [...adapters.slice(0, ADAPTERS_MAX - 1), { name: `${adapters.length - ADAPTERS_MAX + 1} more adapters`, count: adapters.slice(ADAPTERS_MAX - 1).reduce((sum, { count }) => sum + count, 0) }]
    : adapters;
  const others = owners.filter(({ adapter }) => !adapter);
  const first = others.filter(({ name }) => name !== 'free');
  const rows = [...first, ...shown, ...others.filter(({ name }) => name === 'free')]
    .map(({ name, count }) => [name, String(count), ((count * pageBytes) / 2 ** 20).toFixed(2), `${((100 * count) / pages.total).toFixed(1)}%`]);
  return table(['owner of the pool\'s pages', 'pages', 'MiB', 'share'], rows, ['pages', 'MiB', 'share']);
}

import { Injectable } from '@nestjs/common';
import { WeftError, type registryV1 } from '@weft/contracts';
import { Database, isUuid } from './database.js';
import { Keys } from './keys.js';
import { pageSize } from './page.js';

/** Aggregates over months are allowed to take their time. */
const QUERY_MS_MAX = 10_000;
/** Sums of as many adapters as a registry holds still fit into a message. */
const ROWS_MAX = 10_000;

const bucket = (unit: 'hour' | 'day'): string => `to_char(date_trunc('${unit}', opened_at at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')`;
/** What usage is summed by. */
const GROUPS = { tenant: 'tenant_id::text', adapter: 'adapter', model: 'model', key: 'key_id', status: 'status', hour: bucket('hour'), day: bucket('day') };
type Group = keyof typeof GROUPS;

/**
 * One row for each Submit, written once however often it is sent. Opens and closes come from the gateway; when that is gone,
 * both from the executor, which knows neither key nor names: an open that comes later fills them in. The first close counts;
 * `lost` is no close but the want of one.
 */
@Injectable()
export class Ledger {
  constructor(private readonly database: Database, private readonly keys: Keys) {}

  /** Resolves when the rows are on disk. Throws registry_lost. */
  async writeUsage({ opens, closes }: registryV1.WriteUsageRequest): Promise<registryV1.Empty> {
    if (opens.length > 0) await this.#open(opens);
    if (closes.length > 0) await this.#close(closes);
    return {};
  }

  /** Rows that are closed already stay as they are. */
  async #close(closes: registryV1.UsageClose[]): Promise<void> {
    const first = new Map<string, registryV1.UsageClose>();
    for (const close of closes) if (!first.has(close.id)) first.set(close.id, close);
    const rows = sortedById([...first.values()]);
    const column = (property: Exclude<keyof registryV1.UsageClose, 'closedAt'>): unknown[] => rows.map(row => row[property]);
    await this.database.query({
      name: 'usage.close', text: CLOSE,
      values: [column('id'), column('status'), column('promptTokens'), column('cachedTokens'), column('generatedTokens'), column('billedTokens'), column('queueMs'), column('coldStartMs'), rows.map(({ closedAt }) => Number(closedAt))],
    });
  }

  /** Throws invalid_value, not_found. */
  async queryUsage({ tenantId, start, end, groupBy, limit }: registryV1.QueryUsageRequest): Promise<registryV1.UsageList> {
    if (tenantId !== '' && !isUuid(tenantId)) throw new WeftError('not_found', 'there is no such tenant');
    const groups = [...new Set(groupBy)].map(checkedGroup);
    const size = limit === 0 ? pageSize(limit) : Math.min(limit, ROWS_MAX);
    const rows = await this.database.query<Record<string, string>>({
      text: `
        select ${groups.map(group => `${GROUPS[group]} as "${group}", `).join('')} count(*) as requests, count(*) filter (where closed_at is null) as open,
          coalesce(sum(prompt_tokens), 0) as prompt, coalesce(sum(cached_tokens), 0) as cached, coalesce(sum(generated_tokens), 0) as generated, coalesce(sum(billed_tokens), 0) as billed,
          coalesce(floor(extract(epoch from max(opened_at)) * 1000), 0)::text as last
        from weft.usage
        where ($1 = '' or tenant_id = nullif($1, '')::uuid) and opened_at >= to_timestamp($2::float8 / 1000) and ($3::float8 = 0 or opened_at < to_timestamp($3::float8 / 1000))
        ${groups.length > 0 ? `group by ${groups.map((_, at) => at + 1).join(', ')} order by ${groups.map((_, at) => at + 1).join(', ')}` : ''}
        limit ${size + 1}`,
      values: [tenantId, Number(start), Number(end)], timeoutMs: QUERY_MS_MAX,
    });
    return { data: rows.slice(0, size).map(row => toUsageRow(row, groups)), hasMore: rows.length > size };
  }

  async #open(opens: registryV1.UsageOpen[]): Promise<void> {
    const rows = sortedById(opens);
    const column = (property: Exclude<keyof registryV1.UsageOpen, 'openedAt'>): unknown[] => rows.map(row => row[property]);
    await this.database.query({
      name: 'usage.open', text: OPEN,
      values: [
        column('id'), column('requestId'), column('tenantId'), column('keyId'), column('route'), column('model'), column('adapter'), column('version'), column('digest'), column('gatewayId'), column('executorId'),
        rows.map(({ openedAt }) => Number(openedAt)),
      ],
    });
    // Gateways cache keys and seldom ask: what they were used for tells when.
    for (const { keyId } of opens) if (keyId !== '') this.keys.markUsed(keyId);
  }
}

const OPEN = `
  insert into weft.usage (id, request_id, tenant_id, key_id, route, model, adapter, version, digest, gateway_id, executor_id, opened_at)
  select id, request_id, tenant_id, key_id, route, model, adapter, version, digest, gateway_id, executor_id, to_timestamp(opened_ms / 1000)
  from unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[], $10::text[], $11::text[], $12::float8[])
    as o(id, request_id, tenant_id, key_id, route, model, adapter, version, digest, gateway_id, executor_id, opened_ms)
  on conflict (id) do update set request_id = excluded.request_id, key_id = excluded.key_id, route = excluded.route, model = excluded.model,
    adapter = excluded.adapter, version = excluded.version where usage.key_id = '' and excluded.key_id <> ''`;

// Rows are locked in the order of their ids, so that two that close the same ones never wait for each other in turn.
const CLOSE = `
  with found as (select id from weft.usage where id = any($1) and (closed_at is null or status = 'lost') order by id for update)
  update weft.usage u set status = c.status, prompt_tokens = c.prompt, cached_tokens = c.cached, generated_tokens = c.generated,
    billed_tokens = c.billed, queue_ms = c.queue_ms, cold_start_ms = c.cold_ms, closed_at = to_timestamp(c.closed_ms / 1000)
  from found, unnest($1::text[], $2::text[], $3::int[], $4::int[], $5::int[], $6::int[], $7::real[], $8::real[], $9::float8[])
    as c(id, status, prompt, cached, generated, billed, queue_ms, cold_ms, closed_ms)
  where u.id = found.id and c.id = found.id`;

const sortedById = <Row extends { id: string }>(rows: Row[]): Row[] => rows.toSorted((a, b) => (a.id < b.id ? -1 : 1));

function checkedGroup(group: string): Group {
  if (!Object.hasOwn(GROUPS, group)) throw new WeftError('invalid_value', `usage is not grouped by ${JSON.stringify(group)}; it can be ${Object.keys(GROUPS).join(', ')}`, { param: 'group_by' });
  return group as Group;
}

function toUsageRow(row: Record<string, string>, groups: Group[]): registryV1.UsageRow {
  const { requests, open, prompt, cached, generated, billed, last } = row;
  return {
    group: Object.fromEntries(groups.map(group => [group, row[group]!])), requests: BigInt(requests!), open: BigInt(open!),
    promptTokens: BigInt(prompt!), cachedTokens: BigInt(cached!), generatedTokens: BigInt(generated!), billedTokens: BigInt(billed!), lastAt: BigInt(last!),
  };
}

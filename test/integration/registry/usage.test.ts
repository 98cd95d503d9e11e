import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { registryV1 } from '@weft/contracts';
import { Sweeper } from '../../../apps/registry/src/sweeper.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { TestRegistry } from './registry.js';

let database: TestDatabase | null;
let registry: TestRegistry;
let tenantId: string;
beforeAll(async () => {
  database = await createDatabase();
  if (database !== null) registry = await TestRegistry.start(database);
});
afterAll(async () => {
  await registry?.stop();
  await database?.drop();
});
beforeEach(async context => {
  need(database, context);
  ({ id: tenantId } = await registry.call('createTenant', { actor: undefined, name: `t-${randomUUID().slice(0, 8)}` }));
});

const open = (id: string, values: Partial<registryV1.UsageOpen> = {}): registryV1.UsageOpen =>
  ({ id, requestId: `req-${id}`, tenantId, keyId: 'key', route: '/v1/completions', model: 'a', adapter: 'a', version: 1, digest: 'd', gatewayId: 'g', executorId: 'e', openedAt: BigInt(Date.now()), ...values });
const close = (id: string, values: Partial<registryV1.UsageClose> = {}): registryV1.UsageClose =>
  ({ id, status: 'ok', promptTokens: 10, cachedTokens: 4, generatedTokens: 5, billedTokens: 11, queueMs: 1.5, coldStartMs: 0, closedAt: BigInt(Date.now()), ...values });
const write = (opens: registryV1.UsageOpen[], closes: registryV1.UsageClose[] = []): Promise<registryV1.Empty> => registry.call('writeUsage', { opens, closes });
const total = async (groupBy: string[] = [], range = { start: 0n, end: 0n }): Promise<registryV1.UsageRow[]> => (await registry.call('queryUsage', { tenantId, ...range, groupBy, limit: 0 })).data;
const newId = (): string => randomUUID();

describe('a row', () => {
  test('is written once however often it is sent, by however many', async () => {
    const ids = Array.from({ length: 50 }, newId);
    await Promise.all(Array.from({ length: 8 }, (_, n) => write((n % 2 ? ids : ids.toReversed()).map(id => open(id)), ids.map(id => close(id, { billedTokens: 11 + n })))));
    const [sum] = await total();
    expect(sum).toMatchObject({ requests: 50n, open: 0n, promptTokens: 500n, cachedTokens: 200n, generatedTokens: 250n });
    const { rows } = await database!.owner.query<{ billed_tokens: number }>('select billed_tokens from weft.usage where tenant_id = $1', [tenantId]);
    for (const { billed_tokens } of rows) expect(billed_tokens).toBeGreaterThanOrEqual(11);
  });

  test('keeps its first close', async () => {
    const id = newId();
    await write([open(id)], [close(id, { billedTokens: 1 }), close(id, { billedTokens: 2 })]);
    await write([], [close(id, { billedTokens: 3, status: 'orphaned' })]);
    expect(await total(['status'])).toMatchObject([{ group: { status: 'ok' }, requests: 1n, billedTokens: 1n }]);
  });

  test('without an open takes no close', async () => {
    await write([], [close(newId())]);
    expect(await total()).toMatchObject([{ requests: 0n }]);
  });

  test('is on disk when it is answered', async () => {
    const id = newId();
    await write([open(id)]);
    expect((await database!.owner.query('select closed_at from weft.usage where id = $1', [id])).rows).toEqual([{ closed_at: null }]);
    const { rows: [setting] } = await database!.owner.query<{ synchronous_commit: string }>('show synchronous_commit');
    expect(setting!.synchronous_commit).toBe('on');
  });
});

describe('sums', () => {
  test('are of groups and of times, and of one tenant', async () => {
    const day = Date.UTC(2026, 0, 31, 23);
    const at = (hours: number): bigint => BigInt(day + hours * 3_600_000);
    await write(
      [open('s1', { openedAt: at(0) }), open('s2', { openedAt: at(0.5), adapter: '', model: 'base' }), open('s3', { openedAt: at(1), keyId: 'other' }), open('s4', { openedAt: at(2), tenantId: randomUUID() })],
      [close('s1'), close('s2', { status: 'cancelled', billedTokens: 0 })],
    );
    expect(await total(['adapter', 'status'])).toMatchObject([
      { group: { adapter: '', status: 'cancelled' }, requests: 1n, open: 0n, billedTokens: 0n },
      { group: { adapter: 'a', status: '' }, requests: 1n, open: 1n }, { group: { adapter: 'a', status: 'ok' }, requests: 1n, billedTokens: 11n },
    ]);
    expect((await total(['day', 'hour', 'day'])).map(({ group, requests }) => [group, requests])).toEqual([
      [{ day: '2026-01-31T00:00:00Z', hour: '2026-01-31T23:00:00Z' }, 2n], [{ day: '2026-02-01T00:00:00Z', hour: '2026-02-01T00:00:00Z' }, 1n],
    ]);
    expect(await total(['key'], { start: at(0.25), end: at(1) })).toMatchObject([{ group: { key: 'key' }, requests: 1n }]);
    expect(await total(['tenant', 'model'])).toMatchObject([{ group: { tenant: tenantId, model: 'a' }, requests: 2n }, { group: { tenant: tenantId, model: 'base' } }]);
    const all = await registry.call('queryUsage', { tenantId: '', start: at(0), end: at(3), groupBy: ['tenant'], limit: 1 });
    expect([all.data.length, all.hasMore]).toEqual([1, true]);
    await expect(total(['price; drop table'])).rejects.toMatchObject({ code: 'invalid_value', details: { param: 'group_by' } });
  });
});

describe('an open row whose gateway is gone', () => {
  const member = async (id: string, role: string, leaseSecondsAgo: number): Promise<void> => {
    await database!.owner.query(`insert into weft.members (id, role, holder, lease_until) values ($1, $2, 'test', now() - make_interval(secs => $3))`, [id, role, leaseSecondsAgo]);
  };
  const statusOf = async (id: string): Promise<string> => (await database!.owner.query<{ status: string }>('select status from weft.usage where id = $1', [id])).rows[0]!.status;

  test.each([
    ['is lost', 'lost', 120, 61, null],
    ['is lost, when the gateway never joined', 'lost', 120, null, null],
    ['waits for a gateway that may come back', '', 120, 30, null],
    ['waits for its executor to tell', '', 120, 61, -10],
    ['is lost, when its executor has not told for long', 'lost', 1200, 700, -10],
    ['waits for a minute', '', 30, null, null],
  ] as const)('%s', async (_, status, openedSecondsAgo, gatewaySecondsAgo, executorSecondsAgo) => {
    const [id, gatewayId, executorId] = [newId(), newId(), newId()];
    if (gatewaySecondsAgo !== null) await member(gatewayId, 'gateway', gatewaySecondsAgo);
    if (executorSecondsAgo !== null) await member(executorId, 'executor', executorSecondsAgo);
    await write([open(id, { gatewayId, executorId, openedAt: BigInt(Date.now() - openedSecondsAgo * 1000) })]);
    await registry.app.get(Sweeper).sweep();
    expect(await statusOf(id)).toBe(status);
  });

  test('and that was given up counts after all when somebody tells', async () => {
    const id = newId();
    await write([open(id, { openedAt: BigInt(Date.now() - 120_000) })]);
    await registry.app.get(Sweeper).sweep();
    await write([], [close(id)]);
    await write([], [close(id, { billedTokens: 99 })]);
    expect(await total(['status'])).toMatchObject([{ group: { status: 'ok' }, billedTokens: 11n }]);
  });
});

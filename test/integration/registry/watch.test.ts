import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { registryV1 } from '@weft/contracts';
import { Members } from '../../../apps/registry/src/members.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { TestRegistry, type Watching } from './registry.js';

let database: TestDatabase | null;
let registry: TestRegistry;
beforeAll(async () => {
  database = await createDatabase();
  if (database !== null) registry = await TestRegistry.start(database);
});
afterAll(async () => {
  await registry?.stop();
  await database?.drop();
});
beforeEach(context => need(database, context));

const KINDS = registryV1.ChangeKind;
const executor = (base = 'base'): Parameters<Members['join']>[1] => ({ role: 'executor', address: '127.0.0.1:1', info: { base, baseDigest: 'digest' } });
const roster = (watching: Watching): string[] | undefined => watching.of('roster').at(-1)?.executors.map(({ id }) => id);
const changesOf = (watching: Watching, tenantId: string): registryV1.ChangeKind[] => watching.of('change').filter(change => change.tenantId === tenantId).map(({ kind }) => kind);
const started = async (name: string, from = registry): Promise<Watching> => {
  const watching = from.watch(name);
  await expect.poll(() => watching.events.length).toBeGreaterThanOrEqual(3);
  return watching;
};

async function changeKeys(): Promise<string> {
  const { tenantId, keyId: id } = await registry.call('authenticate', { key: 'sk-tenant' });
  await registry.call('updateKey', { actor: undefined, tenantId, id, name: String(Math.random()), limits: undefined });
  return tenantId;
}

/** A second is promised; a busy machine gets another. */
const LEARN_MS_MAX = 2000;

async function learns(watching: Watching): Promise<void> {
  const { tenantId } = await registry.call('authenticate', { key: 'sk-tenant' });
  const before = changesOf(watching, tenantId).length;
  await changeKeys();
  await expect.poll(() => changesOf(watching, tenantId).length, { interval: 10, timeout: LEARN_MS_MAX }).toBe(before + 1);
  expect(changesOf(watching, tenantId).at(-1)).toBe(KINDS.KEYS);
}

test('a watcher learns first who executes, and that it knows nothing else yet', async () => {
  const watching = await started('first');
  expect(watching.events.slice(0, 3)).toEqual([
    { $case: 'roster', value: { executors: [] } },
    { $case: 'change', value: { id: 0n, tenantId: '', kind: KINDS.CATALOG } }, { $case: 'change', value: { id: 0n, tenantId: '', kind: KINDS.KEYS } },
  ]);
  await expect.poll(() => watching.of('heartbeat').length, { timeout: 5000 }).toBeGreaterThanOrEqual(2);
  watching.stream.cancel();
});

test('a call without the token may not watch', async () => {
  const watching = registry.watch('stranger', 'wrong');
  await expect.poll(() => watching.ended).toMatchObject({ code: 16 });
});

describe('changes reach every registry\'s watchers within a second', () => {
  test('by a notification', async () => {
    const other = await TestRegistry.start(database!);
    const watching = await started('elsewhere', other);
    await learns(watching);
    watching.stream.cancel();
    await other.stop();
  });

  test('and without one', async () => {
    const { rows: [source] } = await database!.owner.query<{ body: string }>(`select pg_get_functiondef('weft.outbox_insert'::regproc) as body`);
    await database!.owner.query(source!.body.replace('notify weft_outbox;', ''));
    const watching = await started('unnotified');
    for (let time = 0; time < 3; time++) await learns(watching);
    watching.stream.cancel();
    await database!.owner.query(source!.body);
  });

  test('in the order of their commits, none left out', async () => {
    const watching = await started('ordered');
    const { tenantId } = await registry.call('authenticate', { key: 'sk-tenant' });
    const slow = await database!.owner.connect();
    await slow.query('begin');
    await slow.query(`select set_config('weft.tenant', '*', true)`);
    await slow.query(`insert into weft.outbox (tenant_id, kind) values ($1, 'catalog')`, [tenantId]);
    const fast = changeKeys();   // takes a later id, and waits for the earlier one
    await sleep(700);
    expect(changesOf(watching, tenantId)).toEqual([]);
    await slow.query('commit');
    slow.release();
    await fast;
    await expect.poll(() => changesOf(watching, tenantId)).toEqual([KINDS.CATALOG, KINDS.KEYS]);
    watching.stream.cancel();
  });
});

describe('the roster', () => {
  test('has an executor as long as its lease holds, at every registry', async () => {
    const other = await TestRegistry.start(database!);
    const watching = await started('rostered', other);
    const leave = await registry.app.get(Members).join('e1', executor());
    await expect.poll(() => watching.of('roster').at(-1)?.executors).toEqual([{ id: 'e1', address: '127.0.0.1:1', baseDigest: 'digest', base: 'base' }]);
    await sleep(6000);   // longer than a lease: it is renewed
    expect(roster(watching)).toEqual(['e1']);
    await leave();
    await expect.poll(() => roster(watching)).toEqual([]);
    watching.stream.cancel();
    await other.stop();
  });

  test('keeps an executor that has joined elsewhere when it leaves here', async () => {
    const other = await TestRegistry.start(database!);
    const watching = await started('moved');
    const leaveHere = await registry.app.get(Members).join('e2', executor());
    const leaveThere = await other.app.get(Members).join('e2', executor('moved'));
    await leaveHere();
    await expect.poll(() => watching.of('roster').at(-1)?.executors).toMatchObject([{ id: 'e2', base: 'moved' }]);
    await sleep(6000);
    expect(roster(watching)).toEqual(['e2']);
    await leaveThere();
    watching.stream.cancel();
    await other.stop();
  });
});

test('a gateway lives as long as its stream', async () => {
  const alive = async (): Promise<boolean> => (await database!.owner.query(`select from weft.members where id = 'living' and role = 'gateway' and lease_until > now()`)).rowCount === 1;
  const watching = await started('living');
  expect(await alive()).toBe(true);
  watching.stream.cancel();
  await expect.poll(alive).toBe(false);
});

test('a registry that stops ends its streams, and lets calls finish', async () => {
  const stopping = await TestRegistry.start(database!);
  const watching = await started('left', stopping);
  const lock = await database!.owner.connect();
  await lock.query('begin; lock table weft.audit in access exclusive mode');
  const answer = stopping.call('listAudit', { tenantId: '', limit: 1, after: '' });
  await sleep(200);   // it waits for the lock
  const stopped = stopping.stop();
  await expect.poll(() => watching.ended).toMatchObject({ code: 'draining' });
  await lock.query('commit');
  lock.release();
  expect((await answer).data).toHaveLength(1);
  await stopped;
});

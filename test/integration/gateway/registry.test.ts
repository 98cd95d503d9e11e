import { registryV1, WeftError } from '@weft/contracts';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { ADMIN_KEY, BASE, KEY, post, startStack, type Stack } from './harness.js';
import { adapter, principal, TENANT } from './registry-double.js';

const OTHER = '00000000-0000-4000-8000-000000000002';
const { CATALOG, KEYS } = registryV1.ChangeKind;

let stack: Stack;
beforeEach(async () => { stack = await startStack(); });
afterEach(() => stack.close());

async function get(path: string, headers: Record<string, string> = {}): Promise<{ status: number; body: { data: { id: string }[]; error: { code: string; param: string | null } }; ms: number }> {
  const began = performance.now();
  const response = await fetch(stack.url + path, { headers: { authorization: `Bearer ${KEY}`, ...headers } });
  return { status: response.status, body: await response.json() as never, ms: performance.now() - began };
}
const ask = async (model: string, key = KEY): Promise<number> => (await post(stack.url, '/v1/completions', { model, prompt: 'x' }, { headers: { authorization: `Bearer ${key}` } })).status;
const names = async (): Promise<string[]> => (await get('/v1/models')).body.data.map(({ id }) => id);

describe('keys', () => {
  test('are asked for once, and a change of theirs is heard', async () => {
    for (let i = 0; i < 20; i++) expect(await ask(BASE)).toBe(200);
    expect(stack.registry.count('authenticate')).toBe(1);
    stack.registry.keys.delete(KEY);
    stack.registry.change(KEYS, OTHER);
    expect(await ask(BASE)).toBe(200);
    stack.registry.change(KEYS);
    await expect.poll(() => ask(BASE)).toBe(401);
  });

  test('a revoked key that was heard of stays out when the registry dies', async () => {
    expect(await ask(BASE)).toBe(200);
    stack.registry.change(KEYS);
    await sleep(100);
    stack.registry.kill();
    expect(await ask(BASE)).toBe(503);
  });

  test('serve on when the registry comes back for a moment only', async () => {
    expect(await ask(BASE)).toBe(200);
    stack.registry.breakWatch();
    await expect.poll(() => stack.registry.watching).toBe(true);
    await sleep(100);
    stack.registry.kill();
    expect(await ask(BASE)).toBe(200);
    expect(stack.registry.count('authenticate')).toBe(1);
  });

  test('expire on time', async () => {
    stack.registry.keys.set('sk-brief', principal({ keyId: 'brief', expiresAt: BigInt(Date.now() + 500) }));
    expect(await ask(BASE, 'sk-brief')).toBe(200);
    await sleep(510);
    expect(await ask(BASE, 'sk-brief')).toBe(401);
    expect(stack.registry.count('authenticate')).toBe(1);
  });

  test('wrong ones are asked for once a second, and are right when they have become so', async () => {
    for (let i = 0; i < 10; i++) expect(await ask(BASE, 'sk-new')).toBe(401);
    expect(stack.registry.count('authenticate')).toBe(1);
    stack.registry.keys.set('sk-new', principal({ keyId: 'new' }));
    stack.registry.change(KEYS);
    await expect.poll(() => ask(BASE, 'sk-new')).toBe(200);
  });

  test('only an admin acts for a tenant', async () => {
    stack.registry.tenants.set('globex', { id: OTHER, name: 'Globex', createdAt: 0n });
    stack.registry.catalogs.set(OTHER, [adapter('theirs', ['c'.repeat(64)], { tenantName: 'Globex' })]);
    const admin = { authorization: `Bearer ${ADMIN_KEY}` };
    expect((await get('/v1/models', { ...admin, 'x-weft-tenant': 'globex' })).body.data.map(({ id }) => id)).toEqual([BASE, 'theirs']);
    expect((await get('/v1/models', { 'x-weft-tenant': 'globex' }))).toMatchObject({ status: 403, body: { error: { code: 'insufficient_scope', param: 'x-weft-tenant' } } });
    expect((await get('/v1/models', { ...admin, 'x-weft-tenant': 'initech' }))).toMatchObject({ status: 404, body: { error: { code: 'not_found', param: 'x-weft-tenant' } } });
  });
});

describe('names', () => {
  test('a new version serves as soon as its change is heard; requests before it keep what they had', async () => {
    expect(await ask('pirate')).toBe(200);
    stack.registry.catalogs.set(TENANT, [adapter('Pirate', ['a'.repeat(64), 'd'.repeat(64)]), adapter('shout', ['e'.repeat(64)])]);
    expect(await names()).toEqual([BASE, 'Pirate']);
    stack.registry.change(CATALOG);
    await expect.poll(names).toEqual([BASE, 'Pirate', 'shout']);
    await ask('pirate');
    expect([...stack.double.requests.values()].map(({ submit }) => submit.adapters[0]?.digest[0])).toEqual(['a', 'd']);
    const before = stack.registry.count('getCatalog');
    for (let i = 0; i < 10; i++) await names();
    expect(stack.registry.count('getCatalog')).toBe(before);
  });

  test('unknown, foreign and deleted ones are one answer', async () => {
    stack.registry.tenants.set('globex', { id: OTHER, name: 'Globex', createdAt: 0n });
    stack.registry.catalogs.set(OTHER, [adapter('theirs', ['c'.repeat(64)], { tenantName: 'Globex' })]);
    await ask('pirate');
    stack.registry.catalogs.set(TENANT, []);
    stack.registry.change(CATALOG, '');
    await expect.poll(() => ask('pirate')).toBe(404);
    const bodies = await Promise.all(['theirs', 'Globex/theirs', 'pirate', 'nobody'].map(async model => (await (await post(stack.url, '/v1/completions', { model, prompt: 'x' })).text()).replace(model, '…')));
    expect(new Set(bodies).size).toBe(1);
  });

  test('of another base are not served', async () => {
    stack.registry.catalogs.set(TENANT, [adapter('old', ['c'.repeat(64)], { versions: [{ ...adapter('old', ['c'.repeat(64)]).versions[0]!, baseDigest: 'f'.repeat(64) }] })]);
    expect(await ask('old')).toBe(404);
    expect(await names()).toEqual([BASE]);
  });

  test('shared ones are listed behind the own, with their owner', async () => {
    stack.registry.catalogs.set(TENANT, [adapter('pirate', ['c'.repeat(64)], { tenantName: 'Globex' }), adapter('zed', ['d'.repeat(64)])]);
    const { data } = await stack.openai.models.list();
    expect(data).toMatchObject([{ id: BASE, owned_by: 'weft' }, { id: 'zed', owned_by: 'default', created: 1_700_000_000 }, { id: 'Globex/pirate', owned_by: 'Globex', parent: BASE }]);
    const answer = await stack.openai.completions.create({ model: 'globex/pirate@1', prompt: 'x' });
    expect(answer).toMatchObject({ model: 'globex/pirate@1', weft: { adapter: 'Globex/pirate@1', digest: 'c'.repeat(64) } });
  });
});

describe('while changes are not heard', () => {
  test('what is cached is checked again, and what was missed is seen', async () => {
    expect(await names()).toEqual([BASE, 'Pirate']);
    stack.registry.breakWatch();
    stack.registry.catalogs.set(TENANT, [adapter('after', ['d'.repeat(64)])]);
    await expect.poll(names, { timeout: 1000, interval: 20 }).toEqual([BASE, 'after']);
    stack.registry.keys.delete(KEY);
    stack.registry.breakWatch();
    await expect.poll(() => ask(BASE), { timeout: 1000, interval: 20 }).toBe(401);
  });

  test('a dead registry: who was known and what was known serves on, the rest is told to come back', async () => {
    expect(await ask('pirate')).toBe(200);
    stack.registry.kill();
    await sleep(600);
    for (let i = 0; i < 5; i++) {
      expect(await ask('pirate')).toBe(200);
      await sleep(300);
    }
    const unknown = await post(stack.url, '/v1/completions', { model: BASE, prompt: 'x' }, { headers: { authorization: 'Bearer sk-unknown' } });
    expect([unknown.status, unknown.headers.get('retry-after-ms')]).toEqual([503, '1000']);
    expect(await unknown.json()).toMatchObject({ error: { code: 'registry_lost' } });
    expect((await fetch(`${stack.url}/health/ready`)).status).toBe(200);
    stack.registry.keys.delete(KEY);
    await stack.registry.start(stack.registry.port);
    await expect.poll(() => ask(BASE), { timeout: 3000 }).toBe(401);
  });

  test('a registry that hangs slows down nobody who is known', async () => {
    expect(await ask('pirate')).toBe(200);
    stack.registry.beats = false;
    await sleep(2600);
    const times: number[] = [];
    for (let i = 0; i < 10; i++) {
      const began = performance.now();
      expect(await ask('pirate')).toBe(200);
      times.push(performance.now() - began);
      await sleep(100);
    }
    expect(times.filter(ms => ms > 400).length).toBeLessThan(3);
    const began = performance.now();
    expect(await ask(BASE, 'sk-unknown')).toBe(503);
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('a registry that can\'t answer as its database is away is one that is away', async () => {
    expect(await names()).toEqual([BASE, 'Pirate']);
    stack.registry.answers = { getCatalog: () => { throw new WeftError('registry_lost', 'no database'); } };
    stack.registry.change(CATALOG);
    await sleep(100);
    expect(await names()).toEqual([BASE, 'Pirate']);
  });
});

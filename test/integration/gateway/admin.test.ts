import { registryV1, WeftError } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ADMIN_KEY, KEY, startStack, type Stack } from './harness.js';
import { principal, TENANT } from './registry-double.js';

const ACME = '00000000-0000-4000-8000-000000000002';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
  stack.registry.tenants.set('acme', { id: ACME, name: 'acme', createdAt: 0n });
  stack.registry.keys.set('sk-limited', principal({ keyId: 'limited', limits: { requestsPerMinute: 60, tokensPerMinute: 0, parallel: 2 }, expiresAt: 4_000_000_000_000n }));
});
afterAll(() => stack.close());

const key = registryV1.Key.fromPartial({
  id: 'k-1', tenantId: ACME, name: 'ci', hint: 'sk-ab…yz', scopes: ['inference'], limits: { requestsPerMinute: 60, tokensPerMinute: 0, parallel: 0 }, createdAt: 1_700_000_000_000n, lastUsedAt: 1_700_000_060_000n,
});
const job = registryV1.Job.fromPartial({ id: 'v-1', tenantId: ACME, adapter: 'pirate', version: 2, stage: 'pack', state: 'running', attempts: 1, createdAt: 1_700_000_000_000n });

let asked: Record<string, unknown> | undefined;
beforeEach(() => {
  asked = undefined;
  const note = <T>(answer: T) => (request: object): T => { asked = request as Record<string, unknown>; return answer; };
  stack.registry.answers = {
    createTenant: note({ id: ACME, name: 'acme', createdAt: 1_700_000_000_000n }), listTenants: note({ data: [{ id: ACME, name: 'acme', createdAt: 1_700_000_000_000n }], hasMore: false }), deleteTenant: note({}),
    createKey: note({ key, secret: 'sk-secret' }), listKeys: note({ data: [key], hasMore: false }), updateKey: note(key), revokeKey: note({}),
    queryUsage: note({ data: [{ group: { adapter: 'pirate', day: '2026-01-01T00:00:00Z' }, requests: 3n, open: 1n, promptTokens: 10n, cachedTokens: 2n, generatedTokens: 20n, billedTokens: 30n, lastAt: 0n }], hasMore: false }),
    listJobs: note({ data: [job], hasMore: false }), cancelJob: note({ ...job, state: 'cancelled', stage: '', finishedAt: 1_700_000_010_000n }), retryJob: note({ ...job, state: 'waiting', stage: 'queued' }),
    listAudit: note({ data: [{ id: '9', tenantId: ACME, keyId: 'k-1', requestId: '', action: 'alias.put', subject: 'pirate@beta', details: '{"version":2}', at: 1_700_000_000_000n }], hasMore: true }),
  };
});

interface Answer { status: number; headers: Headers; body: Record<string, unknown> & { error: { code: string; param: string | null; message: string } } }
async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(stack.url + path, {
    method, headers: { authorization: `Bearer ${ADMIN_KEY}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: (text === '' ? {} : JSON.parse(text)) as Answer['body'] };
}
const tenantKey = { authorization: `Bearer ${KEY}` };

describe('tenants', () => {
  test('are created, listed and deleted', async () => {
    const created = await ask('POST', '/v1/tenants', { name: 'acme' });
    expect(created).toMatchObject({ status: 201, body: { id: ACME, object: 'tenant', name: 'acme', created_at: 1_700_000_000 } });
    expect(asked).toEqual({ actor: { tenantId: TENANT, keyId: 'admin-key', requestId: created.headers.get('x-request-id') }, name: 'acme' });
    expect((await ask('GET', '/v1/tenants?limit=5&after=x')).body).toMatchObject({ object: 'list', data: [{ name: 'acme' }], has_more: false });
    expect(asked).toEqual({ tenantId: '', limit: 5, after: 'x' });
    expect((await ask('DELETE', '/v1/tenants/acme')).status).toBe(204);
    expect(asked).toMatchObject({ name: 'acme' });
  });

  test('what the registry refuses is passed on', async () => {
    stack.registry.answers.createTenant = () => { throw new WeftError('conflict', 'there is a tenant acme already', { param: 'name' }); };
    expect(await ask('POST', '/v1/tenants', { name: 'acme' })).toMatchObject({ status: 409, body: { error: { code: 'conflict', param: 'name' } } });
  });
});

describe('keys', () => {
  const card = {
    id: 'k-1', object: 'api_key', tenant_id: ACME, name: 'ci', hint: 'sk-ab…yz', scopes: ['inference'], limits: { requests_per_minute: 60, tokens_per_minute: null, parallel: null },
    created_at: 1_700_000_000, expires_at: null, revoked_at: null, last_used_at: 1_700_000_060,
  };

  test('a new one tells its secret, and nobody keeps the answer', async () => {
    const { status, headers, body } = await ask('POST', '/v1/keys', { name: 'ci' });
    expect([status, headers.get('cache-control'), body]).toEqual([201, 'no-store', { ...card, secret: 'sk-secret' }]);
    expect(asked).toMatchObject({ tenantId: TENANT, name: 'ci', scopes: ['inference'], expiresAt: 0n, limits: undefined });
  });

  test.each([[4_000_000_000, 4_000_000_000_000n], ['4000000000', 4_000_000_000_000n], ['2096-10-02T07:06:40Z', 4_000_000_000_000n], ['2096-10-02T09:06:40+02:00', 4_000_000_000_000n], ['2096-10-02', 3_999_974_400_000n], [0, 0n], [null, 0n]])('expires_at %j', async (value, ms) => {
    await ask('POST', '/v1/keys', { name: 'ci', tenant: 'acme', scopes: ['inference', 'admin'], limits: { requests_per_minute: 60, parallel: null }, expires_at: value });
    expect(asked).toMatchObject({ tenantId: ACME, scopes: ['inference', 'admin'], limits: { requestsPerMinute: 60, tokensPerMinute: 0, parallel: 0 }, expiresAt: ms });
  });

  test('are listed of the own tenant, of one by name, of one that is acted for, of all', async () => {
    expect((await ask('GET', '/v1/keys')).body).toEqual({ object: 'list', data: [card], has_more: false });
    expect(asked).toEqual({ tenantId: TENANT, limit: 100, after: '' });
    await ask('GET', '/v1/keys?tenant=Acme');
    expect(asked).toMatchObject({ tenantId: ACME });
    await ask('GET', '/v1/keys', undefined, { 'x-weft-tenant': 'acme' });
    expect(asked).toMatchObject({ tenantId: ACME });
    await ask('GET', '/v1/keys?tenant=*');
    expect(asked).toMatchObject({ tenantId: '' });
    expect(await ask('GET', '/v1/keys?tenant=nobody')).toMatchObject({ status: 404, body: { error: { code: 'not_found', param: 'tenant' } } });
  });

  test.each<[object, object]>([
    [{ name: 'new' }, { name: 'new', limits: undefined, expiresAt: undefined }],
    [{ limits: { tokens_per_minute: 5 } }, { limits: { requestsPerMinute: 0, tokensPerMinute: 5, parallel: 0 }, name: undefined }],
    [{ limits: null, expires_at: null }, { limits: { requestsPerMinute: 0, tokensPerMinute: 0, parallel: 0 }, expiresAt: 0n }],
    [{ expires_at: 4_000_000_000 }, { expiresAt: 4_000_000_000_000n, limits: undefined }],
  ])('a change %j', async (body, expected) => {
    expect((await ask('PATCH', '/v1/keys/k-1?tenant=acme', body)).body).toEqual(card);
    expect(asked).toMatchObject({ tenantId: ACME, id: 'k-1', ...expected });
  });

  test('one is revoked', async () => {
    expect((await ask('DELETE', '/v1/keys/k-1')).status).toBe(204);
    expect(asked).toMatchObject({ tenantId: TENANT, id: 'k-1', actor: { keyId: 'admin-key' } });
  });

  test('a key reads about itself', async () => {
    expect(await ask('GET', '/v1/keys/current', undefined, { authorization: 'Bearer sk-limited' })).toMatchObject({ status: 200, body: {
      id: 'limited', object: 'api_key', tenant: 'default', tenant_id: TENANT, scopes: ['inference', 'adapters:write'], limits: { requests_per_minute: 60, tokens_per_minute: null, parallel: 2 }, expires_at: 4_000_000_000,
    } });
    expect(await ask('GET', '/v1/keys/current', undefined, { 'x-weft-tenant': 'acme' })).toMatchObject({ body: { id: 'admin-key', tenant: 'acme', tenant_id: ACME, expires_at: null } });
  });
});

describe('usage', () => {
  test('of a tenant\'s own, by group', async () => {
    const { body } = await ask('GET', '/v1/usage?start=2026-01-01&end=1800000000&group_by=adapter,day&limit=7', undefined, tenantKey);
    expect(body).toEqual({ object: 'list', has_more: false, data: [{
      object: 'usage', adapter: 'pirate', day: '2026-01-01T00:00:00Z', requests: 3, open: 1, prompt_tokens: 10, cached_tokens: 2, generated_tokens: 20, billed_tokens: 30, last_at: null,
    }] });
    expect(asked).toEqual({ tenantId: TENANT, start: 1_767_225_600_000n, end: 1_800_000_000_000n, groupBy: ['adapter', 'day'], limit: 7 });
    await ask('GET', '/v1/usage', undefined, tenantKey);
    expect(asked).toEqual({ tenantId: TENANT, start: 0n, end: 0n, groupBy: [], limit: 1000 });
  });

  test('of others is an admin\'s', async () => {
    expect((await ask('GET', '/v1/usage?tenant=DEFAULT', undefined, tenantKey)).status).toBe(200);
    for (const tenant of ['acme', 'nobody', '*']) {
      expect(await ask('GET', `/v1/usage?tenant=${tenant}`, undefined, tenantKey)).toMatchObject({ status: 403, body: { error: { code: 'insufficient_scope', param: 'tenant' } } });
    }
    await ask('GET', '/v1/usage?tenant=acme');
    expect(asked).toMatchObject({ tenantId: ACME });
    await ask('GET', '/v1/usage?tenant=*&group_by=tenant');
    expect(asked).toMatchObject({ tenantId: '', groupBy: ['tenant'] });
  });
});

test('jobs are listed, cancelled and begun again', async () => {
  expect((await ask('GET', '/v1/jobs?tenant=*')).body).toEqual({ object: 'list', has_more: false, data: [{
    id: 'v-1', object: 'job', tenant_id: ACME, adapter: 'pirate', version: 2, stage: 'pack', state: 'running', attempts: 1, error: null, created_at: 1_700_000_000, finished_at: null,
  }] });
  expect(await ask('POST', '/v1/jobs/v-1/cancel?tenant=acme')).toMatchObject({ status: 200, body: { state: 'cancelled', stage: null, finished_at: 1_700_000_010 } });
  expect(asked).toMatchObject({ tenantId: ACME, id: 'v-1', actor: { keyId: 'admin-key' } });
  expect(await ask('POST', '/v1/jobs/v-1/retry', {})).toMatchObject({ status: 200, body: { state: 'waiting', stage: 'queued' } });
  expect(asked).toMatchObject({ tenantId: TENANT, id: 'v-1' });
});

test('the audit log', async () => {
  expect((await ask('GET', '/v1/audit?limit=1')).body).toEqual({ object: 'list', has_more: true, data: [{
    id: '9', object: 'audit_entry', tenant_id: ACME, key_id: 'k-1', request_id: null, action: 'alias.put', subject: 'pirate@beta', details: { version: 2 }, at: 1_700_000_000,
  }] });
  expect(asked).toEqual({ tenantId: TENANT, limit: 1, after: '' });
});

describe('bad input', () => {
  test.each<[string, string, string | null, unknown?]>([
    ['POST', '/v1/tenants', 'name', {}], ['POST', '/v1/tenants', 'name', { name: '' }], ['POST', '/v1/tenants', 'name', { name: 'a b' }], ['POST', '/v1/tenants', 'name', { name: 5 }], ['POST', '/v1/tenants', 'name', { name: 'a'.repeat(64) }], ['POST', '/v1/tenants', 'plan', { name: 'a', plan: 'x' }], ['POST', '/v1/tenants', null, []],
    ['GET', '/v1/tenants?limit=0', 'limit'], ['GET', '/v1/tenants?limit=x', 'limit'], ['GET', `/v1/tenants?after=${'a'.repeat(129)}`, 'after'], ['GET', '/v1/tenants?tenant=acme', 'tenant'], ['DELETE', '/v1/tenants/a%20b', 'name'],
    ['POST', '/v1/keys', 'name', {}], ['POST', '/v1/keys', 'name', { name: '' }], ['POST', '/v1/keys', 'name', { name: 'a'.repeat(101) }],
    ['POST', '/v1/keys', 'scopes', { name: 'a', scopes: [] }], ['POST', '/v1/keys', 'scopes[0]', { name: 'a', scopes: ['root'] }], ['POST', '/v1/keys', 'scopes', { name: 'a', scopes: 'admin' }], ['POST', '/v1/keys', 'scopes', { name: 'a', scopes: ['admin', 'admin'] }],
    ['POST', '/v1/keys', 'limits', { name: 'a', limits: 5 }], ['POST', '/v1/keys', 'limits', { name: 'a', limits: { rpm: 5 } }], ['POST', '/v1/keys', 'limits.parallel', { name: 'a', limits: { parallel: -1 } }], ['POST', '/v1/keys', 'limits.tokens_per_minute', { name: 'a', limits: { tokens_per_minute: 2 ** 31 } }], ['POST', '/v1/keys', 'limits.requests_per_minute', { name: 'a', limits: { requests_per_minute: '5' } }],
    ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: 1_600_000_000 }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: 1_900_000_000_000 }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: 'tomorrow' }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: '2096-10-02T07:06:40' }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: [] }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: true }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: -1 }], ['POST', '/v1/keys', 'expires_at', { name: 'a', expires_at: '' }],
    ['POST', '/v1/keys', 'tenant', { name: 'a', tenant: '*' }], ['POST', '/v1/keys', 'secret', { name: 'a', secret: 'x' }],
    ['GET', '/v1/keys?tenant=a%20b', 'tenant'], ['GET', '/v1/keys?limit=-1', 'limit'], ['GET', '/v1/keys?after=', 'after'],
    ['PATCH', '/v1/keys/k-1', 'name', {}], ['PATCH', '/v1/keys/k-1', 'name', { name: null }], ['PATCH', '/v1/keys/k-1', 'name', { name: '' }], ['PATCH', '/v1/keys/k-1', 'scopes', { scopes: ['admin'] }], ['PATCH', '/v1/keys/k-1', 'limits', { limits: [] }], ['PATCH', '/v1/keys/k-1', 'expires_at', { expires_at: 5 }], ['PATCH', '/v1/keys/k-1', null, 'x'], ['PATCH', '/v1/keys/k%201', 'id', { name: 'a' }], ['PATCH', '/v1/keys/k-1?tenant=*', 'tenant', { name: 'a' }],
    ['DELETE', `/v1/keys/${'k'.repeat(65)}`, 'id'], ['DELETE', '/v1/keys/k-1?tenant=*', 'tenant'],
    ['GET', '/v1/usage?start=x', 'start'], ['GET', '/v1/usage?end=2026-13-01', 'end'], ['GET', '/v1/usage?start=20&end=10', 'end'], ['GET', '/v1/usage?start=10&end=10', 'end'], ['GET', '/v1/usage?group_by=color', 'group_by[0]'], ['GET', '/v1/usage?group_by=day,day', 'group_by'], ['GET', '/v1/usage?group_by=', 'group_by[0]'], ['GET', '/v1/usage?group_by=day&group_by=key', 'group_by'], ['GET', '/v1/usage?limit=10001', 'limit'], ['GET', '/v1/usage?after=1', 'after'], ['GET', '/v1/usage?start=1&start=2', 'start'],
    ['GET', '/v1/jobs?limit=1e9', 'limit'], ['GET', '/v1/jobs?tenant=', 'tenant'], ['POST', '/v1/jobs/a%2Fb/cancel', 'id'], ['POST', '/v1/jobs/v-1/retry?tenant=*', 'tenant'], ['POST', '/v1/jobs/v-1/retry?force=true', 'force'],
    ['GET', '/v1/audit?limit=1001', 'limit'], ['GET', '/v1/audit?since=1', 'since'],
  ])('%s %s names %s (%j)', async (method, path, param, body) => {
    const answer = await ask(method, path, body);
    expect({ status: answer.status, code: answer.body.error.code, param: answer.body.error.param }).toEqual({ status: 400, code: 'invalid_value', param });
    expect(asked).toBeUndefined();
  });

  test.each([
    ['POST', '/v1/tenants'], ['GET', '/v1/tenants'], ['DELETE', '/v1/tenants/acme'], ['POST', '/v1/keys'], ['GET', '/v1/keys'], ['PATCH', '/v1/keys/k-1'], ['DELETE', '/v1/keys/k-1'],
    ['GET', '/v1/jobs'], ['POST', '/v1/jobs/v-1/cancel'], ['POST', '/v1/jobs/v-1/retry'], ['GET', '/v1/audit'],
  ])('%s %s is an admin\'s', async (method, path) => {
    const body = method === 'PATCH' ? {} : undefined;
    expect(await ask(method, path, body, tenantKey)).toMatchObject({ status: 403, body: { error: { code: 'insufficient_scope' } } });
    expect(await ask(method, path, body, { authorization: '' })).toMatchObject({ status: 401, body: { error: { code: 'invalid_api_key' } } });
    expect(asked).toBeUndefined();
  });

  test.each(['/v1/usage', '/v1/keys/current'])('GET %s needs a key', async path => {
    expect(await ask('GET', path, undefined, { authorization: 'Bearer sk-nobody' })).toMatchObject({ status: 401, body: { error: { code: 'invalid_api_key' } } });
  });
});

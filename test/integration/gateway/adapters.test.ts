import { registryV1, WeftError } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ADMIN_KEY, KEY, startStack, type Stack } from './harness.js';
import { principal, TENANT } from './registry-double.js';

const OTHER = '00000000-0000-4000-8000-000000000002';
const { VALIDATING, READY, FAILED } = registryV1.VersionStatus;

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
  stack.registry.keys.set('sk-reader', principal({ keyId: 'reader', scopes: ['inference'] }));
  stack.registry.tenants.set('acme', { id: OTHER, name: 'acme', createdAt: 0n });
});
afterAll(() => stack.close());

const version = (number: number, status: registryV1.VersionStatus, change: Partial<registryV1.Version> = {}): registryV1.Version => registryV1.Version.fromPartial({
  id: `v-${number}`, version: number, digest: String(number).repeat(64), base: 'org/tiny:base', baseDigest: 'b'.repeat(64), bytes: 4096n, status, createdAt: 1_700_000_000_999n, ...change,
});
const pirate = registryV1.Adapter.fromPartial({
  id: 'a-1', name: 'Pirate', tenantName: 'default', description: 'Arr', createdAt: 1_600_000_000_000n, sharedWith: ['acme'],
  versions: [
    version(1, READY, { kind: 'lora', rank: 8, targetModules: ['q_proj', 'v_proj'], readyAt: 1_700_000_100_000n, effect: 0.5, warnings: [{ code: 'adapter_base_mismatch', message: 'other base', field: 'base_model_name_or_path', tensor: '', file: 'adapter_config.json' }] }),
    version(2, READY, { kind: 'lora', rank: 16, readyAt: 1_700_000_200_000n }),
    version(3, FAILED, { errors: [{ code: 'adapter_tensor_unclaimed', message: 'no such site', field: '', tensor: 'x.lora_A', file: '' }] }),
    version(4, VALIDATING, { stage: 'probe', ignored: ['optimizer.pt'] }),
  ],
  aliases: [{ alias: 'default', version: 1, revision: 7n, updatedAt: 1_700_000_300_000n }],
});

let asked: unknown;
beforeEach(() => {
  asked = undefined;
  const note = <T>(answer: T) => (request: unknown): T => { asked = request; return answer; };
  stack.registry.answers = {
    getAdapter: request => {
      asked = request;
      if (request.name.toLowerCase() !== 'pirate') throw new WeftError('not_found', `there is no adapter ${request.name}`);
      return pirate;
    },
    listAdapters: note({ data: [pirate], hasMore: true }), deleteAdapter: note({}), deleteVersion: note({}),
    putAlias: note({ alias: 'beta', version: 2, revision: 3n, updatedAt: 1_700_000_000_000n }), deleteAlias: note({}), putShare: note({}), deleteShare: note({}),
  };
});

interface Answer { status: number; headers: Headers; body: Record<string, unknown> & { error: { code: string; param: string | null; message: string } } }
async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(stack.url + path, {
    method, headers: { authorization: `Bearer ${KEY}`, ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: (text === '' ? {} : JSON.parse(text)) as Answer['body'] };
}
const actor = (answer: Answer, change: Partial<registryV1.Actor> = {}): registryV1.Actor => ({ tenantId: TENANT, keyId: 'key', requestId: answer.headers.get('x-request-id')!, ...change });

describe('reading', () => {
  test('what was done to an adapter, page by page', async () => {
    stack.registry.answers = {
      ...stack.registry.answers,
      listAdapterHistory: request => {
        asked = request;
        return { data: [registryV1.AuditEntry.fromPartial({ id: '9', tenantId: TENANT, action: 'alias.put', subject: 'Pirate@prod', details: '{"version": 2, "before": 1}', at: 1_700_000_000_000n })], hasMore: true };
      },
    };
    const { status, body } = await ask('GET', '/v1/adapters/pirate/history?limit=1&after=10');
    expect(status).toBe(200);
    expect(asked).toMatchObject({ tenantId: TENANT, name: 'pirate', limit: 1, after: '10' });
    expect(body).toMatchObject({ object: 'list', has_more: true, data: [{ object: 'audit_entry', action: 'alias.put', subject: 'Pirate@prod', details: { version: 2, before: 1 }, at: 1_700_000_000 }] });
    expect((await ask('GET', '/v1/adapters/pirate/history?limit=0')).body.error).toMatchObject({ code: 'invalid_value', param: 'limit' });
  });

  test('files and configuration of a version', async () => {
    stack.registry.answers = {
      ...stack.registry.answers,
      getVersionFiles: request => { asked = request; return { files: [{ name: 'adapter_config.json', size: 7n, sha256: 'c'.repeat(64) }], config: '{"r": 8}' }; },
    };
    const { status, body } = await ask('GET', '/v1/adapters/pirate/versions/2/config');
    expect(status).toBe(200);
    expect(asked).toMatchObject({ tenantId: TENANT, name: 'pirate', version: 2 });
    expect(body).toEqual({ object: 'adapter.files', data: [{ name: 'adapter_config.json', bytes: 7, sha256: 'c'.repeat(64) }], config: { r: 8 } });
    expect((await ask('GET', '/v1/adapters/pirate/versions/0/config')).body.error).toMatchObject({ code: 'invalid_value', param: 'version' });
  });

  test('an adapter with its versions, its aliases and the computed latest', async () => {
    const { status, body } = await ask('GET', '/v1/adapters/pirate');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      id: 'a-1', object: 'adapter', name: 'Pirate', tenant: 'default', description: 'Arr', created_at: 1_600_000_000, aliases: { default: 1, latest: 2 }, shared_with: ['acme'],
    });
    expect(body.versions).toEqual([
      {
        id: 'v-1', object: 'adapter.version', name: 'Pirate', version: 1, digest: '1'.repeat(64), base: 'org/tiny:base', base_digest: 'b'.repeat(64), kind: 'lora', rank: 8,
        target_modules: ['q_proj', 'v_proj'], bytes: 4096, status: 'ready', stage: null, errors: [], ignored: [], text: [], effect: 0.5, created_at: 1_700_000_000, ready_at: 1_700_000_100,
        warnings: [{ code: 'adapter_base_mismatch', message: 'other base', field: 'base_model_name_or_path', file: 'adapter_config.json' }],
      },
      expect.objectContaining({ version: 2, status: 'ready', effect: 0 }),
      expect.objectContaining({ version: 3, status: 'failed', kind: null, rank: null, effect: null, ready_at: null, errors: [{ code: 'adapter_tensor_unclaimed', message: 'no such site', tensor: 'x.lora_A' }] }),
      expect.objectContaining({ version: 4, status: 'validating', stage: 'probe', ignored: ['optimizer.pt'] }),
    ]);
  });

  test('one without a ready version has no latest', async () => {
    stack.registry.answers.getAdapter = () => ({ ...pirate, versions: pirate.versions.slice(2), aliases: [] });
    expect((await ask('GET', '/v1/adapters/pirate')).body.aliases).toEqual({});
  });

  test('a page of them', async () => {
    const { body } = await ask('GET', '/v1/adapters?limit=1&after=Alpha');
    expect(body).toMatchObject({ object: 'list', data: [{ name: 'Pirate' }], has_more: true });
    expect(asked).toEqual({ tenantId: TENANT, limit: 1, after: 'Alpha' });
    await ask('GET', '/v1/adapters');
    expect(asked).toEqual({ tenantId: TENANT, limit: 100, after: '' });
  });

  test('one version, and none', async () => {
    expect((await ask('GET', '/v1/adapters/pirate/versions/3')).body).toMatchObject({ object: 'adapter.version', name: 'Pirate', version: 3, status: 'failed' });
    expect(await ask('GET', '/v1/adapters/pirate/versions/9')).toMatchObject({ status: 404, body: { error: { code: 'not_found', param: 'version' } } });
    expect(await ask('GET', '/v1/adapters/nobody')).toMatchObject({ status: 404, body: { error: { code: 'not_found' } } });
  });

  test('any key of the tenant reads; an admin reads another tenant\'s', async () => {
    expect((await ask('GET', '/v1/adapters/pirate', undefined, { authorization: 'Bearer sk-reader' })).status).toBe(200);
    await ask('GET', '/v1/adapters', undefined, { 'authorization': `Bearer ${ADMIN_KEY}`, 'x-weft-tenant': 'acme' });
    expect(asked).toMatchObject({ tenantId: OTHER });
  });
});

describe('changing', () => {
  test('an alias', async () => {
    const answer = await ask('PUT', '/v1/adapters/pirate/aliases/beta', { version: 2 });
    expect(answer).toMatchObject({ status: 200, body: { object: 'adapter.alias', alias: 'beta', version: 2, revision: 3, updated_at: 1_700_000_000 } });
    expect(asked).toEqual({ actor: actor(answer), tenantId: TENANT, name: 'pirate', alias: 'beta', version: 2 });
    const removed = await ask('DELETE', '/v1/adapters/pirate/aliases/beta', undefined, { 'content-type': 'application/json' });
    expect(removed.status).toBe(204);
    expect(asked).toEqual({ actor: actor(removed), tenantId: TENANT, name: 'pirate', alias: 'beta' });
  });

  test.each([['', false], ['?force=false', false], ['?force=true', true]])('an adapter and a version are deleted%s', async (query, force) => {
    const adapter = await ask('DELETE', `/v1/adapters/pirate${query}`);
    expect([adapter.status, asked]).toEqual([204, { actor: actor(adapter), tenantId: TENANT, name: 'pirate', force }]);
    const one = await ask('DELETE', `/v1/adapters/pirate/versions/2${query}`);
    expect([one.status, asked]).toEqual([204, { actor: actor(one), tenantId: TENANT, name: 'pirate', version: 2, force }]);
  });

  test('a share', async () => {
    for (const method of ['PUT', 'DELETE']) {
      const answer = await ask(method, '/v1/adapters/pirate/shares/acme');
      expect([answer.status, asked]).toEqual([204, { actor: actor(answer), tenantId: TENANT, name: 'pirate', withTenantName: 'acme' }]);
    }
  });

  test('an admin does it for a tenant under its own key', async () => {
    const answer = await ask('DELETE', '/v1/adapters/pirate', undefined, { 'authorization': `Bearer ${ADMIN_KEY}`, 'x-weft-tenant': 'ACME' });
    expect(asked).toEqual({ actor: actor(answer, { tenantId: OTHER, keyId: 'admin-key' }), tenantId: OTHER, name: 'pirate', force: false });
  });

  test('what the registry refuses is passed on, and is not to be tried again', async () => {
    stack.registry.answers.deleteVersion = () => { throw new WeftError('conflict', 'alias default names version 1'); };
    const { status, headers, body } = await ask('DELETE', '/v1/adapters/pirate/versions/1');
    expect([status, headers.get('x-should-retry'), body.error.code, body.error.message]).toEqual([409, 'false', 'conflict', 'alias default names version 1']);
  });
});

const LONG = 'a'.repeat(64);
describe('bad input', () => {
  test.each<[string, string, string, unknown?]>([
    ['GET', '/v1/adapters?limit=0', 'limit'], ['GET', '/v1/adapters?limit=1001', 'limit'], ['GET', '/v1/adapters?limit=x', 'limit'], ['GET', '/v1/adapters?limit=1&limit=2', 'limit'], ['GET', '/v1/adapters?limit=1.5', 'limit'],
    ['GET', '/v1/adapters?after=', 'after'], ['GET', '/v1/adapters?after=a%2Fb', 'after'], ['GET', '/v1/adapters?page=2', 'page'],
    ['GET', '/v1/adapters/-x', 'name'], ['GET', `/v1/adapters/${LONG}`, 'name'], ['GET', '/v1/adapters/a%2Fb', 'name'], ['GET', '/v1/adapters/a@1', 'name'], ['GET', '/v1/adapters/..%2F..', 'name'],
    ['GET', '/v1/adapters/pirate/versions/0', 'version'], ['GET', '/v1/adapters/pirate/versions/x', 'version'], ['GET', '/v1/adapters/pirate/versions/1.5', 'version'], ['GET', '/v1/adapters/pirate/versions/-1', 'version'], ['GET', '/v1/adapters/pirate/versions/4294967297', 'version'],
    ['DELETE', '/v1/adapters/pirate?force=1', 'force'], ['DELETE', '/v1/adapters/pirate?force=', 'force'], ['DELETE', '/v1/adapters/pirate/versions/1?force=yes', 'force'], ['DELETE', '/v1/adapters/pirate?version=1', 'version'],
    ['PUT', '/v1/adapters/pirate/aliases/Beta', 'alias', { version: 1 }], ['PUT', '/v1/adapters/pirate/aliases/1', 'alias', { version: 1 }], ['PUT', '/v1/adapters/pirate/aliases/latest', 'alias', { version: 1 }], ['PUT', `/v1/adapters/pirate/aliases/${'a'.repeat(33)}`, 'alias', { version: 1 }],
    ['PUT', '/v1/adapters/pirate/aliases/beta', 'version', {}], ['PUT', '/v1/adapters/pirate/aliases/beta', 'version', { version: '1' }], ['PUT', '/v1/adapters/pirate/aliases/beta', 'version', { version: 0 }], ['PUT', '/v1/adapters/pirate/aliases/beta', 'version', { version: 1.5 }], ['PUT', '/v1/adapters/pirate/aliases/beta', 'version', { version: 2 ** 31 }],
    ['PUT', '/v1/adapters/pirate/aliases/beta', 'weight', { version: 1, weight: 5 }],
    ['DELETE', '/v1/adapters/pirate/aliases/latest', 'alias'], ['PUT', '/v1/adapters/pirate/shares/a%20b', 'tenant'], ['DELETE', '/v1/adapters/-/shares/acme', 'name'],
  ])('%s %s names %s', async (method, path, param, body) => {
    expect(await ask(method, path, body)).toMatchObject({ status: 400, body: { error: { code: 'invalid_value', param } } });
    expect(asked).toBeUndefined();
  });

  test.each([
    ['POST', '/v1/adapters'], ['DELETE', '/v1/adapters/pirate'], ['DELETE', '/v1/adapters/pirate/versions/1'], ['PUT', '/v1/adapters/pirate/aliases/beta'], ['DELETE', '/v1/adapters/pirate/aliases/beta'],
    ['PUT', '/v1/adapters/pirate/shares/acme'], ['DELETE', '/v1/adapters/pirate/shares/acme'],
  ])('%s %s needs the scope adapters:write', async (method, path) => {
    const headers = { 'authorization': 'Bearer sk-reader', ...(method === 'POST' && { 'content-type': 'multipart/form-data; boundary=x' }) };
    expect(await ask(method, path, method === 'PUT' ? { version: 1 } : undefined, headers)).toMatchObject({ status: 403, body: { error: { code: 'insufficient_scope' } } });
  });

  test.each(['/v1/adapters', '/v1/adapters/pirate', '/v1/adapters/pirate/versions/1'])('GET %s needs a key', async path => {
    expect(await ask('GET', path, undefined, { authorization: '' })).toMatchObject({ status: 401, body: { error: { code: 'invalid_api_key' } } });
  });

  test.each([['PATCH', '/v1/adapters', 'GET'], ['POST', '/v1/adapters/pirate', 'DELETE'], ['GET', '/v1/adapters/pirate/aliases/beta', 'PUT'], ['POST', '/v1/adapters/pirate/versions/1', 'GET']])('%s %s is 405 and names %s', async (method, path, right) => {
    const answer = await ask(method, path, method === 'GET' ? undefined : {});
    expect([answer.status, answer.body.error.code]).toEqual([405, 'method_not_allowed']);
    expect(answer.headers.get('allow')).toContain(right);
  });

  test('a body that is no object, and none', async () => {
    expect(await ask('PUT', '/v1/adapters/pirate/aliases/beta', [1])).toMatchObject({ status: 400, body: { error: { code: 'invalid_value', message: 'The body must be a JSON object.' } } });
    for (const headers of [undefined, { 'content-type': 'application/json' }]) {
      expect(await ask('PUT', '/v1/adapters/pirate/aliases/beta', undefined, headers)).toMatchObject({ status: 400, body: { error: { code: 'invalid_value', message: expect.stringContaining('empty') } } });
    }
  });
});

/** What commands ask, and what they print. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { remove, setAlias } from '../../../apps/cli/src/commands/alias.js';
import { createKey, listKeys, revokeKey } from '../../../apps/cli/src/commands/keys.js';
import { list } from '../../../apps/cli/src/commands/list.js';
import { push } from '../../../apps/cli/src/commands/push.js';
import { run } from '../../../apps/cli/src/commands/run.js';
import { processes, usage } from '../../../apps/cli/src/commands/status.js';
import { apiOf } from '../../../apps/cli/src/commands/target.js';
import { DataDir } from '../../../apps/cli/src/data-dir.js';
import { FakeWeft, page, type Answer } from './fake-weft.js';

const BASE = { id: 'org/base', parent: null, digest: 'b'.repeat(64) };
const VERSION = {
  name: 'pirate', version: 2, digest: 'f00d'.repeat(16), base: BASE.id, base_digest: BASE.digest, kind: 'lora', rank: 8, bytes: 3 * 2 ** 20,
  status: 'ready', stage: null, errors: [], warnings: [], ignored: [],
};
const KEY = {
  id: 'k1', name: 'ci', hint: 'sk-a…z', scopes: ['inference'], limits: { requests_per_minute: 60, tokens_per_minute: null, parallel: 2 },
  created_at: 1_900_000_000, expires_at: null, revoked_at: null, last_used_at: null,
};

let weft: FakeWeft | undefined;
afterEach(async () => { await weft?.stop(); weft = undefined; });
const serve = async (answers: Record<string, Answer | Answer[]>): Promise<FakeWeft> => (weft = await FakeWeft.start(answers));
const lines = (text: string): string[] => text.split('\n').slice(2).map(line => line.replace(/ {2,}/g, '|').trim());

test('ls shows the base, versions with status and aliases, and what others share', async () => {
  const { api } = await serve({
    'GET /v1/models': page(BASE, { id: 'pirate', parent: BASE.id, digest: VERSION.digest }, { id: 'acme/shared', parent: BASE.id, digest: 'c'.repeat(64) }),
    'GET /v1/adapters?limit=1000': [200, { data: [{ name: 'pirate', versions: [{ ...VERSION, version: 1, status: 'failed' }, VERSION, { ...VERSION, version: 3, status: 'validating', stage: 'probe', rank: null, kind: null }], aliases: { prod: 2, latest: 2 } }], has_more: true }],
    'GET /v1/adapters?limit=1000&after=pirate': page(),
  });
  const { text, json } = await list(api);
  expect(lines(text)).toEqual([
    'org/base|served|base|bbbbbbbbbbbb', 'pirate|1|failed|lora|8|3.0|f00df00df00d', 'pirate|2|ready|prod latest|lora|8|3.0|f00df00df00d', 'pirate|3|probe|3.0|f00df00df00d', 'acme/shared|shared|cccccccccccc',
  ]);
  expect(json).toMatchObject({ models: [BASE, {}, {}], adapters: [{ name: 'pirate' }] });
});

describe('push', () => {
  const answers = (last: object): Record<string, Answer | Answer[]> => ({
    'GET /v1/models': page(BASE), 'POST /v1/adapters': [202, { ...VERSION, status: 'validating', stage: 'queued', kind: null }], 'GET /v1/adapters/pirate/versions/2': [200, { ...VERSION, ...last }],
  });
  const pushed = async (last: object, wait = true) => {
    const folder = mkdtempSync(join(tmpdir(), 'weft-push-'));
    writeFileSync(join(folder, 'adapter_config.json'), '{}');
    try { return await push((await serve(answers(last))).api, folder, { name: 'pirate', wait }, {}); } finally { rmSync(folder, { recursive: true }); }
  };

  test('waits until the version is ready', async () => {
    expect(await pushed({ ignored: ['README.md'] })).toMatchObject({ failed: false, text: 'pirate@2 is ready (lora, rank 8, 3.0 MiB, digest f00df00df00d)\n  not read: README.md' });
  });
  test('or not', async () => { expect(await pushed({}, false)).toMatchObject({ failed: false, text: 'pirate@2 is validating' }); });
  test('and tells why it is refused', async () => {
    const errors = [{ code: 'adapter_tensor_unclaimed', message: 'no module', tensor: 'x.lora_A.weight' }];
    expect(await pushed({ status: 'failed', errors })).toMatchObject({ failed: true, text: 'pirate@2 is refused\n  adapter_tensor_unclaimed · tensor x.lora_A.weight · no module' });
  });
});

test('run writes an answer as it comes, and fails with what the stream says', async () => {
  const chunk = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
  const { api } = await serve({
    'POST /v1/chat/completions': [
      (_, response) => { response.writeHead(200).end(`${chunk('Arr')}${chunk('!')}data: [DONE]\n\n`); },
      (_, response) => { response.writeHead(200).end(`${chunk('Arr')}data: {"choices":[],"error":{"message":"executor died"}}\n\n`); },
    ],
  });
  let written = '';
  await run(api, 'pirate', 'Hi', {}, text => { written += text; });
  expect(written).toBe('Arr!\n');
  await expect(run(api, 'pirate', 'Hi', {}, () => undefined)).rejects.toThrow('executor died');
});

describe('alias and rm', () => {
  test('set, delete, and delete versions', async () => {
    const { api, asked } = await serve({
      'PUT /v1/adapters/pirate/aliases/prod': [200, { alias: 'prod', version: 2 }], 'DELETE /v1/adapters/pirate/aliases/prod': [204, {}],
      'DELETE /v1/adapters/pirate/versions/2?force=true': [204, {}], 'DELETE /v1/adapters/pirate': [409, { error: { code: 'conflict', message: 'prod names version 2' } }],
    });
    expect((await setAlias(api, 'pirate', 'prod', '2', false)).text).toBe('pirate@prod is pirate@2');
    expect(JSON.parse(asked[0]!.body.toString())).toEqual({ version: 2 });
    expect((await setAlias(api, 'pirate', 'prod', undefined, true)).text).toBe('pirate@prod is no more');
    expect((await remove(api, 'pirate@2', true)).text).toMatch(/^pirate@2 is deleted/);
    await expect(remove(api, 'pirate', false)).rejects.toMatchObject({ code: 'conflict', message: 'prod names version 2' });
  });

  test('what they can\'t mean is refused before it is asked', async () => {
    const { api, asked } = await serve({});
    for (const wrong of [setAlias(api, 'a', 'b', undefined, false), setAlias(api, 'a', 'b', '2', true), setAlias(api, 'a', 'b', 'two', false), remove(api, 'a@b@2', false), remove(api, 'a@prod', false)]) {
      await expect(wrong).rejects.toMatchObject({ code: 'option_invalid' });
    }
    expect(asked).toEqual([]);
  });
});

test('ps shows load and who owns the pool, adapters by name', async () => {
  const owners = [{ owner: 'kv', pages: 10 }, { owner: `adapter:${VERSION.digest}`, pages: 30 }, { owner: 'free', pages: 60 }];
  const { api } = await serve({
    'GET /v1/executors': page({ id: 'e', address: '127.0.0.1:5', device: 'cpu', page_bytes: 2 ** 20, running: 3, waiting: 1, tokens_per_second: 12.34, draining: false, pages: { total: 100, free: 60, owners } }),
    'GET /v1/models': page(BASE, { id: 'pirate', parent: BASE.id, digest: VERSION.digest }),
  });
  const { text } = await processes(api);
  expect(lines(text)[0]).toBe('127.0.0.1:5|cpu|serves|3|1|12.3|1|40.0 of 100.0');
  expect(text).toMatch(/^kv +10 +10.00 +10.0%\nadapter pirate +30 +30.00 +30.0%\nfree +60/m);
});

test('usage is grouped as asked', async () => {
  const { api } = await serve({ 'GET /v1/usage?group_by=adapter%2Cstatus&start=2030-01-01': page({ adapter: 'pirate', status: 'ok', requests: 2, open: 0, prompt_tokens: 10, cached_tokens: 0, generated_tokens: 5, billed_tokens: 15 }) });
  expect(lines((await usage(api, { groupBy: 'adapter,status', start: '2030-01-01' })).text)).toEqual(['pirate|ok|2|0|10|0|5|15']);
});

test('keys are listed without their secrets, made with one, and revoked', async () => {
  const { api, asked } = await serve({
    'GET /v1/keys?limit=1000': page(KEY, { ...KEY, id: 'k2', revoked_at: 1_900_000_060, limits: { requests_per_minute: null, tokens_per_minute: null, parallel: null } }),
    'POST /v1/keys': [201, { ...KEY, secret: 'sk-whole' }], 'DELETE /v1/keys/k1': [204, {}],
  });
  expect(lines((await listKeys(api)).text)).toEqual(['k1|ci|sk-a…z|inference|60 requests/min, 2 parallel|2030-03-17 17:46|valid', 'k2|ci|sk-a…z|inference|2030-03-17 17:46|revoked 2030-03-17 17:47']);
  expect((await createKey(api, 'ci', { scopes: 'inference, adapters:write', parallel: 2 })).text).toMatch(/^sk-whole\n.*told this once$/);
  expect(JSON.parse(asked.find(({ method }) => method === 'POST')!.body.toString())).toEqual({ name: 'ci', scopes: ['inference', 'adapters:write'], limits: { requests_per_minute: null, tokens_per_minute: null, parallel: 2 } });
  expect((await revokeKey(api, 'k1')).text).toBe('key k1 is revoked');
});

describe('whom a command speaks to', () => {
  test('the one that is named, or the one of the data directory, as the tenant or as an admin', async () => {
    const { api: { url }, asked } = await serve({ 'GET /': [200, {}] });
    const folder = mkdtempSync(join(tmpdir(), 'weft-target-'));
    const dir = DataDir.open(folder);
    dir.writeCredentials({ url, tenantKey: 'of-tenant', adminKey: 'of-admin' });
    dir.release();
    const env = { INIT_CWD: tmpdir() };
    const dataDir = folder.slice(tmpdir().length + 1);
    for (const api of [apiOf({ dataDir }, 'tenant', env), apiOf({ dataDir }, 'admin', env), apiOf({ dataDir, tenant: 'acme' }, 'tenant', env), apiOf({ dataDir, key: 'given' }, 'admin', env), apiOf({ url, key: 'given' }, 'tenant', env)]) await api.get('/');
    expect(asked.map(({ headers }) => [headers.authorization, headers['x-weft-tenant']])).toEqual([
      ['Bearer of-tenant', undefined], ['Bearer of-admin', undefined], ['Bearer of-admin', 'acme'], ['Bearer given', undefined], ['Bearer given', undefined],
    ]);
    rmSync(folder, { recursive: true });
  });

  test.each([[{ url: 'http://x' }, '--key'], [{ url: 'localhost:8080', key: 'k' }, 'url'], [{ dataDir: '/no/such' }, 'data-dir']])('%j is refused', (options, field) => {
    expect(() => apiOf(options, 'tenant', {})).toThrow(expect.objectContaining({ code: 'option_invalid', details: expect.objectContaining({ field }) }));
  });
});

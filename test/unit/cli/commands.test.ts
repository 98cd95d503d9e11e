/** What commands ask, and what they print. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, test } from 'vitest';
import { remove, setAlias } from '../../../apps/cli/src/commands/alias.js';
import { createKey, listKeys, revokeKey } from '../../../apps/cli/src/commands/keys.js';
import { bench } from '../../../apps/cli/src/commands/bench.js';
import { Conversation } from '../../../apps/cli/src/commands/chat.js';
import { list } from '../../../apps/cli/src/commands/list.js';
import { pull } from '../../../apps/cli/src/commands/pull.js';
import { push } from '../../../apps/cli/src/commands/push.js';
import { run } from '../../../apps/cli/src/commands/run.js';
import { rollback, showAdapter } from '../../../apps/cli/src/commands/show.js';
import { processes, usage, watchProcesses } from '../../../apps/cli/src/commands/status.js';
import { apiOf } from '../../../apps/cli/src/commands/target.js';
import { DataDir } from '../../../apps/cli/src/data-dir.js';
import { FakeWeft, page, type Answer } from './fake-weft.js';

const BASE = { id: 'org/base', parent: null, digest: 'b'.repeat(64) };
const VERSION = {
  name: 'pirate', version: 2, digest: 'f00d'.repeat(16), base: BASE.id, base_digest: BASE.digest, kind: 'lora', rank: 8, bytes: 3 * 2 ** 20,
  status: 'ready', stage: null, errors: [], warnings: [], ignored: [], text: [], target_modules: ['q_proj'], effect: 1.5, created_at: 1_900_000_000, ready_at: 1_900_000_060,
};
const KEY = {
  id: 'k1', name: 'ci', hint: 'sk-a…z', scopes: ['inference'], limits: { requests_per_minute: 60, tokens_per_minute: null, parallel: 2 },
  created_at: 1_900_000_000, expires_at: null, revoked_at: null, last_used_at: null,
};

let weft: FakeWeft | undefined;
afterEach(async () => { await weft?.stop(); weft = undefined; });
const serve = async (answers: Record<string, Answer | Answer[]>): Promise<FakeWeft> => (weft = await FakeWeft.start(answers));
const lines = (told: string): string[] => told.split('\n').slice(2).map(line => line.replace(/ {2,}/g, '|').trim());

test('ls shows the base, versions with status and aliases, and what others share', async () => {
  const { api } = await serve({
    'GET /v1/models': page(BASE, { id: 'pirate', parent: BASE.id, digest: VERSION.digest }, { id: 'acme/shared', parent: BASE.id, digest: 'c'.repeat(64) }),
    'GET /v1/adapters?limit=1000': [200, { data: [{ name: 'pirate', versions: [{ ...VERSION, version: 1, status: 'failed' }, VERSION, { ...VERSION, version: 3, status: 'validating', stage: 'probe', rank: null, kind: null }], aliases: { prod: 2, latest: 2 } }], has_more: true }],
    'GET /v1/adapters?limit=1000&after=pirate': page(),
  });
  const { text: told, json } = await list(api);
  expect(lines(told)).toEqual([
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
  const { api } = await serve({
    'POST /v1/chat/completions': [
      (_, response) => { response.writeHead(200).end(`${chunk('Arr')}${chunk('!')}data: [DONE]\n\n`); },
      (_, response) => { response.writeHead(200).end(`${chunk('Arr')}data: {"choices":[],"error":{"message":"executor died"}}\n\n`); },
    ],
  });
  let written = '';
  await run(api, 'pirate', 'Hi', {}, part => { written += part; });
  expect(written).toBe('Arr!\n');
  await expect(run(api, 'pirate', 'Hi', {}, () => undefined)).rejects.toThrow('executor died');
});

const chunk = (content: string): string => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`;
const USAGE = 'data: {"choices":[],"usage":{"completion_tokens":3}}\n\ndata: [DONE]\n\n';
const ADAPTER = { name: 'pirate', tenant: 'default', description: 'speaks', versions: [{ ...VERSION, version: 1 }, { ...VERSION, status: 'failed', errors: [{ code: 'adapter_tensor_shape', message: 'no' }] }, { ...VERSION, version: 3 }], aliases: { prod: 3, latest: 3 }, shared_with: ['acme'] };

test('a conversation keeps its history when the adapter changes', async () => {
  const sent: { model: string; messages: { role: string; content: string }[] }[] = [];
  const { api } = await serve({
    'GET /v1/models/pirate': [200, {}], 'GET /v1/models/poet': [200, {}], 'GET /v1/models': page(BASE, { id: 'pirate', parent: BASE.id, digest: 'p' }, { id: 'poet', parent: BASE.id, digest: 'q' }),
    'POST /v1/chat/completions': async (request, response) => {
      sent.push(JSON.parse(await text(request)) as typeof sent[0]);
      response.writeHead(200).end(sent.length === 3 ? 'data: {"choices":[],"error":{"message":"lost","code":"executor_lost"}}\n\n' : `${chunk('Arr')}${USAGE}`);
    },
  });
  const conversation = new Conversation(api, 'pirate', { system: 'Be brief.' });
  await conversation.check('pirate');
  let written = '';
  const take = (line: string): Promise<void> => conversation.take(line, part => { written += part; }, new AbortController().signal);
  await take('Hi');
  await take('/adapter poet');
  await take('And now?');
  expect(sent[1]).toMatchObject({ model: 'poet', messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hi' }, { role: 'assistant', content: 'Arr' }, { role: 'user', content: 'And now?' }] });
  await expect(take('Lost')).rejects.toMatchObject({ code: 'executor_lost' });
  written = '';
  await take('/history');
  expect(written).toBe('system: Be brief.\nuser: Hi\nassistant: Arr\nuser: And now?\nassistant: Arr\n');
  await expect(take('/adapter nobody')).rejects.toThrow();
  expect(conversation.model).toBe('poet');
  await take('/system');
  await take('/clear');
  await take('Anew');
  expect(sent.at(-1)!.messages).toEqual([{ role: 'user', content: 'Anew' }]);
  expect(conversation.complete('/adapter p')).toEqual([['pirate', 'poet'], 'p']);
  expect(conversation.complete('/h')).toEqual([['/history', '/help'], '/h']);
  await take('/what');
  expect(written).toContain('there is no /what');
});

test('an answer that is stopped ends its request, and stays as far as it came', async () => {
  let closed = false;
  const sent: { messages: object[] }[] = [];
  const { api } = await serve({
    'POST /v1/chat/completions': [
      (request, response) => { request.resume(); response.once('close', () => { closed = true; }).writeHead(200).write(chunk('Once \x1b[2Jupon')); },
      async (request, response) => { sent.push(JSON.parse(await text(request)) as { messages: object[] }); response.writeHead(200).end(USAGE); },
    ],
  });
  const conversation = new Conversation(api, 'pirate', {});
  const stop = new AbortController();
  let written = '';
  await conversation.take('Tell', part => { written += part; if (part !== '\n') stop.abort(); }, stop.signal);
  // What steers a terminal is no part of an answer.
  expect(written).toBe('Once [2Jupon\n');
  await expect.poll(() => closed).toBe(true);
  await conversation.take('Go on', () => undefined, new AbortController().signal);
  expect(sent[0]!.messages).toMatchObject([{ content: 'Tell' }, { content: 'Once \x1b[2Jupon' }, { content: 'Go on' }]);
});

test('bench times what it asks, and fails with what failed', async () => {
  const { api } = await serve({
    'GET /v1/models': page(BASE, { id: 'pirate', parent: BASE.id, digest: 'p' }),
    'POST /v1/chat/completions': [(_, response) => { response.writeHead(200).end(`${chunk('Arr')}${USAGE}`); }, (_, response) => { response.writeHead(200).end(`${chunk('Arr')}${USAGE}`); }, [503, { error: { code: 'overloaded', message: 'full' } }]],
  });
  const options = { concurrency: 1, maxTokens: 8, prompt: 'Hi' };
  const good = await bench(api, [], { ...options, requests: 2 });
  expect(good).toMatchObject({ failed: false, json: { models: 2, failed: 0, tokens: 6, first_token_ms: { p50: expect.any(Number) as unknown } } });
  expect(await bench(api, ['pirate'], { ...options, requests: 2 })).toMatchObject({ failed: true, text: expect.stringContaining('failed: pirate: full') as unknown, json: { failed: 2, tokens: 0 } });
});

test('show tells of an adapter, or of the version that a suffix means', async () => {
  const { api } = await serve({ 'GET /v1/adapters/pirate': [200, ADAPTER] });
  expect((await showAdapter(api, 'pirate')).text).toMatch(/^description +speaks\nshared with +acme\n[^]*^ +2 +failed [^]*^ +3 +ready +prod latest/m);
  expect((await showAdapter(api, 'pirate@prod')).json).toMatchObject({ version: 3 });
  expect((await showAdapter(api, 'pirate@2')).text).toMatch(/^error +adapter_tensor_shape · no$/m);
  await expect(showAdapter(api, 'pirate@canary')).rejects.toMatchObject({ code: 'not_found' });
  const texts = await serve({ 'GET /v1/adapters/pirate': [200, { ...ADAPTER, versions: [{ ...VERSION, version: 3, text: ['chat_template.jinja'] }] }] });
  expect((await showAdapter(texts.api, 'pirate@3')).text).toMatch(/^text +chat_template\.jinja$/m);
  await expect(showAdapter(api, 'pirate@')).rejects.toMatchObject({ code: 'option_invalid' });
});

test('rollback goes to what the alias named before, else to the ready version before', async () => {
  const before = (version: number): object => ({ action: 'alias.put', subject: 'pirate@prod', details: { before: version } });
  const { api, asked } = await serve({ 'GET /v1/adapters/pirate/history?limit=100': page({ action: 'version.create', subject: 'pirate@4', details: {} }, before(2), before(1)), 'GET /v1/adapters/pirate': [200, ADAPTER], 'PUT /v1/adapters/pirate/aliases/prod': [200, { version: 1 }], 'PUT /v1/adapters/pirate/aliases/default': [200, { version: 1 }] });
  expect((await rollback(api, 'pirate', 'prod', undefined)).text).toBe('pirate@prod was pirate@3 and is pirate@1 again');
  await rollback(api, 'pirate', 'default', undefined);
  expect(asked.filter(({ method }) => method === 'PUT').map(({ path, body }) => [path.split('/').at(-1), JSON.parse(body.toString())])).toEqual([['prod', { version: 1 }], ['default', { version: 1 }]]);
  await expect(rollback(api, 'pirate', 'canary', undefined)).rejects.toMatchObject({ code: 'not_found' });
});

test('pull writes the files that were uploaded, and keeps none that is damaged', async () => {
  const content = Buffer.from('weights');
  const file = { name: 'adapter_model.safetensors', bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
  const bytes: Answer = (_, response) => { response.writeHead(200).end(content); };
  const files = '/v1/adapters/pirate/versions/3/files';
  const { api } = await serve({ 'GET /v1/adapters/pirate': [200, ADAPTER], [`GET ${files}`]: [page(file), page(file), page({ ...file, sha256: '0'.repeat(64) }), page({ ...file, name: '../x' })], [`GET ${files}/${file.name}`]: bytes });
  const folder = mkdtempSync(join(tmpdir(), 'weft-pull-'));
  const into = (name: string) => (): string => join(folder, name);
  const received: number[][] = [];
  expect((await pull(api, 'pirate', into('a'), (...counts) => received.push(counts))).json).toMatchObject({ name: 'pirate', version: 3, files: [file] });
  expect(readFileSync(join(folder, 'a', file.name)).equals(content)).toBe(true);
  expect(received.at(-1)).toEqual([7, 7]);
  await expect(pull(api, 'pirate', into('a'), () => undefined)).rejects.toMatchObject({ code: 'conflict' });
  await expect(pull(api, 'pirate', into('b'), () => undefined)).rejects.toMatchObject({ code: 'io_error' });
  expect(readdirSync(join(folder, 'b'))).toEqual([]);
  await expect(pull(api, 'pirate', into('c'), () => undefined)).rejects.toMatchObject({ code: 'io_error' });
  rmSync(folder, { recursive: true });
});

test('ps --watch looks until it is told to stop', async () => {
  const { api } = await serve({ 'GET /v1/executors': page(), 'GET /v1/models': page(BASE) });
  const stop = new AbortController();
  const written: string[] = [];
  await watchProcesses(api, { isTTY: true, write: part => { written.push(part); stop.abort(); } }, false, stop.signal);
  expect(written).toEqual([expect.stringMatching(/^\x1b\[H\x1b\[2J\d{4}-.* UTC\nexecutor /)]);
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
  const { text: told } = await processes(api);
  expect(lines(told)[0]).toBe('127.0.0.1:5|cpu|serves|3|1|12.3|1|40.0 of 100.0');
  expect(told).toMatch(/^kv +10 +10.00 +10.0%\nadapter pirate +30 +30.00 +30.0%\nfree +60/m);
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

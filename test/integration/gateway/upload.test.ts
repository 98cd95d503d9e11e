import { once } from 'node:events';
import { request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { registryV1, WeftError } from '@weft/contracts';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { KEY, startStack, type Stack } from './harness.js';
import { principal, TENANT } from './registry-double.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack();
  stack.registry.keys.set('sk-reader', principal({ keyId: 'reader', scopes: ['inference'] }));
});
afterAll(() => stack.close());

/** What the registry got of one upload. */
interface Taken { begin: registryV1.UploadBegin | undefined; fields: Record<string, string>; files: Record<string, Buffer>; pieces: number[]; committed: boolean }
let taken: Taken;

async function take(parts: AsyncIterable<registryV1.UploadPart>): Promise<void> {
  taken = { begin: undefined, fields: {}, files: {}, pieces: [], committed: false };
  let file = '';
  for await (const { body } of parts) {
    if (body?.$case === 'begin') taken.begin = body.value;
    else if (body?.$case === 'field') taken.fields[body.value.name] = body.value.value;
    else if (body?.$case === 'file') taken.files[file = body.value] = Buffer.alloc(0);
    else if (body?.$case === 'bytes') {
      taken.pieces.push(body.value.length);
      taken.files[file] = Buffer.concat([taken.files[file]!, body.value]);
    } else taken.committed = true;
  }
}

const version = registryV1.Version.fromPartial({ id: 'v-1', version: 3, digest: 'd'.repeat(64), base: 'org/tiny:base', baseDigest: 'b'.repeat(64), bytes: 12n, createdAt: 1_700_000_000_500n, stage: 'queued', ignored: ['README.md'] });
beforeEach(() => {
  stack.registry.upload = async parts => {
    await take(parts);
    return { name: taken.fields.name!, version, created: true };
  };
});

const upload = (form: FormData, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${stack.url}/v1/adapters`, { method: 'POST', body: form, headers: { authorization: `Bearer ${KEY}`, ...headers } });

function formOf(fields: [string, string][], files: [string, string | Uint8Array<ArrayBuffer>][] = []): FormData {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  for (const [name, content] of files) form.append('files', new Blob([content]), name);
  return form;
}

const BOUNDARY = 'x-boundary';
const partOf = (disposition: string, content: string): string => `--${BOUNDARY}\r\nContent-Disposition: ${disposition}\r\n\r\n${content}\r\n`;
const fileOf = (name: string, content = 'x'): string => partOf(`form-data; name="files"; filename="${name}"`, content);
const NAME = partOf('form-data; name="name"', 'pirate');
const END = `--${BOUNDARY}--\r\n`;

/** A request whose body is written by hand. */
function open(headers: Record<string, string | number> = {}): ClientRequest {
  const request = httpRequest(`${stack.url}/v1/adapters`, { method: 'POST', headers: { 'authorization': `Bearer ${KEY}`, 'content-type': `multipart/form-data; boundary=${BOUNDARY}`, ...headers } });
  request.on('error', () => undefined);
  return request;
}

async function answerOf(request: ClientRequest): Promise<{ status: number; headers: IncomingMessage['headers']; body: Record<string, unknown> & { error: Record<string, unknown> } }> {
  const [response] = await once(request, 'response') as [IncomingMessage];
  return { status: response.statusCode!, headers: response.headers, body: JSON.parse(await text(response)) as never };
}

async function send(body: string | Buffer, headers: Record<string, string | number> = {}): ReturnType<typeof answerOf> {
  const request = open(headers);
  request.end(body);
  return answerOf(request);
}

describe('what is taken', () => {
  test('a form reaches the registry part by part, and its version is shown', async () => {
    const response = await upload(formOf([['name', 'Pirate'], ['base', 'org/tiny:base'], ['alias', 'beta'], ['description', 'Ärr ✓']], [['adapter_config.json', '{}'], ['adapter_model.safetensors', 'weights'], ['README.md', '']]), { 'idempotency-key': 'once' });
    expect(response.status).toBe(202);
    expect(response.headers.get('location')).toBe('/v1/adapters/Pirate/versions/3');
    expect(await response.json()).toEqual({
      id: 'v-1', object: 'adapter.version', name: 'Pirate', version: 3, digest: 'd'.repeat(64), base: 'org/tiny:base', base_digest: 'b'.repeat(64),
      kind: null, rank: null, target_modules: [], bytes: 12, status: 'validating', stage: 'queued', errors: [], warnings: [], ignored: ['README.md'], text: [], effect: null,
      created_at: 1_700_000_000, ready_at: null,
    });
    expect(taken).toMatchObject({
      begin: { tenantId: TENANT, idempotencyKey: 'once', actor: { tenantId: TENANT, keyId: 'key', requestId: response.headers.get('x-request-id') } },
      fields: { name: 'Pirate', base: 'org/tiny:base', alias: 'beta', description: 'Ärr ✓' }, committed: true,
    });
    expect(Object.entries(taken.files).map(([name, bytes]) => [name, bytes.toString()])).toEqual([['adapter_config.json', '{}'], ['adapter_model.safetensors', 'weights'], ['README.md', '']]);
  });

  test('the same bytes again are 200', async () => {
    stack.registry.upload = async parts => { await take(parts); return { name: 'Pirate', version, created: false }; };
    expect((await upload(formOf([['name', 'pirate']], [['a', 'b']]))).status).toBe(200);
  });

  test('fields may come in any order, also behind files', async () => {
    const { status } = await send(fileOf('a', '1') + partOf('form-data; name="alias"', 'beta') + fileOf('b', '2') + NAME + END);
    expect([status, taken.fields, Object.keys(taken.files)]).toEqual([202, { alias: 'beta', name: 'pirate' }, ['a', 'b']]);
  });

  test('bytes that look like boundaries, cut anywhere, arrive as they were', async () => {
    const delimiter = `\r\n--${BOUNDARY}`;
    for (let size = 1; size < 97; size += 5) {
      let content = '';
      for (let i = 0; i < 300; i++) content += delimiter.slice(0, (i * 7 + size) % delimiter.length) + 'ab'[i % 2]!;
      const body = Buffer.from(NAME + fileOf('w', content) + fileOf('empty', '') + END);
      const request = open();
      for (let at = 0; at < body.length; at += size * 11) request.write(body.subarray(at, at + size * 11));
      request.end();
      expect((await answerOf(request)).status).toBe(202);
      expect([taken.files.w!.toString() === content, taken.files.empty!.length]).toEqual([true, 0]);
    }
  });

  test('large files go in large pieces', async () => {
    const content = new Uint8Array(8 * 2 ** 20).map((_, i) => i * 31);
    expect((await upload(formOf([['name', 'pirate']], [['w', content]]))).status).toBe(202);
    expect(taken.files.w!.equals(content)).toBe(true);
    expect(taken.pieces.length).toBeLessThan(content.length / 2 ** 15);
  });

  test('names of files are taken as they are', async () => {
    const { status } = await send(NAME + fileOf('adapter model (1).safetensors') + partOf('form-data; name="files"; filename="größe.txt"', 'x') + END);
    expect([status, Object.keys(taken.files)]).toEqual([202, ['adapter model (1).safetensors', 'größe.txt']]);
  });
});

describe('what is refused', () => {
  test.each<[string, string, string | null, Record<string, string>?]>([
    ['nothing', '', null],
    ['no parts', END, 'name'],
    ['no boundary in the body', 'hello', null],
    ['no boundary in the head', NAME + END, null, { 'content-type': 'multipart/form-data' }],
    ['a boundary beyond reason', NAME + END, null, { 'content-type': `multipart/form-data; boundary=${'b'.repeat(300)}` }],
    ['another boundary', NAME + END, null, { 'content-type': 'multipart/form-data; boundary=other' }],
    ['an end in the middle of a file', NAME + fileOf('a').slice(0, -3), null],
    ['an end without the last boundary', NAME + fileOf('a'), null],
    ['an end in a part\'s head', `${NAME}--${BOUNDARY}\r\nContent-Disposition: form-da`, null],
    ['no name', fileOf('a') + END, 'name'],
    ['no files', NAME + END, 'files'],
    ['an unknown part', partOf('form-data; name="weights"', 'x') + NAME + fileOf('a') + END, 'weights'],
    ['files[]', partOf('form-data; name="files[]"; filename="a"', 'x') + NAME + END, 'files[]'],
    ['a part without a name', partOf('form-data', 'x') + NAME + fileOf('a') + END, null],
    ['a name twice', NAME + NAME + fileOf('a') + END, 'name'],
    ['a name as a file', partOf('form-data; name="name"; filename="x"', 'pirate') + fileOf('a') + END, 'name'],
    ['a file without a name', NAME + partOf('form-data; name="files"', 'x') + END, 'files'],
    ['a file twice', NAME + fileOf('a') + fileOf('a') + END, 'files'],
    ['a path', NAME + fileOf('checkpoint-10/a') + END, 'files'],
    ['a way up', NAME + fileOf('../a') + END, 'files'],
    ['a Windows path', NAME + partOf('form-data; name="files"; filename="C:\\\\a"', 'x') + END, 'files'],
    ['a folder', NAME + fileOf('..') + END, 'files'],
    ['a control character', NAME + fileOf('a\u0001') + END, 'files'],
    ['a long file name', NAME + fileOf('a'.repeat(256)) + END, 'files'],
    ['an empty name', partOf('form-data; name="name"', '') + fileOf('a') + END, 'name'],
    ['a name with a slash', partOf('form-data; name="name"', 'a/b') + fileOf('a') + END, 'name'],
    ['a name that is too long', partOf('form-data; name="name"', 'a'.repeat(64)) + fileOf('a') + END, 'name'],
    ['a name beyond all bounds', partOf('form-data; name="name"', 'a'.repeat(10_000)) + fileOf('a') + END, 'name'],
    ['an alias that is computed', partOf('form-data; name="alias"', 'latest') + NAME + fileOf('a') + END, 'alias'],
    ['an alias in capitals', partOf('form-data; name="alias"', 'Beta') + NAME + fileOf('a') + END, 'alias'],
    ['a long description', partOf('form-data; name="description"', 'a'.repeat(2001)) + NAME + fileOf('a') + END, 'description'],
    ['too many files', NAME + Array.from({ length: 300 }, (_, i) => fileOf(`f${i}`)).join('') + END, null],
    ['an Idempotency-Key beyond reason', NAME + fileOf('a') + END, 'Idempotency-Key', { 'idempotency-key': 'k'.repeat(256) }],
  ])('%s', async (_, body, param, headers = {}) => {
    const { status, body: { error } } = await send(body, headers);
    expect({ status, code: error.code, param: error.param }, String(error.message)).toEqual({ status: 400, code: 'invalid_value', param });
    expect(taken.committed).toBe(false);
  });

  test('text that is not UTF-8', async () => {
    const [before, behind] = partOf('form-data; name="description"', '!').split('!');
    const { status, body } = await send(Buffer.concat([Buffer.from(before!), Buffer.from([0xff]), Buffer.from(behind + NAME + fileOf('a') + END)]));
    expect([status, body.error.param]).toEqual([400, 'description']);
  });

  test.each<[string, Record<string, string | number>, number, string]>([
    ['no key', { authorization: '' }, 401, 'invalid_api_key'],
    ['a key that may not write', { authorization: 'Bearer sk-reader' }, 403, 'insufficient_scope'],
    ['JSON', { 'content-type': 'application/json' }, 415, 'unsupported_media_type'],
    ['another form', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'unsupported_media_type'],
    ['more than an adapter may have', { 'content-length': 2 ** 35 }, 413, 'request_too_large'],
  ])('%s, before the form has come', async (_, headers, status, code) => {
    const request = open({ 'transfer-encoding': headers['content-length'] === undefined ? 'chunked' : '', ...headers });
    if (headers['content-length'] !== undefined) request.removeHeader('transfer-encoding');
    request.write(NAME);
    const answer = await answerOf(request);
    expect([answer.status, answer.body.error.code, answer.headers.connection]).toEqual([status, code, 'close']);
    expect(answer.headers['x-request-id']).toMatch(/^req_/);
    request.destroy();
  });

  test('a form on a route that takes JSON', async () => {
    const response = await fetch(`${stack.url}/v1/completions`, { method: 'POST', body: formOf([['model', 'x']]), headers: { authorization: `Bearer ${KEY}` } });
    expect([response.status, (await response.json() as { error: { code: string } }).error.code]).toEqual([415, 'unsupported_media_type']);
  });
});

describe('the registry', () => {
  const refuseFiles = async (parts: AsyncIterable<registryV1.UploadPart>): Promise<never> => {
    for await (const { body } of parts) {
      if (body?.$case === 'file') throw new WeftError('adapter_file_unsupported', 'pickled', { param: 'files', file: body.value });
    }
    throw new Error('no file came');
  };
  const large = `${NAME}--${BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="w"\r\n\r\n`;

  test('a client that looks for an answer only when it has sent everything finds the refusal', async () => {
    stack.registry.upload = refuseFiles;
    const socket = connect(Number(new URL(stack.url).port), '127.0.0.1');
    const length = 40 * 2 ** 20;
    socket.pause();
    socket.write(`POST /v1/adapters HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${KEY}\r\ncontent-type: multipart/form-data; boundary=${BOUNDARY}\r\ncontent-length: ${large.length + length}\r\n\r\n${large}`);
    const chunk = Buffer.alloc(2 ** 20);
    for (let sent = 0; sent < length; sent += chunk.length) if (!socket.write(chunk)) await once(socket, 'drain');
    const answer = await text(socket);
    expect(answer).toMatch(/^HTTP\/1.1 400 Bad Request\r\n/);
    expect(answer).toContain('"code":"adapter_file_unsupported"');
  });

  test('its refusal is told while the form still comes', async () => {
    stack.registry.upload = refuseFiles;
    const request = open();
    request.write(large);
    const answered = answerOf(request);
    let told = false;
    void answered.then(() => { told = true; });
    const chunk = Buffer.alloc(2 ** 20);
    let sent = 0;
    for (; sent < 400 && !told; sent++) if (!request.write(chunk)) await Promise.race([once(request, 'drain'), answered]);
    expect(sent).toBeLessThan(400);
    expect(await answered).toMatchObject({ status: 400, headers: { connection: 'close' }, body: { error: { code: 'adapter_file_unsupported', param: 'files', message: 'pickled' } } });
  });

  test.each<[WeftError, number, Record<string, string>]>([
    [new WeftError('conflict', 'a base has this name', { param: 'name' }), 409, { 'x-should-retry': 'false' }],
    [new WeftError('idempotency_mismatch', 'another upload'), 409, { 'x-should-retry': 'false' }],
    [new WeftError('insufficient_storage', 'disk full'), 507, { 'x-should-retry': 'false' }],
    [new WeftError('adapter_not_ready', 'no base', { retryAfterMs: 1000 }), 503, { 'retry-after-ms': '1000' }],
  ])('%s at the commit is passed on', async (error, status, headers) => {
    stack.registry.upload = async parts => { await take(parts); throw error; };
    const answer = await send(NAME + fileOf('a') + END);
    expect([answer.status, answer.body.error.code, answer.body.error.param]).toEqual([status, error.code, error.details.param ?? null]);
    expect(answer.headers).toMatchObject(headers);
  });

  test('one that reads nothing holds the client back, and no more than a bounded part is kept', async () => {
    let go = (): void => undefined;
    stack.registry.upload = async parts => {
      await new Promise<void>(resolve => { go = resolve; });
      await take(parts);
      return { name: 'pirate', version, created: true };
    };
    const request = open();
    request.write(large);
    const chunk = Buffer.alloc(2 ** 18);
    let sent = 0;
    for (; sent < 400; sent++) {
      if (!request.write(chunk) && await Promise.race([once(request, 'drain').then(() => false), sleep(500, true)])) break;
    }
    expect(sent * chunk.length).toBeLessThan(40 * 2 ** 20);
    go();
    request.end(`\r\n${END}`);
    expect((await answerOf(request)).status).toBe(202);
    expect(taken.files.w!.length).toBe((sent + 1) * chunk.length);
  });

  test('a client that hangs up cancels there', async () => {
    let cancelled = (): void => undefined;
    const told = new Promise<void>(resolve => { cancelled = resolve; });
    stack.registry.upload = async parts => {
      parts.once('cancelled', cancelled);
      await take(parts);
      throw new WeftError('cancelled', 'no commit');
    };
    const request = open();
    taken.fields = {};
    request.write(large);
    await expect.poll(() => taken.fields.name).toBe('pirate');
    request.destroy();
    await told;
    expect(taken.committed).toBe(false);
  });
});

test('without its registry an upload is refused with a time to try again; a stop ends one that runs', async () => {
  const own = await startStack();
  own.registry.upload = parts => take(parts).then(() => new Promise(() => undefined));
  const begin = (): ClientRequest => {
    const request = httpRequest(`${own.url}/v1/adapters`, { method: 'POST', headers: { 'authorization': `Bearer ${KEY}`, 'content-type': `multipart/form-data; boundary=${BOUNDARY}` } });
    request.on('error', () => undefined);
    request.write(NAME + fileOf('a'));
    return request;
  };
  taken.fields = {};
  const running = begin();
  await expect.poll(() => taken.fields.name).toBe('pirate');
  own.registry.kill();
  expect(await answerOf(running)).toMatchObject({ status: 503, headers: { 'retry-after-ms': '1000' }, body: { error: { code: 'registry_lost' } } });
  running.destroy();
  own.registry.answers.listAdapters = () => ({ data: [], hasMore: false });
  await own.registry.start(own.registry.port);
  await expect.poll(async () => (await fetch(`${own.url}/v1/adapters`, { headers: { authorization: `Bearer ${KEY}` } })).status, { timeout: 10_000 }).toBe(200);
  taken.fields = {};
  const last = begin();
  await expect.poll(() => taken.fields.name).toBe('pirate');
  const [answer] = await Promise.all([answerOf(last).catch(() => undefined), own.close()]);
  if (answer !== undefined) expect(answer).toMatchObject({ status: 503, body: { error: { code: 'draining' } } });
});

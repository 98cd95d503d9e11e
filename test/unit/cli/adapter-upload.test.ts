import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Busboy } from '@fastify/busboy';
import { readAdapterFolder } from '@weft/adapters';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { uploadAll, listAdapters } from '../../../apps/cli/src/adapter-folders.js';
import { followed, upload } from '../../../apps/cli/src/adapter-upload.js';
import type { Adapter, Model, Version } from '../../../apps/cli/src/api.js';
import { FakeWeft, page, type Answer } from './fake-weft.js';

const BASE: Model = { id: 'org/base', parent: null, digest: 'b'.repeat(64) };
const version = (change: Partial<Version> = {}): Version => ({
  name: 'pirate', version: 1, digest: 'd', base: BASE.id, base_digest: BASE.digest, kind: 'lora', rank: 8, target_modules: ['q_proj'], bytes: 3, status: 'ready', stage: null, errors: [], warnings: [], ignored: [], text: [],
  effect: 0.5, created_at: 1_900_000_000, ready_at: 1_900_000_060, ...change,
});

let folder: string;
let weft: FakeWeft | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-upload-'));
  writeFileSync(join(folder, 'adapter_config.json'), '{"r": 8}');
  writeFileSync(join(folder, 'adapter_model.safetensors'), Buffer.alloc(3_000_000, 7));
  writeFileSync(join(folder, 'tokenizer.json'), '{}');
  writeFileSync(join(folder, 'empty.json'), '');
  writeFileSync(join(folder, 'optimizer.pt'), 'what training left');
});
afterEach(async () => { await weft?.stop(); weft = undefined; rmSync(folder, { recursive: true }); });
const serve = async (answers: Record<string, Answer | Answer[]>): Promise<FakeWeft> => (weft = await FakeWeft.start(answers));

/** What a server reads out of a form. */
function readForm(type: string, body: Buffer): Promise<{ fields: Record<string, string>; files: Record<string, Buffer> }> {
  return new Promise((resolve, reject) => {
    const fields: Record<string, string> = {};
    const files: Record<string, Buffer> = {};
    const form = new Busboy({ headers: { 'content-type': type } });
    form.on('field', (name, value) => { fields[name] = value; });
    form.on('file', (_, stream, name) => {
      const chunks: Buffer[] = [];
      stream.on('data', chunk => chunks.push(chunk as Buffer)).on('end', () => { files[name] = Buffer.concat(chunks); });
    });
    form.on('finish', () => resolve({ fields, files })).on('error', reject).end(body);
  });
}

test('a form has the fields, every file that is read anywhere, and the length that it says', async () => {
  const { api, asked } = await serve({ 'POST /v1/adapters': [202, version({ status: 'validating' })] });
  const sent: number[] = [];
  await upload(api, BASE, folder, { name: 'pirate', alias: undefined, description: 'Arr «ü»' }, undefined, { sent: (bytes, total) => sent.push(bytes / total) });
  const [{ headers, body }] = asked as [typeof asked[0]];
  expect(headers).toMatchObject({ 'authorization': 'Bearer sk-test', 'content-length': String(body.length) });
  const { fields, files } = await readForm(headers['content-type']!, body);
  expect(fields).toEqual({ name: 'pirate', description: 'Arr «ü»', base: 'org/base' });
  expect(Object.fromEntries(Object.entries(files).map(([name, { length }]) => [name, length]))).toEqual({ 'adapter_config.json': 8, 'adapter_model.safetensors': 3_000_000, 'empty.json': 0, 'tokenizer.json': 2 });
  expect(files['adapter_model.safetensors']!.equals(Buffer.alloc(3_000_000, 7))).toBe(true);
  expect(sent.at(-1)).toBe(1);
  expect(sent).toEqual([...sent].sort((a, b) => a - b));
});

test('what is there already is not sent, unless something else is to change', async () => {
  const { digest } = await readAdapterFolder(folder);
  const { api, asked } = await serve({ 'POST /v1/adapters': [202, version({ version: 9 })] });
  const known = (change: Partial<Version>): Adapter => ({ name: 'pirate', versions: [version({ digest, ...change }), version({ version: 2, digest: 'other' })], aliases: {}, tenant: 'default', description: '', shared_with: [] });
  expect((await upload(api, BASE, folder, { name: 'pirate' }, known({}))).version).toBe(1);
  expect((await upload(api, BASE, folder, { name: 'pirate' }, known({ status: 'validating' }))).version).toBe(1);
  expect(asked).toHaveLength(0);
  for (const change of [{ status: 'failed' as const }, { base_digest: 'of another base' }]) expect((await upload(api, BASE, folder, { name: 'pirate' }, known(change))).version).toBe(9);
  expect((await upload(api, BASE, folder, { name: 'pirate', alias: 'prod' }, known({}))).version).toBe(9);
});

test('a refusal before the last byte is heard', async () => {
  writeFileSync(join(folder, 'more.safetensors'), Buffer.alloc(30_000_000));
  const { api } = await serve({
    'POST /v1/adapters': (request, response) => {
      request.once('data', () => {
        request.pause();
        response.writeHead(409, { connection: 'close' }).end(JSON.stringify({ error: { code: 'conflict', message: 'taken', param: 'name' } }));
      });
    },
  });
  await expect(upload(api, BASE, folder, { name: 'pirate' }, undefined)).rejects.toMatchObject({ code: 'conflict', message: 'taken', details: { param: 'name' } });
});

test('a server that is not there is an error that says so', async () => {
  const { api } = await serve({});
  await weft!.stop();
  await expect(upload(api, BASE, folder, { name: 'pirate' }, undefined)).rejects.toMatchObject({ code: 'unreachable', message: expect.stringMatching(/does not answer.*Is Weft running/) });
});

test('a version is followed through its stages to its end', async () => {
  const { api } = await serve({
    'GET /v1/adapters/pirate/versions/1': [
      [200, version({ status: 'validating', stage: 'validate' })], [200, version({ status: 'validating', stage: 'probe' })], [200, version({ status: 'validating', stage: 'probe' })], [200, version()],
    ],
  });
  const stages: string[] = [];
  expect((await followed(api, version({ status: 'validating', stage: 'queued' }), { stage: stage => stages.push(stage) })).status).toBe('ready');
  expect(stages).toEqual(['queued', 'validate', 'probe']);
});

test('of a folder of adapters, those refused come back and are told; a service that is away is asked again', async () => {
  const parent = join(folder, 'adapters');
  for (const [name, file] of [['bad', 'weights.bin'], ['dora', 'adapter_config.json'], ['Dora', 'adapter_config.json'], ['.hidden', 'x']] as const) {
    mkdirSync(join(parent, name), { recursive: true });
    writeFileSync(join(parent, name, file), '{}');
  }
  const { api, asked } = await serve({
    'GET /v1/models': page(BASE), 'GET /v1/adapters?limit=1000': page(),
    'POST /v1/adapters': [
      [503, { error: { code: 'registry_lost', message: 'away' } }],
      [202, version({ name: 'Dora', status: 'failed', errors: [{ code: 'adapter_field_unsupported', message: 'it is true', field: 'use_dora' }] })],
    ],
  });
  const lines: string[] = [];
  const refused = await uploadAll(api, listAdapters(parent), line => lines.push(line));
  expect(asked.filter(({ method }) => method === 'POST')).toHaveLength(2);
  expect(refused.map(({ name, errors }) => [name, errors[0]!.code])).toEqual(
    expect.arrayContaining([['bad', 'adapter_file_unsupported'], ['dora', 'conflict'], ['Dora', 'adapter_field_unsupported']]));
  expect(lines).toContain('refused adapter Dora: adapter_field_unsupported · field use_dora · it is true');
});

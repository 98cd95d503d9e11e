import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import { Test, type TestingModule } from '@nestjs/testing';
import { LINK_OPTIONS } from '@weft/contracts';
import { kindOf, readAdapterFolder, type BaseGeometry } from '@weft/adapters';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readConfig } from '../../../apps/executor/src/config.js';
import { EngineService } from '../../../apps/executor/src/engine.service.js';
import { ExecutorModule } from '../../../apps/executor/src/executor.module.js';
import { LinkServer } from '../../../apps/executor/src/link-server.js';
import { RegistryLink } from '../../../apps/executor/src/registry-link.js';
import { filesOf, TINY, withB } from '../../unit/executor/serving.js';
import { Peer, TOKEN } from './peer.js';
import { RegistryDouble } from './registry-double.js';

let registry: RegistryDouble;
let module: TestingModule;
let engine: EngineService;
let client: Client;
let dataDir: string;
let base: string;
const lines: string[] = [];

beforeEach(async () => {
  registry = await new RegistryDouble(TOKEN).start();
  dataDir = mkdtempSync(join(tmpdir(), 'weft-executor-'));
  const config = readConfig({
    WEFT_LINK_TOKEN: TOKEN, WEFT_MODEL: join(TINY, 'base'), WEFT_MODEL_NAME: 'weft-fixtures/llama-tiny', WEFT_DATA_DIR: dataDir, WEFT_THREADS: '1',
    WEFT_POOL_BYTES: String(8 * 2 ** 20), WEFT_REGISTRY_ADDRESS: registry.address,
  });
  module = await Test.createTestingModule({ imports: [ExecutorModule.with(config)] }).compile();
  engine = module.get(EngineService);
  const at = await module.get(LinkServer).listen();
  await engine.open(() => undefined);
  base = engine.base.digest;
  lines.length = 0;
  await module.get(RegistryLink).start(at, line => lines.push(line));
  client = new Client(at, credentials.createInsecure(), LINK_OPTIONS);
  await expect.poll(() => lines).toEqual(['registry: joined']);
});
afterEach(async () => {
  module.get(LinkServer).close();
  client.close();
  await engine.close();
  await module.close();
  registry.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

const attach = (name = 'gateway'): Peer => new Peer(client, name, base).beat();
const with_ = (digest: string): { adapters: { digest: string; weight: number }[] } => ({ adapters: [{ digest, weight: 1 }] });

test('it says who it is and what an adapter must fit; heartbeats go both ways', async () => {
  const [hello] = registry.of('hello');
  const { executorId } = await engine.description();
  expect(hello).toMatchObject({ executorId, base: { digest: base, id: 'weft-fixtures/llama-tiny' }, device: (await engine.description()).device });
  expect(executorId).toMatch(/^[0-9a-f-]{36}$/);
  expect(hello!.address).toMatch(/^127\.0\.0\.1:\d+$/);
  // Enough to check an adapter without the model.
  const folder = await readAdapterFolder(join(TINY, 'adapters', 'r16-all'), new Map(Object.entries(hello!.base!.text)));
  const manifest = await kindOf(folder).validate(folder, JSON.parse(hello!.base!.geometry) as BaseGeometry);
  expect(manifest).toMatchObject({ rank: 16, warnings: [] });
  await expect.poll(() => registry.of('heartbeat').length, { timeout: 3000 }).toBeGreaterThan(0);
});

test('it joins again within a second of a restart, and serves meanwhile', async () => {
  const peer = attach();
  await expect.poll(() => peer.of('welcome').length).toBe(1);
  peer.submit('long', { maxTokens: 60, stopIds: [] });
  registry.stop();
  peer.submit('meanwhile');
  await expect.poll(() => peer.of('terminal').map(({ requestId, reason }) => [requestId, reason]).sort()).toEqual([['long', 'done'], ['meanwhile', 'done']]);
  await sleep(1500);
  expect(lines).toEqual(['registry: joined', expect.stringContaining('registry: lost')]);
  await registry.start();
  await expect.poll(() => registry.joins, { timeout: 1000 }).toBe(2);
  await expect.poll(() => lines.at(-1)).toBe('registry: joined');
  peer.hangUp();
});

test('a registry that falls silent is left, and joined anew', async () => {
  registry.beats = false;
  await expect.poll(() => lines.length, { timeout: 6000 }).toBeGreaterThan(1);
  registry.beats = true;
  await expect.poll(() => lines.at(-1), { timeout: 6000 }).toBe('registry: joined');
  expect(registry.joins).toBeGreaterThan(1);
});

test('a task: fetched, packed, probed, and served', async () => {
  const digest = registry.store.putFiles(filesOf('r8-qv'));
  registry.prepare('t1', digest);
  await expect.poll(() => registry.resultOf('t1')).toMatchObject({ errors: [], warnings: [], transient: false });
  expect(registry.resultOf('t1')!.effect).toBeGreaterThan(0);
  expect(registry.stagesOf('t1')).toEqual(['pack', 'probe']);
  const peer = attach();
  await expect.poll(() => peer.of('load').at(-1)).toMatchObject({ submits: 0n, promptTokens: 0n, generatedTokens: 0n });
  peer.submit('r', with_(digest));
  await expect.poll(() => peer.of('terminal')).toMatchObject([{ reason: 'done', generatedTokens: 4 }]);
  registry.prepare('t2', digest);
  await expect.poll(() => registry.resultOf('t2')?.effect).toBe(registry.resultOf('t1')!.effect);
  expect(registry.store.fetched).toBe(2);
  peer.hangUp();
});

test('a task that is refused says why and for good; one that fails on the way may be tried again', async () => {
  registry.prepare('idle', registry.store.putFiles(withB('r8-qv', 1e-25)));
  await expect.poll(() => registry.resultOf('idle')).toMatchObject({ errors: [{ code: 'adapter_without_effect' }], effect: 0, transient: false });
  registry.prepare('wild', registry.store.putFiles(withB('r8-qv', 1e38)));
  await expect.poll(() => registry.resultOf('wild')).toMatchObject({ errors: [{ code: 'numerical_error' }], transient: false });
  registry.prepare('bad', registry.store.putFiles({ ...filesOf('r8-qv'), 'x.json': Buffer.from('{}'), 'y.json': Buffer.from('{}') }));
  await expect.poll(() => registry.resultOf('bad')).toMatchObject({ errors: [{ code: 'adapter_file_unsupported', file: 'x.json' }, { file: 'y.json' }], transient: false });
  // Nothing that was refused is kept.
  const adapters = join(dataDir, 'adapters');
  await expect.poll(() => readdirSync(adapters, { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.image'))).toEqual([]);
  const lost = registry.store.putFiles(filesOf('r1'));
  registry.store.blobs.delete(registry.store.artifacts.get(lost)!.files[1]!.sha256);
  registry.prepare('lost', lost);
  await expect.poll(() => registry.resultOf('lost')).toMatchObject({ errors: [{ code: 'not_found' }], transient: true });
});

test('a cancelled task has no result; a restarted registry gives its tasks anew', async () => {
  const digest = registry.store.putFiles(filesOf('r8-qv'));
  registry.store.fault = async (_, bytes) => { await sleep(200); return bytes; };
  registry.prepare('cancelled', digest);
  await expect.poll(() => registry.stagesOf('cancelled')).toEqual(['pack']);
  registry.send({ $case: 'cancel', value: { taskId: 'cancelled' } });
  registry.prepare('again', digest);
  await expect.poll(() => registry.resultOf('again')).toMatchObject({ errors: [] });
  expect(registry.resultOf('cancelled')).toBeUndefined();

  const other = registry.store.putFiles(filesOf('r1'));
  registry.prepare('broken', other);
  await expect.poll(() => registry.stagesOf('broken')).toEqual(['pack']);
  registry.stop();
  await registry.start();
  await expect.poll(() => registry.joins, { timeout: 2000 }).toBe(2);
  registry.prepare('broken', other);
  await expect.poll(() => registry.resultOf('broken'), { timeout: 3000 }).toMatchObject({ errors: [] });
  expect(registry.of('result').filter(({ taskId }) => taskId === 'broken')).toHaveLength(1);
});

test('a request for an adapter that is not here yet waits for it; a forgotten one is fetched again', async () => {
  const digest = registry.store.putFiles(filesOf('r8-qv'));
  const peer = attach();
  await expect.poll(() => peer.of('welcome').length).toBe(1);
  peer.submit('cold', with_(digest));
  peer.submit('unknown', with_('e'.repeat(64)));
  await expect.poll(() => peer.of('terminal').length).toBe(2);
  expect(peer.of('terminal').find(({ requestId }) => requestId === 'cold')).toMatchObject({ reason: 'done', generatedTokens: 4 });
  expect(peer.of('terminal').find(({ requestId }) => requestId === 'unknown')).toMatchObject({ errorCode: 'adapter_not_ready', retryAfterMs: 1000 });
  registry.send({ $case: 'forget', value: { digest } });
  await expect.poll(() => engine.knows(digest)).toBe(false);
  peer.submit('again', with_(digest));
  await expect.poll(() => peer.of('terminal').at(-1)).toMatchObject({ requestId: 'again', reason: 'done' });
  expect(registry.store.fetched).toBe(4);
  peer.hangUp();
});

test('a gateway that goes while its request waits for an adapter: one terminal, cancelled', async () => {
  const digest = registry.store.putFiles(filesOf('r8-qv'));
  registry.store.fault = async (_, bytes) => { await sleep(500); return bytes; };
  const peer = attach();
  await expect.poll(() => peer.of('welcome').length).toBe(1);
  peer.submit('r', with_(digest));
  await expect.poll(() => registry.store.fetched).toBe(1);
  peer.hangUp();
  await sleep(100);
  const again = attach();
  await expect.poll(() => again.of('terminal')).toMatchObject([{ requestId: 'r', reason: 'cancelled' }]);
  await sleep(800);
  expect(again.of('terminal')).toHaveLength(1);
  again.hangUp();
});

test('ends that nobody acknowledged: told to the registry when their gateway stays away, and kept until it takes them', async () => {
  registry.takes = false;
  const gone = attach('gone'), stays = attach('stays'), returns = attach('returns');
  await expect.poll(() => [gone, stays, returns].map(peer => peer.of('welcome').length)).toEqual([1, 1, 1]);
  for (const [id, peer] of Object.entries({ gone, stays, returns })) peer.submit(id);
  await expect.poll(() => [gone, stays, returns].map(peer => peer.of('terminal').length)).toEqual([1, 1, 1]);
  gone.hangUp();
  returns.hangUp();
  await sleep(2000);
  const returned = attach('returns');
  await expect.poll(() => returned.of('terminal')).toMatchObject([{ requestId: 'returns' }]);
  await expect.poll(() => registry.of('orphans').length, { timeout: 8000 }).toBe(1);
  expect(registry.of('orphans')[0]!.closes).toMatchObject([{ id: 'gone', status: 'orphaned', promptTokens: 1, generatedTokens: 4, billedTokens: 0 }]);
  // Not taken, and the registry is restarted: told again, once.
  registry.takes = true;
  registry.stop();
  await registry.start();
  await expect.poll(() => registry.of('orphans').length, { timeout: 8000 }).toBe(2);
  await sleep(2500);
  expect(registry.of('orphans')).toHaveLength(2);
  for (const peer of [stays, returned]) peer.hangUp();
});

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { queuePrefix } from '../../../apps/registry/src/ingestion/queue.js';
import { loraTensors, peftConfig, safetensors } from '../../unit/adapters/support.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { BASE, ExecutorDouble, GEOMETRY } from './executor-double.js';
import { BACKENDS, dropQueue, needBackend } from './queue-backends.js';
import { isBuilt, RegistryProcess } from './registry-process.js';
import { begin, file, filesBelow, loraFiles, newName, upload, UploadCall, type Files } from './uploads.js';

/** Until a new registry has continued what another left. */
const CONTINUES_MS_MAX = 15_000;

/** Takes a moment to validate. */
const TARGETS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const;
const largeFiles: Files = {
  'adapter_config.json': JSON.stringify(peftConfig({ base_model_name_or_path: 'org/tiny', r: 256, target_modules: 'all-linear' })),
  'adapter_model.safetensors': safetensors(loraTensors(GEOMETRY, TARGETS, () => 256)),
};

const OTHER_DIGEST = 'd'.repeat(64);
const OTHER_BASE = { ...BASE, digest: OTHER_DIGEST, id: 'org/other', geometry: JSON.stringify({ ...GEOMETRY, digest: OTHER_DIGEST }) };

describe.each(BACKENDS)('a registry that ends, its queue in $name', backend => {
  let database: TestDatabase | null;
  let artifactsDir: string;
  const processes: RegistryProcess[] = [];
  beforeEach(async context => {
    database = null;
    await needBackend(backend, context);
    if (!isBuilt) context.skip('needs the built registry: npm run build');
    database = await createDatabase();
    need(database, context);
    artifactsDir = await mkdtemp(join(tmpdir(), 'weft-artifacts-'));
  });
  afterEach(async () => {
    for (const registry of processes.splice(0)) await registry.kill();
    if (database !== null && backend.variables.WEFT_REDIS_URL !== undefined) await dropQueue(await queuePrefix(database.url));
    await database?.drop();
    await rm(artifactsDir, { recursive: true, force: true });
  });

  async function start(): Promise<RegistryProcess> {
    const registry = await RegistryProcess.start(database!, artifactsDir, backend.variables);
    processes.push(registry);
    return registry;
  }
  async function joined(registry: RegistryProcess, base = BASE): Promise<ExecutorDouble> {
    const executor = new ExecutorDouble(registry.address, `of ${base.id}`, base);
    onTestFinished(() => executor.kill());
    await executor.joined();
    return executor;
  }
  const rows = async (): Promise<{ id: string; stage: string; status: string; attempts: number }[]> => (await database!.owner.query('select id, stage, status, attempts from weft.versions order by created_at')).rows;
  const stages = async (): Promise<string[]> => (await rows()).map(({ stage }) => stage);
  const tenant = async (): Promise<string> => (await database!.owner.query(`select id from weft.tenants where name = 'default'`)).rows[0].id;

  test('by a kill, with versions in every stage, one whose job was lost, and half an upload: the next one continues them all', async () => {
    const first = await start();
    const executor = await joined(first);
    (await joined(first, OTHER_BASE)).kill();
    const tenantId = await tenant();
    const send = async (base: string, files: Files): Promise<string> => (await upload(first.client, { tenantId, fields: { name: newName(), base }, files })).version!.id;

    await send(OTHER_BASE.id, loraFiles(1));
    const lost = await send(OTHER_BASE.id, loraFiles(2));
    for (const stage of ['pack', 'probe']) {
      executor.onPrepare = ({ taskId }) => executor.progress(taskId, stage);
      await send(BASE.id, loraFiles(stage.length));
      await expect.poll(async () => (await stages()).at(-1), { timeout: 20_000 }).toBe(stage);
    }
    const half = new UploadCall(first.client);
    for (const body of [begin(tenantId), ...file('adapter_model.safetensors', Buffer.alloc(3 << 20))]) await half.send(body);
    await expect.poll(() => filesBelow(artifactsDir, 'staging')).not.toEqual([]);
    await send(BASE.id, largeFiles);
    await expect.poll(async () => (await stages()).at(-1), { timeout: 20_000, interval: 5 }).toBe('validate');
    await first.kill();
    expect(await stages()).toEqual(['queued', 'queued', 'pack', 'probe', 'validate']);
    if (backend.variables.WEFT_REDIS_URL === undefined) await database!.owner.query('delete from bullmq.job where id = $1', [lost]);

    const second = await start();
    expect(await filesBelow(artifactsDir, 'staging')).toEqual([]);
    (await joined(second)).willing();
    (await joined(second, OTHER_BASE)).willing();
    await expect.poll(async () => (await rows()).map(({ status }) => status), { timeout: CONTINUES_MS_MAX }).toEqual(Array(5).fill('ready'));
    expect((await rows()).map(({ attempts }) => attempts)).toEqual([1, 1, 2, 2, 2]);
  });

  test('in order gives back what it works on', async () => {
    const first = await start();
    const executor = await joined(first);
    await upload(first.client, { tenantId: await tenant(), fields: { name: newName() } });
    await executor.task();
    await first.stop();
    expect(first.child.exitCode).toBe(0);
    const next = await joined(await start());
    next.ready((await next.task()).taskId);
    await expect.poll(rows).toMatchObject([{ status: 'ready', attempts: 1 }]);
  });
});

import { getQueueToken } from '@nestjs/bullmq';
import { registryV1 } from '@weft/contracts';
import type { Queue } from 'bullmq';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { INGESTION } from '../../../apps/registry/src/ingestion/queue.js';
import { createDatabase, need, type TestDatabase } from './database.js';
import { ExecutorDouble } from './executor-double.js';
import { BACKENDS, dropQueue, needBackend } from './queue-backends.js';
import { API_KEY, TestRegistry } from './registry.js';
import { loraFiles, newName, upload, type UploadOptions } from './uploads.js';

const { READY, FAILED, VALIDATING } = registryV1.VersionStatus;
const SOON = { timeout: 10_000 };

describe.each(BACKENDS)('ingestion, its queue in $name', backend => {
  let database: TestDatabase | null;
  let registry: TestRegistry;
  let queue: Queue;
  let tenantId: string;
  let seed = 0;
  beforeAll(async () => {
    database = await createDatabase();
    if (database === null) return;
    registry = await TestRegistry.start(database, backend.variables);
    queue = registry.app.get<Queue>(getQueueToken(INGESTION));
    ({ tenantId } = await registry.call('authenticate', { key: API_KEY }));
    const first = new ExecutorDouble(registry.address, 'first');      // tells of the base
    await first.joined();
    first.kill();
  });
  afterAll(async () => {
    await registry?.stop();
    if (backend.variables.WEFT_REDIS_URL !== undefined && queue !== undefined) await dropQueue(queue.opts.prefix!);
    await database?.drop();
  });
  beforeEach(async context => {
    need(database, context);
    await needBackend(backend, context);
  });

  async function join(id: string): Promise<ExecutorDouble> {
    const executor = new ExecutorDouble(registry.address, id);
    onTestFinished(() => executor.kill());
    await executor.joined();
    return executor;
  }
  const send = async (options: Partial<UploadOptions> = {}): Promise<registryV1.Version> =>
    (await upload(registry.client, { tenantId, fields: { name: newName() }, files: loraFiles(++seed), ...options })).version!;
  const jobOf = async (id: string): Promise<registryV1.Job> => (await registry.call('listJobs', { tenantId, limit: 0, after: '' })).data.find(job => job.id === id)!;
  const versionOf = async (id: string): Promise<registryV1.Version> => {
    const { data } = await registry.call('listAdapters', { tenantId, limit: 1000, after: '' });
    return data.flatMap(({ versions }) => versions).find(version => version.id === id)!;
  };
  const becomes = (id: string, status: registryV1.VersionStatus): Promise<void> => expect.poll(async () => (await versionOf(id)).status, { timeout: 15_000 }).toBe(status);

  test('goes through its stages', async () => {
    const executor = await join('e1');
    const { id, digest } = await send();
    const { taskId, artifact } = await executor.task();
    expect(artifact).toMatchObject({ digest, files: [{ name: 'adapter_config.json' }, { name: 'adapter_model.safetensors' }] });
    for (const stage of ['pack', 'probe']) {
      executor.progress(taskId, stage);
      await expect.poll(() => jobOf(id), SOON).toMatchObject({ stage, state: 'running', attempts: 1, finishedAt: 0n });
    }
    executor.result(taskId, { effect: 1.5, warnings: [{ code: 'w', message: 'careful', field: '', tensor: '', file: '' }] });
    await becomes(id, READY);
    expect(await versionOf(id)).toMatchObject({ stage: '', effect: 1.5, warnings: [{ code: 'w' }], kind: 'lora' });
    expect(await jobOf(id)).toMatchObject({ state: 'completed', stage: '', error: '' });
    await expect.poll(() => queue.getJob(id)).toBeUndefined();
  });

  test('waits for an executor without holding up others, and begins when one joins', async () => {
    const versions: registryV1.Version[] = [];
    for (let i = 0; i < 20; i++) versions.push(await send());
    for (const { id } of versions) await expect.poll(() => jobOf(id), SOON).toMatchObject({ state: 'waiting', stage: 'queued', attempts: 1 });
    await expect.poll(async () => (await versionOf(versions.at(-1)!.id)).kind, SOON).toBe('lora');
    expect(JSON.stringify((await queue.getJob(versions[0]!.id))!.data)).toBe(JSON.stringify({ versionId: versions[0]!.id }));
    (await join('late')).willing();
    for (const { id } of versions) await becomes(id, READY);
  });

  test('ends with all findings of a bad adapter, by file and not by path', async () => {
    const bad = await send({ files: { ...loraFiles(++seed), 'adapter_config.json': '{', 'extra.txt': 'x' } });
    await becomes(bad.id, FAILED);
    const { errors } = await versionOf(bad.id);
    expect(errors).toMatchObject([{ code: 'adapter_file_unsupported', file: 'extra.txt' }]);
    expect(JSON.stringify(errors)).not.toContain(registry.artifactsDir);
    expect(await jobOf(bad.id)).toMatchObject({ state: 'failed', error: expect.stringContaining('adapter_file_unsupported') as string });
    const executor = await join('e2');
    const worse = await send();
    executor.result((await executor.task()).taskId, { errors: [{ code: 'adapter_without_effect', message: 'nothing changed', field: '', tensor: '', file: '' }] });
    await becomes(worse.id, FAILED);
    expect(await versionOf(worse.id)).toMatchObject({ errors: [{ code: 'adapter_without_effect', message: 'nothing changed' }], kind: 'lora' });
  });

  test('is tried again after a failure that may pass, and in the end given up; then it can be begun anew', async () => {
    const executor = await join('e3');
    const { id } = await send();
    const transient = { transient: true, errors: [{ code: 'out_of_memory', message: 'no pages', field: '', tensor: '', file: '' }] };
    for (let n = 0; n < 3; n++) executor.result((await executor.task(n)).taskId, transient);
    await becomes(id, FAILED);
    expect(await versionOf(id)).toMatchObject({ errors: [{ code: 'out_of_memory', message: 'no pages' }] });
    await expect.poll(() => queue.getJob(id), SOON).toBeUndefined();
    expect(await registry.call('retryJob', { actor: undefined, tenantId, id })).toMatchObject({ state: 'waiting', attempts: 0, error: '' });
    await expect(registry.call('retryJob', { actor: undefined, tenantId, id })).rejects.toMatchObject({ code: 'conflict' });
    executor.willing();
    executor.ready((await executor.task(3)).taskId);
    await becomes(id, READY);
  });

  test('goes to another executor when one is lost', async () => {
    const [lost, other] = [await join('lost'), await join('other')];
    const { id } = await send();
    await expect.poll(() => lost.tasks.length + other.tasks.length, SOON).toBe(1);
    const [holder, next] = lost.tasks.length > 0 ? [lost, other] : [other, lost];
    holder.kill();
    next.ready((await next.task()).taskId);
    await becomes(id, READY);
  });

  test('that is cancelled ends where it runs, and can be begun anew', async () => {
    const executor = await join('e4');
    const { id } = await send();
    const { taskId } = await executor.task();
    expect(await registry.call('cancelJob', { actor: undefined, tenantId, id })).toMatchObject({ state: 'cancelled', stage: '' });
    await expect.poll(() => executor.of('cancel')).toEqual([{ taskId }]);
    executor.ready(taskId);      // too late
    await expect(registry.call('cancelJob', { actor: undefined, tenantId, id })).rejects.toMatchObject({ code: 'conflict' });
    expect(await versionOf(id)).toMatchObject({ status: FAILED, errors: [{ code: 'cancelled' }] });
    await registry.call('retryJob', { actor: undefined, tenantId, id });
    executor.ready((await executor.task(1)).taskId);
    await becomes(id, READY);
    await expect(registry.call('cancelJob', { actor: undefined, tenantId, id })).rejects.toMatchObject({ code: 'conflict' });
  });

  test('that is cancelled while it waits is never begun; an unknown one is not found', async () => {
    const { id } = await send();
    await expect.poll(() => jobOf(id), SOON).toMatchObject({ state: 'waiting', attempts: 1 });
    await registry.call('cancelJob', { actor: undefined, tenantId, id });
    const executor = await join('e5');
    const next = await send();
    executor.ready((await executor.task()).taskId);
    await becomes(next.id, READY);
    expect(executor.tasks).toHaveLength(1);
    const other = await registry.call('createTenant', { actor: undefined, name: newName() });
    for (const job of [{ tenantId: other.id, id }, { tenantId, id: 'none' }]) await expect(registry.call('retryJob', { actor: undefined, ...job })).rejects.toMatchObject({ code: 'not_found' });
  });

  test('of a version that is deleted ends', async () => {
    const executor = await join('e6');
    const name = newName();
    await send({ fields: { name } });
    const { taskId } = await executor.task();
    await registry.call('deleteAdapter', { actor: undefined, tenantId, name, force: false });
    await expect.poll(() => executor.of('cancel'), SOON).toEqual([{ taskId }]);
  });

  test('is spread over executors, a few at once on each', async () => {
    const executors = [await join('a'), await join('b')];
    const versions: registryV1.Version[] = [];
    for (let i = 0; i < 6; i++) versions.push(await send());
    await expect.poll(() => executors.map(({ tasks }) => tasks.length), SOON).toEqual([2, 2]);
    for (const executor of executors) executor.willing();
    for (const { id } of versions) await becomes(id, READY);
  });

  test('moves the alias when it is ready, unless a later version has it', async () => {
    const executor = await join('e7');
    const fields = { name: newName(), alias: 'prod' };
    const versions = [await send({ fields }), await send({ fields })];
    await executor.task(1);
    const taskOf = (n: number): string => executor.tasks.find(({ artifact }) => artifact!.digest === versions[n]!.digest)!.taskId;
    for (const n of [1, 0]) {
      executor.ready(taskOf(n));
      await becomes(versions[n]!.id, READY);
      expect((await registry.call('getAdapter', { tenantId, name: fields.name })).aliases).toMatchObject([{ alias: 'prod', version: 2 }]);
    }
  });

  test('goes on when the queue has lost its jobs', async () => {
    const { id } = await send();
    await expect.poll(() => jobOf(id), SOON).toMatchObject({ state: 'waiting', attempts: 1 });
    await queue.obliterate({ force: true });
    await queue.resume();
    (await join('e8')).willing();
    await becomes(id, READY);
  });

  test('outlives the loss of every connection to the database', async () => {
    const executor = await join('e9');
    const { id } = await send();
    const { taskId } = await executor.task();
    await database!.cut();
    executor.ready(taskId);
    executor.willing();
    await becomes(id, READY);
  });

  test('jobs are listed, the newest first, of a tenant or of all', async () => {
    const other = await registry.call('createTenant', { actor: undefined, name: newName() });
    const mine = await send();
    const theirs = await send({ tenantId: other.id });
    const list = async (tenant: string, limit: number, after = ''): Promise<registryV1.JobList> => registry.call('listJobs', { tenantId: tenant, limit, after });
    expect((await list('', 2)).data.map(({ id }) => id)).toEqual([theirs.id, mine.id]);
    expect(await list('', 1)).toMatchObject({ data: [{ id: theirs.id, tenantId: other.id, version: 1 }], hasMore: true });
    expect((await list('', 1, theirs.id)).data).toMatchObject([{ id: mine.id }]);
    expect((await list(other.id, 0)).data.map(({ id }) => id)).toEqual([theirs.id]);
    expect(await versionOf(mine.id)).toMatchObject({ status: VALIDATING });
  });
});

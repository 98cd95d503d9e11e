import { spawn, type ChildProcess } from 'node:child_process';
import { registryV1 } from '@weft/contracts';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../../apps/cli/src/free-port.js';
import { createDatabase, need } from './database.js';
import { ExecutorDouble } from './executor-double.js';
import { API_KEY, TestRegistry } from './registry.js';
import { loraFiles, newName, upload } from './uploads.js';

/** A Redis of its own; null where there is none to start. */
async function startRedis(port: number): Promise<ChildProcess | null> {
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
  const started = await new Promise<boolean>(resolve => { child.once('spawn', () => resolve(true)).once('error', () => resolve(false)); });
  return started ? child : null;
}

async function stopRedis(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise(resolve => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
}

test('while Redis is away, uploads are taken and wait; what a Redis forgot is made up for; a stop never waits for it', async context => {
  const database = await createDatabase();
  need(database, context);
  onTestFinished(() => database.drop());
  const port = await freePort();
  const registry = await TestRegistry.start(database, { WEFT_REDIS_URL: `redis://127.0.0.1:${port}` });
  onTestFinished(() => registry.stop());
  const { tenantId } = await registry.call('authenticate', { key: API_KEY });
  const executor = new ExecutorDouble(registry.address, 'executor');
  onTestFinished(() => executor.kill());
  await executor.joined();
  const send = (seed: number): Promise<registryV1.UploadedVersion> => upload(registry.client, { tenantId, fields: { name: newName() }, files: loraFiles(seed) });
  const statuses = async (): Promise<string[]> => (await database.owner.query('select status from weft.versions order by created_at')).rows.map(({ status }) => status as string);

  await send(1);
  const first = await startRedis(port);
  if (first === null) return context.skip('needs redis-server on the path');
  executor.willing();
  await expect.poll(statuses, { timeout: 15_000 }).toEqual(['ready']);

  await stopRedis(first);
  await send(2);
  const second = (await startRedis(port))!;      // empty
  onTestFinished(() => stopRedis(second));
  await expect.poll(statuses, { timeout: 15_000 }).toEqual(['ready', 'ready']);

  await stopRedis(second);
  await send(3);
  expect(await statuses()).toEqual(['ready', 'ready', 'validating']);
});

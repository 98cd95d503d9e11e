import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startGateway, type Gateway } from '../../../apps/gateway/src/app.js';
import { describeDouble, EOS, ExecutorDouble, type Submitted } from './executor-double.js';
import { ADMIN_KEY, BASE, events, gatewayConfig, memberOf, post, startRegistry, tokenizer } from './harness.js';
import { adapter, TENANT, type RegistryDouble } from './registry-double.js';

let executors: ExecutorDouble[];
let registry: RegistryDouble;
let gateway: Gateway;

const executor = (id: string): Promise<ExecutorDouble> => new ExecutorDouble(describeDouble({ executorId: id })).start();

beforeEach(async () => {
  executors = [await executor('one'), await executor('two')];
  registry = await startRegistry(executors);
  registry.catalogs.set(TENANT, Array.from({ length: 20 }, (_, i) => adapter(`a${i}`, [String(i).padStart(64, '0')])));
  gateway = await startGateway(gatewayConfig(registry.address));
  await expect.poll(() => executors.every(({ attached }) => attached === 1)).toBe(true);
});
afterEach(async () => { await gateway.stop(); for (const one of executors) one.kill(); registry.kill(); });

const token = tokenizer.encode(' a', { addSpecialTokens: false })[0]!;
const ask = (model: string, fields: object = {}): Promise<Response> => post(gateway.url, '/v1/completions', { model, prompt: 'x', max_tokens: 4, ...fields });
/** Which executors got requests of an adapter, or all they got. */
const submitted = (one: ExecutorDouble, digest?: string): number => [...one.requests.values()].filter(({ submit }) => digest === undefined || submit.adapters[0]?.digest === digest).length;
const holds = (one: ExecutorDouble): Promise<Submitted> => new Promise(resolve => { one.script = resolve; });

test('each adapter\'s requests go to one executor, all adapters to both, and the base to both in turn', async () => {
  for (let round = 0; round < 3; round++) for (let i = 0; i < 20; i++) expect((await ask(`a${i}`)).status).toBe(200);
  const digests = Array.from({ length: 20 }, (_, i) => String(i).padStart(64, '0'));
  for (const digest of digests) expect(executors.map(one => submitted(one, digest)).sort()).toEqual([0, 3]);
  expect(Math.min(...executors.map(one => submitted(one)))).toBeGreaterThan(9);
  for (const one of executors) one.requests.clear();
  for (let i = 0; i < 10; i++) await ask(BASE);
  expect(executors.map(one => submitted(one))).toEqual([5, 5]);
  expect(new Set(registry.opens.map(({ executorId }) => executorId))).toEqual(new Set(['one', 'two']));
});

test('a busy executor\'s adapters spill over, and base requests go where there is room', async () => {
  await ask('a0');
  const home = executors.find(one => submitted(one) === 1)!;
  const other = executors.find(one => one !== home)!;
  home.load({ running: 60, waiting: 40 });
  other.load({ running: 2 });
  await sleep(50);
  await ask('a0');
  for (let i = 0; i < 4; i++) await ask(BASE);
  expect([submitted(home), submitted(other)]).toEqual([1, 5]);
  home.load({ running: 3 });
  await sleep(50);
  await ask('a0');
  expect(submitted(home)).toBe(2);
});

test('one that drains gets nothing new', async () => {
  executors[0]!.load({ draining: true });
  await sleep(50);
  for (let i = 0; i < 20; i++) expect((await ask(`a${i}`)).status).toBe(200);
  expect(executors.map(one => submitted(one))).toEqual([0, 20]);
});

test('one that dies in mid-stream ends its streams, and the next requests go to the other', async () => {
  await ask('a0');
  const home = executors.find(one => submitted(one) === 1)!;
  const other = executors.find(one => one !== home)!;
  const arrived = holds(home);
  const response = ask('a0', { stream: true });
  (await arrived).event({ tokens: [token] });
  await response;
  const began = performance.now();
  home.kill();
  expect(JSON.parse((await events(await response)).at(-1)!)).toMatchObject({ error: { code: 'executor_lost' } });
  expect((await ask('a0')).status).toBe(200);
  expect(performance.now() - began).toBeLessThan(1000);
  expect(submitted(other)).toBe(1);
  expect((await fetch(`${gateway.url}/health/ready`)).status).toBe(200);
});

test('one that is hung is found within five seconds', async () => {
  await ask('a0');
  const home = executors.find(one => submitted(one) === 1)!;
  home.script = request => { request.event({ tokens: [token] }); home.beats = false; };
  const began = performance.now();
  await events(await ask('a0', { stream: true }));
  expect((await ask('a0')).status).toBe(200);
  expect(performance.now() - began).toBeLessThan(5100);
});

test('one that the roster no longer names finishes what it has', async () => {
  const arrived = holds(executors[0]!);
  const answers = [ask(BASE), ask(BASE)];
  const request = await arrived;
  registry.setExecutors([memberOf(executors[1]!)]);
  await sleep(5500);
  for (let i = 0; i < 4; i++) expect((await ask(BASE)).status).toBe(200);
  expect(submitted(executors[0]!)).toBe(1);
  expect(executors[0]!.attached).toBe(1);
  request.answer([EOS], 'stop');
  expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200]);
  await expect.poll(() => executors[0]!.attached).toBe(0);
  expect(executors[0]!.acknowledged).toHaveLength(1);
  registry.setExecutors(executors.map(memberOf));
  await expect.poll(() => executors[0]!.attached).toBe(1);
});

test('a registry that starts again with an empty roster takes no executor away', async () => {
  registry.setExecutors([]);
  await sleep(300);
  for (let i = 0; i < 4; i++) expect((await ask(BASE)).status).toBe(200);
  registry.setExecutors(executors.map(memberOf));
  await sleep(100);
  expect(executors.map(({ attached }) => attached)).toEqual([1, 1]);
  for (let i = 0; i < 4; i++) expect((await ask(BASE)).status).toBe(200);
});

test('one that joins is used; one for another base is not', async () => {
  const foreign = await executor('three');
  const joining = await executor('four');
  executors.push(foreign, joining);
  registry.setExecutors([...executors.slice(0, 2).map(memberOf), { ...memberOf(foreign), base: 'another' }, memberOf(joining)]);
  await expect.poll(() => joining.attached).toBe(1);
  for (let i = 0; i < 6; i++) await ask(BASE);
  expect([submitted(joining), foreign.attached]).toEqual([2, 0]);
  const response = await fetch(`${gateway.url}/v1/executors`, { headers: { authorization: `Bearer ${ADMIN_KEY}` } });
  expect(((await response.json()) as { data: { id: string }[] }).data.map(({ id }) => id)).toEqual(['one', 'two', 'four']);
});

test('health needs an executor, and to have met the registry', async () => {
  const alone = await startGateway(gatewayConfig('127.0.0.1:1'));
  const ready = await fetch(`${alone.url}/health/ready`);
  expect([ready.status, await ready.json()]).toEqual([503, { status: 'no registry' }]);
  expect((await fetch(`${alone.url}/health/live`)).status).toBe(200);
  await alone.stop();
  for (const one of executors) one.kill();
  await expect.poll(async () => (await (await fetch(`${gateway.url}/health/ready`)).json())).toEqual({ status: 'no executor' });
});

/**
 * docker-compose.yml without containers: the same processes, files and variables, on this machine's PostgreSQL and Redis and a server that speaks
 * S3, with a second executor; the proxy with its own configuration.
 */
import { randomBytes } from 'node:crypto';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, test } from 'vitest';
import { freePort } from '../../apps/cli/src/free-port.js';
import { needS3, S3Server } from '../integration/registry/s3-server.js';
import { assembleImage, isHealthy, readCompose, ServiceProcess, type Replacements } from './compose.js';
import { panelMetrics, readMetrics } from './dashboard.js';
import { ADAPTERS, casesOf, MODEL } from './weft.js';

const DATABASE = new URL(process.env['WEFT_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres');
const REDIS = new URL(process.env['WEFT_TEST_REDIS_URL'] ?? 'redis://127.0.0.1:6379');

const answers = (url: URL, port: number): Promise<boolean> => new Promise(resolve => {
  const socket = connect({ host: url.hostname, port: Number(url.port || port) });
  socket.once('connect', () => { socket.destroy(); resolve(true); }).once('error', () => resolve(false));
});

async function asOwner(...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: DATABASE.href });
  await client.connect();
  try { for (const statement of statements) await client.query(statement); } finally { await client.end(); }
}

interface Api { url: string; key: string }

const call = (api: Api, method: string, path: string, body?: FormData | object): Promise<Response> => fetch(api.url + path, {
  method, headers: { authorization: `Bearer ${api.key}`, ...(body !== undefined && !(body instanceof FormData) && { 'content-type': 'application/json' }) },
  ...(body !== undefined && { body: body instanceof FormData ? body : JSON.stringify(body) }),
});

async function upload(api: Api, name: string, folder: string): Promise<{ digest: string; version: number }> {
  const form = new FormData();
  for (const file of readdirSync(folder)) form.append('files', new Blob([readFileSync(join(folder, file))]), file);
  form.append('name', name);
  const response = await call(api, 'POST', '/v1/adapters', form);
  expect(response.status, await response.clone().text()).toBe(202);
  return response.json() as Promise<{ digest: string; version: number }>;
}

test('gateways and executors share one registry: an upload at one is served by the other, and an alias moves for both', { timeout: 180_000 }, async ctx => {
  ctx.skip(!await answers(DATABASE, 5432), `needs a PostgreSQL at ${DATABASE.host} (WEFT_TEST_DATABASE_URL)`);
  ctx.skip(!await answers(REDIS, 6379), `needs a Redis at ${REDIS.host} (WEFT_TEST_REDIS_URL)`);
  const s3 = await S3Server.start();
  needS3(s3, ctx);
  const { services } = readCompose();
  const suffix = randomBytes(4).toString('hex');
  const folder = mkdtempSync(join(tmpdir(), 'weft-compose-'));
  const ports = { registry: await freePort(), executor: await freePort(), executor2: await freePort(), gateway: await freePort(), gateway2: await freePort() };
  const machine: Replacements = [
    ['@postgres:5432/weft', `@${DATABASE.hostname}:${DATABASE.port || 5432}/weft_${suffix}`], ['weft_owner', `weft_owner_${suffix}`], ['weft_service', `weft_service_${suffix}`],
    ['redis://redis:6379', REDIS.href], ['0.0.0.0:7100', `127.0.0.1:${ports.registry}`], ['registry:7100', `127.0.0.1:${ports.registry}`],
    ['/model', MODEL], ['0.0.0.0', '127.0.0.1'], ['http://s3:8333', s3.endpoint],
  ];
  const image = join(folder, 'image');
  assembleImage(image);
  const own = (data: string, executor: number, gateway: number): Replacements =>
    [['/data', join(folder, data)], ['0.0.0.0:7200', `127.0.0.1:${executor}`], ['executor:7200', `127.0.0.1:${executor}`], ['7200', String(executor)], ['7100', String(ports.registry)], ['8080', String(gateway)], ...machine]
      .sort(([a], [b]) => b.length - a.length) as Replacements;
  const started: ServiceProcess[] = [];
  const start = (name: string, replacements: Replacements): ServiceProcess => {
    const service = new ServiceProcess(name, services[name]!, replacements, image);
    started.push(service);
    return service;
  };
  await asOwner(`create role weft_owner_${suffix} login createrole password 'try-it-out-owner'`, `create database weft_${suffix} owner weft_owner_${suffix}`);
  try {
    const migrate = start('migrate', machine);
    expect(await migrate.exited, migrate.lines.join('\n')).toBe(0);
    const checked = [
      start('registry', own('registry', 0, 0)), start('executor', own('one', ports.executor, 0)), start('executor', own('two', ports.executor2, 0)),
      start('gateway-1', own('', 0, ports.gateway)), start('gateway-2', own('', 0, ports.gateway2)),
    ];
    expect(isHealthy(services['gateway-1']!, own('', 0, await freePort()))).toBe(false);
    for (const { name, replacements, lines } of checked) await expect.poll(() => isHealthy(services[name]!, replacements), { timeout: 60_000, interval: 200, message: `${name}: ${lines.join('\n')}` }).toBe(true);
    const { WEFT_API_KEY: key, WEFT_ADMIN_KEY: adminKey } = services['registry']!.environment as { WEFT_API_KEY: string; WEFT_ADMIN_KEY: string };
    const one = { url: `http://127.0.0.1:${ports.gateway}`, key };
    const two = { url: `http://127.0.0.1:${ports.gateway2}`, key };
    for (const { url } of [one, two]) {
      await expect.poll(() => fetch(`${url}/health`).then(({ status }) => status, () => 0), { timeout: 60_000, interval: 100, message: started.map(({ name, lines }) => `${name}: ${lines.join('\n')}`).join('\n') }).toBe(200);
      await expect.poll(async () => (await (await call({ url, key: adminKey }, 'GET', '/v1/executors')).json() as { data: unknown[] }).data.length, { timeout: 10_000 }).toBe(2);
    }

    const first = await upload(one, 'tenant', join(ADAPTERS, 'r16-all'));
    await expect.poll(async () => (await (await call(two, 'GET', '/v1/adapters/tenant/versions/1')).json() as { status: string }).status, { timeout: 30_000, interval: 100 }).toBe('ready');
    const testCase = casesOf('r16-all')[0]!;
    const ask = async (api: Api, model: string): Promise<{ digest: string; ids: number[] }> => {
      const response = await call(api, 'POST', '/v1/completions', { model, prompt: testCase.prompt, max_tokens: 4, temperature: 0, ignore_eos: true, return_token_ids: true });
      expect(response.status, await response.clone().text()).toBe(200);
      const { weft, choices } = await response.json() as { weft: { digest: string }; choices: { token_ids: number[] }[] };
      return { digest: weft.digest, ids: choices[0]!.token_ids };
    };
    expect(await ask(two, 'tenant')).toEqual({ digest: first.digest, ids: testCase.ids.slice(0, 4) });

    const second = await upload(two, 'tenant', join(ADAPTERS, 'rs-r32'));
    expect(second.version).toBe(2);
    expect((await call(one, 'PUT', '/v1/adapters/tenant/aliases/default', { version: 1 })).status).toBe(200);
    await expect.poll(async () => (await (await call(two, 'GET', '/v1/adapters/tenant/versions/2')).json() as { status: string }).status, { timeout: 30_000, interval: 100 }).toBe('ready');
    expect((await ask(two, 'tenant')).digest).toBe(first.digest);
    expect((await call(one, 'PUT', '/v1/adapters/tenant/aliases/default', { version: 2 })).status).toBe(200);
    const movedMs = performance.now();
    await expect.poll(async () => (await ask(two, 'tenant')).digest, { timeout: 2000, interval: 20 }).toBe(second.digest);
    expect(performance.now() - movedMs).toBeLessThan(1500);     // promised: 1 s; the rest is the request itself
    // Every query of the dashboard finds what it asks for, at the gateway that was asked something.
    const metrics = readMetrics(await (await call(two, 'GET', '/metrics')).text());
    for (const { title, metric, labels } of panelMetrics()) {
      expect([...metrics.keys()], title).toContain(metric);
      for (const label of labels) expect([...metrics.get(metric)!, 'instance', 'job'], `${title}: ${metric}`).toContain(label);
    }
    // Its pages lie where its requests go: on one executor.
    const resident = (await (await call({ ...one, key: adminKey }, 'GET', '/v1/executors')).json() as { data: { pages: { owners: { owner: string }[] } }[] })
      .data.filter(({ pages }) => pages.owners.some(({ owner }) => owner === `adapter:${second.digest}`));
    expect(resident.length).toBeLessThanOrEqual(2);
    for (const service of started.reverse()) if (service.name !== 'migrate') expect(await service.stop(), `${service.name}: ${service.lines.join('\n')}`).toBe(0);
  } finally {
    for (const { child } of started) child.kill('SIGKILL');
    await Promise.all(started.map(({ exited }) => exited));
    await s3.stop();
    await asOwner(`drop database weft_${suffix} with (force)`, `drop role if exists weft_service_${suffix}`, `drop role weft_owner_${suffix}`);
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the proxy passes streams as they come, and goes round a gateway that is away', { timeout: 60_000 }, async ctx => {
  ctx.skip(spawnSync('nginx', ['-v']).status !== 0, 'needs nginx');
  const folder = mkdtempSync(join(tmpdir(), 'weft-proxy-'));
  /** A gateway that says who it is, then waits for a word. */
  const gateway = async (name: string): Promise<Server> => {
    const server = createServer((request, response) => {
      if (request.url === '/stream') response.write(`data: ${name}\n\n`);
      else void request.resume().once('end', () => response.end(`${name} ${request.headers['x-forwarded-proto']} ${request.headers.host}`));
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server;
  };
  const portOf = (server: Server): number => (server.address() as AddressInfo).port;
  const [one, two] = [await gateway('one'), await gateway('two')];
  const port = await freePort();
  const conf = join(folder, 'proxy.conf');
  writeFileSync(conf, readFileSync(join(import.meta.dirname, '../../deploy/proxy.conf'), 'utf8').replace('gateway-1:8080', `127.0.0.1:${portOf(one)}`).replace('gateway-2:8080', `127.0.0.1:${portOf(two)}`)
    .replace('listen 8080', `listen 127.0.0.1:${port}`).replaceAll('/tmp/', `${folder}/`));
  const { command } = readCompose().services['proxy']!;
  expect(command).toEqual(['nginx', '-c', '/etc/weft/proxy.conf', '-g', 'daemon off;']);
  const proxy = spawn('nginx', ['-c', conf, '-g', 'daemon off;'], { stdio: 'inherit' });
  const ended = once(proxy, 'exit');
  const url = `http://127.0.0.1:${port}`;
  const ask = async (body?: string): Promise<string> => (await fetch(`${url}/x`, body === undefined ? {} : { method: 'POST', body })).text();
  try {
    await expect.poll(() => ask().catch(() => ''), { timeout: 10_000 }).toMatch(/^(one|two) http 127\.0\.0\.1:\d+$/);
    const reader = (await fetch(`${url}/stream`)).body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toMatch(/^data: (one|two)\n\n$/);
    void reader.cancel();
    expect(await ask('x'.repeat(20 * 2 ** 20))).toMatch(/^(one|two)/);
    const names = new Set((await Promise.all(Array.from({ length: 20 }, () => ask()))).map(text => text.split(' ')[0]));
    expect(names).toEqual(new Set(['one', 'two']));
    one.closeAllConnections();
    one.close();
    for (let i = 0; i < 10; i++) expect(await ask()).toMatch(/^two/);
  } finally {
    proxy.kill('SIGTERM');
    await ended;
    for (const server of [one, two]) { server.closeAllConnections(); server.close(); }
    rmSync(folder, { recursive: true, force: true });
  }
});

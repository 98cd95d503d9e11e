/** The services that a request passes, as production runs them, in front of a simulated executor; a database of their own on a real PostgreSQL. */
import { fork, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { freePort } from '../../../apps/cli/src/free-port.js';

const REPO = fileURLToPath(new URL('../../..', import.meta.url));
const LOADER = join(REPO, 'scripts/lib/run-typescript.mjs');
const KEY = 'sk-weft-bench', ADMIN_KEY = 'sk-admin-bench', LINK_TOKEN = 'bench-link-token';

export interface SimulatedBase { modelDir: string; baseDigest: string; vocabSize: number; geometry: string }

export interface Services {
  url: string;
  key: string;
  adminKey: string;
  executorAddress: string;
  linkToken: string;
  gateway: ChildProcess;
  registry: ChildProcess;
  /** Epoch milliseconds at which each step left the executor. */
  steps(): Promise<number[]>;
  stop(): Promise<void>;
}

/** Resolves with what it reports first. */
export async function forkScript(file: string, env: Record<string, string>): Promise<{ child: ChildProcess; address: string }> {
  const child = fork(join(REPO, 'test/bench/gateway', file), [], { env: { ...process.env, ...env }, execArgv: ['--import', LOADER], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [{ address }] = await once(child, 'message') as [{ address: string }];
  return { child, address };
}

export async function startServices(base: SimulatedBase, stepMs: number): Promise<Services> {
  const owner = new URL(process.env['WEFT_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres');
  const name = `weft_bench_${randomBytes(4).toString('hex')}`;
  const sql = async (...statements: string[]): Promise<void> => {
    const client = new pg.Client({ connectionString: owner.href });
    await client.connect();
    for (const statement of statements) await client.query(statement);
    await client.end();
  };
  await sql(`create database ${name}`);
  const folder = mkdtempSync(join(tmpdir(), 'weft-bench-gateway-'));
  const ownerUrl = Object.assign(new URL(owner), { pathname: `/${name}` }).href;
  const serviceUrl = Object.assign(new URL(ownerUrl), { username: `${name}_service`, password: 'bench' }).href;
  const [registryPort, port] = [await freePort(), await freePort()];
  const shared = { WEFT_LINK_TOKEN: LINK_TOKEN, WEFT_REGISTRY_ADDRESS: `127.0.0.1:${registryPort}`, WEFT_MODEL_NAME: 'sim' };
  const children: ChildProcess[] = [];
  const service = (main: string, env: Record<string, string>): ChildProcess => {
    const child = spawn(process.execPath, [join(REPO, 'apps', main)], { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'inherit'] });
    children.push(child);
    return child;
  };
  const executors: ChildProcess[] = [];
  const stop = async (): Promise<void> => {
    for (const child of children.reverse()) if (child.exitCode === null && child.kill('SIGTERM')) await once(child, 'exit');
    for (const child of executors) { child.disconnect(); await once(child, 'exit'); }
    await sql(`drop database ${name} with (force)`, `drop role if exists ${name}_service`);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    return { ...await start(), stop };
  } catch (error) {
    await stop();
    throw error;
  }

  async function start(): Promise<Omit<Services, 'stop'>> {
    const migrate = service('registry/dist/migrate.js', { WEFT_DATABASE_OWNER_URL: ownerUrl, WEFT_DATABASE_URL: serviceUrl });
    const [code] = await once(migrate, 'exit') as [number];
    if (code !== 0) throw new Error(`migrate ended with ${code}`);
    const registry = service('registry/dist/main.js', {
      ...shared, WEFT_REGISTRY_LISTEN: `127.0.0.1:${registryPort}`, WEFT_DATABASE_URL: serviceUrl, WEFT_ARTIFACTS_DIR: join(folder, 'artifacts'),
      WEFT_KEY_PEPPER: 'bench-pepper-0123456789abcdef', WEFT_API_KEY: KEY, WEFT_ADMIN_KEY: ADMIN_KEY,
    });
    const { modelDir, ...description } = base;
    const executor = await forkScript('simulated-executor.ts', { ...shared, WEFT_BENCH_DESCRIPTION: JSON.stringify(description), WEFT_BENCH_STEP_MS: String(stepMs) });
    executors.push(executor.child);
    const gateway = service('gateway/dist/main.js', { ...shared, WEFT_HOST: '127.0.0.1', WEFT_PORT: String(port), WEFT_MODEL: modelDir });
    const url = `http://127.0.0.1:${port}`;
    for (let i = 0; (await fetch(`${url}/health`).then(({ status }) => status, () => 0)) !== 200; i++) {
      if (i > 300) throw new Error('the gateway does not become ready');
      await new Promise(resolve => { setTimeout(resolve, 100); });
    }
    return {
      url, key: KEY, adminKey: ADMIN_KEY, executorAddress: executor.address, linkToken: LINK_TOKEN, gateway, registry,
      async steps(): Promise<number[]> {
        executor.child.send('steps');
        const [steps] = await once(executor.child, 'message') as [number[]];
        return steps;
      },
    };
  }
}

/** Seconds of processor time that a process has taken so far. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

export function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

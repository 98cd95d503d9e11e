import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Runners, withLock } from '../../../scripts/lib/checkout-lock.mjs';
import { processIdentity } from '../../../scripts/lib/processes.mjs';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-lock-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const idleProcess = (): ReturnType<typeof spawn> => spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);

test('of many contenders one at a time holds the lock', async () => {
  const file = join(folder, 'lock');
  const lib = new URL('../../../scripts/lib/checkout-lock.mjs', import.meta.url).href;
  // Each appends its pid when it enters and when it leaves; were two inside at once, their lines would interleave.
  const script = `
    const { withLock } = await import(${JSON.stringify(lib)});
    const { appendFileSync } = await import('node:fs');
    const log = () => appendFileSync(${JSON.stringify(join(folder, 'log'))}, process.pid + '\\n');
    for (let i = 0; i < 3; i++) {
      await withLock(${JSON.stringify(file)}, 'a test', async () => { log(); await new Promise(r => setTimeout(r, 5)); log(); });
    }`;
  writeFileSync(file, JSON.stringify({ pid: 2 ** 22 + 1, identity: 'started 1', what: 'a process that died' }));
  const children = Array.from({ length: 4 }, () => spawn(process.execPath, ['--input-type=module', '-e', script]));
  const codes = await Promise.all(children.map(async child => (await once(child, 'exit'))[0]));
  expect(codes).toEqual([0, 0, 0, 0]);
  const pids = readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');
  expect(pids).toHaveLength(24);
  for (let i = 0; i < pids.length; i += 2) expect(pids[i]).toBe(pids[i + 1]);
  expect(readdirSync(folder)).toEqual(['log']);
});

test('a lock is released when its task fails', async () => {
  const file = join(folder, 'lock');
  await expect(withLock(file, 'a test', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(existsSync(file)).toBe(false);
});

test('a pid that was given to another process does not count as the old one', () => {
  const runners = new Runners(folder);
  writeFileSync(join(folder, '1'), JSON.stringify({ pid: process.ppid, identity: 'started 0', what: 'serve' }));
  expect(runners.others('serve')).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});

test('dependencies are not replaced below a server', async () => {
  const runners = new Runners(folder);
  const server = idleProcess();
  try {
    const withdraw = runners.announce('serve', server.pid);
    expect(() => runners.refuseIfServing()).toThrow(`pid ${server.pid}`);
    withdraw();
    runners.refuseIfServing();
    runners.announce('serve', server.pid);
  } finally {
    server.kill('SIGKILL');
    await once(server, 'exit');
  }
  runners.refuseIfServing();
});

test('nothing is replaced below tests until they end', async () => {
  const runners = new Runners(folder);
  const tests = idleProcess();
  let waited = false;
  try {
    runners.announce('test', tests.pid);
    runners.announce('test');
    const waiting = runners.waitForTests().then(() => (waited = true));
    await sleep(300);
    expect(waited).toBe(false);
    tests.kill('SIGKILL');
    await waiting;
  } finally {
    tests.kill('SIGKILL');
  }
});

test('a process has one identity for as long as it lives', async () => {
  const child = idleProcess();
  const identity = processIdentity(child.pid!);
  expect(identity).toBeTruthy();
  expect(processIdentity(child.pid!)).toBe(identity);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(processIdentity(child.pid!)).toBeUndefined();
});

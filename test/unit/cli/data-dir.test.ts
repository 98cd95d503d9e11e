import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DataDir, readCredentials } from '../../../apps/cli/src/data-dir.js';
import { processIdentity } from '../../../apps/cli/src/process-identity.js';

let parent: string;
let path: string;
beforeEach(() => { parent = mkdtempSync(join(tmpdir(), 'weft-data-')); path = join(parent, 'data'); });
afterEach(() => rmSync(parent, { recursive: true }));
const lock = (): string => join(path, 'weft.lock');

test('a second start is told where the first one is', () => {
  const first = DataDir.open(path);
  first.announce('http://127.0.0.1:1234');
  expect(() => DataDir.open(path)).toThrow(expect.objectContaining({ code: 'data_dir_in_use', message: expect.stringContaining(`http://127.0.0.1:1234 (pid ${process.pid})`) }));
  first.release();
  DataDir.open(path).release();
});

test.each([
  ['a dead process', async () => {
    const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)']);
    const holder = { pid: child.pid!, identity: processIdentity(child.pid!), url: null };
    child.kill('SIGKILL');
    await once(child, 'exit');
    return JSON.stringify(holder);
  }],
  ['another process that has its pid by now', async () => JSON.stringify({ pid: process.pid, identity: 'earlier', url: null })],
  ['a crash that left it empty', async () => ''],
])('the lock of %s is taken over', async (_, left) => {
  DataDir.open(path).release();
  writeFileSync(lock(), await left());
  const dir = DataDir.open(path);
  expect(JSON.parse(readFileSync(lock(), 'utf8'))).toMatchObject({ pid: process.pid, identity: processIdentity(process.pid) });
  dir.release();
});

test('keys are given, or those of the last start, or new', () => {
  const dir = DataDir.open(path);
  const none = { apiKey: undefined, adminKey: undefined };
  const keys = dir.keys(none);
  expect(keys.tenantKey).toMatch(/^sk-weft-[\w-]{32}$/);
  expect(keys.adminKey).toMatch(/^sk-admin-[\w-]{32}$/);
  dir.writeCredentials({ url: 'http://x', ...keys });
  expect(dir.keys(none)).toEqual(keys);
  expect(dir.keys({ apiKey: 'mine', adminKey: undefined })).toEqual({ ...keys, tenantKey: 'mine' });
  expect(readCredentials(path)).toEqual({ url: 'http://x', ...keys });
  expect(statSync(join(path, 'credentials.json')).mode & 0o777).toBe(0o600);
  dir.release();
});

test('secrets are made once, for their owner\'s eyes, and never anew beside what they open', () => {
  const dir = DataDir.open(path);
  const secrets = dir.secrets();
  expect(new Set(Object.values(secrets)).size).toBe(3);
  expect(dir.secrets()).toEqual(secrets);
  expect(statSync(join(path, 'secrets.json')).mode & 0o777).toBe(0o600);
  writeFileSync(join(path, 'secrets.json'), '{"pepper": ');
  expect(() => dir.secrets()).toThrow(expect.objectContaining({ code: 'io_error', message: expect.stringContaining('Restore it') }));
  dir.release();
});

test('a folder that can not be made is an error that names the option', () => {
  writeFileSync(path, '');
  expect(() => DataDir.open(path)).toThrow(expect.objectContaining({ code: 'io_error', details: expect.objectContaining({ field: 'data-dir' }) }));
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findModel } from '../../../apps/cli/src/model-folder.js';
import { optionError, resolveOptions, upOptions, withoutPostgres, withoutUnset, type UpOptions } from '../../../apps/cli/src/options.js';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weft-cli-')); });
afterEach(() => rmSync(folder, { recursive: true }));

function parse(...args: string[]): Partial<UpOptions> {
  const command = new Command('up').exitOverride().configureOutput({ writeErr: () => undefined });
  for (const option of upOptions()) command.addOption(option);
  return command.parse(args, { from: 'user' }).opts();
}

const checkpoint = (path: string): string => {
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'config.json'), '{}');
  return path;
};

test('defaults', () => {
  expect(resolveOptions(parse(), { HOME: '/home/me' })).toMatchObject({ port: 8080, host: '127.0.0.1', dataDir: '/home/me/.weft', model: 'demo', device: 'cpu', drainTimeout: 30, demo: true, once: false });
  expect(resolveOptions(parse('--once'), { HOME: '/home/me' })).toMatchObject({ port: 0, dataDir: undefined, once: true });
  expect(resolveOptions(parse('--once', '--port', '5', '--data-dir', '/d', '--no-demo'), {})).toMatchObject({ port: 5, dataDir: '/d', demo: false });
});

test.each([[''], [undefined]])('HOME %j: the account says where home is', HOME => {
  expect(resolveOptions(parse(), { HOME }).dataDir).toBe(join(userInfo().homedir, '.weft'));
});

test('certificate and key come together', () => {
  expect(() => resolveOptions(parse('--tls-cert', 'c'), {})).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field: 'tls-key' } }));
});

test('relative paths are relative to where the command was typed', () => {
  expect(resolveOptions(parse('--adapters', 'a', '--tls-cert', '../c', '--tls-key', 'k', '--trace', '/t', '--data-dir', 'd'), { INIT_CWD: '/typed/here' }))
    .toMatchObject({ adapters: '/typed/here/a', tlsCert: '/typed/c', trace: '/t', dataDir: '/typed/here/d' });
  checkpoint(join(folder, 'm'));
  expect(findModel('m', { INIT_CWD: folder })).toEqual({ folder: join(folder, 'm'), name: 'm' });
});

test.each([['--port', '70000'], ['--port', '1e3'], ['--threads', '0'], ['--pool-bytes', '-1'], ['--max-model-len', 'many'], ['--drain-timeout', ''], ['--api-key', ''], ['--api-key', 'a b'], ['--admin-key', 'ключ'], ['--model-name', 'a@1'], ['--model-name', '']])('%s %s is refused', (option, value) => {
  expect(() => parse(option, value)).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field: option } }));
});

test('both keys must differ', () => {
  expect(() => resolveOptions(parse('--api-key', 'same', '--admin-key', 'same'), {})).toThrow(expect.objectContaining({ code: 'option_invalid' }));
});

test('a variable that is empty is not set; a switch can be off', () => {
  expect(withoutUnset({ WEFT_PORT: '', WEFT_ONCE: '0', WEFT_NO_DEMO: 'false', WEFT_THREADS: '0', OTHER: '' }, upOptions())).toEqual({ WEFT_THREADS: '0', OTHER: '' });
  expect(withoutUnset({ WEFT_ONCE: '1' }, upOptions())).toEqual({ WEFT_ONCE: '1' });
});

test('variables for clients of PostgreSQL are somebody else\'s', () => {
  expect(withoutPostgres({ PGHOST: 'x', PGSSLMODE: 'require', PGPASSFILE: 'y', PG_VERSION: '15', WEFT_DATABASE_URL: 'z' })).toEqual({ PG_VERSION: '15', WEFT_DATABASE_URL: 'z' });
});

test('a complaint lists the options that there are', () => {
  const command = new Command('weft').command('up');
  for (const option of upOptions()) command.addOption(option);
  expect(optionError("error: unknown option '--prot'\n(Did you mean --port?)", command).message).toMatch(/^unknown option '--prot' \(Did you mean --port\?\)\. The options of weft up are --port, --host, .*--once, --trace$/);
});

test('a model is a folder or lies in the Hugging Face cache', () => {
  const snapshot = checkpoint(join(folder, 'hub', 'models--org--name', 'snapshots', 'abc'));
  mkdirSync(join(folder, 'hub', 'models--org--name', 'refs'));
  writeFileSync(join(folder, 'hub', 'models--org--name', 'refs', 'main'), 'abc\n');
  const env = { INIT_CWD: folder, HF_HOME: folder };
  expect(findModel('org/name', env)).toEqual({ folder: snapshot, name: 'org/name' });
  expect(findModel(snapshot, env)).toEqual({ folder: snapshot, name: 'org/name' });
  expect(findModel('org/name', { INIT_CWD: folder, HF_HUB_CACHE: join(folder, 'hub') })).toEqual({ folder: snapshot, name: 'org/name' });
});

test.each([['org/other', 'checkpoint_file_missing'], ['../no/such/folder', 'option_invalid'], ['.', 'checkpoint_file_missing']])('model %s: %s', (model, code) => {
  expect(() => findModel(model, { INIT_CWD: folder, HF_HOME: folder })).toThrow(expect.objectContaining({ code }));
});

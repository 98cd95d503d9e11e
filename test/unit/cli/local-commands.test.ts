/** Profiles, log files, and what completes a word. */
import { appendFileSync, existsSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { addProfile, listProfiles, removeProfile, useProfile } from '../../../apps/cli/src/commands/profile.js';
import { down, logs } from '../../../apps/cli/src/commands/server.js';
import { apiOf } from '../../../apps/cli/src/commands/target.js';
import { candidates, completionScript } from '../../../apps/cli/src/completion.js';
import { DataDir } from '../../../apps/cli/src/data-dir.js';
import { followed, lastLines, LogFile, parseLogLine } from '../../../apps/cli/src/log-file.js';
import { Profiles } from '../../../apps/cli/src/profiles.js';
import { buildProgram } from '../../../apps/cli/src/program.js';
import { Shell } from '../../../apps/cli/src/program/shell.js';
import { FakeWeft, page } from './fake-weft.js';

let folder: string;
let env: NodeJS.ProcessEnv;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-local-'));
  env = { XDG_CONFIG_HOME: folder, HOME: folder };
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('profiles', () => {
  test('the first one is used; its file is for its owner', () => {
    const profiles = Profiles.read(env);
    addProfile(profiles, 'prod', { url: 'https://weft.example.com', key: 'sk-weft-of-a-tenant', adminKey: 'sk-admin-key', tenant: 'acme' });
    addProfile(Profiles.read(env), 'dev', { url: 'http://127.0.0.1:8080', key: 'sk-weft-dev' });
    expect(statSync(profiles.path).mode & 0o777).toBe(0o600);
    const told = listProfiles(Profiles.read(env));
    expect(told.json).toEqual({ current: 'prod', profiles: [{ name: 'prod', url: 'https://weft.example.com', tenant: 'acme' }, { name: 'dev', url: 'http://127.0.0.1:8080', tenant: null }] });
    expect(told.text).toMatch(/^\* +prod +https:\/\/weft.example.com +sk-wef…nt +sk-adm…ey +acme$/m);
    expect(JSON.stringify(told)).not.toContain('of-a-tenant');
    expect(apiOf({}, 'tenant', env).url).toBe('https://weft.example.com');
    expect(apiOf({ profile: 'dev' }, 'tenant', env).url).toBe('http://127.0.0.1:8080');
    useProfile(Profiles.read(env), 'dev');
    expect(apiOf({}, 'admin', env).url).toBe('http://127.0.0.1:8080');
    removeProfile(Profiles.read(env), 'dev');
    expect(() => apiOf({}, 'tenant', env)).toThrow('credentials.json is not there');
  });

  test('a data directory that is named counts more than the profile in use', () => {
    addProfile(Profiles.read(env), 'prod', { url: 'https://weft.example.com', key: 'k' });
    const dir = DataDir.open(join(folder, 'data'));
    dir.writeCredentials({ url: 'http://127.0.0.1:1', tenantKey: 't', adminKey: 'a' });
    dir.release();
    expect(apiOf({ dataDir: join(folder, 'data') }, 'tenant', env).url).toBe('http://127.0.0.1:1');
  });

  test.each([['x y', 'http://a'], ['a', 'ftp://a'], ['a', 'localhost:8080']])('%j at %j is refused', (name, url) => {
    expect(() => addProfile(Profiles.read(env), name, { url, key: 'k' })).toThrow(expect.objectContaining({ code: 'option_invalid' }));
  });

  test('one that is not there, and a file that is none of ours, are told', () => {
    expect(() => apiOf({ profile: 'prod' }, 'tenant', env)).toThrow('weft profile add');
    const { path } = Profiles.read(env);
    addProfile(Profiles.read(env), 'a', { url: 'http://a', key: 'k' });
    expect(() => useProfile(Profiles.read(env), 'b')).toThrow('there is a');
    writeFileSync(path, '{"profiles": 5}');
    expect(() => Profiles.read(env)).toThrow(expect.objectContaining({ code: 'option_invalid', message: expect.stringContaining(path) }));
  });
});

describe('the log file', () => {
  test('holds lines with their time and service, the older half apart', () => {
    const log = new LogFile(folder, 400);
    for (let i = 0; i < 20; i++) log.write(i % 2 === 0 ? `[executor] line ${i}` : `line ${i}`);
    log.close();
    expect(existsSync(join(folder, 'weft.log.1'))).toBe(true);
    expect(statSync(join(folder, 'weft.log')).size).toBeLessThanOrEqual(400);
    expect(statSync(join(folder, 'weft.log')).mode & 0o777).toBe(0o600);
    const all = lastLines(folder, () => true, 0);
    expect(all.at(-1)).toEqual({ time: expect.stringMatching(/^\d{4}-.*Z$/), service: 'weft', text: 'line 19' });
    expect(lastLines(folder, ({ service }) => service === 'executor', 2).map(({ text }) => text)).toEqual(['line 16', 'line 18']);
  });

  test('what comes later is followed, across the file\'s renaming', async () => {
    const path = join(folder, 'weft.log');
    writeFileSync(path, 't before\n');
    const stop = new AbortController();
    const texts: string[] = [];
    const reading = (async () => { for await (const { text } of followed(folder, stop.signal)) texts.push(text); })();
    appendFileSync(path, 't half');
    appendFileSync(path, '. a line\nt [gateway] last\n');
    renameSync(path, `${path}.1`);
    writeFileSync(path, 't [gateway] new file\n');
    await expect.poll(() => texts).toEqual(['half. a line', 'last', 'new file']);
    stop.abort();
    await reading;
  });

  test('logs prints them as text or JSON', async () => {
    writeFileSync(join(folder, 'weft.log'), '2030-01-01T00:00:00.000Z [gateway] a\n2030-01-01T00:00:01.000Z b\n');
    const lines: string[] = [];
    await logs(folder, undefined, { lines: 10 }, line => lines.push(line), new AbortController().signal);
    await logs(folder, 'gateway', { lines: 10, json: true }, line => lines.push(line), new AbortController().signal);
    expect(lines).toEqual(['2030-01-01T00:00:00.000Z [gateway] a', '2030-01-01T00:00:01.000Z [weft] b', '{"time":"2030-01-01T00:00:00.000Z","service":"gateway","text":"a"}']);
    expect(parseLogLine('t [executor] x [y] z')).toEqual({ time: 't', service: 'executor', text: 'x [y] z' });
  });
});

test('down where nothing runs says so', async () => {
  expect(await down(folder, { timeout: 1, force: false })).toEqual({ text: `nothing runs on ${folder}`, json: { stopped: false } });
});

describe('completion', () => {
  const complete = async (...words: string[]): Promise<string[]> => (await candidates(buildProgram(new Shell(env)).program, words, env)).map(line => line.split('\t')[0]!);

  test('commands, options, choices and profiles', async () => {
    expect(await complete('pu')).toEqual(['push', 'pull']);
    expect(await complete('keys', '')).toEqual(['ls', 'create', 'revoke']);
    expect(await complete('up', '--w')).toEqual(['--weights']);
    expect(await complete('up', '--weights', 'b')).toEqual(['bf12', 'bf16']);
    expect(await complete('push', '')).toEqual([]);
    expect(await complete('completion', '')).toEqual(['bash', 'zsh', 'fish']);
    addProfile(Profiles.read(env), 'prod', { url: 'http://127.0.0.1:1', key: 'k' });
    expect(await complete('ls', '--profile', '')).toEqual(['prod']);
    expect(await complete('profile', 'use', 'p')).toEqual(['prod']);
    // A server that is away keeps nobody waiting.
    expect(await complete('run', '')).toEqual([]);
  });

  test('names come from the server that is meant', async () => {
    const weft = await FakeWeft.start({ 'GET /v1/models': page({ id: 'org/base', parent: null, digest: 'b' }, { id: 'pirate', parent: 'org/base', digest: 'p' }) });
    env.WEFT_URL = weft.api.url;
    env.WEFT_KEY = 'k';
    expect(await complete('run', '')).toEqual(['org/base', 'pirate']);
    expect(await complete('show', '')).toEqual(['pirate']);
    expect(await complete('bench', 'pirate', 'o')).toEqual(['org/base']);
    delete env.WEFT_URL;
    expect(await complete('rm', '--url', weft.api.url, '--key', 'k', '')).toEqual(['pirate']);
    await weft.stop();
  });

  test('another shell is refused', () => { expect(() => completionScript('tcsh')).toThrow('bash, zsh, fish'); });
});

test('every command has help with examples, and knows --json', () => {
  const { program } = buildProgram(new Shell(env));
  const leaves = (command: typeof program): (typeof program)[] => (command.commands.length === 0 ? [command] : command.commands.flatMap(leaves));
  for (const command of leaves(program).filter(leaf => !leaf.name().startsWith('__'))) {
    let text = '';
    command.configureOutput({ writeOut: part => { text += part; } }).outputHelp();
    expect(text, command.name()).toMatch(/Examples:\n {2}\$ weft /);
    if (!['up', 'completion'].includes(command.name())) expect(command.options.map(({ long }) => long), command.name()).toContain('--json');
  }
});

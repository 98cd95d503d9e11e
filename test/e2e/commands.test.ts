/** The commands, against a real Weft: what a person sees in a terminal, and what a script gets. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, type TestContext } from 'vitest';
import { needTerminal, Terminal } from './terminal.js';
import { ADAPTERS, COMMAND, MODEL, Process, Weft } from './weft.js';

let weft: Weft;
let scratch: string;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'weft-commands-'));
  weft = await Weft.start();
  env = { ...process.env, WEFT_DATA_DIR: weft.dataDir, XDG_CONFIG_HOME: scratch };
});
afterAll(async () => {
  if (weft !== undefined) expect(await weft.stop()).toBe(0);
  rmSync(scratch, { recursive: true, force: true });
});

interface Ran { code: number | null; out: string; err: string }
const weftDoes = (...args: string[]): Ran => {
  const { status: code, stdout: out, stderr: err } = spawnSync(process.execPath, [COMMAND, ...args], { env, encoding: 'utf8', timeout: 120_000 });
  return { code, out, err };
};
const json = <T>(...args: string[]): T => {
  const { code, out, err } = weftDoes(...args, '--json');
  expect(code, err).toBe(0);
  return JSON.parse(out) as T;
};
const terminal = (...args: string[]): Terminal => new Terminal([process.execPath, COMMAND, ...args], env);

describe('a script', () => {
  test('pushes, shows, aliases, rolls back, pulls and removes', () => {
    const push = (folder: string): { version: number; status: string; digest: string } => json('push', join(ADAPTERS, folder), '--name', 'tickets', '--alias', 'prod');
    const [first, second] = [push('r16-all'), push('rs-r32')];
    expect([first, second]).toMatchObject([{ version: 1, status: 'ready' }, { version: 2, status: 'ready' }]);
    expect(json('show', 'tickets@prod')).toMatchObject({ version: 2, digest: second.digest });
    expect(weftDoes('rollback', 'tickets', 'prod').out).toBe('tickets@prod was tickets@2 and is tickets@1 again\n');
    expect(json('show', 'tickets@prod')).toMatchObject({ version: 1 });
    expect(weftDoes('rollback', 'tickets', 'prod').out).toBe('tickets@prod was tickets@1 and is tickets@2 again\n');
    expect(json('alias', 'tickets', 'prod', '2')).toMatchObject({ version: 2 });

    const folder = join(scratch, 'pulled');
    expect(json('pull', 'tickets@1', folder)).toMatchObject({ version: 1, digest: first.digest, folder });
    for (const name of readdirSync(folder)) expect(readFileSync(join(folder, name)).equals(readFileSync(join(ADAPTERS, 'r16-all', name))), name).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['adapter_config.json', 'adapter_model.safetensors']);

    expect(weftDoes('rm', 'tickets@2')).toMatchObject({ code: 1, err: expect.stringContaining('conflict') as unknown });
    expect(json('rm', 'tickets', '--force')).toEqual({ deleted: true });
    expect(weftDoes('show', 'tickets')).toMatchObject({ code: 3, err: expect.stringContaining('not_found') as unknown });
  });

  test('a key without adapters:write asks, and pulls nothing', () => {
    const { secret, id } = json<{ secret: string; id: string }>('keys', 'create', 'asker');
    expect(weftDoes('run', 'r16-all', 'Hi', '--max-tokens', '3', '--key', secret).code).toBe(0);
    expect(weftDoes('pull', 'r16-all', join(scratch, 'none'), '--key', secret)).toMatchObject({ code: 4, err: expect.stringContaining('insufficient_scope') as unknown });
    expect(json('keys', 'revoke', id)).toEqual({ revoked: true });
    expect(json<{ id: string; revoked_at: number | null }[]>('keys', 'ls').find(key => key.id === id)!.revoked_at).not.toBeNull();
    expect(weftDoes('run', 'r16-all', 'Hi', '--key', 'sk-wrong')).toMatchObject({ code: 4, out: '' });
  });

  test('pushes whole experts, in shards, onto a base that has some', async () => {
    const fixture = join(ADAPTERS, '../../olmoe-tiny'), moe = await Weft.start({ model: join(fixture, 'base'), adapters: null }), before = env;
    env = { ...env, WEFT_DATA_DIR: moe.dataDir };
    try {
      expect(json('push', join(fixture, 'adapters', 'esft-a'), '--name', 'specialist')).toMatchObject({ status: 'ready', kind: 'esft', errors: [] });
      expect(weftDoes('show', 'specialist@1').out).toMatch(/^kind +esft$/m);
      for (const { prompt, ids, margins } of JSON.parse(readFileSync(join(fixture, 'esft-a.json'), 'utf8')) as { prompt: number[]; ids: number[]; margins: number[] }[]) {
        const safe = ids.slice(0, [...margins.map(margin => margin < 0.05), true].indexOf(true));
        const answer = await (await moe.post('/v1/completions', { model: 'specialist', prompt, max_tokens: ids.length, temperature: 0, ignore_eos: true, return_token_ids: true })).json() as { choices: { token_ids: number[] }[] };
        expect(answer.choices[0]!.token_ids.slice(0, safe.length)).toEqual(safe);
      }
      expect(weftDoes('push', join(ADAPTERS, 'r16-all'), '--name', 'other').code).not.toBe(0);
    } finally {
      env = before;
      expect(await moe.stop()).toBe(0);
    }
  });

  test('asks, benches, and looks at load, usage and logs', () => {
    expect(json('run', 'r8-qv', 'Hello', '--max-tokens', '5', '--seed', '1', '--system', 'Be brief.')).toMatchObject({ usage: { completion_tokens: expect.any(Number) as unknown }, weft: { adapter: 'r8-qv@1' } });
    const bench = json<{ failed: number; tokens: number; models: number }>('bench', 'base', 'r8-qv', '--requests', '6', '--concurrency', '3', '--max-tokens', '4');
    expect(bench).toMatchObject({ failed: 0, models: 2 });
    expect(bench.tokens).toBeGreaterThan(6);
    expect(json('bench', 'base', '--requests', '4', '--max-tokens', '9', '--ignore-eos')).toMatchObject({ failed: 0, tokens: 36 });
    expect(json<unknown[]>('ps')).toHaveLength(1);
    expect(json<{ adapter: string; requests: number }[]>('usage').find(({ adapter }) => adapter === 'r8-qv')!.requests).toBeGreaterThanOrEqual(4);
    const logs = weftDoes('logs', 'weft', '--lines', '0');
    expect(logs.out).toMatch(/^\d{4}-\S+Z \[weft\] weft ready http:/m);
    // Keys are for the terminal and the file of its owner.
    expect(readFileSync(join(weft.dataDir, 'weft.log'), 'utf8')).not.toContain(weft.key);
    expect(weftDoes('doctor').out).toContain(`one runs on this data directory: ${weft.url}`);
  });

  test('works with servers by name', () => {
    const away = ['--data-dir', join(scratch, 'nowhere')];
    expect(weftDoes('ls', ...away)).toMatchObject({ code: 2, err: expect.stringContaining('weft up') as unknown });
    expect(weftDoes('profile', 'add', 'here', '--url', weft.url, '--key', weft.key, '--admin-key', weft.adminKey).code).toBe(0);
    expect(weftDoes('ps', '--profile', 'here').code).toBe(0);
    expect(json('profile', 'ls')).toEqual({ current: 'here', profiles: [{ name: 'here', url: weft.url, tenant: null }] });
    expect(weftDoes('profile', 'rm', 'here').code).toBe(0);
    expect(weftDoes('ls', '--profile', 'here')).toMatchObject({ code: 2, err: expect.stringContaining('profile') as unknown });
    expect(weftDoes('ls', '--url', 'http://127.0.0.1:1', '--key', 'k')).toMatchObject({ code: 5, err: expect.stringContaining('unreachable') as unknown });
    expect(weftDoes('show')).toMatchObject({ code: 2 });
    expect(weftDoes('no-such-command')).toMatchObject({ code: 2 });
  });

  test('sees no colours and nothing that steers a terminal', () => {
    for (const args of [['doctor'], ['ls'], ['ps'], ['push', join(ADAPTERS, 'r1')]]) {
      const { out, err } = weftDoes(...args);
      expect(out + err, args.join(' ')).not.toContain('\x1b');
    }
  });
});

/** A prompt at the output's end: a name, «>», and where the cursor is. */
const promptOf = (name: string): RegExp => new RegExp(`${name}\\x1b\\[39m> \\x1b\\[\\d+G$`);

describe('in a terminal', () => {
  test('a conversation streams, changes adapters and keeps its history; Ctrl-D and Ctrl-C leave', async context => {
    needTerminal(context);
    const shown = terminal('run', 'r16-all', '--max-tokens', '8', '--temperature', '0');
    await shown.shows(promptOf('r16-all'));
    shown.type('Hello there\n');
    await shown.shows(/Hello there\n/);
    await shown.shows(promptOf('r16-all'), shown.output.indexOf('Hello there\n'));
    let from = shown.output.length;
    shown.type('/adapter nobody\n');
    await shown.shows(new RegExp(`model_not_found[^]+${promptOf('r16-all').source}`), from);
    shown.type('/adapter rs-r32\n');
    await shown.shows(promptOf('rs-r32'), from);
    shown.type('And now?\n');
    await shown.shows(new RegExp(`And now\\?\n[^]+${promptOf('rs-r32').source}`), from);
    from = shown.output.length;
    shown.type('/history\n');
    await shown.shows(/user: Hello there\nassistant: [^]*user: And now\?\nassistant: /, from);
    shown.type('\x04');
    expect(await shown.exited).toBe(0);
    const other = terminal('run', 'base');
    await other.shows(promptOf('base'));
    other.type('\x03');
    expect(await other.exited).toBe(0);
  });

  test('push shows the upload, and each stage as it ends', async context => {
    needTerminal(context);
    const shown = terminal('push', join(ADAPTERS, 'patterns'), '--name', 'seen');
    expect(await shown.exited).toBe(0);
    expect(shown.lines.filter(line => line.startsWith('✓'))).toEqual([expect.stringMatching(/^✓ uploaded \d+\.\d MiB/), ...shown.lines.filter(line => /^✓ (queued|validate|pack|probe)$/.test(line))]);
    expect(shown.output).toContain('\x1b[32m✓');
    expect(shown.lines.some(line => line.startsWith('seen@1 is ready'))).toBe(true);
    const plain = new Terminal([process.execPath, COMMAND, 'doctor'], { ...env, NO_COLOR: '1' });
    await plain.exited;
    expect(plain.output).not.toContain('\x1b[3');
  });

  test('ps --watch looks again and again, until Ctrl-C', async context => {
    needTerminal(context);
    const shown = terminal('ps', '--watch');
    await shown.shows(/UTC[^]+executor [^]+UTC[^]+executor /);
    shown.type('\x03');
    expect(await shown.exited).toBe(0);
  });

  test('up says what it waits for and what runs; logs --follow tells of its end, down ends it', async context => {
    needTerminal(context);
    const dataDir = join(scratch, 'up');
    const shown = terminal('up', '--model', MODEL, '--adapters', ADAPTERS, '--port', '0', '--pool-bytes', String(64 * 2 ** 20), '--data-dir', dataDir);
    await shown.shows(/starting: PostgreSQL, registry, executor, gateway/);
    await shown.shows(/weft ready http[^]+0 running, 0 waiting · \d+ tokens\/s · \d+ adapters resident/);
    const following = new Process(['logs', '--follow', '--data-dir', dataDir, '--lines', '1']);
    await expect.poll(() => following.lines.length).toBe(1);
    const stopped = new Process(['down', '--data-dir', dataDir]);
    expect(await stopped.exited).toBe(0);
    expect(stopped.output).toMatch(/^http:\S+ \(pid \d+\) has stopped$/);
    expect(await shown.exited).toBe(0);
    expect(shown.lines.at(-1)).toBe('');
    await expect.poll(() => following.output).toContain('weft stopping');
    following.child.kill('SIGINT');
    expect(await following.exited).toBe(0);
  });
});

describe('completion', () => {
  const has = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0;
  const complete = (context: TestContext, shell: string, script: string): string => {
    context.skip(!has(shell), `needs ${shell}`);
    const bin = mkdtempSync(join(scratch, 'bin-'));
    writeFileSync(join(bin, 'weft'), `#!/bin/sh\nexec '${process.execPath}' '${COMMAND}' "$@"\n`);
    chmodSync(join(bin, 'weft'), 0o755);
    writeFileSync(join(bin, 'script'), weftDoes('completion', shell).out);
    const { stdout, stderr } = spawnSync(shell, ['-c', script], { env: { ...env, PATH: `${bin}:${process.env['PATH']}`, SCRIPT: join(bin, 'script') }, encoding: 'utf8' });
    return stdout + stderr;
  };

  test('bash', context => {
    const ask = (words: string): string => `COMP_WORDS=(${words}) COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _weft; echo "\${COMPREPLY[*]}"`;
    expect(complete(context, 'bash', `. "$SCRIPT"; ${ask('weft pu')}; ${ask('weft run rs-')}; ${ask('weft up --weights i')}; ${ask('weft ls --da')}; complete -p weft`).split('\n').slice(0, 5))
      .toEqual(['push pull', 'rs-r32', 'int8', '--data-dir', 'complete -o default -F _weft weft']);
  });

  test('zsh', context => {
    const ask = (words: string): string => `words=(${words}); CURRENT=$#words; _weft`;
    const output = complete(context, 'zsh', `compdef() { :; }; compadd() { shift; print -- "$@"; }; _files() { print files; }; . "$SCRIPT"; ${ask('weft pu')}; ${ask('weft run rs-')}; ${ask('weft push \'\'')}`);
    expect(output.split('\n').slice(0, 3)).toEqual(['push pull', 'rs-r32', 'files']);
  });

  test('fish', context => {
    const output = complete(context, 'fish', 'source $SCRIPT; complete -C "weft pu"; complete -C "weft run rs-"');
    expect(output.split('\n').map(line => line.split('\t')[0])).toEqual(expect.arrayContaining(['push', 'pull', 'rs-r32']));
  });
});

import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ADAPTERS, COMMAND, events, MODEL, Process, Weft } from './weft.js';

const long = { model: 'base', prompt: [5, 6], max_tokens: 1000, ignore_eos: true, stream: true };

const alive = (pid: number): boolean => {
  try { process.kill(pid, 0); return true; } catch { return false; }
};

describe('weft up', () => {
  test('says where it serves; a second start is told so; SIGTERM lets streams end', async () => {
    const weft = await Weft.start();
    expect(weft.process.lines.at(-1)).toBe(`weft ready ${weft.url}`);
    expect(statSync(join(weft.dataDir, 'credentials.json')).mode & 0o777).toBe(0o600);
    expect(weft.process.output).toContain(weft.key);

    const second = new Process(['up', '--model', MODEL, '--port', '0', '--data-dir', weft.dataDir]);
    expect(await second.exited).toBe(1);
    expect(second.output).toContain(`${weft.url} (pid ${weft.process.child.pid})`);

    const response = await weft.post('/v1/completions', { ...long, max_tokens: 300 });
    const stopped = weft.stop();
    const data = await events(response);
    expect([data.at(-1), data.some(event => event.includes('"error"'))]).toEqual(['[DONE]', false]);
    expect(await stopped).toBe(0);
    expect(weft.process.lines.at(-1)).toBe('weft stopping: what runs may take 30 s more; Ctrl-C ends it');
  });

  test('two Ctrl-C within a second are one', async () => {
    const weft = await Weft.start();
    const response = await weft.post('/v1/completions', { ...long, max_tokens: 200 });
    weft.process.child.kill('SIGINT');
    const code = weft.stop('SIGINT');
    expect((await events(response)).at(-1)).toBe('[DONE]');
    expect(await code).toBe(0);
  });

  test('a stop cuts what outlasts the drain time', async () => {
    const weft = await Weft.start({ options: ['--drain-timeout', '0'] });
    const response = await weft.post('/v1/completions', long);
    const data = events(response);
    expect(await weft.stop()).toBe(0);
    expect(JSON.parse((await data).at(-1)!)).toMatchObject({ error: { code: 'draining' } });
  });

  test('a killed executor: one error event a stream, then it serves again', async () => {
    const weft = await Weft.start();
    const response = await weft.post('/v1/completions', long);
    const reader = response.body!.getReader();
    await reader.read();
    const began = performance.now();
    process.kill(weft.service('executor'), 'SIGKILL');
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += new TextDecoder().decode(part.value);
    expect(performance.now() - began).toBeLessThan(5000);
    expect(text.match(/"error"/g)).toHaveLength(1);
    expect(text.trimEnd().split('\n\n').at(-1)).toContain('executor_lost');
    await expect.poll(async () => (await weft.post('/v1/completions', { ...long, max_tokens: 3, stream: false })).status, { timeout: 15_000, interval: 100 }).toBe(200);
    expect(weft.process.output).toMatch(/\[executor\] ended by SIGKILL; starting it again/);
    expect(await weft.stop()).toBe(0);
  });

  test('a killed gateway comes back at the same address, and what it ran has been cancelled', async () => {
    const weft = await Weft.start();
    const streamed = weft.post('/v1/completions', long).then(response => response.text()).catch((error: Error) => error);
    await expect.poll(async () => (await weft.executor())?.running).toBe(1);
    process.kill(weft.service('gateway'), 'SIGKILL');
    expect(await streamed).toBeInstanceOf(Error);
    await expect.poll(async () => fetch(`${weft.url}/health`).then(({ status }) => status, () => 0), { timeout: 15_000, interval: 100 }).toBe(200);
    await expect.poll(async () => (await weft.executor())?.running).toBe(0);
    expect(await weft.stop()).toBe(0);
  });

  test('without its supervisor no service stays', async () => {
    const weft = await Weft.start();
    const pids = [weft.service('registry'), weft.service('executor'), weft.service('gateway')];
    process.kill(weft.process.child.pid!, 'SIGKILL');
    await expect.poll(() => pids.some(alive), { timeout: 5000 }).toBe(false);
    // Only PostgreSQL does: the next start takes it over.
    const next = new Process(['up', '--model', MODEL, '--port', '0', '--data-dir', weft.dataDir]);
    await next.line('weft ready ');
    const credentials = JSON.parse(readFileSync(join(weft.dataDir, 'credentials.json'), 'utf8')) as { tenantKey: string };
    expect(credentials.tenantKey).toBe(weft.key);
    next.child.kill('SIGTERM');
    expect(await next.exited).toBe(0);
    await weft.stop();
  });
});

describe('weft up refuses', () => {
  test('a port that is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await new Promise(resolve => { server.once('listening', resolve); });
    const { port } = server.address() as { port: number };
    const started = new Process(['up', '--once', '--model', MODEL, '--port', String(port)]);
    expect(await started.exited).toBe(1);
    expect(started.lines.filter(line => line.includes('in use'))).toEqual([expect.stringMatching(new RegExp(`^weft: port_in_use · field port · port ${port} `))]);
    server.close();
  });

  test.each([
    ['an unknown option', ['--prot', '5'], 'Did you mean --port?'], ['a wrong value', ['--weights', 'int4'], 'Allowed choices are bf12, bf16, f16, f32, int8'],
    ['no thread', ['--threads', '0'], '--threads is "0"; it must be a whole number at least 1'],
    ['more threads than there are', ['--model', MODEL, '--threads', '1000000'], '1000000 threads were asked for; this process may use '],
    ['an instruction set of another processor', ['--model', MODEL, '--isa', process.arch === 'x64' ? 'neon' : 'avx2'], 'the best it has is '],
    ['an instruction set that nobody has', ['--model', MODEL, '--isa', 'mmx'], 'isa mmx: unknown'],
    ['a pool that is too small', ['--model', MODEL, '--pool-bytes', '100'], 'out_of_memory'],
    ['a folder of adapters that is not there', ['--model', MODEL, '--adapters', '/no/such'], 'field adapters'],
    ['a model that is none', ['--model', ADAPTERS], 'checkpoint_file_missing'],
  ])('%s', async (_, args, message) => {
    const started = new Process(['up', '--once', ...args]);
    expect(await started.exited).toBe(1);
    expect(started.output).toContain(message);
  });
});

test('--once asks the base and every adapter, prints the table and the pool, and ends', async () => {
  const started = new Process(['up', '--once', '--model', MODEL, '--adapters', ADAPTERS, '--model-name', 'org/tiny']);
  expect(await started.exited).toBe(0);
  expect(Math.max(...started.lines.filter(line => /^[─ ]+$/.test(line)).map(line => line.length))).toBeLessThanOrEqual(80);
  for (const text of ['org/tiny', 'rs-r32', 'tokens/s', 'adapter r16-all', 'free']) expect(started.output).toContain(text);
});

test('ls and run speak to what runs', async () => {
  const weft = await Weft.start();
  const list = new Process(['ls', '--data-dir', weft.dataDir]);
  expect(await list.exited).toBe(0);
  expect(list.output).toMatch(/^rs-r32 +1 +ready +latest +lora +32 /m);
  const run = new Process(['run', '--data-dir', weft.dataDir, 'r8-qv', 'Hello']);
  expect(await run.exited).toBe(0);
  expect(run.output.length).toBeGreaterThan(0);
  const cut = spawnSync('sh', ['-c', '"$0" "$@" | head -c 1', process.execPath, COMMAND, 'run', '--data-dir', weft.dataDir, 'base', 'Hello'], { encoding: 'utf8' });
  expect(cut.stderr).toBe('');
  const unknown = new Process(['run', '--data-dir', weft.dataDir, 'nobody', 'Hello']);
  expect(await unknown.exited).toBe(3);
  expect(unknown.output).toContain('model_not_found');
  await weft.stop();
});

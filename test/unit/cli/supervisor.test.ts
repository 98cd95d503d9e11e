import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { forkService } from '../../../apps/cli/src/service-process.js';
import { Supervisor, type Running, type Unit } from '../../../apps/cli/src/supervisor.js';

let folder: string;
let lines: string[];
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weft-supervisor-')); lines = []; });
afterEach(() => rmSync(folder, { recursive: true }));

interface Given { level?: number; environment?: () => Record<string, string>; onListening?: (at: string) => void }
function service(name: string, script: string, { level = 0, environment = () => ({ GIVEN: 'yes' }), onListening }: Given = {}): Unit {
  const main = join(folder, `${name}.mjs`);
  writeFileSync(main, script);
  return { name, level, start: say => forkService(main, environment(), say, onListening) };
}
const STAYS = "process.on('SIGTERM', () => { console.log('stopping'); process.exit(0); }); setInterval(() => {}, 1000); process.send({ type: 'listening', at: 'here' }); process.send({ type: 'ready' });";

test('services start ready, speak under their names, and stop from the highest level down', async () => {
  const supervisor = new Supervisor(line => lines.push(line));
  let at = '';
  await supervisor.start(service('last', STAYS, { level: 2, onListening: where => { at = where; } }));
  await supervisor.start(service('first', STAYS, { level: 0 }));
  await supervisor.start(service('middle', STAYS, { level: 1 }));
  expect(at).toBe('here');
  await supervisor.stop(1000);
  expect(lines).toEqual(['[last] stopping', '[middle] stopping', '[first] stopping']);
});

test('a service has the environment that it is given, and no WEFT_ variables beside', async () => {
  process.env.WEFT_OF_SOMEBODY_ELSE = 'x';
  const supervisor = new Supervisor(line => lines.push(line));
  await supervisor.start(service('one', `console.log(process.env.GIVEN, process.env.WEFT_OF_SOMEBODY_ELSE); ${STAYS}`));
  delete process.env.WEFT_OF_SOMEBODY_ELSE;
  await expect.poll(() => lines[0]).toBe('[one] yes undefined');
  await supervisor.stop(1000);
});

test('a service that dies is started again', async () => {
  const supervisor = new Supervisor(line => lines.push(line));
  let starts = 0;
  await supervisor.start(service('mortal', `if (process.env.START === '1') process.exit(3); ${STAYS}`, { environment: () => ({ START: String(++starts) }) }));
  expect(lines[0]).toBe('[mortal] ended by code 3; starting it again in 200 ms');
  await supervisor.stop(1000);
});

test('five deaths within a minute end everything, with the last lines', async () => {
  const supervisor = new Supervisor(line => lines.push(line));
  await expect(supervisor.start(service('doomed', "console.log('no luck'); process.exit(7);"))).rejects.toMatchObject({
    code: 'internal_error', message: expect.stringMatching(/doomed died 5 times within a minute, last by code 7.*\nno luck/),
  });
  await expect(supervisor.failed).rejects.toThrow();
});

test('a service that says why it can not start is not started again', async () => {
  const supervisor = new Supervisor(line => lines.push(line));
  await expect(supervisor.start(service('refusing', "process.send({ type: 'failed', code: 'port_in_use', message: 'port 1 is in use', details: { field: 'port' } }, () => process.exit(1));")))
    .rejects.toMatchObject({ code: 'port_in_use', message: 'port 1 is in use' });
});

test('one that ignores a stop is killed', async () => {
  const supervisor = new Supervisor(line => lines.push(line), 300);
  await supervisor.start(service('deaf', STAYS.replace('process.exit(0)', '0')));
  const began = performance.now();
  await supervisor.stop(100);
  expect(performance.now() - began).toBeLessThan(3000);
});

describe('a unit that ends by itself', () => {
  test('is done with code 0', async () => {
    const supervisor = new Supervisor(line => lines.push(line));
    await supervisor.finish(service('task', "console.log('done');"));
    expect(lines).toEqual(['[task] done']);
    await supervisor.stop(1000);
  });

  test('and fails with any other, and its last lines', async () => {
    const supervisor = new Supervisor(line => lines.push(line));
    await expect(supervisor.finish(service('task', "console.error('no'); process.exit(3);"))).rejects.toMatchObject({ message: 'task ended by code 3. Its last lines:\nno' });
  });
});

describe('a stop', () => {
  test('waits for what is still starting, and ends it', async () => {
    const supervisor = new Supervisor(line => lines.push(line));
    let started!: (running: Running) => void;
    void supervisor.start({ name: 'slow', level: 0, start: () => new Promise(resolve => { started = resolve; }) });
    const stopped = supervisor.stop(1000);
    let end!: (how: string) => void;
    const ended = new Promise<string>(resolve => { end = resolve; });
    started({ ready: Promise.resolve(), ended, stop: async () => end('stop'), kill: () => end('kill') });
    await stopped;
    expect(await ended).toBe('stop');
  });

  test('does not wait until what died may start again', async () => {
    const supervisor = new Supervisor(line => lines.push(line));
    let starts = 0;
    void supervisor.start({ name: 'mortal', level: 0, start: () => ({ ready: new Promise(() => undefined), ended: Promise.resolve(String(++starts)), stop: async () => undefined, kill: () => undefined }) });
    await expect.poll(() => starts).toBe(2);
    await supervisor.stop(1000);
    expect(starts).toBe(2);
    expect(() => supervisor.start({ name: 'late', level: 0, start: () => { throw new Error('started'); } })).toThrow(expect.objectContaining({ code: 'cancelled' }));
  });
});

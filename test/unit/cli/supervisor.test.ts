import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Supervisor, type ServiceSpec } from '../../../apps/cli/src/supervisor.js';

let folder: string;
let lines: string[];
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'weft-supervisor-')); lines = []; });
afterEach(() => rmSync(folder, { recursive: true }));

function service(name: string, script: string, change: Partial<ServiceSpec> = {}): ServiceSpec {
  const main = join(folder, `${name}.mjs`);
  writeFileSync(main, script);
  return { name, main, environment: () => ({ GIVEN: 'yes' }), onListening: () => undefined, ...change };
}
const STAYS = "process.on('SIGTERM', () => { console.log('stopping'); process.exit(0); }); setInterval(() => {}, 1000); process.send({ type: 'listening', at: 'here' }); process.send({ type: 'ready' });";

test('services start ready, speak under their names, and stop in reverse order', async () => {
  const supervisor = new Supervisor(line => lines.push(line));
  let at = '';
  await supervisor.start(service('first', STAYS, { onListening: where => { at = where; } }));
  await supervisor.start(service('second', STAYS));
  expect(at).toBe('here');
  await supervisor.stop(1000);
  await expect.poll(() => lines).toEqual(['[second] stopping', '[first] stopping']);
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

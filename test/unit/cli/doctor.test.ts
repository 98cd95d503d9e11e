import { createServer } from 'node:net';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../../apps/cli/src/free-port.js';
import { afterAll, expect, test } from 'vitest';
import { doctor, type Finding } from '../../../apps/cli/src/commands/doctor.js';

const folder = mkdtempSync(join(tmpdir(), 'weft-doctor-'));
afterAll(() => { rmSync(folder, { recursive: true }); });

const found = async (port: number): Promise<{ failed: boolean | undefined; of: (check: string) => Finding }> => {
  const { json, failed } = await doctor({ dataDir: join(folder, 'not', 'there'), port, cudaDriver: '/nowhere/libcuda.so.1' });
  const { findings } = json as { findings: Finding[] };
  return { failed, of: check => findings.find(finding => finding.check.startsWith(check))! };
};

test('what a start needs is there; a GPU is none of it', async () => {
  const { failed, of } = await found(await freePort());
  expect(of('Node')).toMatchObject({ status: 'ok', found: expect.stringContaining(process.versions.node) as unknown });
  expect(of('CPU kernels')).toMatchObject({ status: 'ok', found: expect.stringMatching(/^\w+, \d+ threads?$/) as unknown });
  expect(of('GPU')).toMatchObject({ status: 'note', found: expect.stringContaining('no NVIDIA driver') as unknown });
  expect(of('data directory').found).toMatch(/GiB free/);
  expect(failed).toBe(false);
});

test('a port that is taken fails, with what to do', async () => {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as { port: number };
  const { failed, of } = await found(port);
  expect(of('port')).toMatchObject({ status: 'failed', found: 'taken', remedy: expect.stringContaining('--port') as unknown });
  expect(failed).toBe(true);
  server.close();
});

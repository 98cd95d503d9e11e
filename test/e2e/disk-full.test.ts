/** A disk that is full takes no uploads; everything else goes on. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ADAPTERS, Weft } from './weft.js';

const DISK_BYTES = 4 * 2 ** 20;

test('an upload that does not fit answers 507 and leaves nothing; answers, and uploads that fit, go on', async ctx => {
  const dataDir = mkdtempSync(join(tmpdir(), 'weft-e2e-full-'));
  const disk = mkdtempSync(join(tmpdir(), 'weft-e2e-disk-'));
  symlinkSync(disk, join(dataDir, 'artifacts'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', disk]).status === 0;
  ctx.onTestFinished(() => {
    if (mounted) spawnSync('umount', ['-l', disk]);
    for (const folder of [dataDir, disk]) rmSync(folder, { recursive: true, force: true });
  });
  ctx.skip(!mounted, 'needs to mount a small file system, as root may');
  const weft = await Weft.start({ dataDir });
  const upload = (name: string, files: [string, Buffer][]): Promise<Response> => {
    const form = new FormData();
    form.append('name', name);
    for (const [file, content] of files) form.append('files', new Blob([content]), file);
    return fetch(`${weft.url}/v1/adapters`, { method: 'POST', body: form, headers: { authorization: `Bearer ${weft.key}` } });
  };
  const folder = join(ADAPTERS, 'r1');
  const small = readdirSync(folder).map((file): [string, Buffer] => [file, readFileSync(join(folder, file))]);

  const refused = await upload('large', [['adapter_config.json', Buffer.from('{}')], ['adapter_model.safetensors', Buffer.alloc(2 * DISK_BYTES)]]);
  expect([refused.status, await refused.json()]).toMatchObject([507, { error: { code: 'insufficient_storage' } }]);
  expect(refused.headers.get('x-should-retry')).toBe('false');
  expect((await fetch(`${weft.url}/v1/adapters/large`, { headers: { authorization: `Bearer ${weft.key}` } })).status).toBe(404);

  expect((await weft.post('/v1/completions', { model: 'r16-all', prompt: [5, 6], max_tokens: 4 })).status).toBe(200);
  expect((await upload('small', small)).status).toBe(202);
  expect(await weft.stop()).toBe(0);
});

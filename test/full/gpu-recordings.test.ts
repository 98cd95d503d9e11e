/** The recordings for machines without Node (test/gpu/recordings.tar.xz) are of the ops as they are: `node scripts/weft.mjs record` makes them anew. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const root = join(import.meta.dirname, '../..');

test('every recording runs here, within its tolerance', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-recordings-'));
  try {
    await run('tar', ['-xJf', join(root, 'test/gpu/recordings.tar.xz'), '-C', folder]);
    const files = (await readdir(folder)).filter(name => name.endsWith('.weft')).map(name => join(folder, name));
    expect(files.length).toBeGreaterThan(90);
    const { stdout } = await run(join(root, 'libs/kernels/build/weft-replay'), [...files, '--threads', '2'], { maxBuffer: 2 ** 24 });
    expect(stdout.match(/: ok {2}[1-9]\d* values/g), stdout).toHaveLength(files.length);
  } finally {
    await rm(folder, { recursive: true });
  }
});

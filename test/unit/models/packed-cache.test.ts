import { mkdirSync, readdirSync, readFileSync, renameSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createCpuDevice, type Device } from '@weft/kernels';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../libs/engine/src/checkpoint/index.js';
import { loadModel, PackedCache, type LoadOptions } from '../../../libs/engine/src/models/index.js';
import { PackedReader, type PackedKey } from '../../../libs/engine/src/models/packed-file.js';
import { byteLength, folder, safetensors, TINY, tinyTensors, type Tensors } from './folder.js';
import { OneSequence } from './one-sequence.js';

const PROMPT = [1, 5, 39, 0, 17];

let device: Device;
beforeAll(() => { device = createCpuDevice({ threads: 2 }); });
afterAll(() => device.close());

/** Tensors with values, which are others for another seed. */
function filled(seed: number): Tensors {
  const data = (bytes: number): Uint8Array => {
    const values = Uint16Array.from({ length: bytes / 2 }, (_, i) => 0x3c00 + ((i * 37 + seed * 101) % 256) | ((i * 13 + seed) % 3 === 0 ? 0x8000 : 0));
    return new Uint8Array(values.buffer);
  };
  return Object.fromEntries(Object.entries(tinyTensors()).map(([name, spec]) => [name, { ...spec, data: data(byteLength(spec)) }]));
}

/** A checkpoint and a data directory. */
class Start {
  readonly data = folder({});
  readonly packed = join(this.data, 'weights');
  readonly model: string;
  constructor(seed = 1) { this.model = folder({ 'config.json': TINY, 'model.safetensors': safetensors(filled(seed)) }); }

  /** Loads as a start does; what it said, and what the model answers. */
  async run(options: Partial<LoadOptions> = {}): Promise<{ log: string; answer: unknown }> {
    const lines: string[] = [];
    const log = (line: string): void => { lines.push(line); };
    const cache = new PackedCache(this.packed, log);
    const model = await loadModel(device, await openCheckpoint(this.model), { partition: { rank: 0, size: 1 }, digestCacheDir: join(this.data, 'adapters'), packedCache: cache, log, ...options });
    const sequence = new OneSequence(model);
    const answer = await sequence.score(PROMPT);
    await cache.idle();
    sequence.close();
    return { log: lines.join('\n'), answer };
  }
  get files(): string[] { return readdirSync(this.packed).sort(); }
  get file(): string { return join(this.packed, this.files.find(name => name.endsWith('.weights'))!); }
  edit(change: (bytes: Buffer) => void): void {
    const bytes = readFileSync(this.file);
    change(bytes);
    writeFileSync(this.file, bytes);
  }
}

describe('packed weights', () => {
  test('of the first start are the second\'s, to the bit', async () => {
    const start = new Start();
    const first = await start.run(), second = await start.run();
    expect(first.log).not.toContain('(packed cache)');
    expect(first.log).toMatch(/packed cache: 0\.\d MiB written/);
    expect(second.log).toContain('s (packed cache)');
    expect(second.answer).toEqual(first.answer);
    expect(start.files).toHaveLength(1);
  });

  test('are not looked for while the checkpoint\'s digest is not known', async () => {
    const start = new Start();
    const first = await start.run();
    const second = await start.run({ digestCacheDir: folder({}) });
    expect(second.log).not.toContain('packed cache');
    expect(second.answer).toEqual(first.answer);
  });

  test.each<[string, (start: Start) => void, RegExp]>([
    ['truncated', ({ file }) => truncateSync(file, readFileSync(file).length - 4097), /has \d+ bytes; .* ends at/],
    ['empty', ({ file }) => truncateSync(file, 0), /has no header/],
    ['with a flipped bit in a matrix', start => start.edit(bytes => { bytes[bytes.length - 4096 * 9]! ^= 4; }), /checksum/],
    ['with a flipped bit in the header', start => start.edit(bytes => { bytes[200]! ^= 1; }), /damaged header/],
    ['of another layout', start => start.edit(bytes => { bytes.write('heftpack', 0, 'latin1'); }), /has no header/],
    ['of another checkpoint under its name', start => {
      const name = start.file;
      renameSync(start.files.map(file => join(start.packed, file)).find(file => file !== name)!, name);
    }, /was made for/],
  ])('%s are made again, and it is said why', async (what, damage, reason) => {
    const start = new Start();
    const first = await start.run();
    if (what.includes('another checkpoint')) {
      const other = new Start(2);
      await other.run();
      writeFileSync(join(start.packed, `z${other.files[0]!}`), readFileSync(other.file));
    }
    damage(start);
    const before = device.stats().allocatedBytes;
    const second = await start.run();
    expect(second.log).toMatch(reason);
    expect(second.log).toContain('; the weights are packed again');
    expect(second.log).not.toContain('(packed cache)');
    expect(second.answer).toEqual(first.answer);
    expect(device.stats().allocatedBytes - before).toBeLessThan(2 ** 20);
    expect((await start.run()).log).toContain('(packed cache)');
  });

  test('any damaged byte of the header is noticed', async () => {
    const start = new Start();
    const first = await start.run();
    const sound = readFileSync(start.file);
    const headerBytes = sound.readUInt32LE(8);
    const { key } = JSON.parse(sound.toString('utf8', 16, 16 + headerBytes)) as { key: PackedKey };
    expect(await PackedReader.open(device, start.file, key)).not.toBeNull();
    for (let at = 0; at < 16 + headerBytes; at += 11) {
      start.edit(bytes => { bytes[at]! ^= 0x10; });
      await expect(PackedReader.open(device, start.file, key)).rejects.toMatchObject({ code: 'image_corrupt' });
      writeFileSync(start.file, sound);
    }
    expect((await start.run()).answer).toEqual(first.answer);
  });

  test('of other weights, dtypes and partitions lie beside one another', async () => {
    const start = new Start();
    const stored = await start.run();
    const wide = await start.run({ weights: 'f32' });
    expect(wide.log).not.toContain('(packed cache)');
    expect(start.files).toHaveLength(2);
    expect((await start.run({ weights: 'f32' })).log).toContain('(f32) in');
    expect((await start.run()).answer).toEqual(stored.answer);
    // The same folder, other weights: what was packed for the old ones is not touched.
    writeFileSync(join(start.model, 'model.safetensors'), safetensors(filled(3)));
    const changed = await start.run();
    expect(changed.log).not.toContain('(packed cache)');
    expect(changed.answer).not.toEqual(stored.answer);
    expect(start.files).toHaveLength(3);
  });

  test('that a killed start left half-written are no packed weights, and go', async () => {
    const start = new Start();
    mkdirSync(start.packed, { recursive: true });
    const draft = join(start.packed, 'x.weights.0123.tmp');
    writeFileSync(draft, 'half');
    utimesSync(draft, 0, 0);
    expect((await start.run()).log).toMatch(/written/);
    expect(start.files).toHaveLength(1);
  });

  test('that were used longest ago go when there are too many', async () => {
    const start = new Start();
    mkdirSync(start.packed, { recursive: true });
    for (const age of [1, 2, 3, 4, 5]) {
      writeFileSync(join(start.packed, `${age}.weights`), '');
      utimesSync(join(start.packed, `${age}.weights`), 1e9 - age, 1e9 - age);
    }
    const { log } = await start.run();
    expect(log).toMatch(/4\.weights is removed[^]*5\.weights is removed/);
    expect(start.files.map(name => name.slice(0, 2)).filter(name => /\d\./.test(name))).toEqual(['1.', '2.', '3.']);
  });

  test('that can\'t be written stop nothing', async () => {
    const start = new Start();
    writeFileSync(start.packed, 'a file where the folder should be');
    const { log } = await start.run();
    expect(log).toMatch(/packed cache: nothing is kept: /);
  });

  test('that are being written when everything ends leave nothing behind', async () => {
    const start = new Start();
    const cache = new PackedCache(start.packed);
    await loadModel(device, await openCheckpoint(start.model), { partition: { rank: 0, size: 1 }, digestCacheDir: start.data, packedCache: cache });
    await cache.close();
    expect(readdirSync(start.data).includes('weights') ? start.files : []).toEqual([]);
  });
});

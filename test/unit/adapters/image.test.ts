import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import {
  adapterTables, imagePath, loadImageIndex, lora, modulePath, prepareAdapter, readAdapterFolder, slotWordsFor,
  type BaseGeometry, type ImageIndex, type LoraManifest, type LoraModule, type PageGeometry, type Site,
} from '@weft/adapters';
import { DType, Half, Run, runAt, Seg, SEG_WORDS } from '@weft/kernels';
import { crc32c } from '../../../libs/adapters/src/crc32c.js';
import { F16_VALUES } from '../../../libs/adapters/src/float.js';
import { layOut } from '../../../libs/adapters/src/layout.js';
import { adapterFolder, bitsTensor, f32Tensor, llama, loraTensors, peftConfig, random, SMOLLM2, SMOLLM2_PAGE_BYTES, temporaryFolder, type TensorData } from './support.js';

const ALL: Site['name'][] = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];
const pagesOf = (pageBytes: number): PageGeometry => ({ pageBytes, partition: { rank: 0, size: 1 } });
const small = llama({ layers: 3, hidden: 64, q: 64, kv: 32, intermediate: 100 });

/** An arena into which an image was loaded, pages in any order, and the table that was bound to them. */
class Bound {
  readonly arena: Uint8Array;
  readonly table: Int32Array;
  readonly floats: Float32Array;
  constructor(readonly base: BaseGeometry, readonly index: ImageIndex, image: Uint8Array, seed: number) {
    const next = random(seed);
    const total = index.pages + 3;
    const order = Array.from({ length: total }, (_, i) => i).sort(() => next() - 0.5);
    const places = Int32Array.from(order.slice(0, index.pages));
    this.arena = new Uint8Array(total * index.pageBytes).fill(0xee);
    places.forEach((place, i) => this.arena.set(image.subarray(i * index.pageBytes, (i + 1) * index.pageBytes), place * index.pageBytes));
    this.table = adapterTables(index, places, { layers: base.layers, nSites: base.sites.length, slotWords: slotWordsFor(index, base.layers, base.sites.length) + 5 });
    this.floats = new Float32Array(this.table.buffer);
  }

  /** The table's words of a run. */
  run(layer: number, site: number, half: number): Int32Array {
    return this.table.subarray(runAt(layer, site, half, this.base.sites.length)).subarray(0, 8);
  }

  /** The 16-bit values of a run's units, as a kernel finds them. */
  units(layer: number, site: number, half: number): Uint16Array[] {
    const run = this.run(layer, site, half);
    const found: Uint16Array[] = [];
    for (let s = 0; s < run[Run.segs]!; s++) {
      const seg = run[Run.firstSeg]! + s * SEG_WORDS;
      expect(this.table[seg + Seg.firstUnit]).toBe(found.length);
      for (let unit = 0; unit < this.table[seg + Seg.units]!; unit++) {
        const at = this.table[seg + Seg.at]! * 128 + unit * run[Run.unitBytes]!;
        expect(Math.floor(at / this.index.pageBytes)).toBe(Math.floor((at + run[Run.unitBytes]! - 1) / this.index.pageBytes));
        found.push(new Uint16Array(this.arena.buffer, at, run[Run.unitBytes]! / 2));
      }
    }
    expect(found).toHaveLength(run[Run.units]!);
    return found;
  }
}

/** A's and B's values as the units hold them, back in the order of the tensors. */
function unpack(bound: Bound, module: LoraModule, { dIn, dOut }: Site): { a: number[]; b: number[] } {
  const a = bound.units(module.layer, module.site, Half.a).flatMap(unit => {
    expect(unit.length).toBe(Math.ceil(dIn / 64) * 64);
    expect(unit.subarray(dIn).every(value => value === 0)).toBe(true);
    return [...unit.subarray(0, dIn)];
  });
  const b = new Array<number>(dOut * module.rank);
  bound.units(module.layer, module.site, Half.b).forEach((unit, tile) => {
    expect(unit.length).toBe(64 * module.rank);
    for (let j = 0; j < module.rank; j++) {
      for (let o = 0; o < 64; o++) {
        const value = unit[j * 64 + o]!;
        if (tile * 64 + o < dOut) b[(tile * 64 + o) * module.rank + j] = value;
        else expect(value).toBe(0);
      }
    }
  });
  return { a, b };
}

async function packed(base: BaseGeometry, config: unknown, tensors: readonly TensorData[], pageBytes: number): Promise<{ manifest: LoraManifest; index: ImageIndex; imageFile: string }> {
  const { manifest, ...rest } = await prepareAdapter(adapterFolder(config, tensors), base, pagesOf(pageBytes), join(temporaryFolder(), 'cache'));
  return { manifest: manifest as LoraManifest, ...rest };
}

describe('every value is found again through the table', () => {
  const next = random(99);
  const odd = (): number => 1 + Math.floor(next() * 300);
  const cases = [1, 2, 3, 7, 8, 12, 16, 31, 64, 100, 128, 255, 256].map(rank => {
    const dims = { layers: 2, hidden: odd(), q: odd(), kv: odd(), intermediate: odd() };
    const unit = Math.max(128 * rank, ...[dims.hidden, dims.q, dims.intermediate].map(width => Math.ceil(width / 64) * 128));
    return [rank, dims, Math.ceil(unit / 4096) * 4096] as const;
  });

  test.each(cases)('rank %d, %o, pages of %d bytes', async (rank, dims, pageBytes) => {
    const base = llama(dims);
    const names = ALL.map(name => `${name}_proj`);
    // A third each of f32, f16 and bf16, with ranks that differ by module.
    const rankOf = (path: string): number => (path.includes('layers.1') ? Math.max(1, rank >> 1) : rank);
    const tensors = loraTensors(base, ALL, rankOf).map((tensor, i) =>
      i % 3 === 0 ? tensor : bitsTensor(tensor.name, i % 3 === 1 ? 'F16' : 'BF16', tensor.shape, j => 0x3000 + ((i * 131 + j * 7) & 0x8fff)));
    const { manifest, index, imageFile } = await packed(base, peftConfig({ r: rank, target_modules: names, rank_pattern: { 'layers\\.1\\..*': Math.max(1, rank >> 1) } }), tensors, pageBytes);
    const image = readFileSync(imageFile);
    expect(image.length).toBe(index.pages * pageBytes);
    expect(index.crc32c).toEqual(Array.from({ length: index.pages }, (_, i) => crc32c(image.subarray(i * pageBytes, (i + 1) * pageBytes))));

    const bound = new Bound(base, index, image, rank);
    for (const module of manifest.modules) {
      const site = base.sites[module.site]!;
      const values = unpack(bound, module, site);
      for (const [half, ref, stored] of [['a', module.a, module.aStored], ['b', module.b, module.bStored]] as const) {
        const source = tensors.find(tensor => tensor.name === ref.name)!;
        const run = bound.run(module.layer, module.site, Half[half]);
        expect([run[Run.dtype], run[Run.rank]]).toEqual([DType[stored], module.rank]);
        expect(bound.floats[runAt(module.layer, module.site, Half[half], base.sites.length) + Run.scale]).toBe(module.scale);
        if (source.dtype !== 'F32') {
          expect(values[half]).toEqual([...new Uint16Array(source.bytes.buffer)]);
        } else {
          const exact = new Float32Array(source.bytes.buffer);
          expect(stored).toBe('f16');
          expect(values[half].every((bits, i) => Math.abs(F16_VALUES[bits]! - exact[i]!) <= Math.max(2 ** -25, Math.abs(exact[i]!) * 2 ** -11))).toBe(true);
        }
      }
    }
  });
});

test('runs stand in the order in which a layer reads them, and only for what is targeted', async () => {
  const { index } = await packed(small, peftConfig({ target_modules: ALL.map(name => `${name}_proj`), exclude_modules: '.*layers\\.1\\..*' }),
    loraTensors(small, ALL, () => 4).filter(({ name }) => !name.includes('layers.1')), 8192);
  const order = ['Aq', 'Ak', 'Av', 'Bq', 'Bk', 'Bv', 'Ao', 'Bo', 'Agate', 'Aup', 'Bgate', 'Bup', 'Adown', 'Bdown'];
  const names = index.runs.map(run => `${run.layer}${'AB'[run.half]}${small.sites[run.site]!.name}`);
  expect(names).toEqual([0, 2].flatMap(layer => order.map(name => `${layer}${name}`)));
});

test('a site that is not targeted has an empty run', async () => {
  const { index, imageFile } = await packed(small, peftConfig(), loraTensors(small, ['q', 'v'], () => 4), 8192);
  const bound = new Bound(small, index, readFileSync(imageFile), 1);
  for (const site of [1, 3, 4, 5, 6]) for (const half of [0, 1]) expect([...bound.run(1, site, half)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
});

describe('waste on SmolLM2', () => {
  const base = llama(SMOLLM2);
  const share = (rank: number, sites: readonly Site['name'][]): number => {
    const modules = Array.from({ length: base.layers }, (_, layer) => base.sites.filter(site => sites.includes(site.name))
      .map(site => ({ layer, site: site.index, rank, scale: 1, aStored: 'bf16', bStored: 'bf16' }) as LoraModule)).flat();
    const { pages, payloadBytes } = layOut({ kind: 'lora', digest: '', rank, modules } as unknown as LoraManifest, [], base, pagesOf(SMOLLM2_PAGE_BYTES));
    return 1 - payloadBytes / (pages * SMOLLM2_PAGE_BYTES);
  };
  const percent = (rank: number, sites: readonly Site['name'][]): number => Number((100 * share(rank, sites)).toFixed(1));
  test('all linear modules: at most 5.4% at rank 8, 0.9% at rank 64', () => {
    expect(percent(8, ALL)).toBeLessThanOrEqual(5.4);
    expect(percent(64, ALL)).toBeLessThanOrEqual(0.9);
  });
  test('q and v at rank 8: the last page', () => {
    expect(percent(8, ['q', 'v'])).toBe(16.7);     // 2.5 pages in 3
  });
});

test('units follow without gaps; a hole is shorter than the unit after it', async () => {
  const pageBytes = 12_288;
  const { index } = await packed(small, peftConfig({ r: 24, target_modules: 'all-linear' }), loraTensors(small, ALL, () => 24), pageBytes);
  let page = 0;
  let offset = 0;
  for (const run of index.runs) {
    for (const seg of run.segs) {
      if (seg.page !== page) {
        expect(seg.page).toBe(page + 1);
        expect(pageBytes - offset).toBeLessThan(run.unitBytes);
        page++;
        offset = 0;
      }
      expect(seg.offset).toBe(offset);
      expect(seg.offset % 128).toBe(0);
      offset += seg.units * run.unitBytes;
      expect(offset).toBeLessThanOrEqual(pageBytes);
    }
  }
  expect(page).toBe(index.pages - 1);
});

test('what does not fit is refused with a code', async () => {
  const tensors = loraTensors(small, ['q', 'v'], () => 64);
  const folder = adapterFolder(peftConfig({ r: 64 }), tensors);
  await expect(prepareAdapter(folder, small, pagesOf(4096), temporaryFolder())).rejects.toMatchObject({ code: 'adapter_too_large', details: { field: 'r' } });
  await expect(prepareAdapter(folder, small, { pageBytes: 8192, partition: { rank: 1, size: 2 } }, temporaryFolder())).rejects.toMatchObject({ code: 'option_invalid' });
  await expect(prepareAdapter(folder, small, pagesOf(8200), temporaryFolder())).rejects.toMatchObject({ code: 'option_invalid' });
  const { index } = await prepareAdapter(folder, small, pagesOf(8192), temporaryFolder());
  const words = slotWordsFor(index, small.layers, small.sites.length);
  const places = new Int32Array(index.pages);
  expect(() => adapterTables(index, places, { layers: small.layers, nSites: small.sites.length, slotWords: words - 1 })).toThrow(expect.objectContaining({ code: 'adapter_too_large' }));
  expect(() => adapterTables(index, places.subarray(1), { layers: small.layers, nSites: small.sites.length, slotWords: words })).toThrow(RangeError);
  expect(() => adapterTables(index, places, { layers: 1, nSites: small.sites.length, slotWords: words })).toThrow(RangeError);
});

describe('the cache of images', () => {
  const config = peftConfig();
  const folder = (): string => adapterFolder(config, loraTensors(small, ['q', 'v'], () => 4));
  const list = (cache: string): string[] => readdirSync(join(cache, small.digest)).sort();

  test('holds an image and its index, and gives them back as they were', async () => {
    const cache = temporaryFolder();
    const source = folder();
    const first = await prepareAdapter(source, small, pagesOf(8192), cache);
    const { ino, mtimeMs } = statSync(first.imageFile);
    const second = await prepareAdapter(source, small, pagesOf(8192), cache);
    expect(second).toEqual(first);
    expect(statSync(first.imageFile)).toMatchObject({ ino, mtimeMs });
    expect(first.imageFile).toBe(imagePath(join(cache, small.digest), first.manifest.digest, pagesOf(8192)));
    expect(list(cache)).toEqual([`${first.manifest.digest}-v5-p8192-0of1.image`, `${first.manifest.digest}-v5-p8192-0of1.image.json`]);
  });

  test('the same adapter asked for at once is packed once; rebuilding packs it again', async () => {
    const cache = temporaryFolder();
    const source = folder();
    const packs = vi.spyOn(lora, 'pack');
    const all = await Promise.all(Array.from({ length: 8 }, () => prepareAdapter(source, small, pagesOf(8192), cache)));
    expect(packs).toHaveBeenCalledTimes(1);
    packs.mockRestore();
    for (const { index } of all) expect(index).toEqual(all[0]!.index);
    expect(list(cache)).toHaveLength(2);
    const { ino } = statSync(all[0]!.imageFile);
    const again = await prepareAdapter(source, small, pagesOf(8192), cache, { rebuild: true });
    expect(again.index).toEqual(all[0]!.index);
    expect(statSync(again.imageFile).ino).not.toBe(ino);
    expect(list(cache)).toHaveLength(2);
  });

  test('other pages and other bases have other images', async () => {
    const cache = temporaryFolder();
    const source = folder();
    const files = [
      await prepareAdapter(source, small, pagesOf(8192), cache), await prepareAdapter(source, small, pagesOf(4096), cache),
      await prepareAdapter(source, { ...small, digest: 'c'.repeat(64) }, pagesOf(8192), cache),
    ].map(({ imageFile }) => imageFile);
    expect(new Set(files).size).toBe(3);
  });

  test.each<[string, (imageFile: string, index: ImageIndex) => void]>([
    ['an index cut short', file => truncateSync(`${file}.json`, 100)],
    ['an index that is something else', file => writeFileSync(`${file}.json`, 'null')],
    ['an empty index', file => writeFileSync(`${file}.json`, '{}')],
    ['an image cut short', file => truncateSync(file, 5_000)],
    ['another layout', (file, index) => writeFileSync(`${file}.json`, JSON.stringify({ ...index, layout: 999 }))],
    ['another digest', (file, index) => writeFileSync(`${file}.json`, JSON.stringify({ ...index, digest: 'x' }))],
    ['another base', (file, index) => writeFileSync(`${file}.json`, JSON.stringify({ ...index, baseDigest: 'x' }))],
    ['a seg outside its page', (file, index) => writeFileSync(`${file}.json`, JSON.stringify(index).replace('"offset":0', '"offset":8192'))],
    ['a seg that is not aligned', (file, index) => writeFileSync(`${file}.json`, JSON.stringify(index).replace('"offset":0', '"offset":1'))],
    ['a seg on a page that is not there', (file, index) => writeFileSync(`${file}.json`, JSON.stringify(index).replace('"page":0', '"page":77'))],
    ['units that are not counted', (file, index) => writeFileSync(`${file}.json`, JSON.stringify(index).replace('"firstUnit":0', '"firstUnit":1'))],
    ['a checksum missing', (file, index) => writeFileSync(`${file}.json`, JSON.stringify({ ...index, crc32c: [] }))],
  ])('%s is packed again', async (_, damage) => {
    const cache = temporaryFolder();
    const source = folder();
    const { manifest, index, imageFile } = await prepareAdapter(source, small, pagesOf(8192), cache);
    damage(imageFile, index);
    expect(await loadImageIndex(imageFile, { digest: manifest.digest, baseDigest: small.digest, ...pagesOf(8192) })).toBeNull();
    expect((await prepareAdapter(source, small, pagesOf(8192), cache)).index).toEqual(index);
    expect(existsSync(imageFile)).toBe(true);
  });

  test('a failure leaves nothing behind and is told as one', async () => {
    const cache = temporaryFolder();
    const source = folder();
    const manifest = await lora.validate(await readAdapterFolder(source), small);
    truncateSync(join(source, 'adapter_model.safetensors'), 2_000);
    const file = imagePath(cache, manifest.digest, pagesOf(8192));
    await expect(lora.pack(manifest, small, pagesOf(8192), file)).rejects.toMatchObject({ code: 'safetensors_invalid' });
    expect(readdirSync(dirname(file))).toEqual([]);
    writeFileSync(join(cache, 'occupied'), '');
    await expect(prepareAdapter(folder(), small, pagesOf(8192), join(cache, 'occupied'))).rejects.toMatchObject({ code: 'io_error' });
  });
});

test('a tensor larger than a chunk is packed as one smaller than it', async () => {
  const base = llama({ layers: 1, hidden: 2048, q: 2048, kv: 64, intermediate: 64 });
  const values = (name: string, shape: number[]): TensorData => f32Tensor(name, shape, i => ((i * 2654435761) % 1000) / 500 - 1);
  const path = `base_model.model.${modulePath(base, 0, base.sites[0]!)}`;
  const tensors = [values(`${path}.lora_A.weight`, [256, 2048]), values(`${path}.lora_B.weight`, [2048, 256])];
  const { manifest, index, imageFile } = await packed(base, peftConfig({ r: 256, target_modules: ['q_proj'] }), tensors, 65_536);
  const { a, b } = unpack(new Bound(base, index, readFileSync(imageFile), 5), manifest.modules[0]!, base.sites[0]!);
  for (const [got, source] of [[a, tensors[0]!], [b, tensors[1]!]] as const) {
    const exact = new Float32Array(source.bytes.buffer);
    expect(got.every((bits, i) => Math.abs(F16_VALUES[bits]! - exact[i]!) <= 2 ** -11)).toBe(true);
  }
});

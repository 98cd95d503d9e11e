import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { AdapterRefused, esft, loadImageIndex, prepareAdapter, readAdapterFolder, type EsftManifest, type ImageIndex, type MoeBase, type PreparedAdapter } from '@weft/adapters';
import { expertUnits } from '@weft/kernels';
import { baseSeed, baseTensors, esftConfig, esftFolder, expertKey, expertTensors, moeBase } from './esft-support.js';
import { bitsTensor, f32Tensor, llama, random, SMOLLM2, temporaryFolder, type TensorData } from './support.js';

const base = moeBase({ layers: 3, dense: [0], count: 4, hidden: 64, inner: 48 });
const pages = (pageBytes: number): { pageBytes: number; partition: { rank: number; size: number } } => ({ pageBytes, partition: { rank: 0, size: 1 } });

const validate = async (folder: string, of = base): Promise<EsftManifest> => esft.validate(await readAdapterFolder(folder), of);
async function refusal(folder: string, of = base): Promise<AdapterRefused> {
  const error: unknown = await validate(folder, of).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AdapterRefused);
  return error as AdapterRefused;
}
const prepare = async (folder: string, of: MoeBase, pageBytes: number, tensors = baseTensors(of), cache = temporaryFolder()): Promise<PreparedAdapter> =>
  prepareAdapter(folder, of, pages(pageBytes), cache, { baseTensors: await tensors });
const halves = ({ bytes }: TensorData): Uint16Array => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);

test('experts of uneven layers, cut into shards, with and without the prefix', async () => {
  const shards = [[...expertTensors(base, 1, 3, 1), ...expertTensors(base, 2, 0, 2)], expertTensors(base, 1, 1, 3)];
  shards[1]!.forEach(tensor => { tensor.name = tensor.name.slice('model.'.length); });
  const manifest = await validate(esftFolder(esftConfig({ 2: [0], 1: [3, 1] }), ...shards));
  expect(manifest).toMatchObject({ kind: 'esft', rank: 0, targetModules: ['experts'], warnings: [] });
  expect(manifest.experts.map(({ layer, expert, stored }) => [layer, expert, stored])).toEqual([[1, 1, 'bf16'], [1, 3, 'bf16'], [2, 0, 'bf16']]);
});

describe('every value is found again in the units', () => {
  const next = random(5), odd = (): number => 1 + Math.floor(next() * 200);
  test.each(Array.from({ length: 8 }, (_, i) => [i, odd(), odd(), 4096 * (1 + i % 5), i % 2 ? 'F16' : 'BF16'] as const))('%i: hidden %i, inner %i, pages of %i, %s', async (seed, hidden, inner, pageBytes, dtype) => {
    const of = moeBase({ layers: 2, count: 3, hidden, inner });
    const places = [[0, 2], [1, 0], [1, 1]] as const;
    const tensors = places.map(([layer, expert], i) => expertTensors(of, layer, expert, seed * 10 + i, dtype));
    const { index, imageFile } = await prepare(esftFolder(esftConfig({ 0: [2], 1: [0, 1] }), tensors.flat()), of, pageBytes);
    const image = readFileSync(imageFile), perPage = pageBytes / 4096, { gateUp, down } = expertUnits(of.experts);
    expect(image.length).toBe(index.pages * pageBytes);
    expect(index.experts.map(({ layer, expert, dtype: stored, pages: count }) => [layer, expert, stored, count])).toEqual(
      places.map(([layer, expert]) => [layer, expert, dtype.toLowerCase(), Math.ceil((gateUp + down) / perPage)]));
    index.experts.forEach(({ page }, i) => {
      const value = (unit: number, out: number, k: number): number => {
        const at = (page + Math.floor(unit / perPage)) * pageBytes + (unit % perPage) * 4096;
        return image.readUInt16LE(at + 2 * (dtype === 'BF16' ? ((k >> 1) * 32 + out) * 2 + (k & 1) : k * 32 + out));
      };
      const [gate, up, downProj] = tensors[i]!.map(halves) as [Uint16Array, Uint16Array, Uint16Array];
      const check = (firstUnit: number, n: number, k: number, at: (o: number, j: number) => number): void => {
        const blocks = Math.ceil(k / 64);
        for (let o = 0; o < Math.ceil(n / 32) * 32; o++) for (let j = 0; j < blocks * 64; j++) {
          const found = value(firstUnit + (o >> 5) * blocks + (j >> 6), o & 31, j & 63), wanted = o < n && j < k ? at(o, j) : 0;
          if (found !== wanted) throw new Error(`[${o}, ${j}] is ${found}, not ${wanted}`);
        }
      };
      check(0, 2 * inner, hidden, (o, j) => (o < inner ? gate[o * hidden + j]! : up[(o - inner) * hidden + j]!));
      check(gateUp, hidden, inner, (o, j) => downProj[o * inner + j]!);
      const units = Buffer.concat(Array.from({ length: gateUp + down }, (_, u) => { const at = (page + Math.floor(u / perPage)) * pageBytes + (u % perPage) * 4096; return image.subarray(at, at + 4096); }));
      expect(index.experts[i]!.hash).toBe(createHash('sha256').update(`${dtype.toLowerCase()} [${2 * inner}, ${hidden}] [${hidden}, ${inner}]\n`).update(units).digest('hex'));
    });
  });
});

test('the same expert has one hash wherever it stands; others have others', async () => {
  const a = await prepare(esftFolder(esftConfig({ 1: [0, 1] }), [...expertTensors(base, 1, 0, 7), ...expertTensors(base, 1, 1, 8)]), base, 8192);
  const b = await prepare(esftFolder(esftConfig({ 2: [3] }), expertTensors(base, 2, 3, 7)), base, 8192);
  expect(b.index.experts[0]!.hash).toBe(a.index.experts[0]!.hash);
  expect(a.index.experts[1]!.hash).not.toBe(a.index.experts[0]!.hash);
});

test('f32 becomes the format that loses less, one for the whole expert; bf16 saved as f32 stays what it was', async () => {
  const wide = (name: string, shape: number[], value: number): TensorData => f32Tensor(name, shape, i => value * (1 + i % 3));
  const tensors = [wide(expertKey(1, 0, 'gate'), [48, 64], 1), wide(expertKey(1, 0, 'up'), [48, 64], 2 ** -40), wide(expertKey(1, 0, 'down'), [64, 48], 2 ** 20)];
  expect((await validate(esftFolder(esftConfig({ 1: [0] }), tensors))).experts[0]!.stored).toBe('bf16');
  expect((await validate(esftFolder(esftConfig({ 1: [0] }), tensors.map((t, i) => f32Tensor(t.name, t.shape, j => 1 + (i + j) / 1024))))).experts[0]!.stored).toBe('f16');
});

describe("the base's own experts", () => {
  const own = (layer: number, expert: number): TensorData[] => expertTensors(base, layer, expert, baseSeed(layer, expert));
  test.each([false, true])('are left out (fused checkpoint: %s)', async fused => {
    const folder = esftFolder(esftConfig({ 1: [0, 2], 2: [1] }), [...own(1, 0), ...expertTensors(base, 1, 2, 9), ...own(2, 1)]);
    const { index } = await prepare(folder, base, 8192, baseTensors(base, fused));
    expect(index.experts.map(({ layer, expert }) => [layer, expert])).toEqual([[1, 2]]);
  });

  test('also when they were saved as f32; one value makes another expert', async () => {
    const asF32 = own(1, 0).map(t => f32Tensor(t.name, t.shape, i => new Float32Array(Uint32Array.of(halves(t)[i]! << 16).buffer)[0]!));
    const changed = own(2, 1).map((t, i) => bitsTensor(t.name, 'BF16', t.shape, j => halves(t)[j]! ^ (i === 2 && j === t.bytes.length / 2 - 1 ? 1 : 0)));
    const { index } = await prepare(esftFolder(esftConfig({ 1: [0], 2: [1] }), [...asF32, ...changed]), base, 8192);
    expect(index.experts.map(({ layer }) => layer)).toEqual([2]);
  });

  test('alone they are an adapter without effect', async () => {
    await expect(prepare(esftFolder(esftConfig({ 1: [0] }), own(1, 0)), base, 8192)).rejects.toMatchObject({ code: 'adapter_without_effect' });
  });
});

describe('refused, with layer and expert by number', () => {
  const one = expertTensors(base, 1, 2, 1);
  const cases: [string, unknown, TensorData[][], string, RegExp][] = [
    ['an expert beyond the base', esftConfig({ 1: [4] }), [[]], 'adapter_config_invalid', /layer 1 holds expert 4; this base has experts 0 to 3/],
    ['a fraction of an expert', esftConfig({ 1: [0.5] }), [[]], 'adapter_config_invalid', /layer 1 holds expert 0.5/],
    ['an expert twice', esftConfig({ 1: [2, 2] }), [one], 'adapter_config_invalid', /layer 1 holds expert 2 twice/],
    ['a dense layer', esftConfig({ 0: [2] }), [[]], 'adapter_config_invalid', /layer 0 is dense/],
    ['a layer beyond the base', esftConfig({ 3: [2] }), [[]], 'adapter_config_invalid', /holds layer 3; this DeepseekV2ForCausalLM has layers 0 to 2/],
    ['no layer', esftConfig({ '01': [2] }), [[]], 'adapter_config_invalid', /"01", which is no layer's number/],
    ['no list', esftConfig({ 1: 2 as never }), [[]], 'adapter_config_invalid', /layer 1 is a number/],
    ['no experts', { shared_experts: false }, [one], 'adapter_config_invalid', /"experts" is missing/],
    ['no object', '[]', [one], 'adapter_config_invalid', /an object is expected/],
    ['no JSON', '{"experts": {"1": [2], "1": [3]}}', [one], 'adapter_config_invalid', /appears twice/],
    ['no flag', esftConfig({ 1: [2] }, { shared_experts: 'no' }), [one], 'adapter_config_invalid', /"shared_experts" is a string/],
    ['an unknown field', esftConfig({ 1: [2] }, { gates: true }), [one], 'adapter_field_unsupported', /"gates"/],
    ['a missing matrix', esftConfig({ 1: [2] }), [one.slice(0, 2)], 'adapter_tensor_missing', /layer 1, expert 2: model\.layers\.1\.mlp\.experts\.2\.down_proj\.weight is in none/],
    ['an expert that is not there', esftConfig({ 1: [2], 2: [0] }), [one], 'adapter_tensor_missing', /layer 2, expert 0: .*gate_proj/],
    ['an expert that is not listed', esftConfig({ 1: [2] }), [[...one, ...expertTensors(base, 2, 3, 1)]], 'adapter_tensor_unclaimed', /layer 2, expert 3: .* is not listed in expert_cfg\.json/],
    ['a tensor of a dense layer', esftConfig({ 1: [2] }), [[...one, ...expertTensors(base, 0, 3, 1)]], 'adapter_tensor_unclaimed', /layer 0, expert 3: .* dense/],
    ['a tensor of no layer', esftConfig({ 1: [2] }), [[...one, ...expertTensors(base, 7, 3, 1)]], 'adapter_tensor_unclaimed', /layer 7, expert 3: .* layers 0 to 2/],
    ['a tensor of no expert', esftConfig({ 1: [2] }), [[...one, ...expertTensors(base, 1, 9, 1)]], 'adapter_tensor_unclaimed', /layer 1, expert 9: .* experts 0 to 3/],
    ['an expert in two shards', esftConfig({ 1: [2] }), [one, one], 'adapter_tensor_duplicate', /layer 1, expert 2: .*gate_proj\.weight of model-2\.safetensors and .* of model-1\.safetensors/],
    ['an expert under two names', esftConfig({ 1: [2] }), [[...one, { ...one[0]!, name: one[0]!.name.slice(6) }]], 'adapter_tensor_duplicate', /layer 1, expert 2/],
    ['shapes of another base', esftConfig({ 1: [2] }), [[...one.slice(0, 2), bitsTensor(one[2]!.name, 'BF16', [64, 40], () => 0)]], 'adapter_tensor_shape', /layer 1, expert 2: .* \[64, 40\]; on this base it must be \[64, 48\]/],
    ['another dtype', esftConfig({ 1: [2] }), [[...one.slice(0, 2), { name: one[2]!.name, dtype: 'I32', shape: [64, 48], bytes: new Uint8Array(64 * 48 * 4) }]], 'adapter_tensor_dtype', /layer 1, expert 2: .* is I32/],
    ['an infinity', esftConfig({ 1: [2] }), [[...one.slice(0, 2), bitsTensor(one[2]!.name, 'BF16', [64, 48], i => (i === 50 ? 0xff80 : 0x7f7f))]], 'adapter_tensor_not_finite', /layer 1, expert 2: .* holds -Infinity at \[1, 2\]/],
    ['a NaN of f16', esftConfig({ 1: [2] }), [[...expertTensors(base, 1, 2, 1, 'F16').slice(0, 2), bitsTensor(one[2]!.name, 'F16', [64, 48], i => (i === 3071 ? 0x7e00 : 0x7bff))]], 'adapter_tensor_not_finite', /holds NaN at \[63, 47\]/],
    ['a NaN of f32', esftConfig({ 1: [2] }), [[...one.slice(0, 2), f32Tensor(one[2]!.name, [64, 48], i => (i === 0 ? NaN : 1))]], 'adapter_tensor_not_finite', /layer 1, expert 2: .* holds NaN at \[0, 0\]/],
    ['values that no format holds', esftConfig({ 1: [2] }), [one.map(t => f32Tensor(t.name, t.shape, () => 3.4e38))], 'adapter_value_out_of_range', /layer 1, expert 2/],
    ['trained shared experts', esftConfig({ 1: [2] }, { shared_experts: true }), [[...one, bitsTensor('model.layers.1.mlp.shared_experts.up_proj.weight', 'BF16', [1024, 1024], () => 1)]], 'adapter_field_unsupported', /"shared_experts" is true; .* 1 tensors .* 2 MiB/],
    ['trained other modules', esftConfig({ 1: [2] }, { non_expert_modules: true }), [one], 'adapter_field_unsupported', /"non_expert_modules" is true/],
    ['shared experts that nothing announces', esftConfig({ 1: [2] }), [[...one, bitsTensor('model.layers.1.mlp.shared_experts.up_proj.weight', 'BF16', [8, 8], () => 1)]], 'adapter_tensor_unclaimed', /shared_experts\.up_proj.*shared experts are not served/],
    ['a router', esftConfig({ 1: [2] }), [[...one, bitsTensor('model.layers.1.mlp.gate.weight', 'BF16', [4, 64], () => 1)]], 'adapter_tensor_unclaimed', /mlp\.gate\.weight is no expert's matrix/],
    ['nothing at all', esftConfig({ 1: [] }), [[bitsTensor(one[0]!.name, 'BF16', [48, 64], () => 1)]], 'adapter_tensor_unclaimed', /not listed/],
  ];
  test.each(cases)('%s', async (_, config, shards, code, message) => {
    const { findings } = await refusal(esftFolder(config, ...shards.map(shard => (shard.length ? shard : one))));
    expect(findings).toContainEqual(expect.objectContaining({ code, message: expect.stringMatching(message) as string }));
  });

  test('a base without experts, files that belong to nothing, no weights', async () => {
    expect((await refusal(esftFolder(esftConfig({ 1: [2] }), one), llama(SMOLLM2) as MoeBase)).code).toBe('adapter_kind_unsupported');
    const folder = esftFolder(esftConfig({ 1: [2] }), one);
    writeFileSync(join(folder, 'model.safetensors.index.json'), '{}');
    expect((await refusal(folder)).message).toMatch(/model\.safetensors\.index\.json is no file of an ESFT adapter/);
    expect((await refusal(esftFolder(esftConfig({ 1: [2] })))).code).toBe('adapter_file_missing');
  });
});

describe('a damaged index is no index', () => {
  const key = (index: ImageIndex): Parameters<typeof loadImageIndex>[1] => ({ digest: index.digest, baseDigest: index.baseDigest, ...pages(index.pageBytes) });
  test.each<[string, (index: ImageIndex) => void]>([
    ['a page beyond the image', i => { i.experts[0]!.pages++; }], ['experts that overlap', i => { i.experts[1]!.page--; }], ['a hash that is none', i => { i.experts[0]!.hash = 'x'; }],
    ['no experts', i => { i.experts = []; }], ['another dtype', i => { i.experts[0]!.dtype = 'int8' as never; }], ['no pages', i => { i.experts[0]!.pages = 0; }],
  ])('%s', async (_, damage) => {
    const { index, imageFile } = await prepare(esftFolder(esftConfig({ 1: [0, 2] }), [...expertTensors(base, 1, 0, 1), ...expertTensors(base, 1, 2, 2)]), base, 8192);
    expect(await loadImageIndex(imageFile, key(index))).toEqual(index);
    const damaged = structuredClone(index);
    damage(damaged);
    writeFileSync(`${imageFile}.json`, JSON.stringify(damaged));
    expect(await loadImageIndex(imageFile, key(index))).toBeNull();
  });
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { End, ID_BYTES } from '@weft/kernels';
import { AdapterRefused, lora, openSafetensors, prepareAdapter, readAdapterFolder, type BaseGeometry, type BaseTensors, type ImageIndex, type TensorRef } from '@weft/adapters';
import { adapterFolder, f32Tensor, llama, loraTensors, peftConfig, random, safetensors, temporaryFolder, type TensorData } from './support.js';

const VOCAB = 40, HIDDEN = 70;
const base: BaseGeometry = { ...llama({ layers: 1, hidden: HIDDEN, q: HIDDEN, kv: 32, intermediate: 80 }), ends: { embed: 'model.embed_tokens', head: 'lm_head', vocab: VOCAB, hidden: HIDDEN, embedScale: 2, tied: false } };
const tied: BaseGeometry = { ...base, ends: { ...base.ends, tied: true } };
const plain = loraTensors(base, ['q', 'v'], () => 4);
const EMBED = 'base_model.model.model.embed_tokens', HEAD = 'base_model.model.lm_head';

/** Row i of the base begins with i. */
const rowValue = (i: number): number => (i % HIDDEN === 0 ? i / HIDDEN : Math.fround(Math.sin(i)));
const matrix = (name: string, change: (token: number) => number = () => 0, rows = VOCAB): TensorData => f32Tensor(name, [rows, HIDDEN], i => rowValue(i) + change(Math.floor(i / HIDDEN)));
const only = (...tokens: number[]) => (token: number): number => (tokens.includes(token) ? 1 : 0);

async function baseTensors(): Promise<BaseTensors> {
  const file = join(temporaryFolder(), 'model.safetensors');
  writeFileSync(file, safetensors([matrix('model.embed_tokens.weight'), matrix('lm_head.weight')]));
  return (await openSafetensors(file)).tensors as Map<string, TensorRef>;
}

async function pack(config: Record<string, unknown>, tensors: TensorData[], on = base): Promise<{ index: ImageIndex; image: Buffer }> {
  const folder = adapterFolder(peftConfig(config), [...plain, ...tensors]);
  const { index, imageFile } = await prepareAdapter(folder, on, { pageBytes: 8192, partition: { rank: 0, size: 1 } }, temporaryFolder(), { baseTensors: await baseTensors() });
  return { index, image: readFileSync(imageFile) };
}

async function refusal(config: Record<string, unknown>, tensors: TensorData[], on = base): Promise<AdapterRefused> {
  const folder = await readAdapterFolder(adapterFolder(peftConfig(config), [...plain, ...tensors]));
  const error = await lora.validate(folder, on).then(() => null, (thrown: unknown) => thrown);
  if (!(error instanceof AdapterRefused)) throw new Error(`expected a refusal, got ${String(error)}`);
  return error;
}

const runOf = ({ runs }: ImageIndex, site: number) => runs.find(run => run.layer === base.layers && run.site === site);
/** Tokens of a run's rows. */
function tokensOf(index: ImageIndex, image: Buffer, site: number): number[] {
  const run = runOf(index, site)!;
  return run.segs.flatMap(seg => Array.from({ length: seg.units }, (_, i) => image.readInt32LE(seg.page * index.pageBytes + seg.offset + (i + 1) * run.unitBytes - ID_BYTES)));
}

describe('rows of the ends', () => {
  test('of a whole module, those that differ from the base are kept, with their tokens', async () => {
    const { index, image } = await pack({ modules_to_save: ['lm_head'] }, [matrix(`${HEAD}.weight`, only(3, 17, 39))]);
    expect(runOf(index, End.headRows)).toMatchObject({ units: 3, unitBytes: 256 + ID_BYTES, tail: ID_BYTES, scale: 1 });
    expect(tokensOf(index, image, End.headRows)).toEqual([3, 17, 39]);
    expect(index).toMatchObject({ replacesEnds: true, actsOnHead: true });
  });

  test('where most differ, all are kept and need no tokens', async () => {
    const { index } = await pack({ modules_to_save: ['embed_tokens'] }, [matrix(`${EMBED}.weight`, token => token % 2)]);
    expect(runOf(index, End.embedRows)).toMatchObject({ units: VOCAB, unitBytes: 256, tail: 0, scale: 2 });
    expect(index.actsOnHead).toBe(false);
  });

  test("the base's own matrix beside an adapter of it takes nothing", async () => {
    const config = { target_modules: ['q_proj', 'v_proj', 'lm_head'] };
    const ofHead = [f32Tensor(`${HEAD}.lora_A.weight`, [4, HIDDEN], i => i % 3), f32Tensor(`${HEAD}.lora_B.weight`, [VOCAB, 4], i => i % 5)];
    const { index } = await pack(config, [...ofHead, matrix(`${HEAD}.base_layer.weight`)]);
    expect(runOf(index, End.headRows)).toBeUndefined();
    expect(index).toMatchObject({ replacesEnds: false, actsOnHead: true });
    const other = await pack(config, [...ofHead, matrix(`${HEAD}.base_layer.weight`, only(5))]);
    expect(tokensOf(other.index, other.image, End.headRows)).toEqual([5]);
  });

  test('of a larger vocabulary, new tokens are kept beside what differs; of a smaller one, nothing but its size', async () => {
    const both = (change: (token: number) => number, rows: number): TensorData[] => [matrix(`${EMBED}.weight`, change, rows), matrix(`${HEAD}.weight`, change, rows)];
    const larger = await pack({}, both(only(3), VOCAB + 2));
    expect(larger.index).toMatchObject({ vocab: VOCAB + 2, replacesEnds: true });
    for (const site of [End.embedRows, End.headRows]) expect(tokensOf(larger.index, larger.image, site)).toEqual([3, VOCAB, VOCAB + 1]);
    const whole = await pack({ modules_to_save: ['embed_tokens', 'lm_head'] }, both(token => token % 2, VOCAB + 2));
    expect(runOf(whole.index, End.headRows)).toMatchObject({ units: VOCAB + 2, tail: 0 });
    const smaller = await pack({}, both(() => 0, VOCAB - 3));
    expect(smaller.index).toMatchObject({ vocab: VOCAB - 3, replacesEnds: false });
    expect(runOf(smaller.index, End.headRows)).toBeUndefined();
    expect((await pack({}, both(only(3), VOCAB))).index.vocab).toBeNull();
  });

  test('nothing but the rows of the base: refused as without effect', async () => {
    const zero = loraTensors(base, ['q', 'v'], () => 4).map(tensor => ({ ...tensor, bytes: new Uint8Array(tensor.bytes.length) }));
    const folder = adapterFolder(peftConfig({ modules_to_save: ['lm_head'], target_modules: ['lm_head'] }), [matrix(`${HEAD}.weight`)]);
    await expect(prepareAdapter(folder, base, { pageBytes: 8192, partition: { rank: 0, size: 1 } }, temporaryFolder(), { baseTensors: await baseTensors() }))
      .rejects.toMatchObject({ code: 'adapter_without_effect' });
    await expect(readAdapterFolder(adapterFolder(peftConfig(), zero)).then(content => lora.validate(content, base))).rejects.toMatchObject({ code: 'adapter_without_effect' });
  });

  test('trained tokens in any order stand in ascending order', async () => {
    const { index, image } = await pack({ trainable_token_indices: [30, 2, 11] }, [f32Tensor(`${EMBED}.token_adapter.trainable_tokens_delta`, [3, HIDDEN], i => (i % HIDDEN === 0 ? [300, 20, 110][i / HIDDEN]! : 0))]);
    expect(tokensOf(index, image, End.embedRows)).toEqual([2, 11, 30]);
    const run = runOf(index, End.embedRows)!, [seg] = run.segs;
    expect([0, 1, 2].map(i => image.readUInt16LE(seg!.page * index.pageBytes + seg!.offset + i * run.unitBytes))).toEqual([0x4d00, 0x56e0, 0x5cb0]);     // 20, 110, 300 in f16
    expect(runOf(index, End.headRows)).toBeUndefined();
  });

  test('tied ends have the same rows in the same pages', async () => {
    const { index } = await pack({ trainable_token_indices: [4] }, [f32Tensor(`${EMBED}.token_adapter.trainable_tokens_delta`, [1, HIDDEN], i => i)], tied);
    const [embed, head] = [runOf(index, End.embedRows)!, runOf(index, End.headRows)!];
    expect(head.segs).toEqual(embed.segs);
    expect([embed.scale, head.scale]).toEqual([2, 1]);
    const whole = await pack({ modules_to_save: ['embed_tokens'], ensure_weight_tying: true }, [matrix(`${EMBED}.weight`, only(1)), matrix(`${HEAD}.weight`, only(1))], tied);
    expect(runOf(whole.index, End.headRows)).toMatchObject({ units: 1 });
  });

  test('of tied ends, whole modules are not tied without being told', async () => {
    const { index } = await pack({ modules_to_save: ['embed_tokens'] }, [matrix(`${EMBED}.weight`, only(1))], tied);
    expect(runOf(index, End.headRows)).toBeUndefined();
  });
});

describe('refused', () => {
  const delta = (end: string, rows: number): TensorData => f32Tensor(`${end}.token_adapter.trainable_tokens_delta`, [rows, HIDDEN], () => 1);
  test.each<[string, Record<string, unknown>, TensorData[], object]>([
    ['a whole module that is missing', { modules_to_save: ['lm_head'] }, [], { code: 'adapter_tensor_missing', details: { tensor: `${HEAD}.weight` } }],
    ['one end of another vocabulary', { modules_to_save: ['lm_head'] }, [matrix(`${HEAD}.weight`, () => 1, VOCAB + 1)], { code: 'adapter_tensor_missing', details: { tensor: `${EMBED}.weight` } }],
    ['ends of two vocabularies', { modules_to_save: ['lm_head', 'embed_tokens'] }, [matrix(`${EMBED}.weight`, () => 1, VOCAB + 1), matrix(`${HEAD}.weight`, () => 1, VOCAB + 2)], { code: 'adapter_tensor_shape', details: { tensor: `${HEAD}.weight` } }],
    ['ends of which one is the base\'s size', { modules_to_save: ['lm_head', 'embed_tokens'] }, [matrix(`${EMBED}.weight`, () => 1, VOCAB + 1), matrix(`${HEAD}.weight`)], { code: 'adapter_tensor_shape', details: { tensor: `${HEAD}.weight` } }],
    ['more tokens than can be added', { modules_to_save: ['lm_head', 'embed_tokens'] }, [EMBED, HEAD].map(end => matrix(`${end}.weight`, () => 1, VOCAB + 257)), { code: 'adapter_tensor_shape', details: { tensor: `${EMBED}.weight` } }],
    ['trained tokens without their rows', { trainable_token_indices: [1, 2] }, [], { code: 'adapter_tensor_missing' }],
    ['too many rows', { trainable_token_indices: [1, 2] }, [delta(EMBED, 3)], { code: 'adapter_tensor_shape' }],
    ['a token that there is not', { trainable_token_indices: [VOCAB] }, [delta(EMBED, 1)], { code: 'adapter_config_invalid', details: { field: 'trainable_token_indices' } }],
    ['a token twice', { trainable_token_indices: [1, 1] }, [delta(EMBED, 2)], { code: 'adapter_config_invalid', details: { field: 'trainable_token_indices' } }],
    ['tokens of a whole module', { trainable_token_indices: [1], modules_to_save: ['embed_tokens'] }, [delta(EMBED, 1)], { code: 'adapter_config_invalid', details: { field: 'trainable_token_indices' } }],
    ['tokens of a module with LoRA', { trainable_token_indices: [1], target_modules: ['q_proj', 'v_proj', 'embed_tokens'] }, [delta(EMBED, 1)], { code: 'adapter_config_invalid', details: { field: 'trainable_token_indices' } }],
    ['a matrix that no field speaks of', {}, [matrix(`${HEAD}.base_layer.weight`)], { code: 'adapter_tensor_unclaimed', details: { tensor: `${HEAD}.base_layer.weight` } }],
    ['values that are not finite', { modules_to_save: ['lm_head'] }, [matrix(`${HEAD}.weight`, token => (token === 7 ? NaN : 0))], { code: 'adapter_tensor_not_finite' }],
    ['a bias of B of an embedding', { lora_bias: true, target_modules: ['embed_tokens'] }, [], { code: 'adapter_config_invalid', details: { field: 'lora_bias' } }],
  ])('%s', async (_, config, tensors, error) => { expect(await refusal(config, tensors)).toMatchObject(error); });

  test('new tokens of one of two tied ends', async () => {
    const error = { code: 'adapter_tensor_missing', details: { tensor: `${HEAD}.weight` } };
    expect(await refusal({ modules_to_save: ['embed_tokens'] }, [matrix(`${EMBED}.weight`, () => 1, VOCAB + 1)], tied)).toMatchObject(error);
    const { index } = await pack({ modules_to_save: ['embed_tokens'] }, [matrix(`${EMBED}.weight`, only(2), VOCAB - 1)], tied);
    expect(index.vocab).toBe(VOCAB - 1);
  });

  test('matrices of tied ends that differ', async () => {
    const both = [matrix(`${HEAD}.weight`), matrix(`${EMBED}.weight`, only(2))];
    expect(await refusal({}, both, tied)).toMatchObject({ code: 'adapter_tensor_duplicate' });
    expect(await lora.validate(await readAdapterFolder(adapterFolder(peftConfig(), [...plain, ...both])), base)).toMatchObject({ ends: [{ end: 'embed' }, { end: 'head' }] });
  });

  test('tied tokens that differ where they must not', async () => {
    const config = { trainable_token_indices: { embed_tokens: [1], lm_head: [2] }, ensure_weight_tying: true };
    expect(await refusal(config, [delta(EMBED, 1), delta(HEAD, 1)], tied)).toMatchObject({ code: 'adapter_config_invalid', details: { field: 'trainable_token_indices' } });
  });
});

test('A of an embedding lies token by token', async () => {
  const next = random(3), a = Array.from({ length: 4 * VOCAB }, () => Math.round(next() * 64));
  const { index, image } = await pack({ target_modules: ['q_proj', 'v_proj', 'embed_tokens'] }, [
    f32Tensor(`${EMBED}.lora_embedding_A`, [4, VOCAB], i => a[i]!), f32Tensor(`${EMBED}.lora_embedding_B`, [HIDDEN, 4], i => i % 7),
  ]);
  const run = index.runs.find(({ layer, site, half }) => layer === base.layers && site === End.embed && half === 0)!;
  expect(run).toMatchObject({ units: 1, unitBytes: 512, rank: 4, scale: 8 });
  const [seg] = run.segs, values = new Uint16Array(image.buffer, image.byteOffset + seg!.page * index.pageBytes + seg!.offset, 256);
  expect(values[4 * 7 + 2]).toBe(f16(a[2 * VOCAB + 7]!));
  expect([...values.subarray(4 * VOCAB)].every(value => value === 0)).toBe(true);
});

/** Of a whole number up to 64. */
const f16 = (value: number): number => (value === 0 ? 0 : ((Math.floor(Math.log2(value)) + 15) << 10) | ((value / 2 ** Math.floor(Math.log2(value)) - 1) * 1024));

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lora, readAdapterFolder, type BaseGeometry, type LoraManifest, type Site } from '@weft/adapters';
import { adapterFolder, bitsTensor, f32Tensor, llama, peftConfig, random, temporaryFolder, type TensorData } from './support.js';

const COUNT = 3, HIDDEN = 16, INNER = 24, RANK = 2, LAYERS = [1];
const next = random(3);

/** Two layers, the second of which has three experts. */
function base(): BaseGeometry {
  const dense = llama({ layers: 2, hidden: HIDDEN, q: 16, kv: 8, intermediate: 40 });
  const experts = ([['expertGate', 'gate_proj', HIDDEN, INNER], ['expertUp', 'up_proj', HIDDEN, INNER], ['expertGateUp', 'gate_up_proj', HIDDEN, 2 * INNER], ['expertDown', 'down_proj', INNER, HIDDEN]] as const)
    .map(([name, module, dIn, dOut], i): Site => ({ index: dense.sites.length + i, name, module: `mlp.experts.${module}`, dIn, dOut, layers: LAYERS, experts: COUNT }));
  return {
    ...dense, sites: [...dense.sites, ...experts],
    experts: { layers: LAYERS, count: COUNT, topK: 2, hidden: HIDDEN, inner: INNER, module: 'mlp.experts', names: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' } },
  };
}

const key = (path: string, half: string): string => `base_model.model.model.layers.1.mlp.experts${path}.lora_${half}.weight`;
const tensor = (path: string, half: 'A' | 'B', shape: number[]): TensorData => f32Tensor(key(path, half), shape, () => next() - 0.5);
const GATE_UP = [tensor('.base_layer', 'A', [COUNT * RANK, HIDDEN]), tensor('.base_layer', 'B', [2 * INNER, RANK * COUNT])];
const DOWN = [tensor('', 'A', [COUNT * RANK, INNER]), tensor('', 'B', [HIDDEN, RANK * COUNT])];
const APART = Array.from({ length: COUNT }, (_, e) => [tensor(`.${e}.up_proj`, 'A', [RANK, HIDDEN]), tensor(`.${e}.up_proj`, 'B', [INNER, RANK])]).flat();
const STACKED = { r: RANK, target_modules: [], target_parameters: ['mlp.experts.gate_up_proj', 'experts.down_proj'] };

const validate = async (config: object, tensors: readonly TensorData[]): Promise<LoraManifest> =>
  lora.validate(await readAdapterFolder(adapterFolder(peftConfig(config as Record<string, unknown>), tensors)), base());
const refusal = (code: string, what: object): unknown => expect.objectContaining({ findings: expect.arrayContaining([expect.objectContaining({ code, ...what })]) as unknown });

describe('LoRA on experts', () => {
  test('stacked: shapes tell gate|up from down', async () => {
    const { modules, targetModules } = await validate({ ...STACKED, rank_pattern: { '.*gate_up_proj': RANK }, alpha_pattern: { '.*gate_up_proj': 6 } }, [...GATE_UP, ...DOWN]);
    expect(modules.map(({ layer, site, rank, scale, each }) => [layer, base().sites[site]!.name, rank, scale, each])).toEqual([[1, 'expertGateUp', RANK, 3, undefined], [1, 'expertDown', RANK, 8, undefined]]);
    expect(targetModules).toEqual(['gate_up_proj', 'down_proj']);
  });

  test('apart: a pair for each expert', async () => {
    const { modules } = await validate({ r: RANK, target_modules: ['up_proj'] }, [...APART, ...[0, 1].flatMap(layer => {
      const { dIn, dOut } = base().sites[5]!;
      return [f32Tensor(`base_model.model.model.layers.${layer}.mlp.up_proj.lora_A.weight`, [RANK, dIn], () => 1), f32Tensor(`base_model.model.model.layers.${layer}.mlp.up_proj.lora_B.weight`, [dOut, RANK], () => 1)];
    })]);
    expect(modules.map(({ site, each }) => [base().sites[site]!.name, each?.length])).toEqual([['up', undefined], ['up', undefined], ['expertUp', COUNT]]);
  });

  test('batched: one pair for all experts, of which a half may be shared', async () => {
    const shared = tensor('.w1', 'A', [1, RANK, HIDDEN]), own = tensor('.w1', 'B', [COUNT, INNER, RANK]);
    const { modules } = await validate({ r: RANK, target_modules: ['experts.gate_proj', 'experts.down_proj'] }, [shared, own, tensor('.down_proj', 'A', [COUNT, RANK, INNER]), tensor('.down_proj', 'B', [1, HIDDEN, RANK])]);
    expect(modules.map(({ site, rank, each }) => [base().sites[site]!.name, rank, each?.length])).toEqual([['expertGate', RANK, COUNT], ['expertDown', RANK, COUNT]]);
    const [gate, down] = modules.map(({ each }) => each!.map(({ a, b }) => [a.shape, a.offset - modules[0]!.each![0]!.a.offset, b.shape, b.bytes]));
    expect(gate).toEqual(Array.from({ length: COUNT }, () => [[RANK, HIDDEN], 0, [INNER, RANK], INNER * RANK * 4]));
    expect(new Set(down!.map(([, offset]) => offset)).size).toBe(COUNT);
    const offsets = modules[0]!.each!.map(({ b }) => b.offset);
    expect(offsets.map(offset => offset - offsets[0]!)).toEqual([0, 1, 2].map(e => e * INNER * RANK * 4));
  });

  test('batched: the pages are those of a pair for each expert', async () => {
    const shared = tensor('.up_proj', 'A', [1, RANK, HIDDEN]), own = tensor('.up_proj', 'B', [COUNT, INNER, RANK]);
    const part = (all: TensorData, e: number): Uint8Array => all.bytes.subarray(e * all.bytes.length / all.shape[0]!, (e + 1) * all.bytes.length / all.shape[0]!);
    const apart = Array.from({ length: COUNT }, (_, e): TensorData[] => [
      { name: key(`.${e}.up_proj`, 'A'), dtype: 'F32', shape: [RANK, HIDDEN], bytes: shared.bytes }, { name: key(`.${e}.up_proj`, 'B'), dtype: 'F32', shape: [INNER, RANK], bytes: part(own, e) },
    ]).flat();
    const pages = async (tensors: readonly TensorData[]): Promise<Buffer> => {
      const file = join(temporaryFolder(), 'image');
      await lora.pack(await validate({ r: RANK, target_modules: '.*experts.*up_proj' }, tensors), base(), { pageBytes: 8192, partition: { rank: 0, size: 1 } }, file);
      return readFileSync(file);
    };
    const batched = await pages([shared, own]);
    expect(batched.length).toBeGreaterThan(0);
    expect(batched.equals(await pages(apart))).toBe(true);
  });

  test('a router: by its parameter or as a module, with the rank that the pattern gives', async () => {
    const withRouter = (parameter: Site['parameter']): BaseGeometry => {
      const plain = base(), router: Site = { index: plain.sites.length, name: 'router', module: 'mlp.gate', dIn: HIDDEN, dOut: COUNT, layers: LAYERS, ...(parameter && { parameter }) };
      return { ...plain, sites: [...plain.sites, router] };
    };
    const at = (half: string): string => `base_model.model.model.layers.1.mlp.gate.lora_${half}.weight`;
    const pair = (rank: number): TensorData[] => [f32Tensor(at('A'), [rank, HIDDEN], () => next()), f32Tensor(at('B'), [COUNT, rank], () => next())];
    const on = async (geometry: BaseGeometry, config: object, rank: number): Promise<unknown> => {
      const { modules } = await lora.validate(await readAdapterFolder(adapterFolder(peftConfig(config as Record<string, unknown>), pair(rank))), geometry);
      return modules.map(module => [module.layer, geometry.sites[module.site]!.name, module.rank]);
    };
    const named = { r: RANK, target_modules: [], target_parameters: ['gate.weight'] };
    expect(await on(withRouter('also'), named, RANK)).toEqual([[1, 'router', RANK]]);
    expect(await on(withRouter('only'), { ...named, rank_pattern: { 'gate.weight': 1 } }, 1)).toEqual([[1, 'router', 1]]);
    expect(await on(withRouter('also'), { r: RANK, target_modules: ['gate'] }, RANK)).toEqual([[1, 'router', RANK]]);
    await expect(on(withRouter('only'), { r: RANK, target_modules: ['mlp.gate'] }, RANK)).rejects.toThrow(refusal('adapter_tensor_unclaimed', { tensor: at('A') }));
    await expect(on(withRouter('only'), { ...named, r: 3 }, RANK)).rejects.toThrow(refusal('adapter_tensor_shape', { tensor: at('A') }));
  });

  test.each<[string, object, readonly TensorData[], string, object]>([
    ['of another rank', { ...STACKED, r: 3 }, [...GATE_UP, ...DOWN], 'adapter_tensor_shape', { tensor: key('.base_layer', 'A') }],
    ['without one of two', STACKED, DOWN, 'adapter_tensor_missing', {}],
    ['that the config does not name', { ...STACKED, target_parameters: ['experts.down_proj'] }, [...GATE_UP, ...DOWN], 'adapter_tensor_unclaimed', { tensor: key('.base_layer', 'A') }],
    ['without one expert', { r: RANK, target_modules: ['up_proj'] }, APART.slice(2), 'adapter_tensor_missing', { tensor: key('.0.up_proj', 'A') }],
    ['of an expert that is not targeted', { r: RANK, target_modules: ['q_proj'] }, APART, 'adapter_tensor_unclaimed', {}],
    ['of a rank beyond the limit', { ...STACKED, r: 65, target_parameters: ['experts.down_proj'] }, [tensor('', 'A', [COUNT * 65, INNER]), tensor('', 'B', [HIDDEN, 65 * COUNT])], 'adapter_rank_too_large', { field: 'r' }],
    ['batched, of another number of experts', { r: RANK, target_modules: ['gate_proj'] }, [tensor('.gate_proj', 'A', [2, RANK, HIDDEN]), tensor('.gate_proj', 'B', [COUNT, INNER, RANK])], 'adapter_tensor_shape', { tensor: key('.gate_proj', 'A') }],
    ['batched, and not targeted', { r: RANK, target_modules: ['q_proj'] }, [tensor('.gate_proj', 'A', [1, RANK, HIDDEN]), tensor('.gate_proj', 'B', [COUNT, INNER, RANK])], 'adapter_tensor_unclaimed', { tensor: key('.gate_proj', 'A') }],
    ['in two forms', { r: RANK, target_modules: ['up_proj'] }, [...APART, tensor('.up_proj', 'A', [1, RANK, HIDDEN]), tensor('.up_proj', 'B', [COUNT, INNER, RANK])], 'adapter_tensor_unclaimed', { tensor: key('.up_proj', 'A') }],
    ['of two dtypes', { r: RANK, target_modules: ['up_proj'] }, [...APART.slice(0, 4), bitsTensor(key('.2.up_proj', 'A'), 'F16', [RANK, HIDDEN], () => 0x3c00), APART[5]!], 'adapter_tensor_dtype', { tensor: key('.2.up_proj', 'A') }],
    ['with DoRA', { ...STACKED, use_dora: true }, [...GATE_UP, ...DOWN], 'adapter_config_invalid', { field: 'use_dora' }],
    ['with half a pair', STACKED, [...GATE_UP, DOWN[0]!], 'adapter_tensor_unclaimed', { tensor: key('', 'A') }],
    ['not finite', STACKED, [...GATE_UP, DOWN[0]!, f32Tensor(key('', 'B'), [HIDDEN, RANK * COUNT], () => NaN)], 'adapter_tensor_not_finite', { tensor: key('', 'B') }],
    ['of zeros', { ...STACKED, target_parameters: ['experts.down_proj'] }, [DOWN[0]!, f32Tensor(key('', 'B'), [HIDDEN, RANK * COUNT], () => 0)], 'adapter_without_effect', {}],
  ])('%s is refused', async (_, config, tensors, code, what) => {
    await expect(validate(config, tensors)).rejects.toThrow(refusal(code, what));
  });
});

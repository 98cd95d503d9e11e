import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { AdapterRefused, lora, readAdapterFolder, type LoraManifest, type Site } from '@weft/adapters';
import { adapterFolder, llama, loraTensors, peftConfig } from './support.js';

const base = llama({ layers: 4, hidden: 64, q: 64, kv: 32, intermediate: 128 });
const ALL: Site['name'][] = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];

async function validate(config: unknown, targets: Site['name'][] = ['q', 'v'], rankOf: (path: string) => number = () => 4, keep: (path: string) => boolean = () => true): Promise<LoraManifest> {
  const tensors = loraTensors(base, targets, rankOf).filter(({ name }) => keep(name));
  return lora.validate(await readAdapterFolder(adapterFolder(config, tensors)), base);
}
async function refusal(config: unknown): Promise<AdapterRefused> {
  const error: unknown = await validate(config).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(AdapterRefused);
  return error as AdapterRefused;
}
const without = (field: string): Record<string, unknown> => {
  const config = peftConfig();
  delete config[field];
  return config;
};

test('what PEFT writes by default is served without a warning', async () => {
  const manifest = await validate(peftConfig());
  expect(manifest).toMatchObject({ kind: 'lora', rank: 4, targetModules: ['q_proj', 'v_proj'], warnings: [], ignored: [] });
  expect(manifest.modules).toHaveLength(8);
  expect(new Set(manifest.modules.map(module => module.scale))).toEqual(new Set([4]));
});

test('a config with only what is required is served', async () => {
  await validate({ peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj'] });
});

describe('fields that change nothing at inference', () => {
  test.each<[string, unknown]>([
    ['lora_dropout', 0.5], ['inference_mode', false], ['revision', 'main'], ['peft_version', '0.9.0'], ['megatron_core', 'other'], ['task_type', null],
    ['auto_mapping', { base_model_class: 'LlamaForCausalLM', parent_library: 'transformers', unsloth_fixed: true }], ['qalora_group_size', 32],
    ['runtime_config', { ephemeral_gpu_offload: true }], ['ensure_weight_tying', true], ['eva_config', { rho: 2.0 }], ['init_lora_weights', 'eva'],
    ['init_lora_weights', false], ['init_lora_weights', 'gaussian'], ['init_lora_weights', 'orthogonal'], ['init_lora_weights', 'mica'],
    ['modules_to_save', []], ['trainable_token_indices', {}], ['loftq_config', null], ['layers_pattern', ''], ['rank_pattern', null], ['bias', null],
    ['bias', 'all'], ['bias', 'lora_only'], ['fan_in_fan_out', true],
    ['a_field_of_tomorrow', null], ['a_field_of_tomorrow', false], ['a_field_of_tomorrow', []], ['a_field_of_tomorrow', {}], ['a_field_of_tomorrow', ''],
  ])('%s: %j', async (field, value) => {
    expect((await validate(peftConfig({ [field]: value }))).warnings).toEqual([]);
  });
});

/** One adapter for every field of PEFT that is not served, or not with every value. */
const UNSUPPORTED: [field: string, value: unknown][] = [
  ['use_qalora', true], ['bias', 'some'],
  ['modules_to_save', ['norm']], ['modules_to_save', ['lm_head', 'input_layernorm']], ['trainable_token_indices', { q_proj: [1] }],
  ['target_parameters', ['experts.gate_up_proj']], ['layer_replication', [[0, 2], [1, 3]]], ['alora_invocation_tokens', [5, 6]],
  ['megatron_config', { a: 1 }], ['loftq_config', { loftq_bits: 4 }], ['corda_config', { corda_method: 'ipm' }], ['lora_ga_config', { scale: 'unit' }],
  ['kasa_config', { beta: 1 }], ['use_bdlora', { nblocks: 2 }], ['arrow_config', { top_k: 2 }], ['velora_config', { scale: 1 }], ['monteclora_config', { num_samples: 8 }],
  ['init_lora_weights', 'pissa'], ['init_lora_weights', 'pissa_niter_16'], ['init_lora_weights', 'olora'], ['init_lora_weights', 'corda'],
  ['init_lora_weights', 'loftq'], ['init_lora_weights', 'lora_ga'], ['task_type', 'SEQ_CLS'], ['task_type', 'SEQ_2_SEQ_LM'],
  ['runtime_config', { ephemeral_gpu_offload: true, other: 1 }], ['layers_pattern', 'la.*s'],
  ['a_field_of_tomorrow', 'on'], ['a_field_of_tomorrow', true], ['a_field_of_tomorrow', 0], ['a_field_of_tomorrow', { a: null }],
];
/** Fields that are served, or change nothing, whatever they say. */
const SERVED = [
  'alpha_pattern', 'auto_mapping', 'base_model_name_or_path', 'ensure_weight_tying', 'eva_config', 'exclude_modules', 'fan_in_fan_out', 'inference_mode',
  'layers_to_transform', 'lora_alpha', 'lora_bias', 'lora_dropout', 'megatron_core', 'peft_type', 'peft_version', 'qalora_group_size', 'r', 'rank_pattern',
  'revision', 'target_modules', 'use_dora', 'use_rslora',
];

describe('refused by the name of the field', () => {
  test('every field that PEFT 0.21 writes stands in one of the two lists', () => {
    const written = JSON.parse(readFileSync(fileURLToPath(new URL('../../fixtures/models/llama-tiny/adapters/r8-qv/adapter_config.json', import.meta.url)), 'utf8')) as object;
    const known = new Set([...SERVED, ...UNSUPPORTED.map(([field]) => field)]);
    expect(Object.keys(written).filter(field => !known.has(field))).toEqual([]);
  });

  test.each(UNSUPPORTED)('%s: %j', async (field, value) => {
    const error = await refusal(peftConfig({ [field]: value, ...(field === 'layers_pattern' && { layers_to_transform: [1] }) }));
    expect(error).toMatchObject({ code: 'adapter_field_unsupported', details: { field } });
    expect(error.message).toContain(`"${field}"`);
  });

  test.each(['PREFIX_TUNING', 'IA3', 'ADALORA', 'VERA', 'XLORA', 'lora'])('peft_type %s', async type => {
    const error = await refusal({ peft_type: type, something_else: 1 });
    expect(error).toMatchObject({ code: 'adapter_kind_unsupported', details: { field: 'peft_type' } });
    expect(error.message).toContain(type);
  });

  test('everything that is wrong at once, in the order of the file', async () => {
    const { findings } = await refusal(peftConfig({ use_qalora: true, bias: 'some', r: 'eight', new_thing: 1 }));
    expect(findings.map(finding => finding.field)).toEqual(['bias', 'r', 'use_qalora', 'new_thing']);
  });
});

describe('not what PEFT writes', () => {
  test.each<[string, unknown]>([
    ['r', 0], ['r', -1], ['r', 1.5], ['r', '8'], ['r', true], ['r', null], ['lora_alpha', '16'], ['lora_alpha', null], ['lora_alpha', 1e40], ['use_rslora', 1], ['use_dora', 'yes'],
    ['target_modules', null], ['target_modules', []], ['target_modules', ''], ['target_modules', [1]], ['target_modules', {}], ['exclude_modules', 3],
    ['rank_pattern', []], ['rank_pattern', { q_proj: 0 }], ['rank_pattern', { q_proj: '8' }], ['alpha_pattern', { q_proj: null }], ['rank_pattern', { '(': 8 }],
    ['layers_to_transform', -1], ['layers_to_transform', 'all'], ['layers_to_transform', [0.5]], ['peft_type', 7], ['peft_type', null], ['task_type', 1], ['bias', false],
    ['base_model_name_or_path', 5], ['lora_dropout', 'no'], ['init_lora_weights', 1], ['target_modules', '(unbalanced'], ['exclude_modules', '*'], ['layers_pattern', 'layers'],
  ])('%s: %j is invalid', async (field, value) => {
    expect(await refusal(peftConfig({ [field]: value }))).toMatchObject({ code: 'adapter_config_invalid', details: { field } });
  });

  test.each(['peft_type', 'r', 'lora_alpha', 'target_modules'])('%s missing', async field => {
    const error = await refusal(without(field));
    expect(error).toMatchObject({ code: 'adapter_config_invalid', details: { field } });
    expect(error.message).toContain('missing');
  });

  test.each(['', '[]', 'null', '{"r": 8, "r": 16}', '{"r": NaN}', '{', ' '.repeat(2 << 20)])('the text %.20j', async text => {
    expect(await refusal(text)).toMatchObject({ code: 'adapter_config_invalid', details: { file: 'adapter_config.json' } });
  });

  test('layers_to_transform with a pattern for targets', async () => {
    expect(await refusal(peftConfig({ target_modules: '.*q_proj', layers_to_transform: [1] }))).toMatchObject({ code: 'adapter_config_invalid', details: { field: 'layers_to_transform' } });
  });
});

describe('ranks and scales', () => {
  test('rank and alpha patterns: the first key that matches wins, over a dotted suffix or the whole path', async () => {
    const rankOf = (path: string): number => (/layers\.1\..*q_proj/.test(path) ? 2 : /v_proj/.test(path) ? 8 : 4);
    const manifest = await validate(peftConfig({
      rank_pattern: { 'layers\\.1\\..*q_proj': 2, 'self_attn.v_proj': 8, q_proj: 4 }, alpha_pattern: { '^model.layers.3.self_attn.q_proj': 1, '(q|v)_proj': 32 },
    }), ['q', 'v'], rankOf);
    const scales = manifest.modules.map(({ layer, site, rank, scale }) => [layer, base.sites[site]!.name, rank, scale]);
    expect(scales).toEqual([
      [0, 'q', 4, 8], [0, 'v', 8, 4], [1, 'q', 2, 16], [1, 'v', 8, 4], [2, 'q', 4, 8], [2, 'v', 8, 4], [3, 'q', 4, 0.25], [3, 'v', 8, 4],
    ]);
    expect(manifest.rank).toBe(8);
  });

  test('use_rslora divides by the root of the rank', async () => {
    const { modules } = await validate(peftConfig({ use_rslora: true, lora_alpha: 3 }), ['q', 'v'], () => 4);
    expect(modules[0]!.scale).toBe(1.5);
  });

  test('rank 256 is served, 257 is refused by the field that asks for it', async () => {
    const q = ['q_proj'];
    expect((await validate(peftConfig({ r: 256, target_modules: q }), ['q'], () => 256)).rank).toBe(256);
    expect(await refusal(peftConfig({ r: 257, target_modules: q }))).toMatchObject({ code: 'adapter_rank_too_large', details: { field: 'r' } });
    expect(await refusal(peftConfig({ rank_pattern: { q_proj: 300 } }))).toMatchObject({ code: 'adapter_rank_too_large', details: { field: 'rank_pattern' } });
  });
});

describe('targets', () => {
  const layerOf = (name: string): number => Number(/layers\.(\d+)/.exec(name)![1]);

  test.each<[string, Record<string, unknown>, Site['name'][], (name: string) => boolean]>([
    ['all-linear', { target_modules: 'all-linear' }, ALL, () => true],
    ['ALL-linear without some', { target_modules: 'All-Linear', exclude_modules: ['lm_head', 'mlp.up_proj'] }, ALL, name => !/up_proj/.test(name)],
    ['a pattern', { target_modules: '.*\\.layers\\.[13]\\.(self_attn\\.(q|o)_proj|mlp\\.down_proj)' }, ['q', 'o', 'down'], name => layerOf(name) % 2 === 1],
    ['an excluding pattern', { exclude_modules: '.*layers\\.0\\..*' }, ['q', 'v'], name => layerOf(name) !== 0],
    ['one layer', { layers_to_transform: 2 }, ['q', 'v'], name => layerOf(name) === 2],
    ['layers of a list', { layers_to_transform: [0, 3], layers_pattern: ['h', 'layers'] }, ['q', 'v'], name => layerOf(name) % 3 === 0],
    ['a full path beside layers', { target_modules: ['q_proj', 'model.layers.0.self_attn.v_proj'], layers_to_transform: [1] }, ['q', 'v'],
      name => (/q_proj/.test(name) ? layerOf(name) === 1 : layerOf(name) === 0)],
    ['an empty list of layers: all', { layers_to_transform: [] }, ['q', 'v'], () => true],
  ])('%s', async (_, changes, sites, keep) => {
    const manifest = await validate(peftConfig(changes), sites, () => 4, keep);
    expect(manifest.warnings).toEqual([]);
    expect(manifest.modules).toHaveLength(loraTensors(base, sites, () => 4).filter(({ name }) => keep(name)).length / 2);
  });

  test.each<[string, unknown, string]>([
    ['a norm', ['q_proj', 'v_proj', 'input_layernorm'], 'model.layers.0.input_layernorm'], ['everything', '.*', 'model.norm'],
  ])('%s is refused as a target', async (_, targets, module) => {
    const error = await refusal(peftConfig({ target_modules: targets }));
    expect(error).toMatchObject({ code: 'adapter_field_unsupported', details: { field: 'target_modules' } });
    expect(error.message).toContain(module);
  });

  test('the head is no target when it is excluded', async () => {
    await validate(peftConfig({ target_modules: ['q_proj', 'v_proj', 'lm_head'], exclude_modules: ['lm_head'] }));
  });

  test.each<[string, Record<string, unknown>]>([
    ['target_modules', { target_modules: ['q_proj', 'v_proj', 'W_pack'] }], ['rank_pattern', { rank_pattern: { down_proj: 8 } }],
    ['alpha_pattern', { alpha_pattern: { 'layers.9': 8 } }], ['layers_to_transform', { layers_to_transform: [0, 1, 2, 3, 4] }],
  ])('%s that matches nothing here is a warning', async (field, changes) => {
    expect((await validate(peftConfig(changes))).warnings).toEqual([expect.objectContaining({ code: 'adapter_target_unmatched', field })]);
  });

  test('a pattern made to take for ever is refused in time', async () => {
    const started = performance.now();
    const hostile = Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`${i}(.*)*(.*)*(.*)*(.*)*(.*)*x`, 4]).map(([key, value]) => [String(key).slice(String(key).indexOf('(')) + String(key).split('(')[0], value]));
    expect(await refusal(peftConfig({ rank_pattern: hostile }))).toMatchObject({ code: 'adapter_field_unsupported', details: { field: 'rank_pattern' } });
    expect(performance.now() - started).toBeLessThan(10_000);
  });
});

describe('the base that the config names', () => {
  test.each(['HuggingFaceTB/SmolLM2-135M-Instruct', 'HuggingFaceTB/SmolLM2-135M-Instruct/', null, ''])('%j: no warning', async name => {
    expect((await validate(peftConfig({ base_model_name_or_path: name }))).warnings).toEqual([]);
  });
  test('another one is a warning', async () => {
    expect((await validate(peftConfig({ base_model_name_or_path: 'meta-llama/Llama-3.1-8B' }))).warnings)
      .toEqual([expect.objectContaining({ code: 'adapter_base_mismatch', field: 'base_model_name_or_path' })]);
  });
});

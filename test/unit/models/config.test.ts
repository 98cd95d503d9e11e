import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { WeftError } from '@weft/contracts';
import { describe, expect, test } from 'vitest';
import { ARCHITECTURES, parseConfig, type ModelConfig } from '../../../libs/engine/src/models/index.js';

type Json = Record<string, unknown>;

const SHAPE = { hidden_size: 64, intermediate_size: 96, num_hidden_layers: 3, num_attention_heads: 4, num_key_value_heads: 2, vocab_size: 320 };
const BASES = {
  llama: { architectures: ['LlamaForCausalLM'], model_type: 'llama', ...SHAPE },
  mistral: { architectures: ['MistralForCausalLM'], model_type: 'mistral', ...SHAPE, sliding_window: null },
  qwen2: { architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', ...SHAPE },
  qwen3: { architectures: ['Qwen3ForCausalLM'], model_type: 'qwen3', ...SHAPE },
  phi3: { architectures: ['Phi3ForCausalLM'], model_type: 'phi3', ...SHAPE },
  gemma2: { architectures: ['Gemma2ForCausalLM'], model_type: 'gemma2', ...SHAPE },
  gemma3: { architectures: ['Gemma3ForCausalLM'], model_type: 'gemma3_text', ...SHAPE },
  mixtral: { architectures: ['MixtralForCausalLM'], model_type: 'mixtral', ...SHAPE },
  qwen2Moe: { architectures: ['Qwen2MoeForCausalLM'], model_type: 'qwen2_moe', ...SHAPE },
  qwen3Moe: { architectures: ['Qwen3MoeForCausalLM'], model_type: 'qwen3_moe', ...SHAPE },
  olmoe: { architectures: ['OlmoeForCausalLM'], model_type: 'olmoe', ...SHAPE },
} as const;
type Kind = keyof typeof BASES;
const SLIDING = Array<string>(3).fill('sliding_attention'), FULL = Array<string>(3).fill('full_attention');
const LLAMA3 = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 512 };
/** Of heads of 16. */
const SHORT = [1, 1, 1, 1.5, 2, 2, 3, 4], LONG = [1, 2, 4, 8, 8, 16, 32, 64];
const LONGROPE = { type: 'longrope', short_factor: SHORT, long_factor: LONG };
const AUTO_MAP = { AutoConfig: 'configuration_phi3.Phi3Config', AutoModelForCausalLM: 'microsoft/Phi-4-mini-instruct--modeling_phi3.Phi3ForCausalLM', AutoTokenizer: 'Xenova/gpt-4o' };

/** `undefined` takes a field away. */
const patched = (kind: Kind, patch: Json): Json =>
  Object.fromEntries(Object.entries({ ...BASES[kind], ...patch }).filter(([, value]) => value !== undefined));
const parse = (kind: Kind, patch: Json, generation: Json | null = null): ModelConfig => parseConfig(patched(kind, patch), generation, ARCHITECTURES).config;

describe('what config.json says becomes', () => {
  test.each<[string, Kind, Json, Partial<ModelConfig>]>([
    ['defaults of Llama', 'llama', {}, {
      architecture: 'LlamaForCausalLM', headDim: 16, kvHeads: 2, normEps: 1e-6, tiedHead: false, activation: 'silu', maxPositions: 2048, slidingWindow: 0,
      qkvBias: false, outBias: false, mlpBias: false, qkNorm: null, bosId: null, eosIds: [], rope: { type: 'default', theta: 10_000, rotary: 16 },
    }],
    ['an architecture from the model type alone', 'qwen2', { architectures: undefined }, { architecture: 'Qwen2ForCausalLM' }],
    ['Llama: as many KV heads as heads', 'llama', { num_key_value_heads: undefined }, { kvHeads: 4 }],
    ['Llama: null KV heads likewise', 'llama', { num_key_value_heads: null }, { kvHeads: 4 }],
    ['Mistral: 8 KV heads', 'mistral', { num_attention_heads: 16, num_key_value_heads: undefined }, { kvHeads: 8 }],
    ['an explicit head_dim', 'llama', { head_dim: 24 }, { headDim: 24, rope: { type: 'default', theta: 10_000, rotary: 24 } }],
    ['Qwen 3: heads of 128', 'qwen3', {}, { headDim: 128, qkNorm: 'heads' }],
    ['Qwen 3: a given head_dim', 'qwen3', { head_dim: 32 }, { headDim: 32 }],
    ['a head_dim that does not divide hidden', 'llama', { num_attention_heads: 6, num_key_value_heads: 3, head_dim: 32 }, { headDim: 32, heads: 6 }],
    ['Llama: attention_bias for q, k, v and o', 'llama', { attention_bias: true }, { qkvBias: true, outBias: true, mlpBias: false }],
    ['Llama: mlp_bias', 'llama', { mlp_bias: true }, { qkvBias: false, mlpBias: true }],
    ['Qwen 2: biases on q, k, v alone', 'qwen2', {}, { qkvBias: true, outBias: false }],
    ['Qwen 3: attention_bias', 'qwen3', { attention_bias: true }, { qkvBias: true, outBias: true }],
    ['tied embeddings', 'qwen2', { tie_word_embeddings: true }, { tiedHead: true }],
    ['a tanh GELU', 'llama', { hidden_act: 'gelu_pytorch_tanh' }, { activation: 'geluTanh' }],
    ['an exact GELU', 'llama', { hidden_act: 'gelu' }, { activation: 'gelu' }],
    ['swish, which is SiLU', 'llama', { hidden_act: 'swish' }, { activation: 'silu' }],
    ['rope_theta (transformers 4)', 'llama', { rope_theta: 5e5, rope_scaling: null }, { rope: { type: 'default', theta: 5e5, rotary: 16 } }],
    ['rope_parameters (transformers 5)', 'llama', { rope_parameters: { rope_type: 'default', rope_theta: 5e5 } }, { rope: { type: 'default', theta: 5e5, rotary: 16 } }],
    ['rope_scaling without a type', 'llama', { rope_parameters: { rope_theta: 5e5 } }, { rope: { type: 'default', theta: 5e5, rotary: 16 } }],
    ['rope_scaling of the old type', 'llama', { rope_theta: 1e4, rope_scaling: { type: 'linear', factor: 4 } }, { rope: { type: 'linear', theta: 1e4, rotary: 16, factor: 4 } }],
    ['both names of a type', 'llama', { rope_scaling: { type: 'linear', rope_type: 'linear', factor: 2 } }, { rope: { type: 'linear', theta: 1e4, rotary: 16, factor: 2 } }],
    ['llama3 scaling', 'llama', { rope_theta: 5e5, rope_scaling: LLAMA3 },
      { rope: { type: 'llama3', theta: 5e5, rotary: 16, factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 512 } }],
    ['llama3 scaling whose pretrained length stands outside', 'llama', { original_max_position_embeddings: 128, rope_scaling: LLAMA3 },
      { rope: { type: 'llama3', theta: 1e4, rotary: 16, factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 128 } }],
    ['both spellings, saying the same', 'llama', { rope_theta: 1e4, rope_scaling: { type: 'linear', factor: 4 }, rope_parameters: { rope_type: 'linear', factor: 4, rope_theta: 1e4 } },
      { rope: { type: 'linear', theta: 1e4, rotary: 16, factor: 4 } }],
    ['a whole head turned', 'llama', { partial_rotary_factor: 1 }, { rope: { type: 'default', theta: 1e4, rotary: 16 } }],
    ['Mistral: no window', 'mistral', {}, { slidingWindow: 0 }],
    ['Mistral: a window', 'mistral', { sliding_window: 24 }, { slidingWindow: 24 }],
    ['Mistral: a window where none is named', 'mistral', { sliding_window: undefined }, { slidingWindow: 4096 }],
    ['Mistral: a window in each layer', 'mistral', { sliding_window: 24, layer_types: SLIDING }, { slidingWindow: 24 }],
    ['Mistral: no window in each layer', 'mistral', { layer_types: FULL }, { slidingWindow: 0 }],
    ['Qwen: a window that is off', 'qwen2', { use_sliding_window: false, sliding_window: 24, max_window_layers: 2 }, { slidingWindow: 0 }],
    ['Qwen: mixed layers', 'qwen3', { use_sliding_window: true, sliding_window: 24, layer_types: ['full_attention', 'sliding_attention', 'full_attention'] }, { slidingWindow: 24, fullLayers: [0, 2] }],
    ['Qwen: mixed layers by their number', 'qwen2', { use_sliding_window: true, sliding_window: 24, max_window_layers: 2 }, { slidingWindow: 24, fullLayers: [0, 1] }],
    ['Qwen: no window, as transformers 5 writes it', 'qwen2Moe', { use_sliding_window: false, sliding_window: 0 }, { slidingWindow: 0 }],
    ['Qwen: a window from the first layer on', 'qwen2', { use_sliding_window: true, sliding_window: 24, max_window_layers: 0 }, { slidingWindow: 24 }],
    ['Qwen: a window from beyond the last layer on', 'qwen3', { use_sliding_window: true, sliding_window: 24, max_window_layers: 3 }, { slidingWindow: 0 }],
    ['Qwen: a window by default layers', 'qwen2', { use_sliding_window: true }, { slidingWindow: 0 }],
    ['Qwen: layer_types over max_window_layers', 'qwen3', { use_sliding_window: true, sliding_window: 24, max_window_layers: 1, layer_types: SLIDING }, { slidingWindow: 24 }],
    ['Qwen: full layers, whatever the window', 'qwen3', { use_sliding_window: true, sliding_window: 24, layer_types: FULL }, { slidingWindow: 0 }],
    ['defaults of Phi', 'phi3', { num_key_value_heads: undefined }, {
      architecture: 'Phi3ForCausalLM', headDim: 16, kvHeads: 4, normEps: 1e-5, tiedHead: false, activation: 'silu', maxPositions: 4096, slidingWindow: 0,
      fused: true, outputNorms: false, qkvBias: false, rope: { type: 'default', theta: 10_000, rotary: 16 }, localRope: null,
    }],
    ['Phi: a window', 'phi3', { sliding_window: 2047 }, { slidingWindow: 2047 }],
    ['Phi: no window', 'phi3', { sliding_window: null }, { slidingWindow: 0 }],
    ['Phi: its own code, which is that of transformers', 'phi3', { auto_map: AUTO_MAP, full_attn_mod: 1, interpolate_factor: 1, lm_head_bias: false, mlp_bias: false, embd_pdrop: 0.1, resid_pdrop: 0.1 }, {}],
    ['Phi: longrope (transformers 4)', 'phi3', { max_position_embeddings: 65_536, rope_theta: 1e4, rope_scaling: LONGROPE },
      { rope: { type: 'longrope', theta: 1e4, rotary: 16, short: SHORT, long: LONG, attentionFactor: expect.closeTo(Math.sqrt(1 + 4 / 12), 12) as never, originalMaxPositions: 4096 } }],
    ['Phi: longrope (transformers 5)', 'phi3', {
      max_position_embeddings: 1024, original_max_position_embeddings: 256, rope_parameters: { ...LONGROPE, type: undefined, rope_type: 'longrope', rope_theta: 2e4, original_max_position_embeddings: 256 },
    }, { rope: { type: 'longrope', theta: 2e4, rotary: 16, short: SHORT, long: LONG, attentionFactor: expect.closeTo(Math.sqrt(1 + 2 / 8), 12) as never, originalMaxPositions: 256 } }],
    ['Phi: old names of longrope', 'phi3', { max_position_embeddings: 4096, rope_scaling: { ...LONGROPE, type: 'su' } }, { rope: expect.objectContaining({ type: 'longrope', attentionFactor: 1 }) as never }],
    ['Phi: a factor of attention', 'phi3', { max_position_embeddings: 8192, rope_scaling: { ...LONGROPE, type: 'yarn', attention_factor: 1.25, factor: 3 } },
      { rope: expect.objectContaining({ type: 'longrope', attentionFactor: 1.25 }) as never }],
    ['Phi: part of a head turned (transformers 4)', 'phi3', { partial_rotary_factor: 0.75 }, { rope: { type: 'default', theta: 1e4, rotary: 12 } }],
    ['Phi: part of a head turned (transformers 5)', 'phi3', { rope_parameters: { rope_type: 'default', rope_theta: 1e4, partial_rotary_factor: 0.5 } }, { rope: { type: 'default', theta: 1e4, rotary: 8 } }],
    ['defaults of Gemma 2', 'gemma2', { num_key_value_heads: undefined }, {
      architecture: 'Gemma2ForCausalLM', headDim: 256, kvHeads: 4, normEps: 1e-6, tiedHead: true, activation: 'geluTanh', maxPositions: 8192, slidingWindow: 4096, fullLayers: [1],
      qkvBias: false, outBias: false, qkNorm: null, fused: false, outputNorms: true, normPlusOne: true, embedScale: 8, attentionScale: 1 / 16, attentionSoftcap: 50, logitSoftcap: 30,
      rope: { type: 'default', theta: 10_000, rotary: 256 }, localRope: null,
    }],
    ['Gemma 2: what it says', 'gemma2', {
      head_dim: 24, query_pre_attn_scalar: 144, attn_logit_softcapping: 20, final_logit_softcapping: null, sliding_window: 24, layer_types: [...SLIDING.slice(1), 'full_attention'],
      hidden_act: 'gelu', hidden_activation: 'gelu', attention_bias: true, tie_word_embeddings: false, cache_implementation: 'hybrid', use_bidirectional_attention: null,
    }, { headDim: 24, attentionScale: 1 / 12, attentionSoftcap: 20, logitSoftcap: 0, slidingWindow: 24, fullLayers: [2], activation: 'gelu', qkvBias: true, outBias: true, tiedHead: false }],
    ['Gemma 2: full layers alone', 'gemma2', { layer_types: FULL, sliding_window: null }, { slidingWindow: 0, fullLayers: [0, 1, 2] }],
    ['defaults of Gemma 3', 'gemma3', { num_hidden_layers: 13 }, {
      architecture: 'Gemma3ForCausalLM', headDim: 256, normEps: 1e-6, tiedHead: true, activation: 'geluTanh', maxPositions: 131_072, slidingWindow: 4096, fullLayers: [5, 11],
      qkNorm: 'heads', outputNorms: true, normPlusOne: true, attentionScale: 1 / 16, attentionSoftcap: 0, logitSoftcap: 0,
      rope: { type: 'default', theta: 1e6, rotary: 256 }, localRope: { type: 'default', theta: 1e4, rotary: 256 },
    }],
    ['Gemma 3 (transformers 4)', 'gemma3', { rope_theta: 5e5, rope_local_base_freq: 2e4, rope_scaling: { rope_type: 'linear', factor: 8 }, sliding_window: 512, sliding_window_pattern: 2, attn_logit_softcapping: null, final_logit_softcapping: 20 },
      { slidingWindow: 512, fullLayers: [1], logitSoftcap: 20, rope: { type: 'linear', theta: 5e5, rotary: 256, factor: 8 }, localRope: { type: 'default', theta: 2e4, rotary: 256 } }],
    ['Gemma 3 (transformers 5)', 'gemma3', {
      layer_types: [...SLIDING.slice(1), 'full_attention'], _sliding_window_pattern: 3, use_bidirectional_attention: false,
      rope_parameters: { full_attention: { rope_type: 'linear', rope_theta: 5e5, factor: 4 }, sliding_attention: { rope_type: 'default', rope_theta: 3e4 } },
    }, { fullLayers: [2], rope: { type: 'linear', theta: 5e5, rotary: 256, factor: 4 }, localRope: { type: 'default', theta: 3e4, rotary: 256 } }],
    ['Mixtral', 'mixtral', {}, {
      slidingWindow: 0, rope: { type: 'default', theta: 1e6, rotary: 16 }, normEps: 1e-5,
      moe: {
        layers: [0, 1, 2], experts: 8, topK: 2, inner: 96, nGroups: 1, topGroups: 1, normalize: true, scale: 1, shared: null,
        modules: ['block_sparse_moe', 'mlp'], names: { gate: 'w1', up: 'w3', down: 'w2' },
      },
    }],
    ['Qwen 2 MoE', 'qwen2Moe', {}, {
      qkvBias: true, outBias: false, slidingWindow: 0, fullLayers: [0, 1, 2],
      moe: {
        layers: [0, 1, 2], experts: 60, topK: 4, inner: 1408, nGroups: 1, topGroups: 1, normalize: false, scale: 1, shared: { module: 'mlp.shared_expert', inner: 5632, gated: true },
        modules: ['mlp'], names: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
      },
    }],
    ['Qwen 2 MoE: windows in every other layer', 'qwen2Moe', { use_sliding_window: true, sliding_window: 8, max_window_layers: 2, qkv_bias: false }, { qkvBias: false, slidingWindow: 8, fullLayers: [1, 2] }],
    ['Qwen 3 MoE: dense layers', 'qwen3Moe', { decoder_sparse_step: 2, num_hidden_layers: 6, mlp_only_layers: [3], num_experts: 4, num_experts_per_tok: 4, norm_topk_prob: true },
      { qkNorm: 'heads', moe: expect.objectContaining({ layers: [1, 5], experts: 4, topK: 4, inner: 768, normalize: true, shared: null }) as ModelConfig['moe'] }],
    ['Qwen 3 MoE: a window for all layers', 'qwen3Moe', { use_sliding_window: true, sliding_window: 16, max_window_layers: 1 }, { slidingWindow: 16, fullLayers: [] }],
    ['OLMoE', 'olmoe', { num_local_experts: 16, clip_qkv: null, num_key_value_heads: null }, {
      qkNorm: 'whole', kvHeads: 4, normEps: 1e-5, moe: expect.objectContaining({ layers: [0, 1, 2], experts: 16, topK: 8, inner: 96, normalize: false }) as ModelConfig['moe'],
    }],
    ['ids', 'llama', { bos_token_id: 1, eos_token_id: 2, pad_token_id: -1 }, { bosId: 1, eosIds: [2] }],
    ['fields without effect', 'llama', { torch_dtype: 'bfloat16', use_cache: true, attention_dropout: 0.1, initializer_range: 0.02, pretraining_tp: 1, temperature: 0.6, transformers_version: '4.40.0' }, {}],
    ['unknown fields that say nothing', 'llama', { use_mrope: false, rope_interleaved: false, dual_chunk_attention_config: null, pruned_heads: {}, extra: [] }, {}],
  ])('%s', (_, kind, patch, expected) => expect(parse(kind, patch)).toMatchObject(expected));

  test.each<[string, unknown, unknown, number[]]>([
    ['config.json alone', 2, undefined, [2]],
    ['a list, without repeats', [2, 3, 2], undefined, [2, 3]],
    ['generation_config.json before config.json', 2, [5, 2], [5, 2]],
    ['config.json where generation_config.json names none', 2, null, [2]],
  ])('EOS: %s', (_, own, generated, expected) => {
    expect(parse('llama', { eos_token_id: own }, generated === undefined ? null : { eos_token_id: generated, temperature: 0.7 }).eosIds).toEqual(expected);
  });

  const models = fileURLToPath(new URL('../../fixtures/models', import.meta.url));
  test.each(readdirSync(models))('fixture %s', name => {
    const read = (file: string): Json => JSON.parse(readFileSync(`${models}/${name}/base/${file}`, 'utf8')) as Json;
    const { config, architecture } = parseConfig(read('config.json'), read('generation_config.json'), ARCHITECTURES);
    expect(config.eosIds).toContain(2);
    const dense = config.moe?.layers.length === config.layers ? [] : ['gate', 'up', 'down'], shared = config.moe?.shared ? ['sharedGate', 'sharedUp', 'sharedDown'] : [];
    const attention = config.latent ? [...(config.latent.qRank === null ? ['q', 'kvA'] : ['qA', 'kvA', 'qB']), 'kvB'] : ['q', 'k', 'v'];
    const routers = config.moe ? ['router', ...(config.moe.shared?.gated ? ['sharedSwitch'] : []), ...(config.moe.modules.length > 1 ? ['renamedRouter'] : [])] : [];
    expect(architecture.sites(config).map(site => site.name)).toEqual(config.fused ? ['qkv', 'o', 'gateUp', 'down'] : [...attention, 'o', ...dense, ...routers, ...(config.moe ? ['expertGate', 'expertUp', 'expertGateUp', 'expertDown'] : []), ...shared]);
  });
});

describe('config.json is refused by the field', () => {
  const INVALID = 'checkpoint_config_invalid', UNSUPPORTED = 'checkpoint_unsupported';
  const numbers: [string, number[]][] = [
    ['num_hidden_layers', [0, -1, 1.5, 1e9]], ['hidden_size', [0, -64, 0.5, 2 ** 40]], ['intermediate_size', [0, -1, 2 ** 40]],
    ['num_attention_heads', [0, -4, 2.5, 1e6]], ['num_key_value_heads', [0, -2, 3, 8]], ['head_dim', [0, -8, 15, 1e6]], ['vocab_size', [0, -1, 2 ** 40]],
    ['max_position_embeddings', [0, -1, 2 ** 40]], ['rms_norm_eps', [0, -1e-5, 1]], ['rope_theta', [0, -1, 1e30]],
    ['bos_token_id', [-1, 320, 0.5]], ['eos_token_id', [-1, 320, 0.5]],
  ];
  test.each(numbers.flatMap(([field, values]) => [...values, '8', true, {}].map(value => [field, value] as const)))('%s: %j', (field, value) => {
    expect(() => parse('llama', { [field]: value })).toThrow(expect.objectContaining({ code: INVALID, details: expect.objectContaining({ field }) }));
  });

  test.each<[Kind, string, unknown, string]>([
    ['mixtral', 'num_local_experts', 0, INVALID], ['mixtral', 'num_experts_per_tok', 9, INVALID], ['olmoe', 'clip_qkv', 8, UNSUPPORTED],
    ['qwen2Moe', 'decoder_sparse_step', 0, INVALID], ['qwen2Moe', 'decoder_sparse_step', 4, UNSUPPORTED], ['qwen3Moe', 'mlp_only_layers', [0, 1, 2], UNSUPPORTED],
    ['qwen3Moe', 'mlp_only_layers', ['0'], INVALID], ['qwen2Moe', 'moe_intermediate_size', -1, INVALID], ['qwen2Moe', 'shared_expert_intermediate_size', 0, INVALID],
    ['qwen2Moe', 'layer_types', ['sliding_attention', 'full_attention', 'full_attention'], INVALID], ['qwen3Moe', 'num_experts', 2000, INVALID],
  ])('of experts: %s, %s: %j', (kind, field, value, code) => {
    expect(() => parse(kind, { [field]: value })).toThrow(expect.objectContaining({ code, details: expect.objectContaining({ field }) }));
  });

  test.each(['num_hidden_layers', 'hidden_size', 'intermediate_size', 'num_attention_heads', 'vocab_size'])('%s: missing', field => {
    for (const value of [undefined, null]) {
      expect(() => parse('llama', { [field]: value })).toThrow(expect.objectContaining({ code: INVALID, details: expect.objectContaining({ field }), message: expect.stringContaining('missing') }));
    }
  });

  const booleans: [Kind, string][] = [['llama', 'attention_bias'], ['llama', 'mlp_bias'], ['llama', 'tie_word_embeddings'], ['qwen2', 'use_sliding_window'], ['qwen3', 'attention_bias']];
  test.each(booleans)('%s %s: not a truth value', (kind, field) => {
    expect(() => parse(kind, { [field]: 'true' })).toThrow(expect.objectContaining({ code: INVALID, details: expect.objectContaining({ field }) }));
  });

  test.each<[string, Kind, Json, string, string]>([
    ['another architecture', 'llama', { architectures: ['GemmaForCausalLM'] }, UNSUPPORTED, 'architectures'],
    ['a classifier', 'llama', { architectures: ['LlamaForSequenceClassification'] }, UNSUPPORTED, 'architectures'],
    ['two architectures', 'llama', { architectures: ['LlamaForCausalLM', 'MistralForCausalLM'] }, UNSUPPORTED, 'architectures'],
    ['no architecture at all', 'llama', { architectures: undefined, model_type: undefined }, INVALID, 'architectures'],
    ['an unknown model type', 'llama', { architectures: undefined, model_type: 'mamba' }, UNSUPPORTED, 'model_type'],
    ['a model type of another architecture', 'llama', { model_type: 'mistral' }, INVALID, 'model_type'],
    ['architectures that are no list', 'llama', { architectures: 'LlamaForCausalLM' }, INVALID, 'architectures'],
    ['hidden that heads do not divide', 'llama', { num_attention_heads: 6, num_key_value_heads: 3 }, INVALID, 'hidden_size'],
    ['KV heads by default that do not divide heads', 'mistral', { num_key_value_heads: undefined }, INVALID, 'num_key_value_heads'],
    ['an odd head', 'llama', { hidden_size: 60 }, INVALID, 'hidden_size'],
    ['an unknown activation', 'llama', { hidden_act: 'relu2' }, UNSUPPORTED, 'hidden_act'],
    ['an activation that is inherited from Object', 'llama', { hidden_act: 'constructor' }, UNSUPPORTED, 'hidden_act'],
    ['quantized weights', 'llama', { quantization_config: { quant_method: 'gptq', bits: 4 } }, UNSUPPORTED, 'quantization_config'],
    ['code of its own', 'llama', { auto_map: { AutoModelForCausalLM: 'modeling.Model' } }, UNSUPPORTED, 'auto_map'],
    ['partial products', 'llama', { pretraining_tp: 2 }, UNSUPPORTED, 'pretraining_tp'],
    ['a RoPE type that is not known', 'llama', { rope_scaling: { rope_type: 'dynamic', factor: 4 } }, UNSUPPORTED, 'rope_scaling.rope_type'],
    ['the same by its old name', 'llama', { rope_scaling: { type: 'dynamic', factor: 4 } }, UNSUPPORTED, 'rope_scaling.type'],
    ['the same in rope_parameters', 'qwen3', { rope_parameters: { rope_type: 'dynamic', rope_theta: 1e4 } }, UNSUPPORTED, 'rope_parameters.rope_type'],
    ['a type that is inherited from Object', 'llama', { rope_scaling: { type: 'toString', factor: 4 } }, UNSUPPORTED, 'rope_scaling.type'],
    ['two types', 'llama', { rope_scaling: { rope_type: 'linear', type: 'llama3', factor: 4 } }, INVALID, 'rope_scaling.type'],
    ['a linear type without factor', 'llama', { rope_scaling: { type: 'linear' } }, INVALID, 'rope_scaling.factor'],
    ['a factor that shrinks', 'llama', { rope_scaling: { type: 'linear', factor: 0.5 } }, INVALID, 'rope_scaling.factor'],
    ['a factor that is no number', 'llama', { rope_scaling: { type: 'linear', factor: '4' } }, INVALID, 'rope_scaling.factor'],
    ['llama3 without low_freq_factor', 'llama', { rope_scaling: { ...LLAMA3, low_freq_factor: undefined } }, INVALID, 'rope_scaling.low_freq_factor'],
    ['llama3 without high_freq_factor', 'llama', { rope_scaling: { ...LLAMA3, high_freq_factor: undefined } }, INVALID, 'rope_scaling.high_freq_factor'],
    ['llama3 upside down', 'llama', { rope_scaling: { ...LLAMA3, high_freq_factor: 1 } }, INVALID, 'rope_scaling.high_freq_factor'],
    ['a field that the type does not have', 'llama', { rope_scaling: { ...LLAMA3, attention_factor: 1.2 } }, UNSUPPORTED, 'rope_scaling.attention_factor'],
    ['sections of the head (multimodal RoPE)', 'qwen2', { rope_scaling: { type: 'default', mrope_section: [16, 24, 24] } }, UNSUPPORTED, 'rope_scaling.mrope_section'],
    ['RoPE per layer type', 'qwen3', { rope_parameters: { full_attention: { rope_theta: 1e6 } } }, UNSUPPORTED, 'rope_parameters.full_attention'],
    ['two thetas', 'llama', { rope_theta: 1e4, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } }, INVALID, 'rope_parameters.rope_theta'],
    ['two spellings that differ', 'llama', { rope_scaling: { type: 'linear', factor: 4 }, rope_parameters: { rope_type: 'linear', factor: 2 } }, INVALID, 'rope_scaling'],
    ['RoPE that is no object', 'llama', { rope_scaling: 4 }, INVALID, 'rope_scaling'],
    ['part of a head turned', 'llama', { partial_rotary_factor: 0.5 }, UNSUPPORTED, 'partial_rotary_factor'],
    ['part of a head turned, inside', 'llama', { rope_parameters: { rope_theta: 1e4, partial_rotary_factor: 0.5 } }, UNSUPPORTED, 'rope_parameters.partial_rotary_factor'],
    ['part of a head that is odd', 'phi3', { partial_rotary_factor: 0.7 }, INVALID, 'partial_rotary_factor'],
    ['no part of a head', 'phi3', { partial_rotary_factor: 0 }, INVALID, 'partial_rotary_factor'],
    ['two parts of a head', 'phi3', { partial_rotary_factor: 0.5, rope_parameters: { partial_rotary_factor: 0.75, rope_theta: 1e4 } }, INVALID, 'rope_parameters.partial_rotary_factor'],
    ['longrope without long factors', 'phi3', { rope_scaling: { ...LONGROPE, long_factor: undefined } }, INVALID, 'rope_scaling.long_factor'],
    ['longrope with too few factors', 'phi3', { rope_scaling: { ...LONGROPE, short_factor: SHORT.slice(1) } }, INVALID, 'rope_scaling.short_factor'],
    ['longrope with factors for whole heads', 'phi3', { partial_rotary_factor: 0.5, rope_scaling: LONGROPE }, INVALID, 'rope_scaling.short_factor'],
    ['longrope with a factor of nothing', 'phi3', { rope_scaling: { ...LONGROPE, long_factor: [...LONG.slice(1), 0] } }, INVALID, 'rope_scaling.long_factor'],
    ['longrope that transformers would read otherwise', 'phi3', { rope_scaling: { ...LONGROPE, original_max_position_embeddings: 8192 } }, INVALID, 'rope_scaling.original_max_position_embeddings'],
    ['longrope of another Phi', 'phi3', { rope_scaling: { ...LONGROPE, short_mscale: 1.2 } }, UNSUPPORTED, 'rope_scaling.short_mscale'],
    ['the old name of longrope elsewhere', 'llama', { rope_scaling: { ...LONGROPE, type: 'su' } }, UNSUPPORTED, 'rope_scaling.type'],
    ['code of Phi that is not known', 'phi3', { auto_map: { ...AUTO_MAP, AutoModelForCausalLM: 'modeling_phi3_v.Phi3VForCausalLM' } }, UNSUPPORTED, 'auto_map'],
    ['code of Phi elsewhere', 'llama', { auto_map: AUTO_MAP }, UNSUPPORTED, 'auto_map'],
    ['Phi: attention that is skipped', 'phi3', { full_attn_mod: 2 }, UNSUPPORTED, 'full_attn_mod'],
    ['Phi: a bias', 'phi3', { attention_bias: true }, UNSUPPORTED, 'attention_bias'],
    ['Phi: a bias of the head', 'phi3', { lm_head_bias: true }, UNSUPPORTED, 'lm_head_bias'],
    ['Gemma: two activations', 'gemma2', { hidden_act: 'silu', hidden_activation: 'gelu_pytorch_tanh' }, INVALID, 'hidden_act'],
    ['Gemma: an unknown activation', 'gemma2', { hidden_activation: 'relu2' }, UNSUPPORTED, 'hidden_activation'],
    ['Gemma: attention both ways', 'gemma2', { use_bidirectional_attention: true }, UNSUPPORTED, 'use_bidirectional_attention'],
    ['Gemma: a cap of nothing', 'gemma2', { attn_logit_softcapping: 0 }, INVALID, 'attn_logit_softcapping'],
    ['Gemma: a window of nothing', 'gemma2', { sliding_window: null }, INVALID, 'sliding_window'],
    ['Gemma 3: a cap that transformers does not apply', 'gemma3', { attn_logit_softcapping: 50 }, UNSUPPORTED, 'attn_logit_softcapping'],
    ['Gemma 3: RoPE for a layer that there is not', 'gemma3', { rope_parameters: { rope_type: 'default', rope_theta: 1e4 } }, UNSUPPORTED, 'rope_parameters.rope_type'],
    ['Gemma 3: two thetas', 'gemma3', { rope_local_base_freq: 2e4, rope_parameters: { sliding_attention: { rope_theta: 1e4 } } }, INVALID, 'rope_parameters.sliding_attention.rope_theta'],
    ['Gemma 3 with eyes', 'gemma3', { architectures: ['Gemma3ForConditionalGeneration'], model_type: 'gemma3' }, UNSUPPORTED, 'architectures'],
    ['a window of Llama', 'llama', { sliding_window: 4096 }, UNSUPPORTED, 'sliding_window'],
    ['a window of nothing', 'mistral', { sliding_window: 0 }, INVALID, 'sliding_window'],
    ['a window of half a token', 'qwen2', { use_sliding_window: true, sliding_window: 0.5 }, INVALID, 'sliding_window'],
    ['Mistral: mixed layers', 'mistral', { sliding_window: 24, layer_types: ['full_attention', 'sliding_attention', 'full_attention'] }, UNSUPPORTED, 'layer_types'],
    ['Mistral: full layers beside a window', 'mistral', { sliding_window: 24, layer_types: FULL }, UNSUPPORTED, 'layer_types'],
    ['Qwen: sliding layers without a window', 'qwen2', { layer_types: SLIDING }, INVALID, 'layer_types'],
    ['Qwen: chunked layers', 'qwen3', { layer_types: ['chunked_attention', ...FULL.slice(1)] }, UNSUPPORTED, 'layer_types'],
    ['too few layer types', 'qwen3', { layer_types: ['full_attention'] }, INVALID, 'layer_types'],
    ['a bias that Mistral does not have', 'mistral', { attention_bias: true }, UNSUPPORTED, 'attention_bias'],
    ['a bias that Qwen does not have', 'qwen2', { mlp_bias: true }, UNSUPPORTED, 'mlp_bias'],
    ['a multiplier of another architecture', 'llama', { residual_multiplier: 0.22 }, UNSUPPORTED, 'residual_multiplier'],
    ['zero, where zero says something', 'llama', { logits_scaling: 0 }, UNSUPPORTED, 'logits_scaling'],
    ['attention in chunks', 'qwen2', { dual_chunk_attention_config: { chunk_size: 262144 } }, UNSUPPORTED, 'dual_chunk_attention_config'],
    ['interleaved RoPE', 'llama', { rope_interleaved: true }, UNSUPPORTED, 'rope_interleaved'],
    ['an encoder and a decoder', 'llama', { is_encoder_decoder: true }, UNSUPPORTED, 'is_encoder_decoder'],
  ])('%s', (_, kind, patch, code, field) => {
    expect(() => parse(kind, patch)).toThrow(expect.objectContaining({ code, details: expect.objectContaining({ field }), message: expect.stringContaining(`"${field}"`) }));
  });

  test('an EOS of generation_config.json that is no token', () => {
    expect(() => parse('llama', { eos_token_id: 2 }, { eos_token_id: [2, 9999] })).toThrow(expect.objectContaining({ code: INVALID, details: { field: 'eos_token_id', file: 'generation_config.json' } }));
  });

  test('whatever a field holds, the answer is a config or an error with a code', () => {
    for (const kind of Object.keys(BASES) as Kind[]) {
      for (const field of [...Object.keys(BASES[kind]), 'rope_scaling', 'auto_map', 'final_logit_softcapping', 'query_pre_attn_scalar', 'rope_parameters', 'layer_types', 'sliding_window', 'hidden_act', '__proto__']) {
        for (const value of [null, true, -1, 1e400, 'x', '', [], [null], {}, { type: [] }, { rope_type: null, factor: {} }]) {
          try { parseConfig(JSON.parse(`{${JSON.stringify(BASES[kind]).slice(1, -1)},${JSON.stringify(field)}:${JSON.stringify(value)}}`) as Json, null, ARCHITECTURES); } catch (error) {
            expect(error).toBeInstanceOf(WeftError);
            expect((error as WeftError).code).not.toBe('internal_error');
          }
        }
      }
    }
  });
});

/** What DeepSeek-V2's configs say, and what adapters may do to maps that are never multiplied as a whole. */
import { mkdtempSync, cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { prepareAdapter } from '@weft/adapters';
import { describe, expect, test } from 'vitest';
import { ARCHITECTURES, parseConfig } from '../../../libs/engine/src/models/index.js';
import { latentView } from '../../../libs/engine/src/models/latent.js';
import { baseGeometry } from '../../../libs/engine/src/models/sites.js';
import type { ModelConfig } from '../../../libs/engine/src/models/types.js';

type Json = Record<string, unknown>;

/** As the checkpoint has it. */
const LITE: Json = {
  architectures: ['DeepseekV2ForCausalLM'], attention_bias: false, attention_dropout: 0, aux_loss_alpha: 0.001, bos_token_id: 100_000, eos_token_id: 100_001,
  auto_map: { AutoConfig: 'configuration_deepseek.DeepseekV2Config', AutoModel: 'modeling_deepseek.DeepseekV2Model', AutoModelForCausalLM: 'modeling_deepseek.DeepseekV2ForCausalLM' },
  first_k_dense_replace: 1, hidden_act: 'silu', hidden_size: 2048, initializer_range: 0.02, intermediate_size: 10_944, kv_lora_rank: 512, max_position_embeddings: 163_840,
  model_type: 'deepseek_v2', moe_intermediate_size: 1408, moe_layer_freq: 1, n_group: 1, n_routed_experts: 64, n_shared_experts: 2, norm_topk_prob: false, num_attention_heads: 16,
  num_experts_per_tok: 6, num_hidden_layers: 27, num_key_value_heads: 16, pretraining_tp: 1, q_lora_rank: null, qk_nope_head_dim: 128, qk_rope_head_dim: 64, rms_norm_eps: 1e-6,
  rope_scaling: { beta_fast: 32, beta_slow: 1, factor: 40, mscale: 0.707, mscale_all_dim: 0.707, original_max_position_embeddings: 4096, type: 'yarn' }, rope_theta: 10_000,
  routed_scaling_factor: 1, scoring_func: 'softmax', seq_aux: true, tie_word_embeddings: false, topk_group: 1, topk_method: 'greedy', torch_dtype: 'bfloat16', use_cache: true,
  v_head_dim: 128, vocab_size: 102_400,
};
const parse = (over: Json = {}): ModelConfig => parseConfig({ ...LITE, ...over }, null, ARCHITECTURES).config;

test('V2-Lite', () => {
  const config = parse();
  expect(config.latent).toEqual({ qRank: null, rank: 512, nope: 128, rope: 64, value: 128 });
  expect(config.rope).toMatchObject({ type: 'yarn', rotary: 64, factor: 40, attentionFactor: 1, originalMaxPositions: 4096 });
  expect(config.attentionScale).toBeCloseTo(192 ** -0.5 * (0.1 * 0.707 * Math.log(40) + 1) ** 2, 12);
  expect(config.moe).toMatchObject({ experts: 64, topK: 6, inner: 1408, nGroups: 1, normalize: false, scale: 1, shared: { module: 'mlp.shared_experts', inner: 2816, gated: false } });
  expect(config.moe!.layers).toEqual(Array.from({ length: 26 }, (_, i) => i + 1));
  // Of a token 27 · 576 values of f16, to whole pages.
  expect(latentView(config, config.latent!, 'f16')).toMatchObject({ layerStride: 576 * 32, pageBytes: Math.ceil(27 * 576 * 32 / 4096) * 4096 });
});

test('V2: q compressed, experts in the best of groups; no experts at all', () => {
  expect(parse({ q_lora_rank: 1536 }).latent!.qRank).toBe(1536);
  expect(parseConfig(Object.fromEntries(Object.entries(LITE).filter(([field]) => field !== 'q_lora_rank')), null, ARCHITECTURES).config.latent!.qRank).toBe(1536);
  expect(parse({ topk_method: 'group_limited_greedy', n_group: 8, topk_group: 3, routed_scaling_factor: 16 }).moe).toMatchObject({ nGroups: 8, topGroups: 3, scale: 16 });
  expect(parse({ first_k_dense_replace: 27 }).moe).toBeNull();
});

describe('is refused by the field', () => {
  test.each([
    ['kv_lora_rank', { kv_lora_rank: 5000 }], ['qk_rope_head_dim', { qk_rope_head_dim: 63 }], ['num_key_value_heads', { num_key_value_heads: 8 }], ['qk_head_dim', { qk_head_dim: 128 }],
    ['rope_interleave', { rope_interleave: false }], ['topk_method', { topk_method: 'noaux_tc' }], ['topk_group', { topk_method: 'group_limited_greedy', n_group: 16, topk_group: 1 }],
    ['scoring_func', { scoring_func: 'sigmoid' }], ['norm_topk_prob', { norm_topk_prob: true }], ['moe_layer_freq', { moe_layer_freq: 2 }], ['ep_size', { ep_size: 8 }],
    ['num_experts_per_tok', { num_experts_per_tok: 65 }], ['attention_bias', { attention_bias: true }], ['mlp_bias', { mlp_bias: true }], ['v_head_dim', { v_head_dim: 0 }],
  ])('%s', (field, over) => {
    expect(() => parse(over)).toThrow(expect.objectContaining({ details: expect.objectContaining({ field }) as never }));
  });
});

describe('kv_b_proj', () => {
  const model = fileURLToPath(new URL('../../fixtures/models/deepseek-v2-tiny', import.meta.url));
  const { config, architecture } = parseConfig(JSON.parse(readFileSync(join(model, 'base', 'config.json'), 'utf8')) as Json, null, ARCHITECTURES);
  const geometry = baseGeometry(config, architecture.sites(config), [], 'b'.repeat(64));

  test.each([['use_dora'], ['lora_bias']])('has no outputs that %s could act on', async field => {
    const folder = mkdtempSync(join(tmpdir(), 'weft-adapter-'));
    cpSync(join(model, 'adapters', 'kv-b-r3'), folder, { recursive: true });
    const path = join(folder, 'adapter_config.json');
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')) as Json, [field]: true }));
    await expect(prepareAdapter(folder, geometry, { pageBytes: 8192, partition: { rank: 0, size: 1 } }, folder)).rejects.toThrow(/kv_b_proj, whose outputs latent attention never computes/);
    rmSync(folder, { recursive: true });
  });
});

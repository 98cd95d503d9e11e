/**
 * DeepSeek-V2, V2-Lite, Coder-V2: latent attention, and from a first layer on many small experts beside an MLP for every row, chosen
 * among all of them or in the best groups only.
 */
import type { Fields } from '../checkpoint/fields.js';
import { INNER, plainRouting, readTopK } from './expert-config.js';
import { readRope, yarnScale } from './rope.js';
import { moeSites } from './sites.js';
import type { Architecture, LatentConfig, MoeConfig, Shape } from './types.js';

const RANK = { min: 1, max: 4096 };
const DIM = { min: 1, max: 1024 };
const COUNT = { min: 1, max: 1024 };

export const deepseekV2: Architecture = {
  name: 'DeepseekV2ForCausalLM', modelType: 'deepseek_v2',
  defaults: { kvHeads: null, headDim: null, maxPositions: 2048 },
  ownCode: ['configuration_deepseek.DeepseekV2Config', 'modeling_deepseek.DeepseekV2Model', 'modeling_deepseek.DeepseekV2ForCausalLM'],
  rope: (fields, _headDim, maxPositions) => ({ rope: readRope(fields, ropeDim(fields), maxPositions), localRope: null }),
  traits(fields, shape) {
    const latent = readLatent(fields), moe = readMoe(fields, shape), bias = fields.boolean('attention_bias') ?? false, mlpBias = fields.boolean('mlp_bias') ?? false;
    if (bias && latent.qRank === null) throw fields.unsupported('attention_bias', 'with q_lora_rank null only a part of what is multiplied together has one');
    if (mlpBias && moe) throw fields.unsupported('mlp_bias', 'MLPs beside experts have no biases in this version');
    const rope = readRope(fields, latent.rope, shape.maxPositions), stretch = rope.type === 'yarn' && rope.mscaleAllDim > 0 ? yarnScale(rope.factor, rope.mscaleAllDim) : 1;
    return { qkvBias: bias, outBias: bias, mlpBias, latent, moe, attentionScale: (latent.nope + latent.rope) ** -0.5 * stretch * stretch };
  },
  sites: moeSites,
};

const ropeDim = (fields: Fields): number => {
  const dim = fields.integer('qk_rope_head_dim', DIM) ?? 64;
  if (dim % 2 !== 0) throw fields.invalid('qk_rope_head_dim', 'must be even; RoPE turns pairs');
  return dim;
};

function readLatent(fields: Fields): LatentConfig {
  const rank = fields.integer('kv_lora_rank', RANK) ?? 512, rope = ropeDim(fields), nope = fields.integer('qk_nope_head_dim', DIM) ?? 128;
  const heads = fields.integer('num_attention_heads', { min: 1, max: 2 ** 12 }), kvHeads = fields.integer('num_key_value_heads', { min: 1, max: 2 ** 12 });
  if (kvHeads !== undefined && kvHeads !== heads) throw fields.unsupported('num_key_value_heads', 'latent attention has a key and a value for each head');
  const whole = fields.integer('qk_head_dim', { min: 1, max: 4096 });
  if (whole !== undefined && whole !== nope + rope) throw fields.invalid('qk_head_dim', `contradicts qk_nope_head_dim and qk_rope_head_dim (${nope + rope})`);
  if (fields.boolean('rope_interleave') === false) throw fields.unsupported('rope_interleave', 'this architecture turns neighbours');
  // null says that q is not compressed; a missing field what transformers assumes.
  const qRank = fields.integer('q_lora_rank', { min: 1, max: 2 ** 20 }) ?? (fields.has('q_lora_rank') ? null : 1536);
  return { qRank, rank, nope, rope, value: fields.integer('v_head_dim', DIM) ?? 128 };
}

/** Fields of experts are read where no layer has any too. */
function readMoe(fields: Fields, { layers }: Shape): MoeConfig | null {
  const experts = fields.integer('n_routed_experts', COUNT) ?? 64, inner = fields.integer('moe_intermediate_size', INNER) ?? 1407, first = fields.integer('first_k_dense_replace', { min: 0, max: 1024 }) ?? 0;
  const shared = fields.integer('n_shared_experts', { min: 1, max: 64 }) ?? 2, topK = readTopK(fields, experts, 1);
  const method = fields.string('topk_method') ?? 'greedy', nGroups = fields.integer('n_group', COUNT) ?? 1, topGroups = fields.integer('topk_group', COUNT) ?? 1;
  if (method !== 'greedy' && method !== 'group_limited_greedy') throw fields.unsupported('topk_method', 'Weft knows greedy and group_limited_greedy');
  const limited = method === 'group_limited_greedy';
  if (limited && (experts % nGroups !== 0 || topGroups > nGroups || topK > experts / nGroups * topGroups)) {
    throw fields.invalid('topk_group', `with n_group ${nGroups} must leave at least ${topK} of ${experts} experts in groups of equal size`);
  }
  if ((fields.string('scoring_func') ?? 'softmax') !== 'softmax') throw fields.unsupported('scoring_func', 'this architecture scores by softmax');
  if (fields.boolean('norm_topk_prob')) throw fields.unsupported('norm_topk_prob', 'transformers does not read it in this architecture, the code that comes with checkpoints does');
  for (const field of ['moe_layer_freq', 'ep_size']) {
    if ((fields.integer(field, COUNT) ?? 1) !== 1) throw fields.unsupported(field, 'only 1 is supported');
  }
  for (const field of ['aux_loss_alpha', 'seq_aux', 'router_aux_loss_coef', 'output_router_logits']) fields.raw(field);                // training
  const scale = fields.number('routed_scaling_factor', { min: 1e-6, max: 1e6 }) ?? 1;
  if (first >= layers) return null;
  return {
    ...plainRouting, layers: Array.from({ length: layers - first }, (_, i) => first + i), experts, topK, inner, normalize: false, scale,
    nGroups: limited ? nGroups : 1, topGroups: limited ? topGroups : 1,
    shared: { module: 'mlp.shared_experts', inner: inner * shared, gated: false },
  };
}

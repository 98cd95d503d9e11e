/** Qwen 1.5 and 2 MoE: Qwen 2 with small experts, and beside them an MLP for every row, weighed by a gate of its own. */
import { INNER, plainRouting, readExperts, readTopK, sparseLayers } from './expert-config.js';
import { alternatingWindow } from './layer-types.js';
import { moeSites } from './sites.js';
import type { Architecture } from './types.js';

export const qwen2Moe: Architecture = {
  name: 'Qwen2MoeForCausalLM', modelType: 'qwen2_moe',
  defaults: { kvHeads: 16, headDim: null, maxPositions: 32_768 },
  traits(fields, { layers }) {
    const experts = readExperts(fields, 60);
    return {
      qkvBias: fields.boolean('qkv_bias') ?? true, ...alternatingWindow(fields, layers),
      moe: {
        ...plainRouting, layers: sparseLayers(fields, layers), normalize: fields.boolean('norm_topk_prob') ?? false,
        experts, topK: readTopK(fields, experts, 4),
        inner: fields.integer('moe_intermediate_size', INNER) ?? 1408,
        shared: { module: 'mlp.shared_expert', inner: fields.integer('shared_expert_intermediate_size', INNER) ?? 5632, gated: true },
      },
    };
  },
  sites: moeSites,
};

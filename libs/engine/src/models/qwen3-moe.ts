/** Qwen 3 MoE: Qwen 3 with experts, and no MLP beside them. */
import { INNER, plainRouting, readExperts, readTopK, sparseLayers } from './expert-config.js';
import { switchedWindow } from './layer-types.js';
import { moeSites } from './sites.js';
import type { Architecture } from './types.js';

export const qwen3Moe: Architecture = {
  name: 'Qwen3MoeForCausalLM', modelType: 'qwen3_moe',
  defaults: { kvHeads: 4, headDim: null, maxPositions: 32_768 },
  traits(fields, { layers }) {
    const experts = readExperts(fields, 128);
    const attentionBias = fields.boolean('attention_bias') ?? false;
    return {
      qkvBias: attentionBias, outBias: attentionBias, qkNorm: 'heads', slidingWindow: switchedWindow(fields, layers),
      moe: {
        ...plainRouting, layers: sparseLayers(fields, layers), normalize: fields.boolean('norm_topk_prob') ?? false,
        experts, topK: readTopK(fields, experts, 8),
        inner: fields.integer('moe_intermediate_size', INNER) ?? 768,
      },
    };
  },
  sites: moeSites,
};

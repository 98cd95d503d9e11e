/** OLMoE: experts in every layer, RMSNorm over all heads of q and k together. `clip_qkv`, which no released model uses, is refused. */
import { plainRouting, readExperts, readTopK } from './expert-config.js';
import { moeSites } from './sites.js';
import type { Architecture } from './types.js';

export const olmoe: Architecture = {
  name: 'OlmoeForCausalLM', modelType: 'olmoe',
  defaults: { kvHeads: null, headDim: null, maxPositions: 4096, normEps: 1e-5 },
  traits(fields, { layers, intermediate }) {
    if (fields.raw('clip_qkv') !== undefined) throw fields.unsupported('clip_qkv', 'queries, keys and values are not clipped in this version');
    const experts = readExperts(fields, 64);
    const attentionBias = fields.boolean('attention_bias') ?? false;
    return {
      qkvBias: attentionBias, outBias: attentionBias, qkNorm: 'whole',
      moe: {
        ...plainRouting, layers: Array.from({ length: layers }, (_, layer) => layer), inner: intermediate, normalize: fields.boolean('norm_topk_prob') ?? false,
        experts, topK: readTopK(fields, experts, 8),
      },
    };
  },
  sites: moeSites,
};

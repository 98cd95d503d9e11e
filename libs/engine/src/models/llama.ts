/** Llama 1 to 3.3 and what shares its form: SmolLM, TinyLlama, Yi, DeepSeek-R1-Distill-Llama. `attention_bias` covers q, k, v and o. */
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

export const llama: Architecture = {
  name: 'LlamaForCausalLM', modelType: 'llama',
  defaults: { kvHeads: null, headDim: null, maxPositions: 2048 },
  traits(fields) {
    const attentionBias = fields.boolean('attention_bias') ?? false;
    return { qkvBias: attentionBias, outBias: attentionBias, mlpBias: fields.boolean('mlp_bias') ?? false };
  },
  sites: denseSites,
};

/** Qwen 3, dense: RMSNorm over each head of q and k before RoPE; heads of 128 whatever the width. */
import { qwenWindow } from './layer-types.js';
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

export const qwen3: Architecture = {
  name: 'Qwen3ForCausalLM', modelType: 'qwen3',
  defaults: { kvHeads: 32, headDim: 128, maxPositions: 32_768 },
  traits(fields, { layers }) {
    const attentionBias = fields.boolean('attention_bias') ?? false;
    return { qkvBias: attentionBias, outBias: attentionBias, qkNorm: 'heads', ...qwenWindow(fields, layers) };
  },
  sites: denseSites,
};

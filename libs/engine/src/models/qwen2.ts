/** Qwen 2 and 2.5: Llama with biases on q, k and v. */
import { qwenWindow } from './layer-types.js';
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

export const qwen2: Architecture = {
  name: 'Qwen2ForCausalLM', modelType: 'qwen2',
  defaults: { kvHeads: 32, headDim: null, maxPositions: 32_768 },
  traits: (fields, { layers }) => ({ qkvBias: true, ...qwenWindow(fields, layers) }),
  sites: denseSites,
};

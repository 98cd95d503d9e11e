/** Mistral 7B and its kin: Llama without biases, with a window over all layers unless `sliding_window` is null. */
import { mistralWindow } from './layer-types.js';
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

export const mistral: Architecture = {
  name: 'MistralForCausalLM', modelType: 'mistral',
  defaults: { kvHeads: 8, headDim: null, maxPositions: 131_072 },
  traits: (fields, { layers }) => ({ slidingWindow: mistralWindow(fields, layers) }),
  sites: denseSites,
};

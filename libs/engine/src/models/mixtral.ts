/** Mixtral: Mistral with eight experts in every layer, two for each row, their weights normalized. */
import { plainRouting, readExperts, readTopK } from './expert-config.js';
import { mistralWindow } from './layer-types.js';
import { moeSites } from './sites.js';
import type { Architecture } from './types.js';

export const mixtral: Architecture = {
  name: 'MixtralForCausalLM', modelType: 'mixtral',
  defaults: { kvHeads: 8, headDim: null, maxPositions: 131_072, normEps: 1e-5, ropeTheta: 1e6 },
  traits(fields, { layers, intermediate }) {
    const experts = readExperts(fields, 8);
    return {
      slidingWindow: fields.has('sliding_window') ? mistralWindow(fields, layers) : 0,
      moe: {
        ...plainRouting, layers: Array.from({ length: layers }, (_, layer) => layer), inner: intermediate, normalize: true,
        experts, topK: readTopK(fields, experts, 2),
        modules: ['block_sparse_moe', 'mlp'], names: { gate: 'w1', up: 'w3', down: 'w2' },
      },
    };
  },
  sites: moeSites,
};

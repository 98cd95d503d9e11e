/**
 * Gemma 3, text: Gemma 2 with a norm over each head of q and k instead of soft-caps, five layers with a window for each without,
 * and RoPE of its own where there is a window.
 */
import { gemmaTraits, readCap } from './gemma2.js';
import { gemmaLayers } from './layer-types.js';
import { readLayeredRope } from './rope.js';
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

const PERIOD = { min: 1, max: 1024 };

export const gemma3: Architecture = {
  name: 'Gemma3ForCausalLM', modelType: 'gemma3_text',
  defaults: { kvHeads: 4, headDim: 256, maxPositions: 131_072, tiedHead: true },
  activation: { field: 'hidden_activation', otherwise: 'geluTanh' },
  rope: (fields, headDim, maxPositions) => readLayeredRope(fields, headDim, maxPositions, { full: 1_000_000, sliding: 10_000 }),
  traits(fields, shape) {
    const period = fields.integer('sliding_window_pattern', PERIOD) ?? 6;
    fields.raw('_sliding_window_pattern');      // transformers 5 writes it beside layer_types and does not read it
    return { ...gemmaTraits(fields, shape), qkNorm: 'heads', ...gemmaLayers(fields, shape.layers, period), logitSoftcap: readCap(fields, 'final_logit_softcapping', 0) };
  },
  sites: denseSites,
};

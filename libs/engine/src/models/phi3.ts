/**
 * Phi 3, 3.5 and 4, mini and medium: q, k and v in one module, gate and up in one, part of a head turned (Phi 4 mini), a window
 * over all layers unless `sliding_window` is null.
 *
 * Long contexts (`longrope`): transformers chooses between two lists of factors by the length that a sequence has now, which
 * keys that are cached already can't follow. Here the longest context that is served decides, for all sequences.
 */
import { phiWindow } from './layer-types.js';
import { readRope } from './rope.js';
import { denseSites } from './sites.js';
import type { Architecture } from './types.js';

const ROPE = { partial: true, aliases: { su: 'longrope', yarn: 'longrope' }, originalMaxPositions: 4096 } as const;
/** What the code that comes with the checkpoints multiplies or skips by. */
const NEUTRAL = ['full_attn_mod', 'interpolate_factor'];

export const phi3: Architecture = {
  name: 'Phi3ForCausalLM', modelType: 'phi3',
  defaults: { kvHeads: null, headDim: null, maxPositions: 4096, normEps: 1e-5 },
  ownCode: ['configuration_phi3.Phi3Config', 'modeling_phi3.Phi3ForCausalLM', 'Xenova/gpt-4o'],
  rope: (fields, headDim, maxPositions) => ({ rope: readRope(fields, headDim, maxPositions, ROPE), localRope: null }),
  traits(fields) {
    for (const field of NEUTRAL) {
      if ((fields.number(field, { min: -1e9, max: 1e9 }) ?? 1) !== 1) throw fields.unsupported(field, 'only 1 is supported');
    }
    return { fused: true, slidingWindow: phiWindow(fields) };
  },
  sites: denseSites,
};

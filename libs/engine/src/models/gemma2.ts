/** Gemma 2: four norms a layer, soft-caps on scores and logits, windows in every other layer from the first on. */
import { gemmaLayers } from './layer-types.js';
import { denseSites } from './sites.js';
import type { Architecture, Shape, Traits } from './types.js';
import type { Fields } from '../checkpoint/fields.js';

const SCALAR = { min: 1e-3, max: 1e6 };
const CAP = { min: 1e-3, max: 1e6 };

/** What Gemma 2 and 3 share. */
export function gemmaTraits(fields: Fields, { hidden }: Shape): Partial<Traits> {
  const bias = fields.boolean('attention_bias') ?? false;
  return {
    qkvBias: bias, outBias: bias, outputNorms: true, normPlusOne: true, embedScale: Math.fround(Math.sqrt(hidden)),
    attentionScale: (fields.number('query_pre_attn_scalar', SCALAR) ?? 256) ** -0.5,
  };
}

/** null says that there is none; where it is missing it is `otherwise`. */
export const readCap = (fields: Fields, field: string, otherwise: number): number => fields.number(field, CAP) ?? (fields.has(field) ? 0 : otherwise);

export const gemma2: Architecture = {
  name: 'Gemma2ForCausalLM', modelType: 'gemma2',
  defaults: { kvHeads: 4, headDim: 256, maxPositions: 8192, tiedHead: true },
  activation: { field: 'hidden_activation', otherwise: 'geluTanh' },
  traits: (fields, shape) => ({
    ...gemmaTraits(fields, shape), ...gemmaLayers(fields, shape.layers, 2),
    attentionSoftcap: readCap(fields, 'attn_logit_softcapping', 50), logitSoftcap: readCap(fields, 'final_logit_softcapping', 30),
  }),
  sites: denseSites,
};

/** Sites of a decoder: projections under the names that Llama gave them, or fused as in Phi. */
import type { BaseGeometry, Site } from '@weft/adapters';
import { gqaSites } from './attention.js';
import { mlpSites } from './mlp.js';
import type { ModelConfig, SiteShape } from './types.js';

const LAYERS = 'model.layers';

/** Gives sites their places: in execution order, those that share an input side by side. */
export const siteTable = (...blocks: readonly SiteShape[][]): Site[] => blocks.flat().map((site, index) => ({ index, ...site }));

/** Of a dense decoder. */
export const denseSites = (config: ModelConfig): Site[] => siteTable(gqaSites(config), mlpSites(config));

/** How the base looks to adapters. */
export function baseGeometry(config: ModelConfig, sites: Site[], names: readonly string[], digest: string): BaseGeometry {
  const inLayer = ['input_layernorm', 'post_attention_layernorm', ...(config.outputNorms ? ['pre_feedforward_layernorm', 'post_feedforward_layernorm'] : []),
    ...(config.qkNorm ? ['self_attn.q_norm', 'self_attn.k_norm'] : [])];
  return {
    digest, names: [...names], architecture: config.architecture, layers: config.layers, sites,
    layersModule: LAYERS,
    otherModules: [
      'lm_head', 'model.embed_tokens', 'model.norm',
      ...Array.from({ length: config.layers }, (_, layer) => inLayer.map(module => `${LAYERS}.${layer}.${module}`)).flat(),
    ],
  };
}

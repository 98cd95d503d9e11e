/** Sites of a decoder: projections under the names that Llama gave them, or fused as in Phi. */
import type { BaseGeometry, Site } from '@weft/adapters';
import { gqaSites } from './attention.js';
import { latentSites } from './latent.js';
import { mlpSites } from './mlp.js';
import { expertSites, routerSites, sharedSites } from './moe.js';
import type { ModelConfig, MoeConfig, SiteShape } from './types.js';

const LAYERS = 'model.layers';

/** Gives sites their places: in execution order, those that share an input side by side. */
export const siteTable = (...blocks: readonly SiteShape[][]): Site[] => blocks.flat().map((site, index) => ({ index, ...site }));

/** Of a dense decoder. */
export const denseSites = (config: ModelConfig): Site[] => siteTable(gqaSites(config), mlpSites(config));

/** Of a decoder with experts: its dense layers' MLPs, where it has any, and shared ones. */
export function moeSites(config: ModelConfig): Site[] {
  const { layers, moe } = config, dense = Array.from({ length: layers }, (_, layer) => layer).filter(layer => !moe?.layers.includes(layer));
  return siteTable(config.latent ? latentSites(config, config.latent) : gqaSites(config), dense.length ? mlpSites(config).map(site => ({ ...site, layers: dense })) : [], ...(moe ? [routerSites(config, moe), expertSites(config, moe), sharedSites(config, moe)] : []));
}

/** Modules of a layer with experts that have weights and are no sites. */
const expertModules = ({ modules: [module] }: MoeConfig): string[] => [`${module}.experts`];

/** How the base looks to adapters. */
export function baseGeometry(config: ModelConfig, sites: Site[], names: readonly string[], digest: string): BaseGeometry {
  const inLayer = ['input_layernorm', 'post_attention_layernorm', ...(config.outputNorms ? ['pre_feedforward_layernorm', 'post_feedforward_layernorm'] : []),
    ...(config.qkNorm ? ['self_attn.q_norm', 'self_attn.k_norm'] : []),
    ...(config.latent ? [...(config.latent.qRank === null ? [] : ['self_attn.q_a_layernorm']), 'self_attn.kv_a_layernorm'] : [])];
  return {
    digest, names: [...names], architecture: config.architecture, layers: config.layers, sites,
    layersModule: LAYERS, experts: expertGeometry(config),
    ends: { embed: 'model.embed_tokens', head: 'lm_head', vocab: config.vocab, hidden: config.hidden, embedScale: config.embedScale, tied: config.tiedHead },
    otherModules: [
      'model.norm',
      ...Array.from({ length: config.layers }, (_, layer) => [...inLayer, ...(config.moe?.layers.includes(layer) ? expertModules(config.moe) : [])].map(module => `${LAYERS}.${layer}.${module}`)).flat(),
    ],
  };
}

function expertGeometry({ hidden, moe }: ModelConfig): BaseGeometry['experts'] {
  return moe && { layers: [...moe.layers], count: moe.experts, topK: moe.topK, hidden, inner: moe.inner, module: `${moe.modules[0]}.experts`, names: { ...moe.names } };
}

/** Sites of a dense decoder: projections under the names that Llama gave them, or fused as in Phi. */
import type { BaseGeometry, Site } from '@weft/adapters';
import type { ModelConfig } from './types.js';

const LAYERS = 'model.layers';

/** In execution order; sites that share an input stand side by side. */
export function denseSites({ hidden, heads, kvHeads, headDim, intermediate, fused }: ModelConfig): Site[] {
  const q = heads * headDim, kv = kvHeads * headDim;
  const rows: [Site['name'], string, number, number][] = fused ? [
    ['qkv', 'self_attn.qkv_proj', hidden, q + 2 * kv], ['o', 'self_attn.o_proj', q, hidden],
    ['gateUp', 'mlp.gate_up_proj', hidden, 2 * intermediate], ['down', 'mlp.down_proj', intermediate, hidden],
  ] : [
    ['q', 'self_attn.q_proj', hidden, q], ['k', 'self_attn.k_proj', hidden, kv], ['v', 'self_attn.v_proj', hidden, kv],
    ['o', 'self_attn.o_proj', q, hidden],
    ['gate', 'mlp.gate_proj', hidden, intermediate], ['up', 'mlp.up_proj', hidden, intermediate],
    ['down', 'mlp.down_proj', intermediate, hidden],
  ];
  return rows.map(([name, module, dIn, dOut], index) => ({ index, name, module, dIn, dOut }));
}

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

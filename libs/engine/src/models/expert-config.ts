/** What configs say of experts. Source: configuration_qwen2_moe.py and its kin of transformers 5.17. */
import type { Fields } from '../checkpoint/fields.js';
import type { MoeConfig } from './types.js';

/** As many as op `routeExperts` takes. */
const EXPERTS = { min: 1, max: 1024 };
const TOP_K = { min: 1, max: 64 };
export const INNER = { min: 1, max: 2 ** 20 };

/** The best of all experts, by names that most architectures have; no MLP beside them. */
export const plainRouting: Pick<MoeConfig, 'nGroups' | 'topGroups' | 'scale' | 'shared' | 'modules' | 'names'> = {
  nGroups: 1, topGroups: 1, scale: 1, shared: null, modules: ['mlp'], names: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
};

/** `num_experts`, or `num_local_experts`: transformers takes either and may write both. */
export function readExperts(fields: Fields, otherwise: number): number {
  const experts = fields.integer('num_experts', EXPERTS), local = fields.integer('num_local_experts', EXPERTS);
  if (experts !== undefined && local !== undefined && experts !== local) throw fields.invalid('num_local_experts', `contradicts num_experts (${experts})`);
  return experts ?? local ?? otherwise;
}

/** `num_experts_per_tok`. */
export function readTopK(fields: Fields, experts: number, otherwise: number): number {
  const topK = fields.integer('num_experts_per_tok', TOP_K) ?? otherwise;
  if (topK > experts) throw fields.invalid('num_experts_per_tok', `must be at most the number of experts (${experts}); where it is missing it is ${otherwise}`);
  return topK;
}

/** Every `decoder_sparse_step`-th layer, but for those that `mlp_only_layers` names. */
export function sparseLayers(fields: Fields, layers: number): number[] {
  const step = fields.integer('decoder_sparse_step', { min: 1, max: 1024 }) ?? 1, dense = fields.list('mlp_only_layers') ?? [];
  if (!dense.every(layer => Number.isInteger(layer))) throw fields.invalid('mlp_only_layers', 'must be a list of layers');
  const sparse = Array.from({ length: layers }, (_, layer) => layer).filter(layer => (layer + 1) % step === 0 && !dense.includes(layer));
  if (sparse.length === 0) throw fields.unsupported(dense.length ? 'mlp_only_layers' : 'decoder_sparse_step', 'no layer has experts; take the dense architecture');
  return sparse;
}

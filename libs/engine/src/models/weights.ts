/** The weights of a decoder: which tensors of the checkpoint become which matrices and vectors. */
import { tensorChunks, type TensorRef } from '@weft/adapters';
import type { DeviceBuffer } from '@weft/kernels';
import { planGqa, type GqaWeights } from './attention.js';
import { TensorClaims } from './claims.js';
import { planLatent, type LatentWeights } from './latent.js';
import { planMlp, type MlpWeights } from './mlp.js';
import { planMoe, type MoeWeights } from './moe.js';
import { LayerPlanner, type ExpertsPlan, type MatrixPlan, type PackedExperts, type PackedMatrix, type RowsPlan, type VectorPlan } from './plan.js';
import type { ModelConfig } from './types.js';

/** What a layer may have as attention, and as MLP: `kind` tells which. */
export type AttentionWeights<M = PackedMatrix, V = DeviceBuffer, E = PackedExperts> = GqaWeights<M, V> | LatentWeights<M, V, E>;
export type FeedForwardWeights<M = PackedMatrix, V = DeviceBuffer, E = PackedExperts> = MlpWeights<M, V> | MoeWeights<M, E>;

/** M: a matrix, V: a vector, E: matrices of experts or heads; first their plans, then their packed form. */
export interface LayerWeights<M = PackedMatrix, V = DeviceBuffer, E = PackedExperts> {
  inputNorm: V;
  attention: AttentionWeights<M, V, E>;
  /** Over what attention gives, and over what the MLP gives. */
  attentionOutNorm: V | null; mlpOutNorm: V | null;
  /** Before the MLP. */
  postNorm: V;
  mlp: FeedForwardWeights<M, V, E>;
}
/** R: a table of plain rows. */
export interface DecoderWeights<M = PackedMatrix, V = DeviceBuffer, R = PackedMatrix, E = PackedExperts> {
  head: M;
  /** vocab × hidden; null: the head's matrix, read as an embedding. */
  embed: R | null;
  layers: LayerWeights<M, V, E>[];
  norm: V;
}

export interface WeightPlan { weights: DecoderWeights<MatrixPlan, VectorPlan, RowsPlan, ExpertsPlan>; tied: boolean }

/** Claims every tensor. Throws checkpoint_tensor_missing, _shape, _dtype or _extra, with the tensor. */
export async function planWeights(config: ModelConfig, tensors: ReadonlyMap<string, TensorRef>): Promise<WeightPlan> {
  const claims = new TensorClaims(tensors);
  const { embed, head } = await planEnds(config, claims);
  const layers = Array.from({ length: config.layers }, (_, layer) => planLayer(config, new LayerPlanner(claims, `model.layers.${layer}`, `layer ${layer}`), layer));
  const norm: VectorPlan = { form: 'vector', label: 'norm', stack: [claims.take('model.norm.weight', [config.hidden])] };
  claims.finish();
  return {
    weights: { head: { form: 'matrix', label: 'head', stack: [head] }, embed: embed && { form: 'rows', label: 'embedding', stack: [embed] }, layers, norm },
    tied: embed === null,
  };
}

/**
 * Embedding and head. Tied, either name may stand for both; if both are there and differ, the config is wrong about
 * them and they stay two, as in transformers (`tie_weights`).
 */
async function planEnds(config: ModelConfig, claims: TensorClaims): Promise<{ embed: TensorRef | null; head: TensorRef }> {
  const shape = [config.vocab, config.hidden];
  const embedName = 'model.embed_tokens.weight', headName = 'lm_head.weight';
  if (config.tiedHead && !claims.has(headName)) return { embed: null, head: claims.take(embedName, shape) };
  if (config.tiedHead && !claims.has(embedName)) return { embed: null, head: claims.take(headName, shape) };
  const embed = claims.take(embedName, shape), head = claims.take(headName, shape);
  return config.tiedHead && await sameBytes(embed, head) ? { embed: null, head } : { embed, head };
}

function planLayer(config: ModelConfig, planner: LayerPlanner, layer: number): LayerWeights<MatrixPlan, VectorPlan, ExpertsPlan> {
  const { hidden, outputNorms, latent, moe } = config;
  return {
    inputNorm: planner.vector('input norm', 'input_layernorm', hidden),
    attention: latent ? planLatent(config, latent, planner) : planGqa(config, planner),
    attentionOutNorm: outputNorms ? planner.vector('attention output norm', 'post_attention_layernorm', hidden) : null,
    mlpOutNorm: outputNorms ? planner.vector('MLP output norm', 'post_feedforward_layernorm', hidden) : null,
    postNorm: planner.vector('post norm', outputNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm', hidden),
    mlp: moe?.layers.includes(layer) ? planMoe(config, moe, planner) : planMlp(config, planner),
  };
}

async function sameBytes(a: TensorRef, b: TensorRef): Promise<boolean> {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false;
  const others = tensorChunks(b);
  try {
    for await (const chunk of tensorChunks(a)) {
      const other = await others.next();
      if (other.done || Buffer.compare(chunk, other.value) !== 0) return false;
    }
    return true;
  } finally {
    await others.return();
  }
}

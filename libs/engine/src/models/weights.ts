/** The weights of a dense decoder: which tensors of the checkpoint become which matrices and vectors. */
import { tensorChunks, type TensorRef } from '@weft/adapters';
import { TensorClaims } from './claims.js';
import type { ModelConfig } from './types.js';

/** M: a matrix, V: a vector; first the tensors they are made of, then their packed form. */
export interface LayerWeights<M, V> {
  inputNorm: V;
  /** [q | k | v] rows × hidden: one pass over the input. */
  qkv: M; qkvBias: V | null;
  /** Over each head (QK-norm). */
  qNorm: V | null; kNorm: V | null;
  o: M; oBias: V | null;
  /** Over what attention gives, and over what the MLP gives. */
  attentionOutNorm: V | null; mlpOutNorm: V | null;
  /** Before the MLP. */
  postNorm: V;
  /** [gate | up] rows × hidden. */
  gateUp: M; gateUpBias: V | null;
  down: M; downBias: V | null;
}
export interface DecoderWeights<M, V> {
  /** vocab × hidden; null: the head's matrix, read as an embedding. */
  embed: M | null;
  layers: LayerWeights<M, V>[];
  norm: V;
  head: M;
}

/** Tensors whose rows follow one another. */
export type Stack = readonly TensorRef[];

export interface WeightPlan { weights: DecoderWeights<Stack, Stack>; tied: boolean }

/** Claims every tensor. Throws checkpoint_tensor_missing, _shape, _dtype or _extra, with the tensor. */
export async function planWeights(config: ModelConfig, tensors: ReadonlyMap<string, TensorRef>): Promise<WeightPlan> {
  const claims = new TensorClaims(tensors);
  const ends = await planEnds(config, claims);
  const layers = Array.from({ length: config.layers }, (_, layer) => planLayer(config, claims, `model.layers.${layer}`));
  const norm = [claims.take('model.norm.weight', [config.hidden])];
  claims.finish();
  return { weights: { embed: ends.embed, layers, norm, head: ends.head }, tied: ends.embed === null };
}

/**
 * Embedding and head. Tied, either name may stand for both; if both are there and differ, the config is wrong about
 * them and they stay two, as in transformers (`tie_weights`).
 */
async function planEnds(config: ModelConfig, claims: TensorClaims): Promise<{ embed: Stack | null; head: Stack }> {
  const shape = [config.vocab, config.hidden];
  const embedName = 'model.embed_tokens.weight', headName = 'lm_head.weight';
  if (config.tiedHead && !claims.has(headName)) return { embed: null, head: [claims.take(embedName, shape)] };
  if (config.tiedHead && !claims.has(embedName)) return { embed: null, head: [claims.take(headName, shape)] };
  const embed = claims.take(embedName, shape), head = claims.take(headName, shape);
  return config.tiedHead && await sameBytes(embed, head) ? { embed: null, head: [head] } : { embed: [embed], head: [head] };
}

function planLayer(config: ModelConfig, claims: TensorClaims, prefix: string): LayerWeights<Stack, Stack> {
  const { hidden, headDim, intermediate } = config;
  const q = config.heads * headDim, kv = config.kvHeads * headDim;
  const vector = (module: string, size: number): Stack => [claims.take(`${prefix}.${module}.weight`, [size])];
  const matrix = (modules: readonly [string, number][], dIn: number): Stack => modules.map(([module, dOut]) => claims.take(`${prefix}.${module}.weight`, [dOut, dIn]));
  const bias = (wanted: boolean, modules: readonly [string, number][]): Stack | null =>
    wanted ? modules.map(([module, dOut]) => claims.take(`${prefix}.${module}.bias`, [dOut])) : null;

  const { fused, outputNorms } = config;
  const qkv: [string, number][] = fused ? [['self_attn.qkv_proj', q + 2 * kv]] : [['self_attn.q_proj', q], ['self_attn.k_proj', kv], ['self_attn.v_proj', kv]];
  const o: [string, number][] = [['self_attn.o_proj', hidden]];
  const gateUp: [string, number][] = fused ? [['mlp.gate_up_proj', 2 * intermediate]] : [['mlp.gate_proj', intermediate], ['mlp.up_proj', intermediate]];
  const down: [string, number][] = [['mlp.down_proj', hidden]];
  return {
    inputNorm: vector('input_layernorm', hidden),
    qkv: matrix(qkv, hidden), qkvBias: bias(config.qkvBias, qkv),
    qNorm: config.qkNorm ? vector('self_attn.q_norm', headDim) : null, kNorm: config.qkNorm ? vector('self_attn.k_norm', headDim) : null,
    o: matrix(o, q), oBias: bias(config.outBias, o),
    attentionOutNorm: outputNorms ? vector('post_attention_layernorm', hidden) : null,
    mlpOutNorm: outputNorms ? vector('post_feedforward_layernorm', hidden) : null,
    postNorm: vector(outputNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm', hidden),
    gateUp: matrix(gateUp, hidden), gateUpBias: bias(config.mlpBias, gateUp),
    down: matrix(down, intermediate), downBias: bias(config.mlpBias, down),
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

/**
 * Multi-head latent attention (DeepSeek-V2): of a token one latent vector and one turned key are kept, for all heads. Their maps act
 * on queries and outputs, so that chunk and decode rows are the same arithmetic (op `latentKv`).
 *
 *   [q | latent, key], or [q compressed | latent, key] → norm → q · W_Kᵀ of heads · norm, RoPE, page · attention · W_V of heads · o
 */
import type { Site } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { ATTENTION_SPAN, BLOCK_TOKENS, DType, Header, at, copyRows, headLinear, latentAttention, latentKv, latentLora, rmsNorm, type DeviceBuffer } from '@weft/kernels';
import { SPLIT_ROWS, ropeTable } from './attention.js';
import { LAYER_ALIGN, pageLayout } from './kv-view.js';
import { blocksOfRows, type ExpertsPlan, type LayerPlanner, type MatrixPlan, type PackedExperts, type PackedMatrix, type VectorPlan } from './plan.js';
import { F32_BYTES, ref, roundUp, type Recorder, type Rows } from './recorder.js';
import type { Block, BlockWidths, KvType, KvView, LatentConfig, ModelConfig, SiteShape } from './types.js';

const F16_BYTES = 2;
/** transformers norms latents with the default of its class, whatever `rms_norm_eps` says. */
const LATENT_EPS = 1e-6;

export interface LatentWeights<M = PackedMatrix, V = DeviceBuffer, E = PackedExperts> {
  kind: 'latent';
  /** [q | latent | key] rows × hidden, or [q compressed | latent | key]. */
  down: M; downBias: V | null;
  /** Where q is compressed. */
  qNorm: V | null; qUp: M | null;
  kvNorm: V;
  /** Of each head: W_Kᵀ [latent, nope] and W_V [value, latent]. */
  keys: E; values: E;
  o: M; oBias: V | null;
}

/** Values of a head's query. */
const qDim = ({ nope, rope }: LatentConfig): number => nope + rope;

export function planLatent({ hidden, heads, qkvBias, outBias }: ModelConfig, latent: LatentConfig, planner: LayerPlanner): LatentWeights<MatrixPlan, VectorPlan, ExpertsPlan> {
  const { qRank, rank, nope, rope, value } = latent, q = heads * qDim(latent);
  const down: [string, number][] = [qRank === null ? ['self_attn.q_proj', q] : ['self_attn.q_a_proj', qRank], ['self_attn.kv_a_proj_with_mqa', rank + rope]];
  const o: [string, number][] = [['self_attn.o_proj', hidden]];
  const maps = blocksOfRows(planner.tensor('self_attn.kv_b_proj.weight', [heads * (nope + value), rank]), Array.from({ length: heads }, () => [nope, value]).flat());
  return {
    kind: 'latent',
    down: planner.matrix('q, latent', down, hidden), downBias: qkvBias ? planner.bias('q, latent', down) : null,
    qNorm: qRank === null ? null : planner.vector('q norm', 'self_attn.q_a_layernorm', qRank),
    qUp: qRank === null ? null : planner.matrix('q', [['self_attn.q_b_proj', q]], qRank),
    kvNorm: planner.vector('latent norm', 'self_attn.kv_a_layernorm', rank),
    keys: { form: 'experts', label: `${planner.label} keys of heads`, experts: maps.filter((_, i) => i % 2 === 0).map(map => [{ ...map, shape: [rank, nope], transposed: true }]) },
    values: { form: 'experts', label: `${planner.label} values of heads`, experts: maps.filter((_, i) => i % 2 === 1).map(map => [map]) },
    o: planner.matrix('o', o, heads * value), oBias: outBias ? planner.bias('o', o) : null,
  };
}

/** kv_b_proj is never multiplied as a whole: what an adapter changes of its outputs has no place. */
export function latentSites({ hidden, heads }: ModelConfig, latent: LatentConfig): SiteShape[] {
  const { qRank, rank, nope, rope, value } = latent, q = heads * qDim(latent);
  const kvA: SiteShape = { name: 'kvA', module: 'self_attn.kv_a_proj_with_mqa', dIn: hidden, dOut: rank + rope };
  return [
    ...(qRank === null ? [{ name: 'q', module: 'self_attn.q_proj', dIn: hidden, dOut: q } as const, kvA]
      : [{ name: 'qA', module: 'self_attn.q_a_proj', dIn: hidden, dOut: qRank } as const, kvA, { name: 'qB', module: 'self_attn.q_b_proj', dIn: qRank, dOut: q } as const]),
    { name: 'kvB', module: 'self_attn.kv_b_proj', dIn: rank, dOut: heads * (nope + value), absorbed: true },
    { name: 'o', module: 'self_attn.o_proj', dIn: heads * value, dOut: hidden },
  ];
}

/** [latent + rope][16 tokens] a layer, f16. Throws option_invalid for anything else. */
export function latentView(config: ModelConfig, { rank, rope }: LatentConfig, type: KvType): KvView {
  if (type !== 'f16') throw new WeftError('option_invalid', `latents of ${config.architecture} are kept in f16${type === 'int8' ? ': int8 has one scale for what all heads read' : ''}`, { field: 'kv' });
  const plane = (rank + rope) * BLOCK_TOKENS * F16_BYTES, layerStride = roundUp(plane, LAYER_ALIGN);
  return { ...pageLayout(config, layerStride), type, headStride: plane, planeStride: plane, layerStride };
}

const DOWN: readonly Site['name'][] = ['q', 'qA', 'kvA'], UP: readonly Site['name'][] = ['qB'], O: readonly Site['name'][] = ['o'];

export class Latent implements Block<LatentWeights> {
  readonly #latent: LatentConfig;
  readonly #cosSin: DeviceBuffer;
  /** q compressed and normed, and q, where it is. */
  readonly #qNormed: Rows | null;
  readonly #q: Rows | null;
  /** [latent | rope] of each head. */
  readonly #query: Rows;
  /** What attention gives, in latents. */
  readonly #mixed: Rows;
  /** Values of heads, where o does not read them as f32. */
  readonly #values: Rows | null;
  readonly #partials: Rows;
  readonly #nPartials: number;

  constructor(readonly recorder: Recorder) {
    const { model: { config, activations }, context, capacity } = recorder, { heads } = config, latent = config.latent!;
    const { qRank, rank, rope, value } = latent;
    this.#latent = latent;
    this.#cosSin = ropeTable(recorder, config.rope);
    this.#qNormed = qRank === null ? null : recorder.rows(capacity.tokens, qRank, 'q, compressed', activations);
    this.#q = qRank === null ? null : recorder.rows(capacity.tokens, heads * qDim(latent), 'q');
    this.#query = recorder.rows(capacity.tokens, heads * (rank + rope), 'q, in latents');
    this.#mixed = recorder.rows(capacity.tokens, heads * rank, 'attention, in latents');
    this.#values = activations === 'f32' ? null : recorder.rows(capacity.tokens, heads * value, 'attention');
    this.#nPartials = Math.min(SPLIT_ROWS, capacity.tokens) * heads * Math.ceil(context.maxLen / ATTENTION_SPAN);
    this.#partials = recorder.rows(this.#nPartials, roundUp(rank, 16) + 2, 'attention, spans');
  }

  static widths({ down, o }: LatentWeights): BlockWidths { return { wide: down.rows, inner: o.cols }; }

  record(weights: LatentWeights, layer: number): void {
    const { recorder } = this, { normed, wide, inner, output, capacity: { tokens } } = recorder, { heads } = recorder.model.config, { rank, rope, value } = this.#latent;
    recorder.linear(weights.down, weights.downBias, normed, wide);
    recorder.lora(DOWN, layer, normed, wide);
    const q = this.#queries(weights, layer);
    this.#heads(weights.keys, q, qDim(this.#latent), this.#query, rank + rope);
    this.#lora(layer, true, q, qDim(this.#latent), this.#query, rank + rope);
    this.#attention(weights, layer, q);
    const values = this.#values ?? inner;
    this.#heads(weights.values, this.#mixed, rank, values, value);
    this.#lora(layer, false, this.#mixed, rank, values, value);
    if (values !== inner) {
      recorder.forward.add(copyRows, { from: ref(values), to: ref(inner), count: Header.tokens, countFrom: 0, rows: tokens, dim: heads * value, ldFrom: values.ld, ldTo: inner.ld, toType: DType[inner.type] });
    }
    recorder.linear(weights.o, weights.oBias, inner, output);
    recorder.lora(O, layer, inner, output);
  }

  /** Rows of q. */
  #queries({ qNorm, qUp }: LatentWeights, layer: number): Rows {
    const { recorder } = this, { wide } = recorder, { tokens } = recorder.capacity, to = this.#qNormed, q = this.#q;
    if (!qNorm || !qUp || !to || !q) return wide;
    recorder.forward.add(rmsNorm, {
      r: ref(wide), add: null, w: at(qNorm), y: ref(to), index: null, count: Header.tokens, rows: tokens, srcRows: tokens, dim: qUp.cols,
      ldr: wide.ld, ldAdd: 0, ldy: to.ld, eps: LATENT_EPS, plusOne: 0, yType: DType[to.type],
    });
    recorder.linear(qUp, null, to, q);
    recorder.lora(UP, layer, to, q);
    return q;
  }

  #attention({ kvNorm, down }: LatentWeights, layer: number, q: Rows): void {
    const { recorder } = this, { wide, positions, capacity } = recorder, { heads, attentionScale } = recorder.model.config, { rank, rope } = this.#latent;
    const { arena, pages, pageBytes, maxLen } = recorder.context, { layerStride, layers } = recorder.model.kv, { group, place } = layers[layer]!;
    const dim = rank + rope, width = heads * dim;
    const kv = {
      latent: rank, rope, nSegments: capacity.segments, tableSize: capacity.pageTable, nPages: pages, pageBytes, layerOffset: place * layerStride, kvGroup: group,
    };
    const paged = { positions: at(positions), segments: recorder.frame('segments'), pages: recorder.frame('pages'), arena: at(arena) };
    recorder.forward.add(latentKv, {
      ...paged, ...kv, kv: at(wide.buffer, (down.rows - dim) * F32_BYTES), w: at(kvNorm), q: ref(q), query: ref(this.#query), cosSin: at(this.#cosSin),
      rowSegments: recorder.frame('rowSegments'), count: Header.tokens, rows: capacity.tokens, heads, qDim: qDim(this.#latent), dim, qWidth: heads * qDim(this.#latent), width,
      ldkv: wide.ld, ldq: q.ld, ldQuery: this.#query.ld, eps: LATENT_EPS, interleaved: 1, maxPos: maxLen,
    });
    recorder.forward.add(latentAttention, {
      ...paged, ...kv, query: ref(this.#query), out: ref(this.#mixed), partials: ref(this.#partials), nPartials: this.#nPartials, ldPartials: this.#partials.ld,
      count: Header.tokens, rows: capacity.tokens, segmentCount: Header.segments, heads, width, outWidth: heads * rank, ldq: this.#query.ld, ldo: this.#mixed.ld, scale: attentionScale,
    });
  }

  /** y[head] = W_head x[head]. Strides: values from a head to the next. */
  #heads(w: PackedExperts, x: Rows, xStride: number, y: Rows, yStride: number): void {
    const { heads } = this.recorder.model.config, width = (stride: number, dim: number): number => (heads - 1) * stride + dim;
    this.recorder.forward.add(headLinear, {
      x: ref(x), w: at(w.buffer), y: ref(y), count: Header.tokens, rows: this.recorder.capacity.tokens, heads, outs: heads * roundUp(w.n, 32), n: w.n, k: w.k,
      xStride, yStride, xWidth: width(xStride, w.k), yWidth: width(yStride, w.n), ldx: x.ld, ldy: y.ld, dtype: w.dtype,
    });
  }

  /** What adapters add to the maps of keys, or of values. */
  #lora(layer: number, keys: boolean, x: Rows, xStride: number, y: Rows, yStride: number): void {
    const { recorder } = this, { heads } = recorder.model.config, { rank, nope, value } = this.#latent, { tables, adapterSlots, slotWords, arena, pages, pageBytes, maxRank } = recorder.context;
    const { groups: maxGroups, groupRows: maxGroupRows, tokens: rows } = recorder.capacity, { sites } = recorder.model.geometry;
    const outs = keys ? nope : value, [xDim, yDim] = keys ? [outs, rank] : [rank, outs];
    recorder.forward.add(latentLora, {
      x: ref(x), y: ref(y), groups: recorder.frame('groups'), groupRows: recorder.frame('groupRows'), tables: at(tables), arena: at(arena),
      groupCount: Header.groups, groupRowCount: Header.groupRows, rows, heads, latent: rank, headOuts: nope + value, firstOut: keys ? 0 : nope, outs, transposed: keys ? 1 : 0,
      xStride, yStride, xWidth: (heads - 1) * xStride + xDim, yWidth: (heads - 1) * yStride + yDim, ldx: x.ld, ldy: y.ld, partStride: maxRank, maxGroups, maxGroupRows,
      nSlots: adapterSlots, slotWords, nPages: pages, pageBytes, layer, nSites: sites.length, site: sites.findIndex(({ name }) => name === 'kvB'),
    });
  }
}

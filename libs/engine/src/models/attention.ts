/** Grouped-query attention over keys and values in pages: qkv → RoPE, KV → attention → o. */
import type { Site } from '@weft/adapters';
import { WeftError } from '@weft/contracts';
import { ATTENTION_SPAN, BLOCK_TOKENS, DType, Header, at, attention, copyRows, rmsNorm, ropeKv, type DeviceBuffer, type Ref } from '@weft/kernels';
import { LAYER_ALIGN, pageLayout, windowOf } from './kv-view.js';
import type { LayerPlanner, MatrixPlan, PackedMatrix, VectorPlan } from './plan.js';
import { F32_BYTES, ref, roundUp, type Recorder, type Rows } from './recorder.js';
import { fillRopeTable } from './rope.js';
import type { Block, BlockWidths, KvType, KvView, ModelConfig, RopeConfig, SiteShape } from './types.js';

const HALF_BYTES = 2;
/** Rows of the longest context that attention can cut by spans in a step. With more there is work enough for all threads. */
export const SPLIT_ROWS = 4;

export interface GqaWeights<M = PackedMatrix, V = DeviceBuffer> {
  kind: 'gqa';
  /** [q | k | v] rows × hidden: one pass over the input. */
  qkv: M; qkvBias: V | null;
  /** Over each head, or over all of them (`qkNorm`). */
  qNorm: V | null; kNorm: V | null;
  o: M; oBias: V | null;
}

export function planGqa(config: ModelConfig, planner: LayerPlanner): GqaWeights<MatrixPlan, VectorPlan> {
  const { hidden, headDim } = config;
  const q = config.heads * headDim, kv = config.kvHeads * headDim;
  const qkv: [string, number][] = config.fused ? [['self_attn.qkv_proj', q + 2 * kv]] : [['self_attn.q_proj', q], ['self_attn.k_proj', kv], ['self_attn.v_proj', kv]];
  const o: [string, number][] = [['self_attn.o_proj', hidden]];
  return {
    kind: 'gqa',
    qkv: planner.matrix('qkv', qkv, hidden), qkvBias: config.qkvBias ? planner.bias('qkv', qkv) : null,
    qNorm: config.qkNorm && planner.vector('q norm', 'self_attn.q_norm', config.qkNorm === 'heads' ? headDim : q),
    kNorm: config.qkNorm && planner.vector('k norm', 'self_attn.k_norm', config.qkNorm === 'heads' ? headDim : kv),
    o: planner.matrix('o', o, q), oBias: config.outBias ? planner.bias('o', o) : null,
  };
}

export function gqaSites({ hidden, heads, kvHeads, headDim, fused }: ModelConfig): SiteShape[] {
  const q = heads * headDim, kv = kvHeads * headDim;
  const qkv: SiteShape[] = fused ? [{ name: 'qkv', module: 'self_attn.qkv_proj', dIn: hidden, dOut: q + 2 * kv }] : [
    { name: 'q', module: 'self_attn.q_proj', dIn: hidden, dOut: q }, { name: 'k', module: 'self_attn.k_proj', dIn: hidden, dOut: kv },
    { name: 'v', module: 'self_attn.v_proj', dIn: hidden, dOut: kv },
  ];
  return [...qkv, { name: 'o', module: 'self_attn.o_proj', dIn: q, dOut: hidden }];
}

/** Keys and values of a layer's heads, side by side. Throws option_invalid for bf16 of heads with an odd number of values. */
export function kvView(config: ModelConfig, type: KvType): KvView {
  const { kvHeads, headDim } = config;
  if (type === 'bf16' && headDim % 2 !== 0) throw new WeftError('option_invalid', `bf16 keys are kept by pairs of values, of which a head of ${config.architecture} has ${headDim}`, { field: 'kv' });
  const headStride = BLOCK_TOKENS * headDim * (type === 'int8' ? 1 : HALF_BYTES);
  const planeStride = kvHeads * (headStride + (type === 'int8' ? BLOCK_TOKENS * HALF_BYTES : 0));
  const layerStride = roundUp(2 * planeStride, LAYER_ALIGN);
  return { type, headStride, planeStride, layerStride, ...pageLayout(config, layerStride) };
}

/** Cosines and sines of all positions (op `rope`). */
export function ropeTable(recorder: Recorder, rope: RopeConfig): DeviceBuffer {
  const { maxLen } = recorder.context;
  // Contexts are one token shorter: a slot has room for the token that ends one.
  return recorder.constant(maxLen * rope.rotary * F32_BYTES, 'RoPE', memory => fillRopeTable(rope, maxLen, new Float32Array(memory), maxLen - 1));
}

const NO_NORMS = { qNorm: null, kNorm: null } as const;
const QKV: readonly Site['name'][] = ['q', 'k', 'v', 'qkv'], O: readonly Site['name'][] = ['o'];

export class Gqa implements Block<GqaWeights> {
  /** Of rows that attention cuts by spans, see `attention`. */
  readonly #partials: Rows;
  readonly #nPartials: number;
  readonly #cosSin: DeviceBuffer;
  /** Of layers with a window. */
  readonly #localCosSin: DeviceBuffer;
  /** [q | k | v], q and k normed as wholes. */
  readonly #normed: Rows | null;

  constructor(readonly recorder: Recorder) {
    const { model: { config }, context, capacity } = recorder;
    this.#nPartials = Math.min(SPLIT_ROWS, capacity.tokens) * config.heads * Math.ceil(context.maxLen / ATTENTION_SPAN);
    this.#partials = recorder.rows(this.#nPartials, roundUp(config.headDim, 16) + 2, 'attention, spans');
    this.#cosSin = ropeTable(recorder, config.rope);
    this.#localCosSin = config.localRope ? ropeTable(recorder, config.localRope) : this.#cosSin;
    this.#normed = config.qkNorm === 'whole' ? recorder.rows(capacity.tokens, (config.heads + 2 * config.kvHeads) * config.headDim, 'qkv, normed') : null;
  }

  static widths({ qkv, o }: GqaWeights): BlockWidths { return { wide: qkv.rows, inner: o.cols }; }

  record(weights: GqaWeights, layer: number): void {
    const { recorder } = this, { normed, wide, inner, output, positions, capacity } = recorder;
    const { arena, pages, pageBytes, maxLen } = recorder.context;
    const { heads, kvHeads, headDim, normEps, rope: { rotary }, attentionScale, attentionSoftcap } = recorder.model.config;
    const window = windowOf(recorder.model.config, layer), cosSin = window > 0 ? this.#localCosSin : this.#cosSin;
    const { type, groups, layers, layerStride, planeStride, headStride } = recorder.model.kv;
    const { group, place } = layers[layer]!, { blocks } = groups[group]!;
    const qWidth = heads * headDim;
    recorder.linear(weights.qkv, weights.qkvBias, normed, wide);
    recorder.lora(QKV, layer, normed, wide);
    const qkv = this.#normed ? this.#normWholes(weights, wide, this.#normed) : wide, { qNorm, kNorm } = this.#normed ? NO_NORMS : weights;
    const kv = {
      kvHeads, dim: headDim, nSegments: capacity.segments, tableSize: capacity.pageTable, nPages: pages * blocks, pageBytes: pageBytes / blocks,
      layerOffset: place * layerStride, planeStride, headStride, kvGroup: group, kvType: DType[type],
    };
    recorder.forward.add(ropeKv, {
      x: ref(qkv), qNorm: qNorm && at(qNorm), kNorm: kNorm && at(kNorm), positions: at(positions), cosSin: at(cosSin),
      rowSegments: recorder.frame('rowSegments'), segments: recorder.frame('segments'), pages: recorder.frame('pages'), arena: at(arena),
      count: Header.tokens, rows: capacity.tokens, heads, width: qWidth + 2 * kvHeads * headDim, ldx: qkv.ld, eps: normEps, plusOne: recorder.plusOne,
      rotary, interleaved: 0, maxPos: maxLen, ...kv,
    });
    recorder.forward.add(attention, {
      q: ref(qkv), out: ref(inner), positions: at(positions), segments: recorder.frame('segments'), pages: recorder.frame('pages'), arena: at(arena),
      partials: ref(this.#partials), nPartials: this.#nPartials, ldPartials: this.#partials.ld,
      count: Header.tokens, rows: capacity.tokens, segmentCount: Header.segments, heads, width: qWidth, ldq: qkv.ld, ldo: inner.ld, ...kv,
      window, scale: attentionScale, softcap: attentionSoftcap, outType: DType[inner.type],
    });
    recorder.linear(weights.o, weights.oBias, inner, output);
    recorder.lora(O, layer, inner, output);
  }

  #normWholes(weights: GqaWeights, from: Rows, to: Rows): Rows {
    const { forward, capacity: { tokens }, model: { config: { heads, kvHeads, headDim, normEps } }, plusOne } = this.recorder;
    const q = heads * headDim, kv = kvHeads * headDim;
    const part = (rows: Rows, column: number): Ref => at(rows.buffer, column * F32_BYTES);
    for (const [w, column, dim] of [[weights.qNorm!, 0, q], [weights.kNorm!, q, kv]] as const) {
      forward.add(rmsNorm, {
        r: part(from, column), add: null, w: at(w), y: part(to, column), index: null,
        count: Header.tokens, rows: tokens, srcRows: tokens, dim, ldr: from.ld, ldAdd: 0, ldy: to.ld, eps: normEps, plusOne, yType: DType.f32,
      });
    }
    forward.add(copyRows, {
      from: part(from, q + kv), to: part(to, q + kv), count: Header.tokens, countFrom: 0, rows: tokens, dim: kv, ldFrom: from.ld, ldTo: to.ld, toType: DType.f32,
    });
    return to;
  }
}

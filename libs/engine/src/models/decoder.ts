/**
 * A dense decoder, recorded once per capacity.
 *
 *   forward   resolve · embed · per layer: norm → qkv → RoPE, KV → attention → o, norm → gate|up → act → down · final norm
 *   sample    per tile of 64 logit rows: head · soft-cap (Gemma 2) · sample
 *
 * With int8 weights, linear maps are preceded by the quantization of their input. After each linear map stand the two
 * LoRA ops of its site; without groups in the frame they cost nothing. Inputs of linear maps are f32, or bf16 where asked
 * for; all other rows, the residual stream `r` among them, stay f32. A sublayer's output is added to it by the norm that
 * follows: one pass over r, not two.
 */
import type { BaseGeometry, BaseTensors, Site } from '@weft/adapters';
import {
  ATTENTION_SPAN, Activation, BLOCK_TOKENS, CommandList, DType, Header, LOGIT_TILE, at, bound, type Device, type DeviceBuffer, type FrameCapacity, type FrameSection, type Ref,
  attention, copyPages, copyRows, embed, gatedAct, linear, linearInt8, loraExpand, loraShrink, quantizeRows, quantizedWords, resolve, rmsNorm, ropeKv,
  sample, softcap,
} from '@weft/kernels';
import { fillRopeTable } from './rope.js';
import type { Activations, Bucket, KvType, KvView, Model, ModelConfig, RopeConfig, StepContext, StepLists } from './types.js';
import type { DecoderWeights, LayerWeights } from './weights.js';

/** [rows, cols] on the device. layout 0: panels, 1: plain rows (op `linear`). */
export interface PackedMatrix { buffer: DeviceBuffer; dtype: DType; layout: 0 | 1; rows: number; cols: number }

const F32_BYTES = 4;
const F16_BYTES = 2;
/** Rows of the longest context that attention can cut by spans in a step. With more there is work enough for all threads. */
const SPLIT_ROWS = 4;
/** Rows that a device with buckets has lists for: what runs best there depends on them. */
const BUCKETS: readonly number[] = [1, 2, 4, 8, 32, 64, 128, 256, 512, 1024, 2048];

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

/** Pages of 16 tokens, all layers in each; a layer's part starts at a cache line pair. */
export function kvView({ layers, kvHeads, headDim }: ModelConfig, type: KvType): KvView {
  const headStride = BLOCK_TOKENS * headDim * (type === 'int8' ? 1 : F16_BYTES);
  const planeStride = kvHeads * (headStride + (type === 'int8' ? BLOCK_TOKENS * F16_BYTES : 0));
  const layerStride = roundUp(2 * planeStride, 128);
  return { type, headStride, planeStride, layerStride, pageBytes: roundUp(layers * layerStride, 4096) };
}

const ROW_BYTES: Readonly<Record<Activations, number>> = { f32: F32_BYTES, bf16: 2 };

/** Rows in a buffer. */
interface Rows { buffer: DeviceBuffer; ld: number; type: Activations }

const ref = (rows: Rows): Ref => at(rows.buffer);
/** Rows as a linear map reads them. */
interface Input { x: Ref; ldx: number; xType: DType }
const input = (rows: Rows): Input => ({ x: ref(rows), ldx: rows.ld, xType: DType[rows.type] });

/** Distance between rows: whole cache lines, and never a multiple of 4 KiB, where all rows would meet in one cache set. */
function stride(width: number, valueBytes: number): number {
  const line = 64 / valueBytes, ld = roundUp(width, line);
  return ld * valueBytes % 4096 === 0 ? ld + line : ld;
}

export class DenseDecoder implements Model {
  constructor(
    readonly device: Device, readonly config: ModelConfig, readonly geometry: BaseGeometry, readonly kv: KvView,
    readonly weights: DecoderWeights<PackedMatrix, DeviceBuffer>, readonly weightBytes: number, readonly activations: Activations,
    readonly tensors: BaseTensors,
  ) {}

  record(context: StepContext): StepLists { return new Recorder(this, context).lists(); }
}

/** Records the lists of one capacity, and of smaller ones that share its buffers; owns these. */
class Recorder {
  readonly #owned: DeviceBuffer[] = [];
  /** What is being recorded. */
  #forward = new CommandList();
  #sample = new CommandList();
  #capacity: FrameCapacity;

  readonly #tokens: DeviceBuffer;
  readonly #positions: DeviceBuffer;
  readonly #cosSin: DeviceBuffer;
  /** Of layers with a window. */
  readonly #localCosSin: DeviceBuffer;
  /** The residual stream. */
  readonly #residual: Rows;
  /** Input of a sublayer: the normed residual. */
  readonly #normed: Rows;
  /** Output of a sublayer, until the next norm adds it to the residual. */
  readonly #delta: Rows;
  /** The same before it is normed itself; #delta where it is not. */
  readonly #output: Rows;
  /** [q | k | v] of attention, then [gate | up] of the MLP. */
  readonly #wide: Rows;
  /** Attention's output, then the MLP's gated activation. */
  readonly #inner: Rows;
  /** Input of an int8 linear map, quantized. */
  readonly #quantized: Rows | null;
  /** A x of all parts of a site, one row per row of a group. */
  readonly #shrunk: Rows;
  readonly #partStride: number;
  /** Hidden rows of a tile of logits, where the head does not read them as f32. */
  readonly #headInput: Rows | null;
  readonly #logits: Rows;
  /** Of rows that attention cuts by spans, see `attention`. */
  readonly #partials: Rows;
  readonly #nPartials: number;
  readonly #ready: Promise<void>;

  constructor(readonly model: DenseDecoder, readonly context: StepContext) {
    const { config, activations } = model;
    const { capacity } = context.frame;
    this.#capacity = capacity;
    const qWidth = config.heads * config.headDim, kvWidth = config.kvHeads * config.headDim;
    this.#tokens = this.#alloc(capacity.tokens * F32_BYTES, 'tokens');
    this.#positions = this.#alloc(capacity.tokens * F32_BYTES, 'positions');
    this.#residual = this.#rows(capacity.tokens, config.hidden, 'residual');
    this.#normed = this.#rows(capacity.tokens, config.hidden, 'normed', activations);
    this.#delta = this.#rows(capacity.tokens, config.hidden, 'delta');
    this.#output = config.outputNorms ? this.#rows(capacity.tokens, config.hidden, 'output') : this.#delta;
    this.#wide = this.#rows(capacity.tokens, Math.max(qWidth + 2 * kvWidth, 2 * config.intermediate), 'qkv, gate|up');
    this.#inner = this.#rows(capacity.tokens, Math.max(qWidth, config.intermediate), 'attention, activation', activations);
    const int8 = this.#matrices().filter(w => w.dtype === DType.int8);
    this.#quantized = int8.length ? this.#rows(Math.max(capacity.tokens, Math.min(LOGIT_TILE, capacity.logits)), quantizedWords(Math.max(...int8.map(w => w.cols))), 'quantized') : null;
    this.#partStride = roundUp(context.maxRank, 16);
    this.#shrunk = this.#rows(capacity.groupRows, 3 * this.#partStride, 'LoRA');
    const tileRows = Math.min(LOGIT_TILE, capacity.logits);
    this.#headInput = activations === 'f32' || model.weights.head.dtype === DType.int8 ? null : this.#rows(tileRows, config.hidden, 'head input', activations);
    this.#logits = this.#rows(tileRows, config.vocab, 'logits');
    this.#nPartials = Math.min(SPLIT_ROWS, capacity.tokens) * config.heads * Math.ceil(context.maxLen / ATTENTION_SPAN);
    this.#partials = this.#rows(this.#nPartials, roundUp(config.headDim, 16) + 2, 'attention, spans');
    this.#cosSin = this.#ropeTable(config.rope);
    this.#localCosSin = config.localRope ? this.#ropeTable(config.localRope) : this.#cosSin;
    this.#ready = Promise.all([...new Set([this.#cosSin, this.#localCosSin])].map(table => model.device.upload(table, 0, table.bytes))).then(() => {});
  }

  #ropeTable(rope: RopeConfig): DeviceBuffer {
    const { maxLen } = this.context;
    const table = this.#alloc(maxLen * rope.rotary * F32_BYTES, 'RoPE');
    // Contexts are one token shorter: a slot has room for the token that ends one.
    fillRopeTable(rope, maxLen, new Float32Array(this.model.device.host(table)), maxLen - 1);
    return table;
  }

  lists(): StepLists {
    const { tokens } = this.context.frame.capacity;
    const buckets = this.model.device.bucketed ? BUCKETS.filter(bucket => bucket < tokens) : [];
    return {
      buckets: [...buckets, tokens].map(bucket => this.#record(bucket)), ready: this.#ready,
      free: () => { for (const buffer of this.#owned.splice(0)) this.model.device.free(buffer); },
    };
  }

  #record(tokens: number): Bucket {
    const whole = this.context.frame.capacity, { layers } = this.model.weights;
    const groupRows = Math.min(whole.groupRows, tokens * Math.ceil(whole.groupRows / whole.tokens));
    this.#capacity = {
      ...whole, tokens, segments: Math.min(whole.segments, tokens), logits: Math.min(whole.logits, tokens), groups: Math.min(whole.groups, groupRows), groupRows,
    };
    this.#forward = new CommandList();
    this.#sample = new CommandList();
    this.#copyPages();
    this.#embed();
    layers.forEach((weights, layer) => {
      this.#norm(weights.inputNorm, layer === 0 ? null : this.#delta);
      this.#attention(weights, layer);
      this.#outputNorm(weights.attentionOutNorm);
      this.#norm(weights.postNorm, this.#delta);
      this.#mlp(weights, layer);
      this.#outputNorm(weights.mlpOutNorm);
    });
    this.#finalNorm();
    for (let row = 0; row < this.#capacity.logits; row += LOGIT_TILE) this.#sampleTile(row);
    return { tokens, forward: this.#forward, sample: this.#sample };
  }

  /** Pages that change owners' hands before anything reads them. */
  #copyPages(): void {
    const { arena, pages, pageBytes } = this.context;
    const { pagePairs } = this.#capacity;
    if (pagePairs === 0) return;
    this.#forward.add(copyPages, { pairs: this.#frame('pagePairs'), arena: at(arena), count: Header.pagePairs, maxPairs: pagePairs, nPages: pages, pageBytes });
  }

  #embed(): void {
    const { slots, history, nSlots, maxLen } = this.context;
    const { vocab, hidden, embedScale } = this.model.config;
    const table = this.model.weights.embed ?? this.model.weights.head;
    const rows = this.#capacity.tokens;
    this.#forward.add(resolve, {
      tokenIds: this.#frame('tokenIds'), positions: this.#frame('positions'), rowSlots: this.#frame('rowSlots'),
      slots: at(slots), history: at(history), outTokens: at(this.#tokens), outPositions: at(this.#positions),
      count: Header.tokens, rows, nSlots, maxLen, vocab,
    });
    this.#forward.add(embed, {
      table: at(table.buffer), tokens: at(this.#tokens), x: ref(this.#residual),
      count: Header.tokens, rows, vocab, dim: hidden, dtype: table.dtype, layout: table.layout, ldx: this.#residual.ld, scale: embedScale,
    });
  }

  #norm(weight: DeviceBuffer, add: Rows | null, from = this.#residual, to = this.#normed): void {
    const { tokens } = this.#capacity;
    const { hidden, normEps } = this.model.config;
    this.#forward.add(rmsNorm, {
      r: ref(from), add: add && ref(add), w: at(weight), y: ref(to), index: null,
      count: Header.tokens, rows: tokens, srcRows: tokens, dim: hidden,
      ldr: from.ld, ldAdd: add?.ld ?? 0, ldy: to.ld, eps: normEps, plusOne: this.#plusOne, yType: DType[to.type],
    });
  }

  #outputNorm(weight: DeviceBuffer | null): void {
    if (weight) this.#norm(weight, null, this.#output, this.#delta);
  }

  get #plusOne(): 0 | 1 { return this.model.config.normPlusOne ? 1 : 0; }

  /** Only rows that become logits, straight into the step's own hidden rows: the sample list and the host read them there. */
  #finalNorm(): void {
    const { tokens, logits } = this.#capacity;
    const { hidden, normEps } = this.model.config;
    this.#forward.add(rmsNorm, {
      r: ref(this.#residual), add: ref(this.#delta), w: at(this.model.weights.norm), y: bound('hidden'), index: this.#frame('logitRows'),
      count: Header.logits, rows: logits, srcRows: tokens, dim: hidden,
      ldr: this.#residual.ld, ldAdd: this.#delta.ld, ldy: hidden, eps: normEps, plusOne: this.#plusOne, yType: DType.f32,
    });
  }

  #attention(weights: LayerWeights<PackedMatrix, DeviceBuffer>, layer: number): void {
    const { arena, pages, pageBytes } = this.context;
    const { heads, kvHeads, headDim, fullLayers, normEps, rope: { rotary }, attentionScale, attentionSoftcap } = this.model.config;
    const slidingWindow = fullLayers.includes(layer) ? 0 : this.model.config.slidingWindow;
    const cosSin = slidingWindow > 0 ? this.#localCosSin : this.#cosSin;
    const { type, layerStride, planeStride, headStride } = this.model.kv;
    const qkv = this.#wide, qWidth = heads * headDim;
    this.#linear(weights.qkv, weights.qkvBias, this.#normed, qkv);
    this.#lora(['q', 'k', 'v', 'qkv'], layer, this.#normed, qkv);
    const kv = {
      kvHeads, dim: headDim, nSegments: this.#capacity.segments, tableSize: this.#capacity.pageTable, nPages: pages, pageBytes,
      layerOffset: layer * layerStride, planeStride, headStride, kvGroup: 0, kvType: DType[type],
    };
    this.#forward.add(ropeKv, {
      x: ref(qkv), qNorm: weights.qNorm && at(weights.qNorm), kNorm: weights.kNorm && at(weights.kNorm), positions: at(this.#positions), cosSin: at(cosSin),
      rowSegments: this.#frame('rowSegments'), segments: this.#frame('segments'), pages: this.#frame('pages'), arena: at(arena),
      count: Header.tokens, rows: this.#capacity.tokens, heads, width: qWidth + 2 * kvHeads * headDim, ldx: qkv.ld, eps: normEps, plusOne: this.#plusOne,
      rotary, interleaved: 0, maxPos: this.context.maxLen, ...kv,
    });
    this.#forward.add(attention, {
      q: ref(qkv), out: ref(this.#inner), positions: at(this.#positions), segments: this.#frame('segments'), pages: this.#frame('pages'), arena: at(arena),
      partials: ref(this.#partials), nPartials: this.#nPartials, ldPartials: this.#partials.ld,
      count: Header.tokens, rows: this.#capacity.tokens, segmentCount: Header.segments, heads, width: qWidth, ldq: qkv.ld, ldo: this.#inner.ld, ...kv,
      window: slidingWindow, scale: attentionScale, softcap: attentionSoftcap, outType: DType[this.#inner.type],
    });
    this.#linear(weights.o, weights.oBias, this.#inner, this.#output);
    this.#lora(['o'], layer, this.#inner, this.#output);
  }

  #mlp(weights: LayerWeights<PackedMatrix, DeviceBuffer>, layer: number): void {
    const { intermediate, activation } = this.model.config;
    this.#linear(weights.gateUp, weights.gateUpBias, this.#normed, this.#wide);
    this.#lora(['gate', 'up', 'gateUp'], layer, this.#normed, this.#wide);
    this.#forward.add(gatedAct, {
      x: ref(this.#wide), y: ref(this.#inner), count: Header.tokens, rows: this.#capacity.tokens,
      dim: intermediate, dim2: 2 * intermediate, ldx: this.#wide.ld, ldy: this.#inner.ld, act: Activation[activation], yType: DType[this.#inner.type],
    });
    this.#linear(weights.down, weights.downBias, this.#inner, this.#output);
    this.#lora(['down'], layer, this.#inner, this.#output);
  }

  #linear(w: PackedMatrix, b: DeviceBuffer | null, x: Rows, y: Rows): void {
    this.#addLinear(this.#forward, w, b, input(x), y, { count: Header.tokens, countFrom: 0, rows: this.#capacity.tokens });
  }

  #addLinear(list: CommandList, w: PackedMatrix, b: DeviceBuffer | null, x: Input, y: Rows, rows: { count: number; countFrom: number; rows: number }): void {
    const shape = { w: at(w.buffer), b: b && at(b), y: ref(y), ...rows, n: w.rows, k: w.cols, ldy: y.ld, dtype: w.dtype, accumulate: 0 };
    if (w.dtype !== DType.int8) {
      list.add(linear, { ...x, ...shape, layout: w.layout });
      return;
    }
    const q = this.#quantized!, words = quantizedWords(w.cols);
    list.add(quantizeRows, { ...x, q: ref(q), ...rows, k: w.cols, words, ldq: q.ld });
    list.add(linearInt8, { x: ref(q), ldx: q.ld, words, ...shape });
  }

  #matrices(): PackedMatrix[] {
    const { layers, head } = this.model.weights;
    return [head, ...layers.flatMap(({ qkv, o, gateUp, down }) => [qkv, o, gateUp, down])];
  }

  /** y += B A x for the sites of these names that there are; they share the input x and stand side by side in y. */
  #lora(names: readonly Site['name'][], layer: number, x: Rows, y: Rows): void {
    const { tables, adapterSlots, slotWords, arena, pages, pageBytes } = this.context;
    const { groups: maxGroups, groupRows: maxGroupRows, tokens: rows } = this.#capacity;
    const all = this.model.geometry.sites;
    const sites = all.filter(site => names.includes(site.name));
    const shared = {
      groups: this.#frame('groups'), groupRows: this.#frame('groupRows'), tables: at(tables), arena: at(arena),
      groupCount: Header.groups, groupRowCount: Header.groupRows, rows, ldu: this.#shrunk.ld, partStride: this.#partStride,
      maxGroups, maxGroupRows, nSlots: adapterSlots, slotWords, nPages: pages, pageBytes,
      layer, nSites: all.length, site: sites[0]!.index, parts: sites.length,
    };
    const width = (part: number): number => sites[part]?.dOut ?? 0;
    this.#forward.add(loraShrink, { x: ref(x), u: ref(this.#shrunk), dIn: sites[0]!.dIn, ldx: x.ld, xType: DType[x.type], ...shared });
    this.#forward.add(loraExpand, {
      u: ref(this.#shrunk), y: ref(y), dOut: width(0) + width(1) + width(2), ldy: y.ld, ...shared,
      outOffset0: 0, dOut0: width(0), outOffset1: width(0), dOut1: width(1), outOffset2: width(0) + width(1), dOut2: width(2),
    });
  }

  /** Logit rows from `firstRow` on, at most 64: the logits live only until they are reduced. */
  #sampleTile(firstRow: number): void {
    const { slots, history, nSlots, maxLen, maskRows, maskWords } = this.context;
    const { logits: maxLogits, biasPairs } = this.#capacity;
    const { hidden, vocab, logitSoftcap } = this.model.config;
    const { head } = this.model.weights;
    const tileRows = Math.min(LOGIT_TILE, maxLogits - firstRow);
    const hiddenRows = { x: bound('hidden', firstRow * hidden * F32_BYTES), ldx: hidden, xType: DType.f32 };
    const rows = { count: Header.logits, countFrom: firstRow, rows: tileRows };
    const x = this.#headInput;
    if (x) this.#sample.add(copyRows, { from: hiddenRows.x, to: ref(x), ...rows, dim: hidden, ldFrom: hidden, ldTo: x.ld, toType: DType[x.type] });
    this.#addLinear(this.#sample, head, null, x ? input(x) : hiddenRows, this.#logits, rows);
    if (logitSoftcap > 0) this.#sample.add(softcap, { x: ref(this.#logits), ...rows, dim: vocab, ldx: this.#logits.ld, cap: logitSoftcap });
    this.#sample.add(sample, {
      logits: ref(this.#logits), records: this.#frame('samples'), bias: this.#frame('bias'), masks: maskRows > 0 ? bound('masks') : null,
      slots: at(slots), history: at(history), results: bound('results'),
      count: Header.logits, firstRow, tileRows, vocab, ldl: this.#logits.ld, maxLogits, biasWords: 2 * biasPairs, maskRows, maskWords, nSlots, maxLen,
    });
  }

  #frame(section: FrameSection): Ref { return bound('frame', this.context.frame.at[section] * F32_BYTES); }

  #rows(rows: number, width: number, label: string, type: Activations = 'f32'): Rows {
    const ld = stride(width, ROW_BYTES[type]);
    return { buffer: this.#alloc(rows * ld * ROW_BYTES[type], label), ld, type };
  }

  #alloc(bytes: number, label: string): DeviceBuffer {
    const buffer = this.model.device.alloc(bytes, label);
    this.#owned.push(buffer);
    return buffer;
  }
}

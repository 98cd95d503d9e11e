/**
 * What all blocks of a decoder record with: rows between them, linear maps with what adapters add to them, norms.
 *
 * With int8 weights, linear maps are preceded by the quantization of their input. After each linear map stand the two
 * LoRA ops of its site; without groups in the frame they cost nothing. Inputs of linear maps are f32, or bf16 where asked
 * for; all other rows, the residual stream among them, stay f32. A sublayer's output is added to it by the norm that
 * follows: one pass over it, not two.
 */
import { endPlaces, siteExists, type EndName, type Site } from '@weft/adapters';
import {
  Activation, CommandList, DType, EXTRA_TOKENS, End, GROUP_WORDS, Header, LOGIT_TILE, at, bound, type DeviceBuffer, type FrameCapacity, type FrameSection, type Ref,
  embedReplace, embedShrink, gatedAct, headReplace, linear, linearInt8, loraExpand, loraShrink, quantizeRows, quantizedWords, rmsNorm,
} from '@weft/kernels';
import type { Decoder } from './decoder.js';
import type { PackedMatrix } from './plan.js';
import type { Activations, BlockWidths, StepContext } from './types.js';

export const F32_BYTES = 4;
export const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

const ROW_BYTES: Readonly<Record<Activations, number>> = { f32: F32_BYTES, bf16: 2 };

/** Rows in a buffer. */
export interface Rows { buffer: DeviceBuffer; ld: number; type: Activations }
export const ref = (rows: Rows): Ref => at(rows.buffer);

/** Rows as a linear map reads them. */
export interface Input { x: Ref; ldx: number; xType: DType }
export const input = (rows: Rows): Input => ({ x: ref(rows), ldx: rows.ld, xType: DType[rows.type] });

/** How many rows an op has: a header word of the frame, and its capacity. */
export interface RowCount { count: number; countFrom: number; rows: number }

/** Which rows an adapter's op works on, and where it finds the adapter. */
interface GroupArgs { groups: Ref; groupRows: Ref; groupCount: number; groupRowCount: number; maxGroups: number; maxGroupRows: number; rows: number }
interface PlaceArgs { tables: Ref; arena: Ref; nSlots: number; slotWords: number; nPages: number; pageBytes: number; layer: number; nSites: number; site: number }

/** Distance between rows: whole cache lines, and never a multiple of 4 KiB, where all rows would meet in one cache set. */
function stride(width: number, valueBytes: number): number {
  const line = 64 / valueBytes, ld = roundUp(width, line);
  return ld * valueBytes % 4096 === 0 ? ld + line : ld;
}

/** Records the lists of one capacity, and of smaller ones that share its buffers; owns these. */
export class Recorder {
  readonly #owned: DeviceBuffer[] = [];
  readonly #uploads: Promise<void>[] = [];
  /** What is being recorded. */
  forward = new CommandList();
  sample = new CommandList();
  capacity: FrameCapacity;

  readonly tokens: DeviceBuffer;
  readonly positions: DeviceBuffer;
  /** The residual stream. */
  readonly residual: Rows;
  /** Input of a sublayer: the normed residual. */
  readonly normed: Rows;
  /** Output of a sublayer, until the next norm adds it to the residual. */
  readonly delta: Rows;
  /** The same before it is normed itself; `delta` where it is not. */
  readonly output: Rows;
  /** Between the linear maps of a block: what the first gives, and what the last reads. */
  readonly wide: Rows;
  readonly inner: Rows;
  /** Input of an int8 linear map, quantized. */
  readonly #quantized: Rows | null;
  /** A x of all parts of a site, one row per row of a group. */
  readonly #shrunk: Rows;
  readonly #partStride: number;

  /** matrices: all that linear maps are recorded with. */
  constructor(readonly model: Decoder, readonly context: StepContext, { wide, inner }: BlockWidths, matrices: readonly PackedMatrix[]) {
    const { config: { hidden, outputNorms }, activations } = model;
    const { capacity } = context.frame;
    this.capacity = capacity;
    this.tokens = this.alloc(capacity.tokens * F32_BYTES, 'tokens');
    this.positions = this.alloc(capacity.tokens * F32_BYTES, 'positions');
    this.residual = this.rows(capacity.tokens, hidden, 'residual');
    this.normed = this.rows(capacity.tokens, hidden, 'normed', activations);
    this.delta = this.rows(capacity.tokens, hidden, 'delta');
    this.output = outputNorms ? this.rows(capacity.tokens, hidden, 'output') : this.delta;
    this.wide = this.rows(capacity.tokens, wide, 'qkv, gate|up');
    this.inner = this.rows(capacity.tokens, inner, 'attention, activation', activations);
    const int8 = matrices.filter(w => w.dtype === DType.int8);
    this.#quantized = int8.length ? this.rows(Math.max(capacity.tokens, Math.min(LOGIT_TILE, capacity.logits)), quantizedWords(Math.max(...int8.map(w => w.cols))), 'quantized') : null;
    this.#partStride = roundUp(context.maxRank, 16);
    this.#shrunk = this.rows(capacity.groupRows, 3 * this.#partStride, 'LoRA');
  }

  /** Begins the lists of steps of up to `tokens` rows. */
  begin(tokens: number): void {
    const whole = this.context.frame.capacity;
    const groupRows = Math.min(whole.groupRows, tokens * Math.ceil(whole.groupRows / whole.tokens));
    this.capacity = {
      ...whole, tokens, segments: Math.min(whole.segments, tokens), logits: Math.min(whole.logits, tokens), groups: Math.min(whole.groups, groupRows), groupRows,
    };
    this.forward = new CommandList();
    this.sample = new CommandList();
  }

  /** All rows of the step. */
  get allRows(): RowCount { return { count: Header.tokens, countFrom: 0, rows: this.capacity.tokens }; }
  get plusOne(): 0 | 1 { return this.model.config.normPlusOne ? 1 : 0; }

  norm(weight: DeviceBuffer, add: Rows | null, from = this.residual, to = this.normed): void {
    const { hidden, normEps } = this.model.config, { tokens } = this.capacity;
    this.forward.add(rmsNorm, {
      r: ref(from), add: add && ref(add), w: at(weight), y: ref(to), index: null,
      count: Header.tokens, rows: tokens, srcRows: tokens, dim: hidden,
      ldr: from.ld, ldAdd: add?.ld ?? 0, ldy: to.ld, eps: normEps, plusOne: this.plusOne, yType: DType[to.type],
    });
  }

  /** `dim`: values of y. */
  gatedAct(x: Rows, y: Rows, dim: number, { count, rows } = this.allRows): void {
    this.forward.add(gatedAct, {
      x: ref(x), y: ref(y), count, rows,
      dim, dim2: 2 * dim, ldx: x.ld, ldy: y.ld, act: Activation[this.model.config.activation], yType: DType[y.type],
    });
  }

  linear(w: PackedMatrix, b: DeviceBuffer | null, x: Rows, y: Rows): void {
    this.addLinear(this.forward, w, b, input(x), y, this.allRows);
  }

  addLinear(list: CommandList, w: PackedMatrix, b: DeviceBuffer | null, x: Input, y: Rows, rows: RowCount): void {
    const shape = { w: at(w.buffer), b: b && at(b), y: ref(y), ...rows, n: w.rows, k: w.cols, ldy: y.ld, dtype: w.dtype, accumulate: 0 };
    if (w.dtype !== DType.int8) {
      list.add(linear, { ...x, ...shape, layout: w.layout });
      return;
    }
    const q = this.#quantized!, words = quantizedWords(w.cols);
    list.add(quantizeRows, { ...x, q: ref(q), ...rows, k: w.cols, words, ldq: q.ld });
    list.add(linearInt8, { x: ref(q), ldx: q.ld, words, ...shape });
  }

  /** y += B A x for the sites of these names that the layer has; they share the input x and stand side by side in y. */
  lora(names: readonly Site['name'][], layer: number, x: Rows, y: Rows): void {
    const sites = this.model.geometry.sites.filter(site => names.includes(site.name) && siteExists(site, layer));
    this.#shrinkAndExpand(this.forward, sites, input(x), y, { ...this.#groups(), ...this.#place(layer, sites[0]!.index) });
  }

  /** What adapters make of the embedding's rows x: rows of their own, then B A. */
  embedded(x: Rows): void {
    const { layers } = this.model.geometry, site = this.#end('embed'), shared = { tokens: at(this.tokens), ...this.#groups() };
    this.forward.add(embedReplace, { x: ref(x), dim: site.dOut, ldx: x.ld, ...shared, ...this.#place(layers, End.embedRows) });
    const run = { ...shared, ...this.#place(layers, End.embed), ...this.#ranks };
    this.forward.add(embedShrink, { u: ref(this.#shrunk), ...run });
    this.#expand(this.forward, [site], x, { ...this.#groups(), ...this.#place(layers, End.embed) });
  }

  /** The same of logits y, for a tile of logit rows from `firstRow` on. */
  logits(x: Input, y: Rows, firstRow: number, rows: number): void {
    const { layers } = this.model.geometry, site = this.#end('head'), { head } = this.context.frame, tile = firstRow / LOGIT_TILE;
    const groups = {
      groups: this.frame('headGroups', tile * head.groups * GROUP_WORDS), groupRows: this.frame('headGroupRows', tile * head.groupRows),
      groupCount: Header.headGroups, groupRowCount: Header.headGroupRows, maxGroups: head.groups, maxGroupRows: head.groupRows, rows,
    };
    this.sample.add(headReplace, { ...x, y: ref(y), dIn: site.dIn, dOut: site.dOut + EXTRA_TOKENS, ldy: y.ld, ...groups, ...this.#place(layers, End.headRows) });
    this.#shrinkAndExpand(this.sample, [site], x, y, { ...groups, ...this.#place(layers, End.head) });
  }

  #end(name: EndName): Site { return endPlaces(this.model.geometry).find(({ site }) => site.name === name)!.site; }

  /** Which rows use which adapters. */
  #groups(): GroupArgs {
    const { groups: maxGroups, groupRows: maxGroupRows, tokens: rows } = this.capacity;
    return { groups: this.frame('groups'), groupRows: this.frame('groupRows'), groupCount: Header.groups, groupRowCount: Header.groupRows, maxGroups, maxGroupRows, rows };
  }
  /** Where their runs are found. */
  #place(layer: number, site: number): PlaceArgs {
    const { tables, adapterSlots, slotWords, arena, pages, pageBytes } = this.context;
    return { tables: at(tables), arena: at(arena), nSlots: adapterSlots, slotWords, nPages: pages, pageBytes, layer, nSites: this.model.geometry.sites.length, site };
  }
  get #ranks(): { ldu: number; partStride: number } { return { ldu: this.#shrunk.ld, partStride: this.#partStride }; }

  #shrinkAndExpand(list: CommandList, sites: readonly Site[], x: Input, y: Rows, shared: GroupArgs & PlaceArgs): void {
    list.add(loraShrink, { ...x, u: ref(this.#shrunk), dIn: sites[0]!.dIn, ...shared, ...this.#ranks, parts: sites.length });
    this.#expand(list, sites, y, shared);
  }
  #expand(list: CommandList, sites: readonly Site[], y: Rows, shared: GroupArgs & PlaceArgs): void {
    const width = (part: number): number => sites[part]?.dOut ?? 0;
    list.add(loraExpand, {
      u: ref(this.#shrunk), y: ref(y), dOut: width(0) + width(1) + width(2), ldy: y.ld, ...shared, ...this.#ranks, parts: sites.length,
      outOffset0: 0, dOut0: width(0), outOffset1: width(0), dOut1: width(1), outOffset2: width(0) + width(1), dOut2: width(2),
    });
  }

  frame(section: FrameSection, words = 0): Ref { return bound('frame', (this.context.frame.at[section] + words) * F32_BYTES); }

  /** Room for `rows` rows. */
  rows(rows: number, width: number, label: string, type: Activations = 'f32'): Rows {
    const ld = stride(width, ROW_BYTES[type]);
    return { buffer: this.alloc(rows * ld * ROW_BYTES[type], label), ld, type };
  }

  /** What lists read and nobody writes. */
  constant(bytes: number, label: string, fill: (memory: ArrayBuffer) => void): DeviceBuffer {
    const buffer = this.alloc(bytes, label);
    fill(this.model.device.host(buffer));
    this.#uploads.push(this.model.device.upload(buffer, 0, bytes));
    return buffer;
  }

  alloc(bytes: number, label: string): DeviceBuffer {
    const buffer = this.model.device.alloc(bytes, label);
    this.#owned.push(buffer);
    return buffer;
  }

  /** Settles when constants are on the device. */
  get ready(): Promise<void> { return Promise.all(this.#uploads).then(() => {}); }
  free(): void { for (const buffer of this.#owned.splice(0)) this.model.device.free(buffer); }
}

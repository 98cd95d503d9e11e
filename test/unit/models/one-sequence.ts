/** Drives a model's lists without an engine: one sequence, one step, a frame made by hand. */
import {
  BLOCK_TOKENS, CommandList, DType, GROUP_WORDS, Group, Header, LOGIT_TILE, OPS, RESULT_WORDS, Result, SAMPLE_WORDS, SLOT_WORDS, Sample, Segment, frameLayout, record,
  type Device, type DeviceBuffer, type Tolerance,
} from '@weft/kernels';
import { adapterTables, prepareAdapter, type ImageIndex } from '@weft/adapters';
import { ExpertMap } from '../../../libs/engine/src/expert-map.js';
import type { Model } from '../../../libs/engine/src/models/index.js';

const TOKENS = 256;
const ADAPTER_PAGES = 64;
/** Of one KV group, and of all that there can be. */
const KV_PAGES = TOKENS / BLOCK_TOKENS, KV_GROUPS = 2;
const SLOT_TABLE_WORDS = 16_384;

export interface Scored { logprobs: number[]; statuses: number[] }

export class OneSequence {
  readonly #layout = frameLayout({ tokens: TOKENS, segments: 1, logits: TOKENS, groups: 1, groupRows: TOKENS, pageTable: KV_GROUPS * KV_PAGES, pagePairs: 0, biasPairs: 1 });
  readonly #device: Device;
  readonly #buffers: Record<'arena' | 'slots' | 'history' | 'tables' | 'frame' | 'results' | 'hidden', DeviceBuffer>;
  readonly #lists;
  readonly #experts: ExpertMap | null;
  /** What rows run with: LoRA, experts. */
  #adapted: { runs: boolean; experts: boolean; vocab: number | null } = { runs: false, experts: false, vocab: null };

  constructor(readonly model: Model) {
    this.#device = model.device;
    const alloc = (bytes: number, label: string): DeviceBuffer => model.device.alloc(bytes, label);
    const pages = KV_GROUPS * KV_PAGES + ADAPTER_PAGES;
    this.#buffers = {
      arena: alloc(pages * model.kv.pageBytes, 'arena'), slots: alloc(SLOT_WORDS * 4, 'slots'), history: alloc(TOKENS * 4, 'history'),
      tables: alloc(SLOT_TABLE_WORDS * 4, 'tables'), frame: alloc(this.#layout.words * 4, 'frame'),
      results: alloc(TOKENS * RESULT_WORDS * 4, 'results'), hidden: alloc(TOKENS * model.config.hidden * 4, 'hidden'),
    };
    this.#experts = model.geometry.experts && new ExpertMap(model.device, model.geometry.experts, model.kv.pageBytes, 1, ADAPTER_PAGES);
    this.#lists = model.record({
      frame: this.#layout, arena: this.#buffers.arena, pages, pageBytes: model.kv.pageBytes, slots: this.#buffers.slots, history: this.#buffers.history,
      nSlots: 1, maxLen: TOKENS, tables: this.#buffers.tables, adapterSlots: 1, slotWords: SLOT_TABLE_WORDS, maxRank: 256, maskRows: 0, maskWords: 0, experts: this.#experts,
    });
  }

  /** From now on every row runs with this adapter. */
  async adapt(folder: string, cacheDir: string): Promise<void> {
    const { geometry, kv, tensors } = this.model;
    const { index, imageFile } = await prepareAdapter(folder, geometry, { pageBytes: kv.pageBytes, partition: { rank: 0, size: 1 } }, cacheDir, { baseTensors: tensors });
    const places = Int32Array.from({ length: index.pages }, (_, i) => KV_GROUPS * KV_PAGES + i);
    await this.#device.loadPages(imageFile, 0, index.pages * index.pageBytes, this.#buffers.arena, index.pageBytes, places, Uint32Array.from(index.crc32c));
    if (index.runs.length > 0) {
      const table = adapterTables(index, places, { layers: geometry.layers, nSites: geometry.sites.length, slotWords: SLOT_TABLE_WORDS });
      new Int32Array(this.#device.host(this.#buffers.tables)).set(table);
      await this.#device.upload(this.#buffers.tables, 0, table.byteLength);
    }
    await this.#bindExperts(index, places);
    this.#adapted = { runs: index.runs.length > 0, experts: index.experts.length > 0, vocab: index.vocab };
  }

  /** Each in a slot of its own; backwards, so that a slot is not an expert's place. */
  async #bindExperts({ experts }: ImageIndex, places: Int32Array): Promise<void> {
    if (experts.length === 0) return;
    const slotOf = (i: number): number => experts.length - 1 - i;
    for (const [i, { dtype, page, pages }] of experts.entries()) await this.#experts!.bindExpert(slotOf(i), DType[dtype], [...places.subarray(page, page + pages)]);
    await this.#experts!.bindAdapter(0, experts.map(({ layer, expert }, i) => ({ layer, expert, slot: slotOf(i) })));
  }

  /** logprobs[i]: of tokens[i + 1] after tokens[0 … i]. */
  async score(tokens: readonly number[]): Promise<Scored> {
    await this.#lists.ready;
    this.#writeFrame(tokens);
    const { frame, results, hidden } = this.#buffers;
    const options = { bindings: { frame, results, hidden } };
    await this.#device.submit(this.#lists.buckets.at(-1)!.forward, options);
    await this.#device.submit(this.#lists.buckets.at(-1)!.sample, options);
    const i32 = new Int32Array(this.#device.host(results)), f32 = new Float32Array(this.#device.host(results));
    const rows = tokens.slice(1).map((_, i) => i * RESULT_WORDS);
    return {
      logprobs: rows.map(at => f32[at + Result.logprob]!), statuses: rows.map(at => i32[at + Result.status]!),
    };
  }

  /** Writes a recording of what `score` submits. Ranks among tokens are compared only where they are `exact`. */
  async record(tokens: readonly number[], path: string, tolerance: Tolerance, exact: boolean): Promise<void> {
    await this.#lists.ready;
    this.#writeFrame(tokens);
    const { frame, results, hidden } = this.#buffers, { forward, sample } = this.#lists.buckets.at(-1)!;
    await record(this.#device, CommandList.concat(forward, sample), { frame, results, hidden }, path, tolerance, exact ? [] : [results]);
  }

  /** Logits after tokens[0 … i], for all but the last of at most 65 tokens: what one tile of the head leaves. */
  async logits(tokens: readonly number[]): Promise<Float32Array[]> {
    if (tokens.length > LOGIT_TILE + 1) throw new Error('more than a tile of logits');
    await this.score(tokens);
    const { words } = this.#lists.buckets.at(-1)!.sample;
    let op = 0;
    while (words[op] !== OPS.sample.code) op += words[op + 1]!;
    const ld = words[op + 2 + 2 * Object.keys(OPS.sample.operands).length + Object.keys(OPS.sample.params).indexOf('ldl')]!;
    const logits = this.#device.buffer(words[op + 2]!), memory = this.#device.host(logits);
    await this.#device.download(logits, 0, logits.bytes);
    return tokens.slice(1).map((_, row) => new Float32Array(memory, (words[op + 3]! + row * ld) * 4, this.model.config.vocab).slice());
  }

  #writeFrame(tokens: readonly number[]): void {
    const { at } = this.#layout;
    const memory = this.#device.host(this.#buffers.frame);
    const i32 = new Int32Array(memory), f32 = new Float32Array(memory);
    i32.fill(0);
    const scored = tokens.length - 1;
    i32[Header.tokens] = tokens.length;
    i32[Header.segments] = 1;
    i32[Header.pairs] = tokens.length * (this.model.config.moe?.topK ?? 0);
    i32[Header.logits] = scored;
    tokens.forEach((token, i) => { i32[at.tokenIds + i] = token; i32[at.positions + i] = i; i32[at.rowAdapters + i] = this.#adapted.experts ? 0 : -1; });
    i32[at.segments + Segment.rowCount] = tokens.length;
    // Backwards: a model that counted pages up by itself would be found out.
    const count = Math.ceil(tokens.length / BLOCK_TOKENS);
    for (const [group, { blocks }] of this.model.kv.groups.entries()) {
      i32[at.segments + 3 * group + Segment.pageOffset] = group * KV_PAGES;
      i32[at.segments + 3 * group + Segment.pageCount] = count;
      for (let block = 0; block < count; block++) i32[at.pages + group * KV_PAGES + block] = ((group + 1) * KV_PAGES - 1 - Math.floor(block / blocks)) * blocks + block % blocks;
    }
    for (let row = 0; row < scored; row++) {
      i32[at.logitRows + row] = row;
      i32[at.samples + row * SAMPLE_WORDS + Sample.target] = tokens[row + 1]!;
      i32[at.samples + row * SAMPLE_WORDS + Sample.maskRow] = -1;
      i32[at.samples + row * SAMPLE_WORDS + Sample.vocab] = this.#adapted.vocab ?? this.model.config.vocab;
      f32[at.samples + row * SAMPLE_WORDS + Sample.repetition] = 1;
      f32[at.samples + row * SAMPLE_WORDS + Sample.topP] = 1;
    }
    if (!this.#adapted.runs) return;
    i32[Header.groups] = 1;
    i32[Header.groupRows] = tokens.length;
    i32[at.groups + Group.rowCount] = tokens.length;
    f32[at.groups + Group.weight] = 1;
    tokens.forEach((_, row) => { i32[at.groupRows + row] = row; });
    // The same for logit rows, tile by tile.
    const { head } = this.#layout;
    i32[Header.headGroups] = 1;
    i32[Header.headGroupRows] = Math.min(scored, LOGIT_TILE);
    for (let tile = 0; tile * LOGIT_TILE < scored; tile++) {
      const group = at.headGroups + tile * head.groups * GROUP_WORDS, rows = Math.min(scored - tile * LOGIT_TILE, LOGIT_TILE);
      i32[group + Group.rowCount] = rows;
      f32[group + Group.weight] = 1;
      for (let row = 0; row < rows; row++) i32[at.headGroupRows + tile * head.groupRows + row] = row;
    }
  }

  close(): void {
    this.#lists.free();
    this.#experts?.free();
    for (const buffer of Object.values(this.#buffers)) this.#device.free(buffer);
  }
}

/**
 * A device made of facts instead of numbers. A KV cell remembers who wrote which token at which position behind which
 * past; a row checks that every cell it would attend to is exactly its own past, that its slot's history is its own,
 * and that the pages of its adapters still hold those adapters. The token it "samples" is a hash of that past, the next
 * one that no bias forbids; its hidden row is that past. So paging, preemption, retirement of pages and slots, and steps
 * in flight can't be wrong without somebody noticing. A batch that outgrows its frame is an error.
 */
import { WeftError } from '@weft/contracts';
import { RESULT_WORDS, Result, SAMPLE_WORDS, Sample, SEGMENT_WORDS, Segment, Header, Group, GROUP_WORDS, frameLayout, type FrameCapacity, type FrameLayout } from '@weft/kernels';
import { FrameWriter, KvLayout, ResultReader, type AdapterEntry, type AdapterLoader, type ExpertEntry, type ExpertSlot, type AdapterSlot, type AdapterUse, type Batch, type PageId, type Step, type StepRunner } from '@weft/engine';
import { mix, type Random, type VirtualClock } from './clock.js';

export const VOCAB = 4096;
/** Limits of a request that the frame is made for. */
export const MAX_ADAPTERS = 2, MAX_BIASES = 16;

/** Blocks of 16 positions in a page at most. */
export const MAX_BLOCKS = 3;
const PAGE_CELLS = MAX_BLOCKS * 16;

export interface Faults { slowLoads: boolean; failingLoads: number; failingSteps: number; badRows: number }

export class FactDevice implements StepRunner, AdapterLoader {
  readonly layout: FrameLayout;
  readonly #capacity: FrameCapacity;
  /** What each token cell of each page holds: the hash of the past it ends. */
  readonly #cells: Float64Array;
  readonly #adapterPages: (string | null)[];
  readonly #adapterSlots: (AdapterEntry | null)[];
  /** As kernels would read them: the expert slots of each adapter slot with what should be there, and the pages of each expert slot. */
  readonly #rerouting: (readonly { slot: ExpertSlot; hash: string }[])[] = [];
  readonly #expertPages: PageId[][] = [];
  readonly #history: Int32Array[];
  readonly #length: Int32Array;
  readonly #frames: { memory: ArrayBuffer; writer: FrameWriter; results: ArrayBuffer; hidden: Float32Array; busy: boolean }[];
  #turn = 0;
  #busyUntil = 0;
  steps = 0;
  rows = 0;

  constructor(
    readonly clock: VirtualClock, readonly random: Random, readonly faults: Faults,
    readonly kv: KvLayout,
    shape: { pages: number; slots: number; adapterSlots: number; maxLen: number; stepTokens: number; segments: number },
  ) {
    this.#capacity = {
      tokens: shape.stepTokens, segments: shape.segments, logits: shape.stepTokens, groups: shape.segments * MAX_ADAPTERS,
      groupRows: shape.stepTokens * MAX_ADAPTERS, pageTable: shape.pages * MAX_BLOCKS, pagePairs: 1, biasPairs: shape.segments * 2 * MAX_BIASES,
    };
    this.layout = frameLayout(this.#capacity);
    this.#cells = new Float64Array(shape.pages * PAGE_CELLS).fill(-1);
    this.#adapterPages = new Array<string | null>(shape.pages).fill(null);
    this.#adapterSlots = new Array<AdapterEntry | null>(shape.adapterSlots).fill(null);
    this.#history = Array.from({ length: shape.slots }, () => new Int32Array(shape.maxLen));
    this.#length = new Int32Array(shape.slots);
    this.#frames = [0, 1].map(() => {
      const memory = new ArrayBuffer(this.layout.words * 4);
      return { memory, writer: new FrameWriter(this.layout, memory, kv.groups), results: new ArrayBuffer(shape.stepTokens * RESULT_WORDS * 4), hidden: new Float32Array(shape.stepTokens), busy: false };
    });
  }

  /** The token that follows a past: what any correct engine must produce, alone or in any company. */
  static next(past: number, adapters: string, forbidden: readonly number[] = []): number {
    let token = mix(past, ...[...adapters].map(c => c.charCodeAt(0))) % VOCAB;
    while (forbidden.includes(token)) token = (token + 1) % VOCAB;
    return token;
  }
  static extend(past: number, token: number): number { return mix(past, token); }
  static logprob(past: number): number { return Math.fround(-(past % 100) / 10); }
  /** Adapters as `next` takes them. */
  static adapters(uses: readonly AdapterUse[]): string {
    return [...uses].sort((a, b) => (a.digest < b.digest ? -1 : 1)).map(({ digest, weight }) => `${digest}*${weight};`).join('');
  }

  submit(batch: Batch): Step {
    const frame = this.#frames[this.#turn]!;
    this.#turn = 1 - this.#turn;
    if (frame.busy) throw new Error('a frame is written while the step that reads it runs');
    frame.busy = true;
    this.#checkFits(batch);
    frame.writer.write(batch);
    const took = 1 + 0.05 * batch.rows;
    this.#busyUntil = Math.max(this.#busyUntil, this.clock.now()) + took;
    const done = new Promise<ResultReader>((resolve, reject) => this.clock.at(this.#busyUntil, () => {
      frame.busy = false;
      this.steps++;
      this.rows += batch.rows;
      try {
        this.#execute(frame.memory, frame.results, frame.hidden);
        if (this.random.chance(this.faults.failingSteps)) throw new WeftError('device_error', 'the device failed (injected)');
        resolve(new ResultReader(new Int32Array(frame.results), new Float32Array(frame.results), frame.hidden, 1));
      } catch (error) { reject(error as Error); }
    }));
    return { batch, done };
  }

  #checkFits({ rows, entries, logits, groups, copies }: Batch): void {
    const counts: Record<keyof FrameCapacity, number> = {
      tokens: rows, segments: entries.length, logits: logits.length, groups: groups.length, pagePairs: copies.length,
      groupRows: groups.reduce((sum, g) => sum + g.rows.length, 0),
      pageTable: entries.reduce((sum, e) => sum + this.kv.tableEntries(e.sequence.kv, e.start + e.count), 0),
      biasPairs: logits.reduce((sum, { purpose, sequence: { request } }) =>
        sum + (purpose === 'sample' ? request.sampling.logitBias.length + (request.minTokens > 0 ? request.stopIds.length : 0) : 0), 0),
    };
    for (const [name, count] of Object.entries(counts)) {
      const limit = this.#capacity[name as keyof FrameCapacity];
      if (count > limit) throw new Error(`a batch of ${count} ${name} in a frame for ${limit}`);
    }
    if (rows === 0) throw new Error('an empty batch was submitted');
    if (new Set(entries.map(e => e.sequence)).size !== entries.length) throw new Error('a sequence stands in a batch twice');
  }

  #execute(memory: ArrayBuffer, resultMemory: ArrayBuffer, hidden: Float32Array): void {
    const i32 = new Int32Array(memory), { at } = this.layout;
    const results = new Int32Array(resultMemory), floats = new Float32Array(resultMemory);
    const pasts = new Float64Array(i32[Header.tokens]!);
    for (let row = 0; row < i32[Header.tokens]!; row++) {
      const slot = i32[at.rowSlots + row]!, history = this.#history[slot]!;
      let token = i32[at.tokenIds + row]!, position = i32[at.positions + row]!;
      if (token < 0) { position = this.#length[slot]! - 1; token = history[position]!; }
      else { history[position] = token; this.#length[slot] = position + 1; }
      const segment = at.segments + i32[at.rowSegments + row]! * SEGMENT_WORDS;
      /** Where position p lies for KV group g. */
      const cellOf = (g: number, p: number): number => {
        const words = segment + 3 * g, { blocks } = this.kv.groups[g]!;
        const block = (p >> 4) - i32[words + Segment.firstBlock]!;
        if (block < 0 || block >= i32[words + Segment.pageCount]!) throw new Error(`row at position ${position} has no page for position ${p} in group ${g}`);
        const entry = i32[at.pages + i32[words + Segment.pageOffset]! + block]!;
        return Math.floor(entry / blocks) * PAGE_CELLS + (entry % blocks) * 16 + (p & 15);
      };
      // Attention: my past must lie in my pages, cell by cell. Behind a row of this very step its word is enough.
      const behind = row > i32[segment + Segment.rowStart]!;
      if (behind && position !== i32[at.positions + row - 1]! + 1) throw new Error(`rows of slot ${slot} don't follow each other`);
      let past = behind ? pasts[row - 1]! : 0;
      for (let p = behind ? position : 0; p < position; p++) {
        past = FactDevice.extend(past, history[p]!);
        for (const [g, { window }] of this.kv.groups.entries()) {
          if ((window === 0 || p > position - window) && this.#cells[cellOf(g, p)] !== past) throw new Error(`position ${p} of slot ${slot} was overwritten in group ${g}`);
        }
      }
      past = FactDevice.extend(past, token);
      for (let g = 0; g < this.kv.groups.length; g++) this.#cells[cellOf(g, position)] = past;
      pasts[row] = past;
    }
    const adapters = this.#adaptersOf(i32);
    for (let i = 0; i < i32[Header.logits]!; i++) {
      const row = i32[at.logitRows + i]!, record = at.samples + i * SAMPLE_WORDS;
      const slot = i32[record + Sample.slot]!, target = i32[record + Sample.target]!;
      const token = target >= 0 ? target : FactDevice.next(pasts[row]!, adapters[row]!, this.#forbidden(memory, record));
      hidden[i] = pasts[row]!;
      results[i * RESULT_WORDS + Result.token] = token;
      results[i * RESULT_WORDS + Result.status] = this.random.chance(this.faults.badRows) ? 1 : 0;
      floats[i * RESULT_WORDS + Result.logprob] = FactDevice.logprob(pasts[row]!);
      results[i * RESULT_WORDS + Result.nTop] = 0;
      if (target < 0) this.#history[slot]![this.#length[slot]!++] = token;
    }
  }

  #forbidden(memory: ArrayBuffer, record: number): number[] {
    const i32 = new Int32Array(memory), f32 = new Float32Array(memory), first = this.layout.at.bias + 2 * i32[record + Sample.biasStart]!;
    const pairs = Array.from({ length: i32[record + Sample.biasCount]! }, (_, i) => first + 2 * i);
    return pairs.filter(pair => f32[pair + 1] === -Infinity).map(pair => i32[pair]!);
  }

  #adaptersOf(i32: Int32Array): string[] {
    const { at } = this.layout;
    const names = new Array<string>(i32[Header.tokens]!).fill('');
    for (let g = 0; g < i32[Header.groups]!; g++) {
      const group = at.groups + g * GROUP_WORDS;
      const slot = i32[group + Group.adapterSlot]!, entry = this.#adapterSlots[slot];
      if (!entry) throw new Error(`adapter slot ${slot} is empty`);
      for (let page = 0; page < this.#adapterPages.length; page++) {
        if (this.#adapterPages[page] !== null && this.#cells[page * PAGE_CELLS] !== -2) this.#adapterPages[page] = null;
      }
      if (this.#adapterPages.filter(d => d === entry.digest).length !== entry.runPages) throw new Error(`pages of adapter ${entry.digest} were overwritten`);
      const start = i32[group + Group.rowStart]!, weight = new Float32Array(i32.buffer)[group + Group.weight]!;
      for (let i = 0; i < i32[group + Group.rowCount]!; i++) names[i32[at.groupRows + start + i]!] += `${entry.digest}*${weight};`;
    }
    for (let row = 0; row < names.length; row++) names[row] += this.#expertsOf(i32[at.rowAdapters + row]!);
    return names;
  }

  /** Experts lie where the tables say, whoever brought them. */
  #expertsOf(slot: number): string {
    if (slot < 0) return '';
    const entry = this.#adapterSlots[slot];
    if (!entry || entry.experts.length === 0) throw new Error(`adapter slot ${slot} has no experts`);
    for (const { slot: expert, hash } of this.#rerouting[slot]!) {
      for (const page of this.#expertPages[expert]!) {
        if (this.#adapterPages[page] !== hash || this.#cells[page * PAGE_CELLS] !== -2) throw new Error(`page ${page} of expert ${hash} was overwritten`);
      }
    }
    return `${entry.digest}*1;`;
  }

  async load(entry: AdapterEntry, pages: readonly PageId[], slot: AdapterSlot): Promise<void> {
    // From the first moment on the pages hold neither what they held nor what they will hold.
    for (const page of pages) this.#cells.fill(-3, page * PAGE_CELLS, (page + 1) * PAGE_CELLS);
    await this.clock.sleep(this.faults.slowLoads ? this.random.int(1, 400) : 2);
    if (this.random.chance(this.faults.failingLoads)) throw new WeftError('image_corrupt', 'the image is corrupt (injected)');
    for (let page = 0; page < this.#adapterPages.length; page++) if (this.#adapterPages[page] === entry.digest) this.#adapterPages[page] = null;
    for (const page of pages) {
      this.#adapterPages[page] = entry.digest;
      this.#cells.fill(-2, page * PAGE_CELLS, (page + 1) * PAGE_CELLS);
    }
    this.#adapterSlots[slot] = entry;
    this.#rerouting[slot] = entry.experts.map(expert => ({ slot: expert.slot!, hash: expert.hash }));
  }

  async loadExperts(_: AdapterEntry, experts: readonly ExpertEntry[]): Promise<void> {
    for (const { pages } of experts) for (const page of pages) this.#cells.fill(-3, page * PAGE_CELLS, (page + 1) * PAGE_CELLS);
    await this.clock.sleep(this.faults.slowLoads ? this.random.int(1, 400) : 2);
    if (this.random.chance(this.faults.failingLoads)) throw new WeftError('image_corrupt', 'the image is corrupt (injected)');
    for (const { slot, hash, pages } of experts) {
      this.#expertPages[slot!] = [...pages];
      for (const page of pages) {
        this.#adapterPages[page] = hash;
        this.#cells.fill(-2, page * PAGE_CELLS, (page + 1) * PAGE_CELLS);
      }
    }
  }
}

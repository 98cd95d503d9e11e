/**
 * A device made of facts instead of numbers. A KV cell remembers who wrote which token at which position behind which
 * past; a row checks that every cell it would attend to is exactly its own past, that its slot's history is its own,
 * and that the pages of its adapters still hold those adapters. The token it "samples" is a hash of that past. So
 * paging, preemption, retirement of pages and slots, and steps in flight can't be wrong without somebody noticing.
 */
import { WeftError } from '@weft/contracts';
import { RESULT_WORDS, Result, SAMPLE_WORDS, Sample, SEGMENT_WORDS, Segment, Header, Group, GROUP_WORDS, frameLayout, type FrameLayout } from '@weft/kernels';
import { FrameWriter, ResultReader, type AdapterEntry, type AdapterLoader, type AdapterSlot, type Batch, type PageId, type Step, type StepRunner } from '@weft/engine';
import { mix, type Random, type VirtualClock } from './clock.js';

export const VOCAB = 4096;

export interface Faults { slowLoads: boolean; failingLoads: number; failingSteps: number; badRows: number }

export class FactDevice implements StepRunner, AdapterLoader {
  readonly layout: FrameLayout;
  /** What each token cell of each page holds: the hash of the past it ends. */
  readonly #cells: Float64Array;
  readonly #adapterPages: (string | null)[];
  readonly #adapterSlots: (AdapterEntry | null)[];
  readonly #history: Int32Array[];
  readonly #length: Int32Array;
  readonly #frames: { memory: ArrayBuffer; writer: FrameWriter; results: ArrayBuffer; busy: boolean }[];
  #turn = 0;
  #busyUntil = 0;
  steps = 0;
  rows = 0;

  constructor(
    readonly clock: VirtualClock, readonly random: Random, readonly faults: Faults,
    shape: { pages: number; slots: number; adapterSlots: number; maxLen: number; stepTokens: number; segments: number },
  ) {
    this.layout = frameLayout({
      tokens: shape.stepTokens, segments: shape.segments, logits: shape.stepTokens, groups: shape.segments * 4,
      groupRows: shape.stepTokens * 4, pageTable: shape.pages, pagePairs: 1, biasPairs: 1024,
    });
    this.#cells = new Float64Array(shape.pages * 16).fill(-1);
    this.#adapterPages = new Array<string | null>(shape.pages).fill(null);
    this.#adapterSlots = new Array<AdapterEntry | null>(shape.adapterSlots).fill(null);
    this.#history = Array.from({ length: shape.slots }, () => new Int32Array(shape.maxLen));
    this.#length = new Int32Array(shape.slots);
    this.#frames = [0, 1].map(() => {
      const memory = new ArrayBuffer(this.layout.words * 4);
      return { memory, writer: new FrameWriter(this.layout, memory), results: new ArrayBuffer(shape.stepTokens * RESULT_WORDS * 4), busy: false };
    });
  }

  /** The token that follows a past: what any correct engine must produce, alone or in any company. */
  static next(past: number, adapters: string): number { return mix(past, ...[...adapters].map(c => c.charCodeAt(0))) % VOCAB; }
  static extend(past: number, token: number): number { return mix(past, token); }

  submit(batch: Batch): Step {
    const frame = this.#frames[this.#turn]!;
    this.#turn = 1 - this.#turn;
    if (frame.busy) throw new Error('a frame is written while the step that reads it runs');
    frame.busy = true;
    frame.writer.write(batch);
    const took = 1 + 0.05 * batch.rows;
    this.#busyUntil = Math.max(this.#busyUntil, this.clock.now()) + took;
    const done = new Promise<ResultReader>((resolve, reject) => this.clock.at(this.#busyUntil, () => {
      frame.busy = false;
      this.steps++;
      this.rows += batch.rows;
      try {
        this.#execute(frame.memory, frame.results);
        if (this.random.chance(this.faults.failingSteps)) throw new WeftError('device_error', 'the device failed (injected)');
        resolve(new ResultReader(new Int32Array(frame.results), new Float32Array(frame.results), new Float32Array(0), 0));
      } catch (error) { reject(error as Error); }
    }));
    return { batch, done };
  }

  #execute(memory: ArrayBuffer, resultMemory: ArrayBuffer): void {
    const i32 = new Int32Array(memory), { at } = this.layout;
    const results = new Int32Array(resultMemory), floats = new Float32Array(resultMemory);
    const pasts = new Float64Array(i32[Header.tokens]!);
    for (let row = 0; row < i32[Header.tokens]!; row++) {
      const slot = i32[at.rowSlots + row]!, history = this.#history[slot]!;
      let token = i32[at.tokenIds + row]!, position = i32[at.positions + row]!;
      if (token < 0) { position = this.#length[slot]! - 1; token = history[position]!; }
      else { history[position] = token; this.#length[slot] = position + 1; }
      const segment = at.segments + i32[at.rowSegments + row]! * SEGMENT_WORDS;
      const page = (block: number): number => {
        if (block >= i32[segment + Segment.pageCount]!) throw new Error(`row at position ${position} has no page for block ${block}`);
        return i32[at.pages + i32[segment + Segment.pageOffset]! + block]!;
      };
      // Attention: my past must lie in my pages, cell by cell.
      let past = 0;
      for (let p = 0; p < position; p++) {
        past = FactDevice.extend(past, history[p]!);
        const cell = this.#cells[page(p >> 4) * 16 + (p & 15)]!;
        if (cell !== past) throw new Error(`page ${page(p >> 4)}: position ${p} of slot ${slot} was overwritten`);
      }
      past = FactDevice.extend(past, token);
      this.#cells[page(position >> 4) * 16 + (position & 15)] = past;
      pasts[row] = past;
    }
    const adapters = this.#adaptersOf(i32);
    for (let i = 0; i < i32[Header.logits]!; i++) {
      const row = i32[at.logitRows + i]!, record = at.samples + i * SAMPLE_WORDS;
      const slot = i32[record + Sample.slot]!, target = i32[record + Sample.target]!;
      const token = target >= 0 ? target : FactDevice.next(pasts[row]!, adapters[row]!);
      results[i * RESULT_WORDS + Result.token] = token;
      results[i * RESULT_WORDS + Result.status] = this.random.chance(this.faults.badRows) ? 1 : 0;
      floats[i * RESULT_WORDS + Result.logprob] = -(pasts[row]! % 100) / 10;
      results[i * RESULT_WORDS + Result.nTop] = 0;
      if (target < 0) this.#history[slot]![this.#length[slot]!++] = token;
    }
  }

  #adaptersOf(i32: Int32Array): string[] {
    const { at } = this.layout;
    const names = new Array<string>(i32[Header.tokens]!).fill('');
    for (let g = 0; g < i32[Header.groups]!; g++) {
      const group = at.groups + g * GROUP_WORDS;
      const slot = i32[group + Group.adapterSlot]!, entry = this.#adapterSlots[slot];
      if (!entry) throw new Error(`adapter slot ${slot} is empty`);
      for (let page = 0; page < this.#adapterPages.length; page++) {
        if (this.#adapterPages[page] !== null && this.#cells[page * 16] !== -2) this.#adapterPages[page] = null;
      }
      if (this.#adapterPages.filter(d => d === entry.digest).length !== entry.pageCount) throw new Error(`pages of adapter ${entry.digest} were overwritten`);
      const start = i32[group + Group.rowStart]!;
      for (let i = 0; i < i32[group + Group.rowCount]!; i++) names[i32[at.groupRows + start + i]!] += entry.digest + ';';
    }
    return names;
  }

  async load(entry: AdapterEntry, pages: readonly PageId[], slot: AdapterSlot): Promise<void> {
    // From the first moment on the pages hold neither what they held nor what they will hold.
    for (const page of pages) this.#cells.fill(-3, page * 16, page * 16 + 16);
    await this.clock.sleep(this.faults.slowLoads ? this.random.int(1, 400) : 2);
    if (this.random.chance(this.faults.failingLoads)) throw new WeftError('image_corrupt', 'the image is corrupt (injected)');
    for (let page = 0; page < this.#adapterPages.length; page++) if (this.#adapterPages[page] === entry.digest) this.#adapterPages[page] = null;
    for (const page of pages) {
      this.#adapterPages[page] = entry.digest;
      this.#cells.fill(-2, page * 16, page * 16 + 16);
    }
    this.#adapterSlots[slot] = entry;
  }
}

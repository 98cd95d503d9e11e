/**
 * Runs batches: writes the step's frame, submits the forward and the sample list in one crossing, hands back what the
 * rows became.
 * Two frames alternate, so that step n+1 is written while step n runs.
 */
import {
  CommandList, EXTRA_TOKENS, MAX_TOP_LOGPROBS, RESULT_WORDS, Result, SLOT_WORDS, frameLayout, type Device, type DeviceBuffer, type FrameCapacity, type FrameLayout,
} from '@weft/kernels';
import type { Batch } from './batch.js';
import { ExpertMap } from './expert-map.js';
import { FrameWriter } from './frame-writer.js';
import type { Model, StepContext, StepLists } from './models/types.js';
import type { StepTracer } from './trace.js';

/** What one logit row became. */
export interface RowResult { token: number; status: number; logprob: number }

/** Results of a step, valid until the step after the next is submitted. */
export interface StepResults {
  row(index: number): RowResult;
  /** The k most likely tokens of a row, most likely first. */
  top(index: number, k: number): { ids: number[]; logprobs: number[] };
  hidden(index: number): Float32Array;
}

export interface Step { batch: Batch; done: Promise<StepResults> }

/** What the engine needs of whoever computes. The simulator has one of its own. */
export interface StepRunner {
  submit(batch: Batch): Step;
}

/** Reads result records out of host memory. */
export class ResultReader implements StepResults {
  constructor(readonly i32: Int32Array, readonly f32: Float32Array, readonly hiddenRows: Float32Array, readonly dim: number) {}
  row(index: number): RowResult {
    const at = index * RESULT_WORDS;
    return { token: this.i32[at + Result.token]!, status: this.i32[at + Result.status]!, logprob: this.f32[at + Result.logprob]! };
  }
  top(index: number, k: number): { ids: number[]; logprobs: number[] } {
    const at = index * RESULT_WORDS;
    const n = Math.min(k, this.i32[at + Result.nTop]!, MAX_TOP_LOGPROBS);
    return {
      ids: [...this.i32.subarray(at + Result.topIds, at + Result.topIds + n)],
      logprobs: [...this.f32.subarray(at + Result.topLogprobs, at + Result.topLogprobs + n)],
    };
  }
  hidden(index: number): Float32Array {
    return this.hiddenRows.slice(index * this.dim, (index + 1) * this.dim);
  }
}

interface FrameBuffers { frame: DeviceBuffer; results: DeviceBuffer; hidden: DeviceBuffer; writer: FrameWriter; reader: ResultReader }

export interface RunnerShape {
  capacity: FrameCapacity;
  pages: number;
  slots: number;
  maxLen: number;
  adapterSlots: number;
  slotWords: number;
  maxRank: number;
  /** Experts of adapters that there can be. */
  expertSlots: number;
}

export class DeviceRunner implements StepRunner {
  readonly layout: FrameLayout;
  readonly arena: DeviceBuffer;
  readonly tables: DeviceBuffer;
  /** Null where the base has no experts, or the pool no room for one. */
  readonly experts: ExpertMap | null;
  readonly #frames: FrameBuffers[];
  readonly #lists: StepLists;
  /** Forward, then sample, for steps of up to so many rows; in ascending order. */
  readonly #wholes: readonly { tokens: number; list: CommandList }[];
  readonly #owned: DeviceBuffer[] = [];
  #turn = 0;

  constructor(readonly device: Device, readonly model: Model, readonly shape: RunnerShape, readonly tracer: StepTracer | null = null) {
    const { capacity } = shape;
    this.layout = frameLayout(capacity);
    const alloc = (bytes: number, label: string): DeviceBuffer => {
      const buffer = device.alloc(bytes, label);
      this.#owned.push(buffer);
      return buffer;
    };
    this.arena = alloc(shape.pages * model.kv.pageBytes, 'arena');
    this.tables = alloc(shape.adapterSlots * shape.slotWords * 4, 'adapter tables');
    const { experts } = model.geometry;
    this.experts = experts && shape.expertSlots > 0 ? new ExpertMap(device, experts, model.kv.pageBytes, shape.adapterSlots, shape.expertSlots) : null;
    const dim = model.config.hidden;
    const context: StepContext = {
      frame: this.layout, arena: this.arena, pages: shape.pages, pageBytes: model.kv.pageBytes,
      slots: alloc(shape.slots * SLOT_WORDS * 4, 'slots'), history: alloc(shape.slots * shape.maxLen * 4, 'history'),
      nSlots: shape.slots, maxLen: shape.maxLen,
      tables: this.tables, adapterSlots: shape.adapterSlots, slotWords: shape.slotWords, maxRank: shape.maxRank,
      maskRows: 0, maskWords: Math.ceil((model.config.vocab + EXTRA_TOKENS) / 32), experts: this.experts,
    };
    this.#lists = model.record(context);
    this.#wholes = this.#lists.buckets.map(({ tokens, forward, sample }) => ({ tokens, list: CommandList.concat(forward, sample) }));
    this.#frames = [0, 1].map(i => {
      const frame = alloc(this.layout.words * 4, `frame ${i}`);
      const results = alloc(capacity.logits * RESULT_WORDS * 4, `results ${i}`);
      const hidden = alloc(capacity.logits * dim * 4, `hidden ${i}`);
      const memory = device.host(results);
      return {
        frame, results, hidden, writer: new FrameWriter(this.layout, device.host(frame), model.kv.groups, model.config.moe?.topK),
        reader: new ResultReader(new Int32Array(memory), new Float32Array(memory), new Float32Array(device.host(hidden)), dim),
      };
    });
  }

  /** Settles when lists can be submitted. */
  get ready(): Promise<void> { return this.#lists.ready; }

  /** Writes an adapter slot's table. */
  bind(slot: number, table: Int32Array): Promise<void> {
    const { slotWords } = this.shape;
    new Int32Array(this.device.host(this.tables), slot * slotWords * 4, slotWords).set(table);
    return this.device.upload(this.tables, slot * slotWords * 4, slotWords * 4);
  }

  submit(batch: Batch): Step {
    const { frame, results, hidden, writer, reader } = this.#frames[this.#turn]!;
    this.#turn = 1 - this.#turn;
    writer.write(batch);
    const options = { bindings: { frame, results, hidden }, timed: this.tracer !== null };
    // Nothing has to arrive between the two lists in this step, so they cross together.
    const { list } = this.#wholes.find(({ tokens }) => tokens >= batch.rows)!;
    const done = this.device.submit(list, options).then(result => {
      this.tracer?.step(batch, list, result);
      return reader;
    });
    return { batch, done };
  }

  close(): void {
    this.#lists.free();
    this.experts?.free();
    for (const buffer of this.#owned) this.device.free(buffer);
  }
}

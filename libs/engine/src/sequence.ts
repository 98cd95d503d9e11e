/** One choice of one request: its tokens, its pages, and how far it has been computed. */
import type { AdapterEntry } from './adapter-cache.js';
import type { GroupPages } from './kv-groups.js';
import type { EngineRequest } from './request.js';

export type SlotId = number & { readonly __brand: 'SlotId' };

/** A request in the engine: shared by its choices. */
export class RequestState {
  readonly choices: Sequence[] = [];
  firstRunMs = -1;
  /** When its adapters were all there (the same as submittedMs if they were). */
  adaptersReadyMs = -1;
  generated = 0;
  /** Adapter pages brought in for it, not yet charged to its tenant. */
  loadedPages = 0;
  ended = false;
  /** A copy of the request's, shared by the choices. */
  readonly prompt: Int32Array;
  readonly deadlineAtMs: number;
  constructor(
    readonly request: EngineRequest,
    readonly adapters: readonly AdapterEntry[],
    /** Resolved: never 0 for task generate. */
    readonly maxTokens: number,
    /** Tokens that its rows have. */
    readonly vocab: number,
    readonly submittedMs: number,
    /** Total order of submission. */
    readonly arrival: number,
  ) {
    this.prompt = Int32Array.from(request.prompt);
    this.deadlineAtMs = request.deadlineMs > 0 ? submittedMs + request.deadlineMs : Infinity;
  }
}

export type SequenceStatus = 'waiting' | 'running' | 'ended';

export class Sequence {
  status: SequenceStatus = 'waiting';
  /** What follows the prompt and is committed, emitted tokens of an earlier executor included. */
  readonly output: number[];
  /** Positions whose KV is written by submitted steps. */
  computed = 0;
  /** Tokens that submitted steps will sample and that the host does not know yet. */
  pending = 0;
  /** Prompt positions whose score was emitted; position 0 has none. */
  scored = 1;
  /** Of each KV group; none while it does not run. */
  kv: readonly GroupPages[] = [];
  slot: SlotId | null = null;
  /** The last submitted step that names its pages and its slot. */
  lastStep = -1;
  preemptions = 0;
  admittedStep = -1;

  constructor(readonly id: number, readonly state: RequestState, readonly choice: number) {
    this.output = [...state.request.emitted];
  }

  get pageCount(): number {
    let count = 0;
    for (const { pages } of this.kv) count += pages.length;
    return count;
  }
  get request(): EngineRequest { return this.state.request; }
  get promptLength(): number { return this.state.prompt.length; }
  get generated(): number { return this.output.length; }
  /** Tokens that the host knows. */
  get known(): number { return this.promptLength + this.output.length; }
  /** The token at a known position. */
  tokenAt(position: number): number { return position < this.promptLength ? this.state.prompt[position]! : this.output[position - this.promptLength]!; }

  /** Tokens that exist, those included that only the device knows yet. */
  get length(): number { return this.known + this.pending; }
  /** Rows that could run now: all positions whose token exists and whose KV is not written. */
  get rowsLeft(): number {
    return this.needed - this.computed;
  }
  /** Positions to be computed before the next token (or the score) is complete. The last score needs no row of its own. */
  get needed(): number {
    return this.request.task === 'score' ? Math.max(this.promptLength - 1, 0) : this.length;
  }
  /** Tokens it can still ask for, at most. */
  get tokensLeft(): number {
    return this.request.task === 'generate' ? this.state.maxTokens - (this.generated + this.pending) : 0;
  }
  /** The host knows every token it must feed: after a preemption the pending ones have to be committed first. */
  get resumable(): boolean { return this.pending === 0; }
  /** Nothing more to submit: the last token it may generate is already on its way. */
  get exhausted(): boolean {
    return this.request.task === 'generate' ? this.tokensLeft <= 0 && this.pending > 0 : this.computed >= this.needed;
  }
}

/** One flat batch of tokens: rows of many sequences, whatever their adapters, and which of those rows are answered. */
import type { AdapterEntry } from './adapter-cache.js';
import type { PageId } from './page-pool.js';
import type { PlannedRows } from './scheduler.js';
import type { Sequence } from './sequence.js';

/** What a logit row is for. */
export type RowPurpose =
  | 'sample'        // draw the next token
  | 'score'         // log-probability of the prompt token that follows
  | 'hidden';       // hand out the hidden row

export interface LogitRow { sequence: Sequence; position: number; purpose: RowPurpose }

export interface BatchEntry {
  sequence: Sequence;
  start: number; count: number;
  /** Index in the batch's logit rows of this entry's first, and how many it has; what is drawn comes last. */
  firstLogit: number; logitCount: number;
  /** The adapter whose experts its rows use; null: the base's own. */
  experts: AdapterEntry | null;
}

/** Rows that one adapter applies to with one weight. */
export interface AdapterGroup { adapter: AdapterEntry; weight: number; rows: number[] }

export interface Batch {
  step: number;
  rows: number;
  entries: BatchEntry[];
  logits: LogitRow[];
  groups: AdapterGroup[];
  /** Pages to copy before anything else runs. */
  copies: { from: PageId; to: PageId }[];
}

/**
 * The batch of a plan. Call before the sequences are advanced: it reads what each has computed.
 * Groups stand in the order of (digest, weight), so that a row under several adapters adds them in the same order
 * whatever else runs.
 */
export function makeBatch(step: number, planned: readonly PlannedRows[]): Batch {
  const batch: Batch = { step, rows: 0, entries: [], logits: [], groups: [], copies: [] };
  const groups = new Map<string, AdapterGroup>();
  for (const { sequence, start, count } of planned) {
    const entry: BatchEntry = { sequence, start, count, firstLogit: batch.logits.length, logitCount: 0, experts: sequence.state.adapters.find(adapter => adapter.experts.length > 0) ?? null };
    for (let position = firstLogitPosition(sequence, start); position < start + count; position++) {
      const purpose = purposeOf(sequence, position);
      if (purpose) batch.logits.push({ sequence, position, purpose });
    }
    entry.logitCount = batch.logits.length - entry.firstLogit;
    const uses = sequence.request.adapters;
    for (let i = 0; i < uses.length; i++) {
      if (sequence.state.adapters[i]!.runPages === 0) continue;
      const key = `${uses[i]!.digest} ${uses[i]!.weight}`;
      let group = groups.get(key);
      if (!group) groups.set(key, group = { adapter: sequence.state.adapters[i]!, weight: uses[i]!.weight, rows: [] });
      for (let row = 0; row < count; row++) group.rows.push(batch.rows + row);
    }
    batch.entries.push(entry);
    batch.rows += count;
  }
  batch.groups = [...groups.keys()].sort().map(key => groups.get(key)!);
  return batch;
}

/** Rows from here on are answered: all prompt rows not yet scored where scores are wanted, else the last row alone. */
function firstLogitPosition(sequence: Sequence, start: number): number {
  const { request, promptLength } = sequence;
  const scores = (request.promptLogprobs || request.task === 'score') && sequence.scored < promptLength;
  return Math.max(start, scores ? sequence.scored - 1 : sequence.length - 1);
}

/** Null between a scored prompt and the last token: there the next token is known, and is no prompt's. */
function purposeOf(sequence: Sequence, position: number): RowPurpose | null {
  if (position < sequence.promptLength - 1) return 'score';
  if (position < sequence.length - 1) return null;
  return sequence.request.task === 'embed' ? 'hidden' : 'sample';
}

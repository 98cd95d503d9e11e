/** What the engine does at a moment, for people who watch: who owns each page, what the latest step computes, who waits. */
import type { AdapterEntry } from './adapter-cache.js';
import type { Batch } from './batch.js';
import type { ExpertEntry } from './expert-cache.js';
import { Owner, type PagePool } from './page-pool.js';
import type { RequestState, Sequence } from './sequence.js';

export interface Holder { kind: keyof typeof Owner; tenant: string; requestId: string; choice: number; digest: string; users: number }
export interface PictureUse { digest: string; weight: number }
export interface PictureRow {
  requestId: string; choice: number; tenant: string; adapters: readonly PictureUse[]; phase: 'prefill' | 'decode';
  rows: number; promptTokens: number; generatedTokens: number; pages: number;
}
export interface QueuedRequest { requestId: string; tenant: string; adapters: readonly PictureUse[]; adapterState: AdapterEntry['state']; waitedMs: number }

export interface Picture {
  step: number;
  /** Of the step that completed last. */
  stepMs: number;
  holders: Holder[];
  /** The pool in page order, run by run: index of a holder, pages. */
  map: number[];
  batch: PictureRow[];
  queue: QueuedRequest[];
}

export interface PictureParts {
  nowMs: number; stepMs: number; pool: PagePool; running: readonly Sequence[]; adapters: Iterable<AdapterEntry>; experts: Iterable<ExpertEntry>;
  requests: Iterable<RequestState>; batch: Batch | null;
}

/** Requests that are told of those that wait. */
const QUEUE_MAX = 50;
const NOBODY = { tenant: '', requestId: '', choice: 0, digest: '', users: 0 };
const KINDS = Object.keys(Owner) as (keyof typeof Owner)[];

export function pictureOf({ nowMs, stepMs, pool, running, adapters, experts, requests, batch }: PictureParts): Picture {
  const sequences = new Map(running.map(sequence => [sequence.id, sequence]));
  const digests = new Map<number, string>();
  for (const { id, digest, pages } of adapters) if (pages.length > 0) digests.set(id, digest);
  const expertOf = new Map<number, ExpertEntry>();
  for (const expert of experts) if (expert.pages.length > 0) expertOf.set(expert.id, expert);
  const holders: Holder[] = [];
  const known = new Map<string, number>();
  const map: number[] = [];
  pool.eachRun((kind, owner, pages) => {
    const key = kind === Owner.sequence || kind === Owner.adapter || kind === Owner.expert ? `${kind}:${owner}` : String(kind);
    let index = known.get(key);
    if (index === undefined) {
      known.set(key, index = holders.length);
      const sequence = kind === Owner.sequence ? sequences.get(owner) : undefined;
      holders.push({
        ...NOBODY, kind: KINDS[kind]!, ...(kind === Owner.expert && { digest: expertOf.get(owner)?.hash ?? '', users: expertOf.get(owner)?.users ?? 0 }), ...(kind === Owner.adapter && { digest: digests.get(owner) ?? '' }),
        ...(sequence && { tenant: sequence.request.tenant, requestId: sequence.request.id, choice: sequence.choice }),
      });
    }
    map.push(index, pages);
  });
  return { step: batch?.step ?? 0, stepMs, holders, map, batch: (batch?.entries ?? []).map(rowOf), queue: queueOf(requests, nowMs) };
}

function rowOf({ sequence, start, count }: Batch['entries'][number]): PictureRow {
  const { request, choice, promptLength, generated, pageCount } = sequence;
  return {
    requestId: request.id, choice, tenant: request.tenant, adapters: request.adapters, phase: start + count > promptLength && count === 1 ? 'decode' : 'prefill',
    rows: count, promptTokens: promptLength, generatedTokens: generated, pages: pageCount,
  };
}

function queueOf(requests: Iterable<RequestState>, nowMs: number): QueuedRequest[] {
  const queue: QueuedRequest[] = [];
  for (const { request, adapters, choices, submittedMs } of requests) {
    if (!choices.some(({ status }) => status === 'waiting')) continue;
    const adapterState = adapters.find(({ state }) => state !== 'resident')?.state ?? 'resident';
    queue.push({ requestId: request.id, tenant: request.tenant, adapters: request.adapters, adapterState, waitedMs: nowMs - submittedMs });
    if (queue.length === QUEUE_MAX) break;
  }
  return queue;
}

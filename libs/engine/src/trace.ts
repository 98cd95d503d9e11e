/**
 * A timeline of every op of every step, in Chrome's trace format (chrome://tracing, Perfetto): how long it took, what it
 * had to move and compute, and which share of the machine's ceiling that is. The ceilings are the best rates seen in
 * this very run, so the shares need no separate measurement and err on the high side early on.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import { costsOf, type CommandList, type Device, type StepFacts, type SubmitResult } from '@weft/kernels';
import type { Batch } from './batch.js';

/** Steps that are kept before they are written: writing takes time on a core that computes. */
const KEPT_STEPS = 128;

interface KeptStep { number: number; rows: number; sequences: number; adapters: number; list: CommandList; facts: StepFacts; opNs: Float64Array | undefined }

export class StepTracer {
  readonly #out: WriteStream;
  #kept: KeptStep[] = [];
  #atUs = 0;
  #first = true;
  #bestBytesPerNs = 0;
  #bestFlopsPerNs = 0;

  constructor(path: string, device: Device) {
    this.#out = createWriteStream(path);
    this.#out.write(`{"displayTimeUnit":"ns","otherData":{"device":"${device.name} ${device.isa}, ${device.threads} threads"},"traceEvents":[\n`);
  }

  /** Notes one step, timed op by op. */
  step(batch: Batch, list: CommandList, { opNs }: SubmitResult): void {
    const { step, rows, entries, groups } = batch;
    this.#kept.push({ number: step, rows, sequences: entries.length, adapters: groups.length, list, facts: factsOf(batch), opNs });
    if (this.#kept.length === KEPT_STEPS) this.#write();
  }

  #write(): void {
    const events = this.#kept.flatMap(step => this.#events(step));
    this.#kept = [];
    if (events.length > 0) this.#out.write(`${this.#first ? '' : ',\n'}${events.map(event => JSON.stringify(event)).join(',\n')}`);
    this.#first &&= events.length === 0;
  }

  #events({ number, rows, sequences, adapters, list, facts, opNs }: KeptStep): object[] {
    const startUs = this.#atUs, ops = opNs ? costsOf(list, facts).map((cost, i) => this.#op(cost, opNs[i]!)) : [];
    return [...ops, { name: `step ${number}`, ph: 'X', pid: 1, tid: 1, ts: startUs, dur: this.#atUs - startUs, args: { rows, sequences, adapters, logits: facts.logits } }];
  }

  #op({ name, bytes, flops }: ReturnType<typeof costsOf>[number], ns: number): object {
    if (ns > 1000) {
      this.#bestBytesPerNs = Math.max(this.#bestBytesPerNs, bytes / ns);
      this.#bestFlopsPerNs = Math.max(this.#bestFlopsPerNs, flops / ns);
    }
    const floorNs = Math.max(bytes / this.#bestBytesPerNs || 0, flops / this.#bestFlopsPerNs || 0), ts = this.#atUs;
    this.#atUs += ns / 1000;
    return {
      name, ph: 'X', pid: 1, tid: 2, ts, dur: ns / 1000,
      args: { bytes, flops, GBps: round(bytes / ns), GFLOPps: round(flops / ns), ofCeiling: round(Math.min(floorNs / ns, 1)) },
    };
  }

  close(): Promise<void> {
    this.#write();
    return new Promise(resolve => this.#out.end('\n]}\n', () => resolve()));
  }
}

const round = (value: number): number => (Number.isFinite(value) ? Math.round(value * 1000) / 1000 : 0);

function factsOf(batch: Batch): StepFacts {
  const facts: StepFacts = { rows: batch.rows, logits: batch.logits.length, distinctRanks: 0, rowRanks: 0, attended: 0, context: 0 };
  for (const { start, count } of batch.entries) {
    facts.attended += (count * (2 * start + count + 1)) / 2;
    facts.context += start + count;
  }
  for (const { adapter, rows } of batch.groups) {
    facts.distinctRanks += adapter.image.index.maxRank;
    facts.rowRanks += adapter.image.index.maxRank * rows.length;
  }
  return facts;
}

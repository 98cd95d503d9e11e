/**
 * A timeline of every op of every step, in Chrome's trace format (chrome://tracing, Perfetto): how long it took, what it
 * had to move and compute, and which share of the machine's ceiling that is. The ceilings are the best rates seen in
 * this very run, so the shares need no separate measurement and err on the high side early on.
 */
import { createWriteStream, type WriteStream } from 'node:fs';
import { costsOf, type CommandList, type Device, type StepFacts, type SubmitResult } from '@weft/kernels';
import type { Batch } from './batch.js';

export class StepTracer {
  readonly #out: WriteStream;
  #atUs = 0;
  #first = true;
  #bestBytesPerNs = 0;
  #bestFlopsPerNs = 0;

  constructor(path: string, device: Device) {
    this.#out = createWriteStream(path);
    this.#out.write(`{"displayTimeUnit":"ns","otherData":{"device":"${device.name} ${device.isa}, ${device.threads} threads"},"traceEvents":[\n`);
  }

  /** Notes one step, timed op by op. */
  step(batch: Batch, list: CommandList, result: SubmitResult): void {
    const startUs = this.#atUs;
    this.#list(list, result, factsOf(batch));
    this.#event({
      name: `step ${batch.step}`, ph: 'X', pid: 1, tid: 1, ts: startUs, dur: this.#atUs - startUs,
      args: { rows: batch.rows, sequences: batch.entries.length, adapters: batch.groups.length, logits: batch.logits.length },
    });
  }

  #list(list: CommandList, { opNs }: SubmitResult, facts: StepFacts): void {
    if (!opNs) return;
    costsOf(list, facts).forEach(({ name, bytes, flops }, i) => {
      const ns = opNs[i]!;
      if (ns > 1000) {
        this.#bestBytesPerNs = Math.max(this.#bestBytesPerNs, bytes / ns);
        this.#bestFlopsPerNs = Math.max(this.#bestFlopsPerNs, flops / ns);
      }
      const floorNs = Math.max(bytes / this.#bestBytesPerNs || 0, flops / this.#bestFlopsPerNs || 0);
      this.#event({
        name, ph: 'X', pid: 1, tid: 2, ts: this.#atUs, dur: ns / 1000,
        args: { bytes, flops, GBps: round(bytes / ns), GFLOPps: round(flops / ns), ofCeiling: round(Math.min(floorNs / ns, 1)) },
      });
      this.#atUs += ns / 1000;
    });
  }

  #event(event: object): void {
    this.#out.write(`${this.#first ? '' : ',\n'}${JSON.stringify(event)}`);
    this.#first = false;
  }

  close(): Promise<void> {
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

/** Workload by workload: every contender opened, rounds in turn, the machine's ceilings measured before and after. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { rankOf } from './adapters.js';
import type { Contender } from './contender.js';
import { decodeWork, floorOf, opsOf, prefillWork } from './floor.js';
import { measureCeilings, type Ceilings } from './machine.js';
import type { Line } from './report.js';
import { WeftContender } from './weft.js';
import type { Figures, Workload } from './workloads.js';

export interface SuiteOptions { rounds: number; threads: number; onWorkload(name: string, lines: Line[], ceilings: string[]): void }

export interface SuiteResult { lines: Line[]; eventLoopMs: number[]; ceilings: { workload: string; isa: string; before: Ceilings; after: Ceilings }[] }

export async function runSuite(workloads: readonly Workload[], contenders: readonly Contender[], { rounds, threads, onWorkload }: SuiteOptions): Promise<SuiteResult> {
  const result: SuiteResult = { lines: [], eventLoopMs: [], ceilings: [] };
  const isas = [...new Set(contenders.flatMap(c => (c instanceof WeftContender ? [c.host.device.isa] : [])))];
  const measure = (): Map<string, Ceilings> => new Map(isas.map(isa => [isa, measureCeilings(isa, threads)]));
  let before = measure();
  for (const workload of workloads) {
    const lines = await runWorkload(workload, contenders.filter(c => c.suits(workload)), rounds, result.eventLoopMs);
    const after = measure();
    for (const { line, contender } of lines) if (contender instanceof WeftContender) line.floors = floorsOf(contender, workload, higher(before, after, contender.host.device.isa));
    result.lines.push(...lines.map(l => l.line));
    for (const isa of isas) result.ceilings.push({ workload: workload.name, isa, before: before.get(isa)!, after: after.get(isa)! });
    onWorkload(workload.name, lines.map(l => l.line), isas.map(isa => `${before.get(isa)!.line}; after: ${after.get(isa)!.line.replace(/^.*: /, '')}`));
    before = after;
  }
  return result;
}

async function runWorkload(workload: Workload, contenders: readonly Contender[], rounds: number, delaysMs: number[]): Promise<{ line: Line; contender: Contender }[]> {
  const entries = contenders.map(contender => ({ contender, line: { workload, contender: contender.name, built: '', rounds: [] as Figures[] } as Line }));
  const attempt = async ({ contender, line }: typeof entries[number], work: () => Promise<void>): Promise<void> => {
    if (line.failed !== undefined) return;
    try { await work(); } catch (error) {
      line.failed = `failed: ${(error as Error).message}`;
      line.rounds = [];
      await contender.close();
    }
  };
  for (const entry of entries) await attempt(entry, async () => { entry.line.built = await entry.contender.open(workload); });
  for (let round = 0; round < rounds; round++) {
    for (const entry of entries) {
      await attempt(entry, async () => {
        const delay = entry.contender instanceof WeftContender ? monitorEventLoopDelay({ resolution: 1 }) : null;
        delay?.enable();
        entry.line.rounds.push(await entry.contender.round());
        delay?.disable();
        if (delay) delaysMs.push(delay.max / 1e6 - 1);
      });
    }
  }
  for (const { contender } of entries) await contender.close();
  return entries;
}

/** A share of a ceiling that somebody else's work had lowered would be too good. */
function higher(before: Map<string, Ceilings>, after: Map<string, Ceilings>, isa: string): Ceilings {
  const a = before.get(isa)!, b = after.get(isa)!;
  return { read: Math.max(a.read, b.read), fma: Math.max(a.fma, b.fma), line: a.line };
}

function floorsOf({ shape }: WeftContender, { kind, requests, prompt, fresh }: Workload, ceilings: Ceilings): NonNullable<Line['floors']> {
  const sum = (count: number): number => Array.from({ length: count }, (_, i) => rankOf(i)).reduce((a, b) => a + b, 0);
  const ranks = { base: { distinct: 0, rows: 0 }, one: { distinct: rankOf(0), rows: requests * rankOf(0) }, distinct: { distinct: sum(requests), rows: sum(requests) } }[kind];
  const decode = opsOf(shape, decodeWork(requests, prompt, fresh, ranks));
  return { decode: floorOf(decode, ceilings), prefill: floorOf(opsOf(shape, prefillWork(prompt)), ceilings), lora: floorOf(decode.filter(o => o.op === 'lora'), ceilings), ceilings };
}

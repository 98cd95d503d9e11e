/** What each op of a decode step takes, out of the engine's own timeline (`traceFile`). */
import { readFileSync } from 'node:fs';

/** Sums over one decode step: seconds, bytes, flops. */
export type OpTimes = Map<string, { seconds: number; bytes: number; flops: number }>;

interface TraceEvent { name: string; tid: number; dur: number; args: { bytes: number; flops: number; rows: number; sequences: number } }

/** The mean of the `last` decode steps of `rows` rows, each of a sequence of its own. Throws when there is none. */
export function meanStep(traceFile: string, rows: number, last: number): OpTimes {
  const { traceEvents } = JSON.parse(readFileSync(traceFile, 'utf8')) as { traceEvents: TraceEvent[] };
  const steps: TraceEvent[][] = [];
  let ops: TraceEvent[] = [];
  for (const event of traceEvents) {
    if (event.tid === 2) { ops.push(event); continue; }
    // A step's own event follows those of its ops.
    if (event.args.rows === rows && event.args.sequences === rows) steps.push(ops);
    ops = [];
  }
  const chosen = steps.slice(-last), sums: OpTimes = new Map();
  if (chosen.length === 0) throw new Error(`the trace has no decode step of ${rows} rows`);
  for (const { name, dur, args: { bytes, flops } } of chosen.flat()) {
    const sum = sums.get(name) ?? { seconds: 0, bytes: 0, flops: 0 };
    sums.set(name, { seconds: sum.seconds + dur / 1e6 / chosen.length, bytes: sum.bytes + bytes / chosen.length, flops: sum.flops + flops / chosen.length });
  }
  return sums;
}

export const secondsOf = (ops: OpTimes): number => [...ops.values()].reduce((sum, { seconds }) => sum + seconds, 0);

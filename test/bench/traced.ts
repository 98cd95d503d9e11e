/** What each op of a decode step takes, out of the engine's own timeline (`traceFile`). */
import { readFileSync } from 'node:fs';

/** Sums over one decode step: seconds, bytes, flops. */
export type OpTimes = Map<string, { seconds: number; bytes: number; flops: number }>;

interface TraceEvent { name: string; tid: number; dur: number; args: { bytes: number; flops: number; rows: number; sequences: number } }

/** The mean step with `rows` rows of as many sequences: decode steps. Throws when there is none. */
export function meanStep(traceFile: string, rows: number): OpTimes {
  const { traceEvents } = JSON.parse(readFileSync(traceFile, 'utf8')) as { traceEvents: TraceEvent[] };
  const sums: OpTimes = new Map();
  let ops: TraceEvent[] = [], steps = 0;
  for (const event of traceEvents) {
    if (event.tid === 2) { ops.push(event); continue; }
    // A step's own event follows those of its ops.
    if (event.args.rows === rows && event.args.sequences === rows) {
      steps++;
      for (const { name, dur, args: { bytes, flops } } of ops) {
        const sum = sums.get(name) ?? { seconds: 0, bytes: 0, flops: 0 };
        sums.set(name, { seconds: sum.seconds + dur / 1e6, bytes: sum.bytes + bytes, flops: sum.flops + flops });
      }
    }
    ops = [];
  }
  if (steps === 0) throw new Error(`the trace has no decode step of ${rows} rows`);
  return new Map([...sums].map(([name, { seconds, bytes, flops }]) => [name, { seconds: seconds / steps, bytes: bytes / steps, flops: flops / steps }]));
}

export const secondsOf = (ops: OpTimes): number => [...ops.values()].reduce((sum, { seconds }) => sum + seconds, 0);

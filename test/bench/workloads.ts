/** What is measured. Every request has the same prompt and output lengths, decodes greedily, and no EOS ends it. */
export interface Workload { requests: number; kind: 'base' | 'one' | 'distinct'; prompt: number; fresh: number }

/** Tokens per second; null where a workload has no such phase. */
export interface Figures { decode: number | null; prefill: number | null; total: number | null }

export function parseWorkload(text: string, prompt: number, fresh: number): Workload {
  const match = /^(\d+)-(base|one|distinct)$/.exec(text);
  if (!match) throw new Error(`workload ${text}: expected <requests>-base, <requests>-one or <requests>-distinct`);
  return { requests: Number(match[1]), kind: match[2] as Workload['kind'], prompt, fresh };
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

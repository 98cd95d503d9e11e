/** What is measured. Every request has the same prompt and output lengths, decodes greedily, and no EOS ends it. */
export interface Workload { name: string; requests: number; kind: 'base' | 'one' | 'distinct'; prompt: number; fresh: number }

/** Tokens per second; null where a workload has no such phase. */
export interface Figures { decode: number | null; prefill: number | null; total: number | null }

/**
 * `<requests>-base`, `-one` (all on one adapter) or `-distinct` (each its own); `prefill-<tokens>`: one prompt, one new
 * token; `long-<tokens>`: decoding at the end of a context of so many.
 */
export function parseWorkload(name: string, prompt: number, fresh: number): Workload {
  const [, requests, kind] = /^(\d+)-(base|one|distinct)$/.exec(name) ?? [];
  if (kind) return { name, requests: Number(requests), kind: kind as Workload['kind'], prompt, fresh };
  const [, phase, tokens] = /^(prefill|long)-(\d+)$/.exec(name) ?? [];
  if (phase === 'prefill') return { name, requests: 1, kind: 'base', prompt: Number(tokens), fresh: 1 };
  if (phase === 'long' && Number(tokens) > fresh) return { name, requests: 1, kind: 'base', prompt: Number(tokens) - fresh, fresh };
  throw new Error(`workload ${name}: expected <requests>-base, -one or -distinct, prefill-<tokens> or long-<tokens>`);
}

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
};

/** Median and range of a figure over rounds; null where no round had it. */
export interface Spread { median: number; low: number; high: number }

export function spread(values: readonly (number | null)[]): Spread | null {
  const known = values.filter(v => v !== null);
  return known.length === 0 ? null : { median: median(known), low: Math.min(...known), high: Math.max(...known) };
}

/** Whoever is timed: Weft in one of its modes, or a peer. */
import type { Figures, Workload } from './workloads.js';

export interface Contender {
  /** Such as "llama.cpp bf16" or "weft int8 avx2". */
  readonly name: string;
  /** Whether it takes part where nobody asked for it by name. */
  suits(w: Workload): boolean;
  /** Makes ready and runs a round that does not count. Answers with build, instruction set and weights. */
  open(w: Workload): Promise<string>;
  round(): Promise<Figures>;
  /** Gives back what `open` took. */
  close(): Promise<void>;
}

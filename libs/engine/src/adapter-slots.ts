/** How large an adapter slot's table must be for any adapter of a base. */
import { EXPERT_RANK_MAX, type BaseGeometry } from '@weft/adapters';
import { OUTS_BYTES, SEG_WORDS, segsAt } from '@weft/kernels';

/** Words of a slot: all runs, a seg for each run, and one more for each page boundary that the largest adapter crosses. */
export function slotWords(base: BaseGeometry, pageBytes: number, maxRank: number): number {
  let bytes = 0;
  for (const { dIn, dOut, layers, experts } of base.sites) {
    const rank = experts ? EXPERT_RANK_MAX : maxRank;
    bytes += (layers?.length ?? base.layers) * (experts ?? 1) * (rank * Math.ceil(dIn / 64) * 128 + Math.ceil(dOut / 64) * (128 * rank + OUTS_BYTES));
  }
  const runs = base.layers * base.sites.length * 2;
  // Holes at page tails are shorter than a unit; twice the plain count of pages bounds them.
  const boundaries = 2 * Math.ceil(bytes / pageBytes) + 1;
  return Math.ceil((segsAt(base.layers, base.sites.length) + (runs + boundaries) * SEG_WORDS) / 16) * 16;
}

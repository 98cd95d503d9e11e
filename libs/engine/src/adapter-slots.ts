/** How large an adapter slot's table must be for any adapter of a base. */
import type { BaseGeometry } from '@weft/adapters';
import { OUTS_BYTES, SEG_WORDS, segsAt } from '@weft/kernels';

/** Words of a slot: all runs, a seg for each run, and one more for each page boundary that the largest adapter crosses. */
export function slotWords(base: BaseGeometry, pageBytes: number, maxRank: number): number {
  let bytes = 0;
  for (const { dIn, dOut, layers } of base.sites) {
    bytes += (layers?.length ?? base.layers) * (maxRank * Math.ceil(dIn / 64) * 128 + Math.ceil(dOut / 64) * (128 * maxRank + OUTS_BYTES));
  }
  const runs = base.layers * base.sites.length * 2;
  // Holes at page tails are shorter than a unit; twice the plain count of pages bounds them.
  const boundaries = 2 * Math.ceil(bytes / pageBytes) + 1;
  return Math.ceil((segsAt(base.layers, base.sites.length) + (runs + boundaries) * SEG_WORDS) / 16) * 16;
}

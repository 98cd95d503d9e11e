/** How large an adapter slot's table must be for any adapter of a base. */
import { EXPERT_RANK_MAX, endPlaces, type BaseGeometry } from '@weft/adapters';
import { End, EXTRA_TOKENS, ID_BYTES, OUTS_BYTES, SEG_WORDS, segsAt } from '@weft/kernels';

/** Words of a slot: all runs, a seg for each run, and one more for each page boundary that the largest adapter crosses. It fits into the pool. */
export function slotWords(base: BaseGeometry, pageBytes: number, maxRank: number, poolPages: number): number {
  let bytes = 0;
  for (const { dIn, dOut, layers, experts } of base.sites) {
    const rank = experts ? EXPERT_RANK_MAX : maxRank;
    bytes += (layers?.length ?? base.layers) * (experts ?? 1) * (rank * Math.ceil(dIn / 64) * 128 + Math.ceil(dOut / 64) * (128 * rank + OUTS_BYTES));
  }
  const { vocab, hidden } = base.ends, endSites = Object.keys(End).length;
  for (const { site } of endPlaces(base)) bytes += maxRank * Math.ceil(site.dIn / 64) * 128 + Math.ceil(site.dOut / 64) * (128 * maxRank + OUTS_BYTES);
  bytes += 2 * (vocab + EXTRA_TOKENS) * (Math.ceil(hidden / 64) * 128 + ID_BYTES);
  const runs = base.layers * base.sites.length * 2 + endSites * 2;
  // Holes at page tails are shorter than a unit; twice the plain count of pages bounds them. Two runs may share the pages of one.
  const boundaries = Math.min(2 * Math.ceil(bytes / pageBytes), 2 * poolPages) + 1;
  if (base.sites.length < endSites) throw new RangeError(`a table of ${base.sites.length} sites has no room for the ${endSites} of the ends`);
  return Math.ceil((segsAt(base.layers + 1, base.sites.length) + (runs + boundaries) * SEG_WORDS) / 16) * 16;
}

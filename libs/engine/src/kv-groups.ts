/**
 * KV groups: layers whose keys and values live equally long. Layers that see a window only are a group of their own: what
 * the window has left behind goes back to the pool while the sequence runs on (Gemma 2 and 3; Mistral with one group).
 *
 * All pages have equal bytes. A page of a group with few layers holds several blocks of 16 positions, one behind another.
 */
import { BLOCK_TOKENS } from '@weft/kernels';
import type { PageId } from './page-pool.js';

export interface KvGroup {
  /** Positions that a row sees, its own included; 0: all. */
  window: number;
  /** Blocks of 16 positions in a page. */
  blocks: number;
}

/** Of a model whose layers all see everything. */
export const ONE_GROUP: readonly KvGroup[] = [{ window: 0, blocks: 1 }];

/** A sequence's pages of one group: that of its block `firstPage · blocks`, and so on without a gap. */
export interface GroupPages { firstPage: number; readonly pages: PageId[] }

/** Blocks of 16 positions that `positions` positions take. */
export function blocksFor(positions: number): number {
  return Math.ceil(positions / BLOCK_TOKENS);
}

const pagesOf = ({ blocks }: KvGroup, positions: number): number => Math.ceil(blocksFor(positions) / blocks);

/** What sequences hold, and will hold, of a model's groups. */
export class KvLayout {
  /** What a sequence holds that does not run. */
  readonly nothing: readonly GroupPages[];

  constructor(readonly groups: readonly KvGroup[], /** Rows that a sequence has in a step at most. */ readonly stepRows: number) { this.nothing = this.empty(); }

  empty(): GroupPages[] { return this.groups.map(() => ({ firstPage: 0, pages: [] })); }

  /** Pages that are missing before positions up to `positions` can be computed. */
  missing(held: readonly GroupPages[], positions: number): number {
    let pages = 0;
    for (let g = 0; g < this.groups.length; g++) pages += this.#missing(this.groups[g]!, held[g]!, positions);
    return pages;
  }
  #missing(group: KvGroup, { firstPage, pages }: GroupPages, positions: number): number {
    return Math.max(pagesOf(group, positions) - firstPage - pages.length, 0);
  }

  /** Of `rows` more positions behind `computed`, as many as `free` further pages let compute. */
  rowsWithin(held: readonly GroupPages[], computed: number, rows: number, free: number): number {
    let end = computed + rows;
    while (end > computed && this.missing(held, end) > free) end = Math.max((blocksFor(end) - 1) * BLOCK_TOKENS, computed);
    return end - computed;
  }

  /** Takes what is missing by `take(count, into)`. */
  grow(held: readonly GroupPages[], positions: number, take: (count: number, into: PageId[]) => void): void {
    for (const [g, group] of this.groups.entries()) {
      const count = this.#missing(group, held[g]!, positions);
      if (count > 0) take(count, held[g]!.pages);
    }
  }

  /** Removes the pages that no position from `computed` on sees, and returns them. */
  leaveBehind(held: readonly GroupPages[], computed: number): PageId[] {
    const left: PageId[] = [];
    for (const [g, { window, blocks }] of this.groups.entries()) {
      if (window === 0) continue;
      const group = held[g]!;
      const first = Math.floor(Math.max(computed - window + 1, 0) / (BLOCK_TOKENS * blocks));
      const count = Math.min(first - group.firstPage, group.pages.length);
      if (count <= 0) continue;
      left.push(...group.pages.splice(0, count));
      group.firstPage += count;
    }
    return left;
  }

  /** Entries of the page table of a step in which positions up to `positions` exist: a block each. */
  tableEntries(held: readonly GroupPages[], positions: number): number {
    let entries = 0;
    for (let g = 0; g < this.groups.length; g++) entries += Math.max(blocksFor(positions) - held[g]!.firstPage * this.groups[g]!.blocks, 0);
    return entries;
  }

  /** Pages that a sequence of `positions` positions holds at most while the last of them are computed. */
  peak(positions: number): number {
    let pages = 0;
    for (const group of this.groups) pages += this.#peak(group, positions);
    return pages;
  }
  #peak(group: KvGroup, positions: number): number {
    const all = pagesOf(group, positions);
    // A window that begins and a step that ends anywhere in a page.
    return group.window === 0 ? all : Math.min(all, pagesOf(group, group.window + this.stepRows) + 1);
  }

  /** Positions that a sequence alone in `pages` pages can have. */
  positionsIn(pages: number): number {
    let low = 0, high = pages * BLOCK_TOKENS * Math.max(...this.groups.map(({ blocks }) => blocks));
    if (this.groups.every(({ window }) => window > 0) && this.peak(high) <= pages) return Infinity;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.peak(middle) <= pages) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

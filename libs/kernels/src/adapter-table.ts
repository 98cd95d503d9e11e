/**
 * How kernels find an adapter's bytes: one table per adapter slot in a device buffer, written when the adapter is bound.
 *
 *   slot table = runs [layer][site][A, B] of RUN_WORDS, then segs of SEG_WORDS; slotWords in all.
 *
 * A run is a list of equal units in arena pages; a unit never crosses a page. Its segs say where they lie:
 * seg s holds units firstUnit … firstUnit + units - 1, back to back from arena byte offset `at`·128.
 * firstSeg is the word offset of the run's first seg inside the slot table; segs of a run stand one after another.
 * units = 0: the adapter does not touch this site.
 * tail: bytes behind the ranks of each unit of B, 0 or OUTS_BYTES: what the adapter does to outputs (see `loraExpand`); of rows of
 * an end, 0 or ID_BYTES.
 *
 * Behind the layers stands one more, the ends of the model: LoRA on embedding and head, and rows that stand for theirs, as
 * sites of their own (`End`). Rows are half A alone, a unit a row as in A. Without a tail, unit i is the row of token i; with
 * one, the token's id is its first word, and ids ascend.
 */
export const Run = { dtype: 0, rank: 1, scale: 2, unitBytes: 3, units: 4, firstSeg: 5, segs: 6, tail: 7 } as const;
export const RUN_WORDS = 8;
/** h and c of 64 outputs, f32. */
export const OUTS_BYTES = 2 * 64 * 4;
/** at: arena offset / 128 (64 bits are not needed below 512 GiB). */
export const Seg = { at: 0, firstUnit: 1, units: 2 } as const;
export const SEG_WORDS = 4;

/** Sites of the ends. A: units of 64 tokens × ranks for the embedding (`embedShrink`), else as everywhere. */
export const End = { embed: 0, head: 1, embedRows: 2, headRows: 3 } as const;
/** What follows a row of an end whose token is not its place. */
export const ID_BYTES = 128;

/** The two halves of a LoRA site. */
export const Half = { a: 0, b: 1 } as const;

/** Word offset of a run inside a slot's table. */
export function runAt(layer: number, site: number, half: number, nSites: number): number {
  return ((layer * nSites + site) * 2 + half) * RUN_WORDS;
}

/** Word offset of the first seg inside a slot's table. */
export function segsAt(layers: number, nSites: number): number {
  return layers * nSites * 2 * RUN_WORDS;
}

/**
 * What changes from step to step: the frame. A list of ops depends on the bucket alone; counts, token ids, positions,
 * page tables, adapter groups and sampling parameters stand here, and kernels read them. Two frames alternate, so that
 * step n+1 can be written while step n runs.
 *
 * All sections are 32-bit words at fixed, 64-byte aligned offsets that follow from the capacities.
 */

/** Header words of a frame: how many of each there are in this step. Index 0 stays 0: "no count, all rows". pairs: tokens × experts that each is routed to. */
export const Header = { none: 0, tokens: 1, segments: 2, logits: 3, groups: 4, groupRows: 5, pagePairs: 6, step: 7, pairs: 8, headGroups: 9, headGroupRows: 10 } as const;
export const HEADER_WORDS = 16;

/** One sequence's rows in this step. pages[pageOffset …] holds the page of block firstBlock, firstBlock+1, … */
export const Segment = { slot: 0, rowStart: 1, rowCount: 2, firstBlock: 3, pageOffset: 4, pageCount: 5 } as const;
/** Two KV groups more fit behind the first: (firstBlock, pageOffset, pageCount) of group g at 3 + 3·g. */
export const SEGMENT_WORDS = 12;

/** Rows that an adapter applies to. weight is f32. */
export const Group = { adapterSlot: 0, rowStart: 1, rowCount: 2, weight: 3 } as const;
export const GROUP_WORDS = 4;

/** One logit row. temperature, topP, minP and the penalties are f32; seed is 64 bits in two words. */
export const Sample = {
  slot: 0, target: 1, temperature: 2, topK: 3, topP: 4, minP: 5, repetition: 6, presence: 7, frequency: 8,
  seedLo: 9, seedHi: 10, choice: 11, promptLen: 12, biasStart: 13, biasCount: 14, maskRow: 15, nTop: 16,
  // Tokens that may not be drawn yet (min_tokens): stop ids are put into bias with -inf by the host.
  /** How many tokens the row has, from the first one on; 0: as many as the logits have columns. */
  vocab: 17,
} as const;
export const SAMPLE_WORDS = 20;

/** What a logit row became. logprob and topLogprobs are f32. `rank`: how many tokens are more likely than the chosen. */
export const Result = { token: 0, status: 1, logprob: 2, rank: 3, nTop: 4, topIds: 8, topLogprobs: 28 } as const;
export const RESULT_WORDS = 48;
export const MAX_TOP_LOGPROBS = 20;
export const RowStatus = { ok: 0, notFinite: 1, nothingAllowed: 2 } as const;

/** What a device remembers of a sequence between steps. */
export const Slot = { length: 0, lastToken: 1, draws: 2 } as const;
export const SLOT_WORDS = 4;

/** Tokens in a KV block. */
export const BLOCK_TOKENS = 16;
/** Positions of a span, which attention computes on its own. */
export const ATTENTION_SPAN = 256;
/** Tokens that an adapter may add to the base's: columns of logits behind those of the base. */
export const EXTRA_TOKENS = 256;
/** Logit rows in a tile: bounds the logits buffer at 64 × vocabulary × 4 bytes. */
export const LOGIT_TILE = 64;

export interface FrameCapacity {
  tokens: number; segments: number; logits: number; groups: number; groupRows: number;
  pageTable: number; pagePairs: number; biasPairs: number;
}

export type FrameSection = 'tokenIds' | 'positions' | 'rowSlots' | 'rowSegments' | 'segments' | 'pages' | 'logitRows'
  | 'samples' | 'groups' | 'groupRows' | 'pagePairs' | 'bias' | 'rowAdapters' | 'headGroups' | 'headGroupRows';

export interface FrameLayout { words: number; at: Record<FrameSection, number>; capacity: FrameCapacity; head: HeadTiles }

/**
 * Groups over logit rows, for adapters that act on the head. Each tile of logit rows has a list of its own, with rows counted
 * from the tile's first: `groups` records and `groupRows` entries of room, one tile after another. The header says how many the
 * tile with the most has; those that others lack have no rows.
 */
export interface HeadTiles { tiles: number; groups: number; groupRows: number }

function headTiles({ tokens, logits, groups, groupRows }: FrameCapacity): HeadTiles {
  const tileRows = Math.min(LOGIT_TILE, logits), entries = Math.min(groupRows, tileRows * Math.ceil(groupRows / tokens));
  return { tiles: Math.ceil(logits / LOGIT_TILE), groups: Math.min(groups, entries), groupRows: entries };
}

/** Word offsets of a frame's sections. rowAdapters: the adapter slot whose experts a row runs with, or -1 for the base's own. */
export function frameLayout(capacity: FrameCapacity): FrameLayout {
  const c = capacity, head = headTiles(c);
  const sizes: [FrameSection, number][] = [
    ['tokenIds', c.tokens], ['positions', c.tokens], ['rowSlots', c.tokens], ['rowSegments', c.tokens],
    ['segments', c.segments * SEGMENT_WORDS], ['pages', c.pageTable], ['logitRows', c.logits],
    ['samples', c.logits * SAMPLE_WORDS], ['groups', c.groups * GROUP_WORDS], ['groupRows', c.groupRows],
    ['pagePairs', c.pagePairs * 2], ['bias', c.biasPairs * 2], ['rowAdapters', c.tokens],
    ['headGroups', head.tiles * head.groups * GROUP_WORDS], ['headGroupRows', head.tiles * head.groupRows],
  ];
  const at = {} as Record<FrameSection, number>;
  let words = HEADER_WORDS;
  for (const [name, size] of sizes) { at[name] = words; words += Math.ceil(size / 16) * 16; }
  return { words, at, capacity, head };
}

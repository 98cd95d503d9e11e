/**
 * How kernels find experts that adapters bring: tables in one device buffer, i32, written when an adapter is bound.
 *
 *   map    [layers with experts][adapterSlots][experts]   -1: the base's own expert, else an expert slot
 *   types  [slots]                                        DType of the slot's units: bf16 or f16
 *   pages  [slots][slotPages]                             arena pages of the slot's expert, in its order
 *
 * An expert slot is global: it belongs to no layer and no adapter, so that adapters with the same expert share it.
 *
 * A matrix W [n, k] lies in W units of 4 KiB: 32 outputs × 64 k, [k/2][32][2] of bf16 or [k][32] of f16, zeros beyond n and k;
 * units in the order [panel of 32 outputs][block of 64 k], so that consecutive units are the panels of op `linear` with k padded.
 * An expert is the units of gate|up [2·inner, hidden], then those of down [hidden, inner]. It begins with a page; pages hold
 * whole units without holes.
 */
export const W_UNIT_BYTES = 4096;
/** Outputs and k of a W unit. */
export const W_OUTS = 32;
export const W_DEPTH = 64;

/** A run of rows, sorted by their expert's key, that share it. Key e: the base's expert e; experts + s: expert slot s. */
export const Span = { key: 0, start: 1, count: 2 } as const;
export const SPAN_WORDS = 4;

/** Units of a matrix. */
export const wUnits = (n: number, k: number): number => Math.ceil(n / W_OUTS) * Math.ceil(k / W_DEPTH);

/** What experts of a base look like: `hidden` values in and out, `inner` between them; `count` of them in each of `layers`. */
export interface ExpertShape { layers: number; count: number; hidden: number; inner: number }

export const expertUnits = ({ hidden, inner }: Pick<ExpertShape, 'hidden' | 'inner'>): { gateUp: number; down: number } =>
  ({ gateUp: wUnits(2 * inner, hidden), down: wUnits(hidden, inner) });

/** Pages of `pageBytes` that an expert takes. */
export function expertPages(shape: Pick<ExpertShape, 'hidden' | 'inner'>, pageBytes: number): number {
  const { gateUp, down } = expertUnits(shape);
  return Math.ceil((gateUp + down) / (pageBytes / W_UNIT_BYTES));
}

/** Sizes of the tables, and where each begins, in words. */
export interface ExpertTables { adapterSlots: number; experts: number; slots: number; slotPages: number; words: number; at: { map: number; types: number; pages: number } }

export function expertTables(shape: ExpertShape, pageBytes: number, adapterSlots: number, slots: number): ExpertTables {
  const slotPages = expertPages(shape, pageBytes), map = 0;
  const types = align(shape.layers * adapterSlots * shape.count), pages = types + align(slots);
  return { adapterSlots, experts: shape.count, slots, slotPages, words: pages + align(slots * slotPages), at: { map, types, pages } };
}

const align = (words: number): number => Math.ceil(words / 16) * 16;

/** Where the row of an adapter begins in the map; `layer` counts layers with experts only. */
export const mapAt = ({ adapterSlots, experts }: ExpertTables, layer: number, adapterSlot = 0): number => (layer * adapterSlots + adapterSlot) * experts;

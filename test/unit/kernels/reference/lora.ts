/** Adapters in pages, and what they add, in float64. */
import { DType, GROUP_WORDS, Group, Half, OUTS_BYTES, SEG_WORDS, Seg, runAt, segsAt } from '@weft/kernels';
import { bitsOf, halfCodec, type Random } from './numbers.js';

/** One part of a fused site of one adapter; null: the adapter does not touch it. A [rank][dIn], B [dOut][rank]. tail: h and c of each output. */
export interface Part { rank: number; dtype: DType; scale: number; a: Float64Array; b: Float64Array; tail: { h: Float32Array; c: Float32Array } | null }
export type Adapter = (Part | null)[];

export interface Site { dIn: number; outs: number[] }
/** Where the site stands among others: what kernels must step over. */
export const PLACE = { layers: 2, layer: 1, nSites: 5, site: 1 } as const;

export interface Packed { tables: Int32Array; slotWords: number; arena: Uint8Array; nPages: number; pageBytes: number }

export function makeAdapter(random: Random, { dIn, outs }: Site, rank: number, missing: number, tailed = 0): Adapter {
  return outs.map(dOut => {
    if (random.chance(missing)) return null;
    const dtype = random.pick([DType.bf16, DType.f16]), { encode, decode } = halfCodec(dtype);
    const values = (count: number): Float64Array => Float64Array.from({ length: count }, () => decode(encode(random.normal())));
    return { rank, dtype, scale: random.pick([0.5, 2, 1.25]), a: values(rank * dIn), b: values(dOut * rank), tail: random.chance(tailed) ? { h: random.normals(dOut), c: random.normals(dOut) } : null };
  });
}

/** Lays adapters into pages unit by unit; a unit that does not fit starts the next page. Unused bytes are 0xff: NaN. */
export function packAdapters(random: Random, { dIn, outs }: Site, adapters: Adapter[], pageBytes: number, experts = 1): Packed {
  const units: { page: number; offset: number; halves: Uint16Array; tail: Float32Array }[] = [];
  const segs: { word: number; page: number; offset: number }[] = [];
  const unitsOf = (part: Part | null, p: number): number => part ? experts * (part.rank + Math.ceil(outs[p]! / 64)) : 0;
  const maxSegs = Math.max(...adapters.map(parts => parts.reduce((sum, part, p) => sum + unitsOf(part, p), 0)));
  const slotWords = segsAt(PLACE.layers, PLACE.nSites) + maxSegs * SEG_WORDS;
  const tables = new Int32Array(adapters.length * slotWords);
  let page = -1, used = pageBytes;

  const layRun = (slot: number, seg: number, part: Part, site: number, half: number, count: number, unitValues: number, valueAt: (unit: number, i: number) => number): number => {
    const { encode } = halfCodec(part.dtype), tailBytes = half === Half.b && part.tail ? OUTS_BYTES : 0, unitBytes = unitValues * 2 + tailBytes;
    let next = seg, open = -1;
    for (let unit = 0; unit < count; unit++) {
      const moves = used + unitBytes > pageBytes;
      if (moves) { page++; used = 0; }
      if (moves || open < 0) {
        open = slot * slotWords + next;
        segs.push({ word: open + Seg.at, page, offset: used });
        tables[open + Seg.firstUnit] = unit;
        next += SEG_WORDS;
      }
      tables[open + Seg.units]!++;
      units.push({ page, offset: used, halves: Uint16Array.from({ length: unitValues }, (_, i) => encode(valueAt(unit, i))), tail: tailBytes ? tailOf(part.tail!, unit) : new Float32Array(0) });
      used += unitBytes;
    }
    const run = slot * slotWords + runAt(PLACE.layer, site, half, PLACE.nSites);
    tables.set([part.dtype, part.rank, bitsOf(part.scale), unitBytes, count, seg, (next - seg) / SEG_WORDS, tailBytes], run);
    return next;
  };
  adapters.forEach((parts, slot) => {
    let seg = segsAt(PLACE.layers, PLACE.nSites);
    parts.forEach((part, p) => {
      if (!part) return;
      const { rank, a, b } = part, dOut = outs[p]!, site = PLACE.site + p;
      seg = layRun(slot, seg, part, site, Half.a, experts * rank, Math.ceil(dIn / 64) * 64, (j, i) => i < dIn ? a[j * dIn + i]! : 0);
      seg = layRun(slot, seg, part, site, Half.b, experts * Math.ceil(dOut / 64), rank * 64, (unit, i) => {
        const o = unit * 64 + i % 64;
        return o < dOut || experts > 1 ? b[o * rank + Math.floor(i / 64)]! : 0;
      });
    });
  });
  const nPages = page + 3, place = random.shuffled(Array.from({ length: nPages }, (_, i) => i));
  const arena = new Uint8Array(nPages * pageBytes).fill(0xff);
  for (const { word, page: logical, offset } of segs) tables[word] = (place[logical]! * pageBytes + offset) / 128;
  for (const { page: logical, offset, halves, tail } of units) {
    const at = place[logical]! * pageBytes + offset;
    new Uint16Array(arena.buffer, at, halves.length).set(halves);
    new Float32Array(arena.buffer, at + halves.byteLength, tail.length).set(tail);
  }
  return { tables, slotWords, arena, nPages, pageBytes };
}

function tailOf({ h, c }: { h: Float32Array; c: Float32Array }, unit: number): Float32Array {
  const tail = new Float32Array(128);
  tail.set(h.subarray(unit * 64, unit * 64 + 64));
  tail.set(c.subarray(unit * 64, unit * 64 + 64), 64);
  return tail;
}

/** LoRA on experts: `each[e]` is that of expert e, or null for all of a part. Units of all experts follow one another. */
export type ExpertAdapter = (Part[] | null)[];

export function packExpertAdapters(random: Random, site: Site, experts: number, adapters: ExpertAdapter[], pageBytes: number): Packed {
  // As one adapter whose A has the ranks of all experts and whose B their outputs, but for the ranks of a unit of B.
  return packAdapters(random, { dIn: site.dIn, outs: site.outs }, adapters.map(parts => parts.map((each, p) => each && {
    ...each[0]!, a: Float64Array.from(each.flatMap(({ a }) => [...a])), b: Float64Array.from(each.flatMap(({ b }) => padded(b, site.outs[p]!, each[0]!.rank))),
  })), pageBytes, experts);
}

/** Outputs of each expert begin with a unit of their own. */
function padded(b: Float64Array, dOut: number, rank: number): number[] {
  const all = new Array<number>(Math.ceil(dOut / 64) * 64 * rank).fill(0);
  b.forEach((value, i) => { all[i] = value; });
  return all;
}

export interface RowGroup { slot: number; weight: number; rows: number[] }

export function groupTables(groups: RowGroup[]): { groups: Int32Array; groupRows: Int32Array } {
  const table = new Int32Array(Math.max(1, groups.length) * GROUP_WORDS), rows: number[] = [];
  groups.forEach((group, g) => {
    table[g * GROUP_WORDS + Group.adapterSlot] = group.slot;
    table[g * GROUP_WORDS + Group.rowStart] = rows.length;
    table[g * GROUP_WORDS + Group.rowCount] = group.rows.length;
    table[g * GROUP_WORDS + Group.weight] = bitsOf(group.weight);
    rows.push(...group.rows);
  });
  return { groups: table, groupRows: Int32Array.from(rows.length ? rows : [0]) };
}

/** y[t] += weight · (h·y[t] + (1 + h)·scale·B(A x[t]) + c) for every row t of every group, h and c 0 without a tail. x: [rows][dIn], y: [rows][Σ outs]. */
export function loraReference({ dIn, outs }: Site, adapters: Adapter[], groups: RowGroup[], x: Float32Array, y: Float32Array): Float64Array {
  const out = Float64Array.from(y), dOut = outs.reduce((a, b) => a + b, 0);
  for (const { slot, weight, rows } of groups) {
    for (const t of rows) {
      let offset = 0;
      adapters[slot]!.forEach((part, p) => {
        if (part) {
          const { rank, a, b, scale, tail } = part;
          const u = Array.from({ length: rank }, (_, j) => {
            let sum = 0;
            for (let i = 0; i < dIn; i++) sum += a[j * dIn + i]! * x[t * dIn + i]!;
            return sum;
          });
          for (let o = 0; o < outs[p]!; o++) {
            let sum = 0;
            for (let j = 0; j < rank; j++) sum += b[o * rank + j]! * u[j]!;
            const h = tail?.h[o]! ?? 0, at = t * dOut + offset + o;
            out[at]! += weight * (h * out[at]! + (1 + h) * scale * sum + (tail?.c[o]! ?? 0));
          }
        }
        offset += outs[p]!;
      });
    }
  }
  return out;
}

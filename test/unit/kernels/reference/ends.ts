/** Rows of an embedding and of a head that adapters bring, and LoRA's A of an embedding, in pages; and what they make of rows, in float64. */
import { DType, Half, ID_BYTES, SEG_WORDS, Seg, runAt, segsAt } from '@weft/kernels';
import { PLACE, type RowGroup } from './lora.js';
import { bitsOf, halfCodec, type Random } from './numbers.js';

/** A list of equal units of 16-bit values: [units][width], and an id behind each where there are ids. */
export interface UnitRun { dtype: DType; rank: number; scale: number; width: number; padded: number; values: Float64Array; ids: Int32Array | null }

export interface PackedUnits { tables: Int32Array; slotWords: number; arena: Uint8Array; nPages: number; pageBytes: number }

/** Rows of an end: all of the first tokens, or those of `ids`. */
export function endRows(random: Random, dim: number, rows: number, ids: number[] | null): UnitRun {
  const dtype = random.pick([DType.bf16, DType.f16]), { encode, decode } = halfCodec(dtype);
  return {
    dtype, rank: 1, scale: random.pick([1, 2, 0.75]), width: dim, padded: Math.ceil(dim / 64) * 64,
    values: Float64Array.from({ length: rows * dim }, () => decode(encode(random.normal()))), ids: ids && Int32Array.from(ids),
  };
}

/** A of an embedding: 64 tokens × rank in each unit. */
export function embeddingA(random: Random, tokens: number, rank: number): UnitRun {
  const units = Math.ceil(tokens / 64);
  const run = endRows(random, 64 * rank, units, null);
  run.values.fill(0, tokens * rank);
  return { ...run, rank, padded: 64 * rank };
}

/** A slot for each run, null: an adapter without one. Units lie in pages in no order; unused bytes are 0xff: NaN. */
export function packUnits(random: Random, runs: readonly (UnitRun | null)[], pageBytes: number): PackedUnits {
  const places: { page: number; offset: number; bytes: Uint8Array }[] = [], segs: { word: number; page: number; offset: number }[] = [];
  const slotWords = segsAt(PLACE.layers, PLACE.nSites) + Math.max(1, ...runs.map(run => (run ? run.values.length / run.width : 0))) * SEG_WORDS;
  const tables = new Int32Array(runs.length * slotWords);
  let page = 0, used = 0;
  runs.forEach((run, slot) => {
    if (!run) return;
    const { encode } = halfCodec(run.dtype), units = run.values.length / run.width, tail = run.ids ? ID_BYTES : 0, unitBytes = run.padded * 2 + tail;
    const first = segsAt(PLACE.layers, PLACE.nSites);
    let next = first, open = -1;
    for (let unit = 0; unit < units; unit++) {
      // Now and then a seg ends for no reason.
      if (used + unitBytes > pageBytes || (open >= 0 && random.chance(0.1))) { page++; used = 0; open = -1; }
      if (open < 0) {
        open = slot * slotWords + next;
        next += SEG_WORDS;
        segs.push({ word: open + Seg.at, page, offset: used });
        tables[open + Seg.firstUnit] = unit;
      }
      tables[open + Seg.units]!++;
      const bytes = new Uint8Array(unitBytes);
      new Uint16Array(bytes.buffer, 0, run.width).set(Uint16Array.from(run.values.subarray(unit * run.width, (unit + 1) * run.width), encode));
      if (run.ids) new Int32Array(bytes.buffer, run.padded * 2, 1)[0] = run.ids[unit]!;
      places.push({ page, offset: used, bytes });
      used += unitBytes;
    }
    tables.set([run.dtype, run.rank, bitsOf(run.scale), unitBytes, units, first, (next - first) / SEG_WORDS, tail], slot * slotWords + runAt(PLACE.layer, PLACE.site, Half.a, PLACE.nSites));
  });
  const nPages = page + 3, order = random.shuffled(Array.from({ length: nPages }, (_, i) => i));
  const arena = new Uint8Array(nPages * pageBytes).fill(0xff);
  for (const { word, page: logical, offset } of segs) tables[word] = (order[logical]! * pageBytes + offset) / 128;
  for (const { page: logical, offset, bytes } of places) arena.set(bytes, order[logical]! * pageBytes + offset);
  return { tables, slotWords, arena, nPages, pageBytes };
}

/** The row of a token, or null. */
function rowOf(run: UnitRun | null | undefined, token: number): Float64Array | null {
  if (!run) return null;
  const unit = run.ids ? run.ids.indexOf(token) : token < run.values.length / run.width ? token : -1;
  return unit < 0 ? null : run.values.subarray(unit * run.width, (unit + 1) * run.width);
}

/** u[i] = A of the i-th group row's token; NaN where no group writes. */
export function embedShrinkReference(runs: readonly (UnitRun | null)[], groups: RowGroup[], tokens: Int32Array, ldu: number): Float64Array {
  const u = new Float64Array(groups.reduce((sum, { rows }) => sum + rows.length, 0) * ldu).fill(NaN);
  let entry = 0;
  for (const { slot, rows } of groups) {
    for (const t of rows) {
      const run = runs[slot], at = entry++ * ldu;
      if (run) for (let j = 0; j < run.rank; j++) u[at + j] = run.values[tokens[t]! * run.rank + j] ?? 0;
    }
  }
  return u;
}

export function embedReplaceReference(runs: readonly (UnitRun | null)[], groups: RowGroup[], tokens: Int32Array, x: Float32Array, dim: number): Float64Array {
  const out = Float64Array.from(x);
  for (const { slot, weight, rows } of groups) {
    for (const t of rows) {
      const run = runs[slot], row = rowOf(run, tokens[t]!);
      row?.forEach((value, i) => { out[t * dim + i]! += weight * (run!.scale * value - out[t * dim + i]!); });
    }
  }
  return out;
}

/** x: [rows][dIn], y: [rows][dOut]. */
export function headReplaceReference(runs: readonly (UnitRun | null)[], groups: RowGroup[], x: Float32Array, y: Float32Array, dIn: number, dOut: number): Float64Array {
  const out = Float64Array.from(y);
  for (const { slot, weight, rows } of groups) {
    for (const t of rows) {
      for (let token = 0; token < dOut; token++) {
        const row = rowOf(runs[slot], token);
        if (!row) continue;
        const logit = row.reduce((sum, value, i) => sum + value * x[t * dIn + i]!, 0);
        out[t * dOut + token]! += weight * (logit - out[t * dOut + token]!);
      }
    }
  }
  return out;
}

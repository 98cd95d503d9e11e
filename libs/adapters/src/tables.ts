/** Binding: an image's index and the pages that it was loaded into become the table that kernels walk. */
import { DType, Run, runAt, Seg, SEG_WORDS, segsAt } from '@weft/kernels';
import { WeftError } from '@weft/contracts';
import { UNIT_ALIGN } from './layout.js';
import type { ImageIndex } from './types.js';

/** Shape of a slot's table: see adapter-table.ts in @weft/kernels. Behind the layers it has one more, of the ends. */
export interface TableShape { layers: number; nSites: number; slotWords: number }

/** Words that an adapter's table takes. */
export function slotWordsFor(index: ImageIndex, layers: number, nSites: number): number {
  return segsAt(layers + 1, nSites) + index.runs.reduce((segs, run) => segs + run.segs.length, 0) * SEG_WORDS;
}

/**
 * The table of one slot, i32 [slotWords]. pages[i]: where in the arena page i of the image lies.
 * Throws `adapter_too_large` if a slot can't hold it.
 */
export function adapterTables(index: ImageIndex, pages: Int32Array, { layers, nSites, slotWords }: TableShape): Int32Array {
  const words = slotWordsFor(index, layers, nSites);
  if (words > slotWords) throw new WeftError('adapter_too_large', `the adapter's table takes ${words} words; a slot holds ${slotWords}`, { limit: slotWords });
  if (pages.length < index.pages) throw new RangeError(`${index.pages} pages are needed, ${pages.length} given`);
  const table = new Int32Array(slotWords);
  const floats = new Float32Array(table.buffer);
  const pageUnits = index.pageBytes / UNIT_ALIGN;
  let word = segsAt(layers + 1, nSites);
  for (const run of index.runs) {
    if (run.layer > layers || run.site >= nSites) throw new RangeError(`a run for layer ${run.layer}, site ${run.site} does not fit a table of ${layers} layers and ${nSites} sites`);
    const at = runAt(run.layer, run.site, run.half, nSites);
    table[at + Run.dtype] = DType[run.dtype];
    table[at + Run.rank] = run.rank;
    floats[at + Run.scale] = run.scale;
    table[at + Run.unitBytes] = run.unitBytes;
    table[at + Run.units] = run.units;
    table[at + Run.firstSeg] = word;
    table[at + Run.segs] = run.segs.length;
    table[at + Run.tail] = run.tail;
    for (const seg of run.segs) {
      table[word + Seg.at] = pages[seg.page]! * pageUnits + seg.offset / UNIT_ALIGN;
      table[word + Seg.firstUnit] = seg.firstUnit;
      table[word + Seg.units] = seg.units;
      word += SEG_WORDS;
    }
  }
  return table;
}

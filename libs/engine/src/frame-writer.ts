/** Writes a batch into a frame: the only place that knows both. */
import {
  GROUP_WORDS, Group, HEADER_WORDS, Header, LOGIT_TILE, SAMPLE_WORDS, SEGMENT_WORDS, Sample, Segment, type FrameLayout,
} from '@weft/kernels';
import type { Batch, LogitRow } from './batch.js';
import { blocksFor, ONE_GROUP, type KvGroup } from './kv-groups.js';
import type { Sequence } from './sequence.js';

export class FrameWriter {
  readonly #i32: Int32Array;
  readonly #f32: Float32Array;

  /** topK: experts that each row goes to. */
  constructor(readonly layout: FrameLayout, memory: ArrayBuffer, readonly kvGroups: readonly KvGroup[] = ONE_GROUP, readonly topK = 0) {
    this.#i32 = new Int32Array(memory, 0, layout.words);
    this.#f32 = new Float32Array(memory, 0, layout.words);
  }

  write(batch: Batch): void {
    this.#i32.fill(0, 0, HEADER_WORDS);
    this.#rows(batch);
    this.#groups(batch);
    this.#logits(batch);
    this.#headGroups(batch);
    this.#copies(batch);
    this.#i32[Header.step] = batch.step;
  }

  #rows(batch: Batch): void {
    const { at } = this.layout;
    const i32 = this.#i32;
    let row = 0, page = 0;
    for (let s = 0; s < batch.entries.length; s++) {
      const { sequence, start, count, experts } = batch.entries[s]!;
      const { known } = sequence;
      for (let i = 0; i < count; i++, row++) {
        const position = start + i;
        const isKnown = position < known;
        // A token that only the device knows yet stands at the end of its slot's history.
        i32[at.tokenIds + row] = isKnown ? sequence.tokenAt(position) : -1;
        i32[at.positions + row] = isKnown ? position : -1;
        i32[at.rowSlots + row] = sequence.slot!;
        i32[at.rowSegments + row] = s;
        i32[at.rowAdapters + row] = experts ? experts.slot! : -1;
      }
      const segment = at.segments + s * SEGMENT_WORDS;
      i32[segment + Segment.slot] = sequence.slot!;
      i32[segment + Segment.rowStart] = row - count;
      i32[segment + Segment.rowCount] = count;
      page = this.#pages(sequence, segment, page, blocksFor(start + count));
    }
    i32[Header.tokens] = row;
    i32[Header.pairs] = row * this.topK;
    i32[Header.segments] = batch.entries.length;
  }

  /** The page table of each KV group, by blocks: block b of page p is p · blocks + b. Returns where the next begins. */
  #pages(sequence: Sequence, segment: number, next: number, end: number): number {
    const { at } = this.layout;
    for (const [g, { blocks }] of this.kvGroups.entries()) {
      const { firstPage, pages } = sequence.kv[g]!, first = firstPage * blocks, count = Math.max(end - first, 0), words = segment + 3 * g;
      this.#i32[words + Segment.firstBlock] = first;
      this.#i32[words + Segment.pageOffset] = next;
      this.#i32[words + Segment.pageCount] = count;
      for (let b = 0; b < count; b++) this.#i32[at.pages + next++] = pages[Math.floor(b / blocks)]! * blocks + b % blocks;
    }
    return next;
  }

  #groups(batch: Batch): void {
    const { at } = this.layout;
    let next = 0;
    for (let g = 0; g < batch.groups.length; g++) {
      const { adapter, weight, rows } = batch.groups[g]!;
      const group = at.groups + g * GROUP_WORDS;
      this.#i32[group + Group.adapterSlot] = adapter.slot!;
      this.#i32[group + Group.rowStart] = next;
      this.#i32[group + Group.rowCount] = rows.length;
      this.#f32[group + Group.weight] = weight;
      for (const row of rows) this.#i32[at.groupRows + next++] = row;
    }
    this.#i32[Header.groups] = batch.groups.length;
    this.#i32[Header.groupRows] = next;
  }

  /** Groups over logit rows, of adapters that act on the head; by tile (frame.ts: HeadTiles). */
  #headGroups(batch: Batch): void {
    const { at, head } = this.layout, i32 = this.#i32;
    const acting = batch.groups.filter(({ adapter }) => adapter.image.index.actsOnHead);
    i32[Header.headGroups] = i32[Header.headGroupRows] = 0;
    if (acting.length === 0) return;
    const logitOf = new Map<number, number>();
    for (let index = 0; index < batch.logits.length; index++) logitOf.set(i32[at.logitRows + index]!, index);
    const used = Array.from({ length: Math.ceil(batch.logits.length / LOGIT_TILE) }, () => ({ groups: 0, rows: 0 }));
    for (const { adapter, weight, rows } of acting) {
      const tiles = new Map<number, number[]>();
      for (const row of rows) {
        const index = logitOf.get(row);
        if (index === undefined) continue;
        const tile = Math.floor(index / LOGIT_TILE);
        tiles.set(tile, [...tiles.get(tile) ?? [], index % LOGIT_TILE]);
      }
      for (const [tile, own] of tiles) {
        const { groups, rows: first } = used[tile]!, group = at.headGroups + (tile * head.groups + groups) * GROUP_WORDS;
        i32[group + Group.adapterSlot] = adapter.slot!;
        i32[group + Group.rowStart] = first;
        i32[group + Group.rowCount] = own.length;
        this.#f32[group + Group.weight] = weight;
        i32.set(own, at.headGroupRows + tile * head.groupRows + first);
        used[tile] = { groups: groups + 1, rows: first + own.length };
      }
    }
    const groups = Math.max(...used.map(tile => tile.groups)), groupRows = Math.max(...used.map(tile => tile.rows));
    // Tiles behind the last logit row run too. Groups without rows name an adapter that is there: its table is looked at.
    for (let t = 0; t < head.tiles; t++) {
      const tile = used[t] ?? { groups: 0, rows: 0 }, rowsFrom = at.headGroupRows + t * head.groupRows;
      i32.fill(0, rowsFrom + tile.rows, rowsFrom + groupRows);
      for (let g = tile.groups; g < groups; g++) {
        const group = at.headGroups + (t * head.groups + g) * GROUP_WORDS;
        i32.fill(0, group, group + GROUP_WORDS);
        i32[group + Group.adapterSlot] = acting[0]!.adapter.slot!;
      }
    }
    i32[Header.headGroups] = groups;
    i32[Header.headGroupRows] = groupRows;
  }

  #logits(batch: Batch): void {
    const { at } = this.layout;
    let bias = 0, index = 0, firstRow = 0;
    for (const entry of batch.entries) {
      for (let i = 0; i < entry.logitCount; i++, index++) {
        const row = batch.logits[index]!;
        this.#i32[at.logitRows + index] = firstRow + row.position - entry.start;
        bias = this.#sample(at.samples + index * SAMPLE_WORDS, row, bias);
      }
      firstRow += entry.count;
    }
    this.#i32[Header.logits] = index;
  }

  /** One sample record; returns where the next bias pair goes. */
  #sample(record: number, { sequence, position, purpose }: LogitRow, bias: number): number {
    const { request, state: { vocab } } = sequence;
    const { sampling } = request;
    const i32 = this.#i32, f32 = this.#f32;
    const draws = purpose === 'sample';
    i32[record + Sample.slot] = sequence.slot!;
    // A hidden row is scored against token 0: nothing is drawn and nobody reads it.
    i32[record + Sample.target] = purpose === 'score' ? sequence.tokenAt(position + 1) : draws ? -1 : 0;
    f32[record + Sample.temperature] = sampling.temperature;
    i32[record + Sample.topK] = sampling.topK;
    f32[record + Sample.topP] = sampling.topP;
    f32[record + Sample.minP] = sampling.minP;
    f32[record + Sample.repetition] = sampling.repetitionPenalty;
    f32[record + Sample.presence] = sampling.presencePenalty;
    f32[record + Sample.frequency] = sampling.frequencyPenalty;
    i32[record + Sample.seedLo] = Number(BigInt.asIntN(32, sampling.seed));
    i32[record + Sample.seedHi] = Number(BigInt.asIntN(32, sampling.seed >> 32n));
    i32[record + Sample.choice] = sequence.choice;
    i32[record + Sample.promptLen] = sequence.promptLength;
    i32[record + Sample.biasStart] = bias;
    if (draws) {
      const put = (token: number, value: number): void => {
        this.#i32[this.layout.at.bias + 2 * bias] = token;
        this.#f32[this.layout.at.bias + 2 * bias + 1] = value;
        bias++;
      };
      for (const [token, value] of sampling.logitBias) put(token, value);
      // Output tokens before this one: position + 1 - promptLength.
      if (position + 1 - sequence.promptLength < request.minTokens) for (const token of request.stopIds) if (token < vocab) put(token, -Infinity);
    }
    i32[record + Sample.biasCount] = bias - i32[record + Sample.biasStart]!;
    i32[record + Sample.maskRow] = -1;
    i32[record + Sample.vocab] = vocab;
    i32[record + Sample.nTop] = Math.max(request.logprobs, 0);
    return bias;
  }

  #copies(batch: Batch): void {
    const { at } = this.layout;
    batch.copies.forEach(({ from, to }, i) => {
      this.#i32[at.pagePairs + 2 * i] = from;
      this.#i32[at.pagePairs + 2 * i + 1] = to;
    });
    this.#i32[Header.pagePairs] = batch.copies.length;
  }
}

/** For every op a small call that is right, and what can be wrong with the indices inside its buffers. */
import {
  BLOCK_TOKENS, DType, GROUP_WORDS, Group, Half, OPS, RESULT_WORDS, Run, SAMPLE_WORDS, SEGMENT_WORDS, SEG_WORDS, SLOT_WORDS, SPAN_WORDS, Sample, Seg,
  Segment, Slot, Span, quantizedWords, runAt, segsAt, type Op,
} from '@weft/kernels';
import type { HeaderValues, Values } from './harness.js';
import { packInt8, quantizeRowsReference } from './reference/int8.js';

export interface Case {
  op: Op;
  args: Record<string, Values | number | null>;
  header?: HeaderValues;
  /** [operand, word, value, what the error says] */
  wrong: [operand: string, word: number, value: number, message: RegExp][];
}

const i32 = (...values: number[]): Int32Array => Int32Array.from(values);
const f32 = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => ((i * 37) % 19) / 19 - 0.5);
const bits = (value: number): number => new Int32Array(Float32Array.of(value).buffer)[0]!;
export const bf16 = (length: number): Uint8Array =>
  new Uint8Array(Uint16Array.from(f32(length), value => bits(value) >>> 16).buffer);

/** Rows of records with named words. */
const records = (words: number, rows: Record<number, number>[]): Int32Array => {
  const all = new Int32Array(words * rows.length);
  rows.forEach((row, r) => Object.entries(row).forEach(([word, value]) => { all[r * words + Number(word)] = value; }));
  return all;
};

const VOCAB = 40, DIM = 16, HEAD = 8, ROWS = 5, SLOTS = 3, MAX_LEN = 48;

/** Two sequences: rows 0–2 at positions 15–17 in pages 4, 1; rows 3, 4 at positions 0, 1 in page 2. */
const positions = i32(15, 16, 17, 0, 1);
const rowSegments = i32(0, 0, 0, 1, 1);
const segments = records(SEGMENT_WORDS, [
  { [Segment.rowStart]: 0, [Segment.rowCount]: 3, [Segment.firstBlock]: 0, [Segment.pageOffset]: 0, [Segment.pageCount]: 2 },
  { [Segment.rowStart]: 3, [Segment.rowCount]: 2, [Segment.firstBlock]: 0, [Segment.pageOffset]: 2, [Segment.pageCount]: 1 },
]);
const pages = i32(4, 1, 2);
const N_PAGES = 6, PAGE_BYTES = 4096, PLANE = HEAD * BLOCK_TOKENS * 2;
const kv = { nSegments: 2, tableSize: 3, nPages: N_PAGES, pageBytes: PAGE_BYTES, layerOffset: 128, planeStride: 2 * PLANE, headStride: PLANE, kvGroup: 0, kvType: DType.f16 };

/** Latent attention: a key for all heads, in the same pages. */
const LATENT = 32, KEY = LATENT + HEAD;
const latent = { latent: LATENT, rope: HEAD, nSegments: 2, tableSize: 3, nPages: N_PAGES, pageBytes: PAGE_BYTES, layerOffset: 128, kvGroup: 0 };

/** One layer with two sites; slot 1 has rank 3 at site 0 (A in two segs) and nothing at site 1. */
const N_SITES = 2, D_IN = 70, D_OUT = 100, RANK = 3, PART_STRIDE = 4;
const SLOT_TABLE_WORDS = segsAt(1, N_SITES) + 4 * SEG_WORDS;
const A_UNIT = Math.ceil(D_IN / 64) * 128, B_UNIT = RANK * 128;
const tables = ((): Int32Array => {
  const words = new Int32Array(2 * SLOT_TABLE_WORDS);
  const slot = SLOT_TABLE_WORDS, segs = segsAt(1, N_SITES);
  const put = (at: number, row: Record<number, number>): void => Object.entries(row).forEach(([word, value]) => { words[slot + at + Number(word)] = value; });
  put(runAt(0, 0, Half.a, N_SITES), { [Run.dtype]: 1, [Run.rank]: RANK, [Run.scale]: bits(2), [Run.unitBytes]: A_UNIT, [Run.units]: RANK, [Run.firstSeg]: segs, [Run.segs]: 2 });
  put(runAt(0, 0, Half.b, N_SITES), { [Run.dtype]: 2, [Run.rank]: RANK, [Run.scale]: bits(2), [Run.unitBytes]: B_UNIT, [Run.units]: 2, [Run.firstSeg]: segs + 2 * SEG_WORDS, [Run.segs]: 1 });
  put(segs, { [Seg.at]: PAGE_BYTES / 128, [Seg.firstUnit]: 0, [Seg.units]: 2 });
  put(segs + SEG_WORDS, { [Seg.at]: 2 * PAGE_BYTES / 128, [Seg.firstUnit]: 2, [Seg.units]: 1 });
  put(segs + 2 * SEG_WORDS, { [Seg.at]: 3 * PAGE_BYTES / 128, [Seg.firstUnit]: 0, [Seg.units]: 2 });
  return words;
})();
const runWord = (half: number, word: number): number => SLOT_TABLE_WORDS + runAt(0, 0, half, N_SITES) + word;
const segWord = (seg: number, word: number): number => SLOT_TABLE_WORDS + segsAt(1, N_SITES) + seg * SEG_WORDS + word;

const groups = records(GROUP_WORDS, [
  { [Group.adapterSlot]: 1, [Group.rowStart]: 0, [Group.rowCount]: 2, [Group.weight]: bits(1) },
  { [Group.adapterSlot]: 0, [Group.rowStart]: 2, [Group.rowCount]: 1, [Group.weight]: bits(1) },
]);
const groupRows = i32(4, 0, 2);
const lora = {
  groupCount: 0, groupRowCount: 0, rows: ROWS, ldu: 2 * PART_STRIDE, partStride: PART_STRIDE, maxGroups: 2, maxGroupRows: 3, nSlots: 2,
  slotWords: SLOT_TABLE_WORDS, nPages: N_PAGES, pageBytes: PAGE_BYTES, layer: 0, nSites: N_SITES, site: 0, parts: 2,
};
/** As f16 they are values between 1 and 2, of either sign. */
const arena = bf16(N_PAGES * PAGE_BYTES / 2);

/** LoRA on the one expert of a layer, whose runs are those of slot 1. */
const expertTables = tables, expertChoices = new Int32Array(ROWS * 2);
const expertLora = { ...lora, uRows: 6, pairs: ROWS * 2, topK: 2, experts: 1 };

/** Six pairs of three rows: two of the base's expert 1, three of expert slot 1, one of slot 0. */
const EXPERTS = 4, EXPERT_SLOTS = 2, TOP_K = 2;
const spans = records(SPAN_WORDS, [
  { [Span.key]: 1, [Span.start]: 0, [Span.count]: 2 }, { [Span.key]: 4, [Span.start]: 2, [Span.count]: 1 }, { [Span.key]: 5, [Span.start]: 3, [Span.count]: 2 },
  { [Span.key]: 5, [Span.start]: 5, [Span.count]: 1 },
]);

const wrongGroups: Case['wrong'] = [
  ['groups', Group.adapterSlot, 2, /groups\.adapterSlot.* nSlots = 2/], ['groups', Group.adapterSlot, -1, /groups\.adapterSlot.*negative/],
  ['groups', Group.rowStart, 2, /groups\[0\]: rowStart = 2/], ['groups', Group.rowCount, -1, /groups\[0\]: .*rowCount = -1/],
  ['groups', Group.rowCount, 0x7fffffff, /groups\[0\]/],
  ['groupRows', 1, ROWS, /groupRows\[1\] = 5 is not below rows = 5/], ['groupRows', 2, -7, /groupRows\[2\] = -7 is negative/],
];
const wrongRun = (half: number, seg: number): Case['wrong'] => [
  ['tables', runWord(half, Run.dtype), 0, /dtype = 0 is neither/], ['tables', runWord(half, Run.rank), PART_STRIDE + 1, /rank/],
  ['tables', runWord(half, Run.rank), 0, /rank/], ['tables', runWord(half, Run.units), 9, /units = 9/],
  ['tables', runWord(half, Run.units), -1, /units = -1/], ['tables', runWord(half, Run.unitBytes), 64, /unitBytes = 64/],
  ['tables', runWord(half, Run.firstSeg), SLOT_TABLE_WORDS - 1, /firstSeg/], ['tables', runWord(half, Run.firstSeg), -4, /firstSeg = -4/],
  ['tables', runWord(half, Run.segs), 0x7fffffff, /segs/], ['tables', runWord(half, Run.segs), 0, /segs hold 0/],
  ['tables', segWord(seg, Seg.at), N_PAGES * PAGE_BYTES / 128, /beyond the arena of nPages = 6/], ['tables', segWord(seg, Seg.at), -1, /beyond the arena/],
  ['tables', segWord(seg, Seg.at), PAGE_BYTES / 128 - 1, /crosses a page/],
  ['tables', segWord(seg, Seg.firstUnit), 1, /does not begin at unit 0/], ['tables', segWord(seg, Seg.units), 0, /does not begin/],
  ['tables', segWord(seg, Seg.units), 0x7fffffff, /beyond the arena/],
];

/** The same of runs whose units an adapter may have any number of. */
const wrongUnits = (seg: number): Case['wrong'] => [
  ...wrongRun(Half.a, seg).filter(([, word]) => word !== runWord(Half.a, Run.rank) && word !== runWord(Half.a, Run.units)),
  ['tables', runWord(Half.a, Run.units), 9, /segs hold 3 of 9/], ['tables', runWord(Half.a, Run.units), -1, /units = -1/],
];
const wrongTail: Case['wrong'] = [['tables', runWord(Half.a, Run.tail), 64, /tail = 64 is neither/], ['tables', runWord(Half.a, Run.tail), 128, /unitBytes/]];
/** Three units of 64 tokens. */
const embeddingTables = ((): Int32Array => {
  const words = tables.slice();
  words[runWord(Half.a, Run.unitBytes)] = B_UNIT;
  return words;
})();
const { parts: _parts, ldu: _ldu, partStride: _partStride, ...places } = lora;
const tokens = i32(2, 1, 0, 2, 130);

const sampleRow = (over: Record<number, number>): Record<number, number> => ({
  [Sample.slot]: 1, [Sample.target]: -1, [Sample.temperature]: bits(0.7), [Sample.topP]: bits(1), [Sample.repetition]: bits(1.2), [Sample.maskRow]: -1,
  [Sample.biasStart]: 1, [Sample.biasCount]: 2, [Sample.promptLen]: 2, [Sample.nTop]: 3, ...over,
});
const slots = records(SLOT_WORDS, [{ [Slot.length]: 4 }, { [Slot.length]: 4, [Slot.lastToken]: 9 }, { [Slot.length]: MAX_LEN, [Slot.lastToken]: 3 }]);
const history = Int32Array.from({ length: SLOTS * MAX_LEN }, (_, i) => i % VOCAB);

export const CASES: Case[] = [
  {
    op: OPS.resolve,
    args: {
      tokenIds: i32(3, -1, 0), positions: i32(7, -1, MAX_LEN - 1), rowSlots: i32(0, 1, 2), slots, history,
      outTokens: i32(0, 0, 0), outPositions: i32(0, 0, 0), count: 0, rows: 3, nSlots: SLOTS, maxLen: MAX_LEN, vocab: VOCAB,
    },
    wrong: [
      ['tokenIds', 0, VOCAB, /tokenIds\[0\] = 40 is not below vocab = 40/], ['tokenIds', 0, -2, /tokenIds\[0\] = -2/],
      ['positions', 0, MAX_LEN, /positions\[0\] = 48 is not below maxLen/], ['positions', 0, -1, /positions\[0\]/],
      ['rowSlots', 1, SLOTS, /rowSlots\[1\] = 3 is not below nSlots/], ['rowSlots', 1, -1, /rowSlots\[1\]/],
      ['slots', SLOT_WORDS + Slot.length, 0, /slots\[1\]\.length = 0/], ['slots', SLOT_WORDS + Slot.length, MAX_LEN + 1, /slots\[1\]\.length/],
      ['slots', SLOT_WORDS + Slot.lastToken, VOCAB, /slots\.lastToken/],
    ],
  },
  {
    op: OPS.embed,
    args: {
      table: bf16(64 * DIM), tokens: i32(0, 39, 5), x: f32(2 * 20 + DIM),
      count: 0, rows: 3, vocab: VOCAB, limit: VOCAB, dim: DIM, dtype: 1, layout: 0, ldx: 20, scale: 1,
    },
    wrong: [['tokens', 2, VOCAB, /tokens\[2\] = 40 is not below limit = 40/], ['tokens', 0, -1, /tokens\[0\] = -1 is negative/]],
  },
  {
    op: OPS.rmsNorm,
    args: {
      r: f32(ROWS * DIM), add: f32(ROWS * DIM), w: f32(DIM), y: f32(2 * DIM), index: i32(4, 1),
      count: 0, rows: 2, srcRows: ROWS, dim: DIM, ldr: DIM, ldAdd: DIM, ldy: DIM, eps: 1e-5, plusOne: 0, yType: 0,
    },
    wrong: [['index', 1, ROWS, /index\[1\] = 5 is not below srcRows = 5/], ['index', 0, -3, /index\[0\] = -3/]],
  },
  {
    op: OPS.headNorm,
    args: { x: f32(2 * 20 + 2 * HEAD), w: f32(HEAD), count: 0, rows: 3, heads: 2, dim: HEAD, width: 2 * HEAD, ldx: 20, eps: 1e-5, plusOne: 0 },
    wrong: [],
  },
  {
    op: OPS.linear,
    args: {
      x: f32(3 * DIM), w: bf16(64 * DIM), b: f32(VOCAB), y: f32(2 * 44 + VOCAB),
      count: 0, countFrom: 0, rows: 3, n: VOCAB, k: DIM, ldx: DIM, ldy: 44, dtype: 1, accumulate: 0, xType: 0, layout: 0,
    },
    wrong: [],
  },
  {
    op: OPS.rope,
    args: {
      x: f32(3 * 2 * HEAD), positions: i32(0, 5, 9), cosSin: f32(10 * HEAD),
      count: 0, rows: 3, heads: 2, dim: HEAD, width: 2 * HEAD, ldx: 2 * HEAD, rotary: HEAD, interleaved: 0, maxPos: 10,
    },
    wrong: [['positions', 2, 10, /positions\[2\] = 10 is not below maxPos = 10/], ['positions', 1, -1, /positions\[1\] = -1/]],
  },
  {
    op: OPS.kvWrite,
    args: {
      k: f32(ROWS * 2 * HEAD), v: f32(ROWS * 2 * HEAD), positions, rowSegments, segments, pages, arena,
      count: 0, rows: ROWS, kvHeads: 2, dim: HEAD, width: 2 * HEAD, ldk: 2 * HEAD, ldv: 2 * HEAD, ...kv,
    },
    wrong: [
      ['positions', 2, 32, /positions\[2\] = 32 needs blocks that segments\[0\] does not have/], ['positions', 3, -1, /positions\[3\] = -1/],
      ['positions', 3, -2147483648, /positions\[3\]/],
      ['rowSegments', 4, 2, /rowSegments\[4\] = 2 is not below nSegments = 2/], ['rowSegments', 0, -1, /rowSegments\[0\]/],
      ['segments', Segment.pageOffset, 2, /segments\[0\]: pageOffset = 2 with pageCount = 2/], ['segments', Segment.pageOffset, -1, /segments\[0\]/],
      ['segments', Segment.pageCount, 0x7fffffff, /segments\[0\]/], ['segments', Segment.firstBlock, 1, /positions\[0\] = 15/],
      ['segments', Segment.firstBlock, -1, /segments\[0\]/],
      ['pages', 1, N_PAGES, /pages\[0\] = 6 is not below nPages = 6/], ['pages', 2, -1, /pages\[0\] = -1/],
    ],
  },
  {
    op: OPS.attention,
    args: {
      q: f32(ROWS * 4 * HEAD), out: f32(ROWS * 4 * HEAD), positions, segments, pages, arena, partials: f32(8 * 18),
      count: 0, rows: ROWS, segmentCount: 0, heads: 4, kvHeads: 2, dim: HEAD, width: 4 * HEAD, ldq: 4 * HEAD, ldo: 4 * HEAD, ...kv,
      window: 0, scale: 0.35, softcap: 0, outType: 0, nPartials: 8, ldPartials: 18,
    },
    wrong: [
      ['positions', 0, 32, /positions\[0\] = 32/], ['positions', 4, -1, /positions\[4\] = -1/],
      ['segments', Segment.rowStart, 3, /segments\[0\]: rowStart = 3 with rowCount = 3 does not lie inside the 5 rows/],
      ['segments', Segment.rowCount, -1, /segments\[0\]/], ['segments', Segment.rowStart, -1, /segments\[0\]/],
      ['segments', SEGMENT_WORDS + Segment.pageOffset, 3, /segments\[1\]/], ['segments', Segment.firstBlock, 1, /positions\[0\]/],
      ['pages', 0, N_PAGES, /pages\[0\] = 6/], ['pages', 1, -2, /pages\[1\] = -2/],
    ],
  },
  {
    op: OPS.gatedAct,
    args: { x: f32(3 * 2 * DIM), y: f32(3 * DIM), count: 0, rows: 3, dim: DIM, dim2: 2 * DIM, ldx: 2 * DIM, ldy: DIM, act: 1, yType: 0 },
    wrong: [],
  },
  {
    op: OPS.loraShrink,
    args: { x: f32(ROWS * D_IN), u: f32(3 * 2 * PART_STRIDE), groups, groupRows, tables, arena, ...lora, dIn: D_IN, ldx: D_IN, xType: 0 },
    wrong: [...wrongGroups, ...wrongRun(Half.a, 0)],
  },
  {
    op: OPS.loraExpand,
    args: {
      u: f32(3 * 2 * PART_STRIDE), y: f32(ROWS * (D_OUT + 20)), groups, groupRows, tables, arena, ...lora, dOut: D_OUT + 20, ldy: D_OUT + 20,
      outOffset0: 0, dOut0: D_OUT, outOffset1: D_OUT, dOut1: 20, outOffset2: 0, dOut2: 0,
    },
    wrong: [...wrongGroups, ...wrongRun(Half.b, 2), ['tables', runWord(Half.a, Run.rank), 2, /A and B differ in rank/]],
  },
  {
    op: OPS.sample,
    args: {
      logits: f32(3 * VOCAB), records: records(SAMPLE_WORDS, [{}, {}, sampleRow({}), sampleRow({ [Sample.slot]: 0, [Sample.maskRow]: 1 }), sampleRow({ [Sample.target]: 7 })]),
      bias: i32(0, 0, 5, bits(2), 39, bits(-Infinity)), masks: i32(-1, -1, 0xff, 0), slots, history, results: new Int32Array(5 * RESULT_WORDS),
      count: 0, firstRow: 2, tileRows: 3, vocab: VOCAB, ldl: VOCAB, maxLogits: 5, biasWords: 6, maskRows: 2, maskWords: 2, nSlots: SLOTS, maxLen: MAX_LEN,
    },
    wrong: [
      ['records', 2 * SAMPLE_WORDS + Sample.slot, SLOTS, /records\.slot/], ['records', 2 * SAMPLE_WORDS + Sample.slot, -1, /records\.slot/],
      ['records', 2 * SAMPLE_WORDS + Sample.slot, 2, /slots\[2\]\.length = 48 leaves no place below maxLen = 48/],
      ['records', 4 * SAMPLE_WORDS + Sample.target, VOCAB, /records\.target/], ['records', 4 * SAMPLE_WORDS + Sample.target, -2, /records\.target/],
      ['records', 2 * SAMPLE_WORDS + Sample.biasStart, 2, /records\[2\]: biasStart = 2/], ['records', 2 * SAMPLE_WORDS + Sample.biasCount, -1, /biasCount = -1/],
      ['records', 2 * SAMPLE_WORDS + Sample.biasCount, 0x7fffffff, /biasWords = 6/], ['bias', 4, VOCAB, /bias\[0\] = 40 is not below vocab/],
      ['records', 3 * SAMPLE_WORDS + Sample.maskRow, 2, /records\.maskRow.*maskRows = 2/], ['records', 3 * SAMPLE_WORDS + Sample.maskRow, -2, /records\.maskRow/],
      ['records', 2 * SAMPLE_WORDS + Sample.nTop, 21, /nTop = 21/], ['records', 2 * SAMPLE_WORDS + Sample.topK, -1, /topK = -1/],
      ['records', 2 * SAMPLE_WORDS + Sample.temperature, bits(NaN), /temperature/], ['records', 2 * SAMPLE_WORDS + Sample.temperature, bits(-1), /temperature/],
      ['records', 2 * SAMPLE_WORDS + Sample.repetition, bits(0), /repetition/], ['records', 2 * SAMPLE_WORDS + Sample.promptLen, MAX_LEN + 1, /promptLen/],
      ['slots', SLOT_WORDS + Slot.length, MAX_LEN, /slots\[1\]\.length/], ['slots', SLOT_WORDS + Slot.length, -1, /slots\[1\]\.length/],
      ['history', MAX_LEN + 1, VOCAB, /history\[1\] = 40/],
    ],
  },
  {
    op: OPS.copyRows,
    args: { from: f32(2 * 20 + DIM), to: f32(3 * DIM), count: 0, countFrom: 0, rows: 3, dim: DIM, ldFrom: 20, ldTo: DIM, toType: 0 },
    wrong: [],
  },
  {
    op: OPS.copyPages,
    args: { pairs: i32(0, 1, 5, 2), arena, count: 0, maxPairs: 2, nPages: N_PAGES, pageBytes: PAGE_BYTES },
    wrong: [['pairs', 2, N_PAGES, /pairs\[2\] = 6 is not below nPages = 6/], ['pairs', 1, -1, /pairs\[1\] = -1/]],
  },
  {
    op: OPS.allReduce,
    args: { x: f32(3 * DIM), count: 0, rows: 3, dim: DIM, ldx: DIM, rank: 0, size: 1 },
    wrong: [],
  },
  {
    op: OPS.quantizeRows,
    args: { x: f32(2 * 72 + D_IN), q: f32(3 * quantizedWords(D_IN)), count: 0, countFrom: 0, rows: 3, k: D_IN, words: quantizedWords(D_IN), ldx: 72, ldq: quantizedWords(D_IN), xType: 0 },
    wrong: [],
  },
  {
    op: OPS.linearInt8,
    args: {
      x: quantizeRowsReference(f32(3 * D_IN), 3, D_IN).words, w: packInt8(f32(VOCAB * D_IN), VOCAB, D_IN).bytes, b: f32(VOCAB), y: f32(2 * 44 + VOCAB),
      count: 0, countFrom: 0, rows: 3, n: VOCAB, k: D_IN, words: quantizedWords(D_IN), ldx: quantizedWords(D_IN), ldy: 44, dtype: 3, accumulate: 0,
    },
    wrong: [],
  },
  {
    op: OPS.ropeKv,
    args: {
      x: f32(ROWS * 6 * HEAD), qNorm: f32(HEAD), kNorm: f32(HEAD), positions, cosSin: f32(MAX_LEN * HEAD), rowSegments, segments, pages, arena,
      count: 0, rows: ROWS, heads: 2, kvHeads: 2, dim: HEAD, width: 6 * HEAD, ldx: 6 * HEAD, eps: 1e-5, plusOne: 0, rotary: HEAD, interleaved: 0, maxPos: MAX_LEN, ...kv,
    },
    wrong: [
      ['positions', 2, 32, /positions\[2\] = 32 needs blocks that segments\[0\] does not have/], ['positions', 3, -1, /positions\[3\] = -1/],
      ['positions', 0, MAX_LEN, /positions\[0\] = 48 is not below maxPos = 48/], ['rowSegments', 4, 2, /rowSegments\[4\] = 2 is not below nSegments = 2/],
      ['segments', Segment.pageOffset, 2, /segments\[0\]: pageOffset = 2 with pageCount = 2/], ['pages', 1, N_PAGES, /pages\[0\] = 6 is not below nPages = 6/],
    ],
  },
  {
    op: OPS.softcap,
    args: { x: f32(2 * 20 + DIM), count: 0, countFrom: 0, rows: 3, dim: DIM, ldx: 20, cap: 30 },
    wrong: [],
  },
  {
    op: OPS.routeExperts,
    args: {
      logits: f32(2 * 7 + EXPERTS), rowAdapters: i32(-1, 1, 0), map: i32(-1, -1, -1, -1, 1, -1, 0, -1), keys: new Int32Array(3 * TOP_K), weights: f32(3 * TOP_K),
      count: 0, rows: 3, experts: EXPERTS, topK: TOP_K, ldl: 7, nGroups: 2, topGroups: 2, normalize: 1, scale: 1, adapterSlots: 2, expertSlots: EXPERT_SLOTS,
    },
    wrong: [
      ['rowAdapters', 1, 2, /rowAdapters\[1\] = 2 is not below adapterSlots = 2/], ['rowAdapters', 0, -2, /rowAdapters\[0\] = -2/],
      ['map', 4, EXPERT_SLOTS, /map\[0\] = 2 is not below expertSlots = 2/], ['map', 6, -2, /map\[2\] = -2/],
    ],
  },
  {
    op: OPS.groupExperts,
    args: {
      keys: i32(5, 0, 3, 0, 1, 5), order: new Int32Array(6), inverse: new Int32Array(6), spans: new Int32Array(6 * SPAN_WORDS),
      count: 0, pairs: 6, nKeys: EXPERTS + EXPERT_SLOTS, maxSpans: 6,
    },
    wrong: [['keys', 2, 6, /keys\[2\] = 6 is not below nKeys = 6/], ['keys', 5, -1, /keys\[5\] = -1 is negative/]],
  },
  {
    op: OPS.expertLinear,
    args: {
      x: f32(2 * 72 + D_IN), base: bf16(EXPERTS * 64 * D_IN), spans, order: i32(1, 3, 2, 4, 0, 5), types: i32(1, 2), pages: i32(5, 2, 1, 3, 4, 2), arena: bf16(N_PAGES * PAGE_BYTES), y: f32(5 * 44 + VOCAB),
      count: 0, pairs: 6, xRows: 3, topK: TOP_K, experts: EXPERTS, n: VOCAB, k: D_IN, outs: EXPERTS * 64, ldx: 72, ldy: 44, dtype: 1, xType: 0, maxSpans: 4,
      expertSlots: EXPERT_SLOTS, slotPages: 3, firstUnit: 1, nPages: N_PAGES, pageBytes: 2 * PAGE_BYTES,
    },
    wrong: [
      ['spans', Span.start, 1, /spans\[0\]: start = 1 with count = 2 does not follow row 0 of 6/], ['spans', Span.count, 7, /spans\[0\]: start = 0 with count = 7/],
      ['spans', Span.count, 0, /spans\[0\]/], ['spans', SPAN_WORDS + Span.key, -1, /spans\[1\]: key = -1 is not below 6/],
      ['spans', SPAN_WORDS + Span.key, 6, /spans\[1\]: key = 6/], ['spans', 3 * SPAN_WORDS + Span.count, 2, /spans\[3\]/], ['spans', 3 * SPAN_WORDS + Span.start, 0x7fffffff, /spans\[3\]/],
      ['order', 2, 6, /order\[2\] = 6 is not below pairs = 6/], ['order', 0, -1, /order\[0\] = -1/],
      ['types', 1, 0, /types\[1\] = 0 is neither bf16 nor f16/], ['pages', 3, N_PAGES, /pages\[0\] = 6 is not below nPages = 6/], ['pages', 5, -1, /pages\[2\] = -1/],
    ],
  },
  {
    op: OPS.combineExperts,
    args: {
      y: f32(5 * 18 + DIM), inverse: i32(3, 1, 0, 5, 2, 4), weights: f32(6), gate: f32(2 * 7 + 1), out: f32(2 * 20 + DIM),
      count: 0, rows: 3, topK: TOP_K, pairs: 6, dim: DIM, ldy: 18, ldg: 7, ldo: 20, accumulate: 1,
    },
    wrong: [['inverse', 4, 6, /inverse\[4\] = 6 is not below pairs = 6/], ['inverse', 0, -1, /inverse\[0\] = -1/]],
  },
  {
    op: OPS.expertShrink,
    args: {
      x: f32(ROWS * D_IN), u: f32(3 * TOP_K * 2 * PART_STRIDE), groups, groupRows, keys: expertChoices, inverse: null, tables: expertTables, arena,
      ...expertLora, xRows: ROWS, dIn: D_IN, ldx: D_IN, xType: 0,
    },
    wrong: [...wrongGroups, ['keys', 4 * TOP_K, 1, /keys\[0\] = 1 is not below experts = 1/], ['keys', 1, -1, /keys\[1\] = -1/], ['tables', runWord(Half.a, Run.units), 9, /units = 9/]],
  },
  {
    op: OPS.expertExpand,
    args: {
      u: f32(3 * TOP_K * 2 * PART_STRIDE), y: f32(ROWS * TOP_K * (D_OUT + 20)), groups, groupRows, keys: expertChoices,
      inverse: Int32Array.from({ length: ROWS * TOP_K }, (_, i) => ROWS * TOP_K - 1 - i), tables: expertTables, arena, ...expertLora, dOut: D_OUT + 20, ldy: D_OUT + 20,
      outOffset0: 0, dOut0: D_OUT, outOffset1: D_OUT, dOut1: 20, outOffset2: 0, dOut2: 0,
    },
    wrong: [...wrongGroups, ['keys', 4 * TOP_K, 1, /keys\[0\] = 1/], ['inverse', 4 * TOP_K, ROWS * TOP_K, /inverse\[0\] = 10 is not below pairs = 10/], ['inverse', 1, -1, /inverse\[1\] = -1/],
      ['tables', runWord(Half.b, Run.tail), 8, /tail = 8; LoRA on experts has none/]],
  },
  {
    op: OPS.latentKv,
    args: {
      kv: f32(4 * 44 + KEY), w: f32(LATENT), q: f32(ROWS * 2 * 14), query: f32(ROWS * 2 * KEY), positions, cosSin: f32(MAX_LEN * HEAD), rowSegments, segments, pages, arena,
      ...latent, count: 0, rows: ROWS, heads: 2, qDim: 14, dim: KEY, qWidth: 28, width: 2 * KEY, ldkv: 44, ldq: 28, ldQuery: 2 * KEY, eps: 1e-6, interleaved: 1, maxPos: MAX_LEN,
    },
    wrong: [
      ['positions', 2, 32, /positions\[2\] = 32 needs blocks that segments\[0\] does not have/], ['positions', 3, -1, /positions\[3\] = -1/],
      ['positions', 0, MAX_LEN, /positions\[0\] = 48 is not below maxPos = 48/], ['rowSegments', 4, 2, /rowSegments\[4\] = 2 is not below nSegments = 2/],
      ['segments', Segment.pageOffset, 2, /segments\[0\]: pageOffset = 2 with pageCount = 2/], ['pages', 1, N_PAGES, /pages\[0\] = 6 is not below nPages = 6/],
    ],
  },
  {
    op: OPS.headLinear,
    args: {
      x: f32(2 * 20 + 14), w: bf16(2 * 32 * 6), y: f32(2 * 72 + 70),
      count: 0, rows: 3, heads: 2, outs: 64, n: 32, k: 5, xStride: 7, yStride: 36, xWidth: 14, yWidth: 70, ldx: 20, ldy: 72, dtype: 1,
    },
    wrong: [],
  },
  {
    op: OPS.latentAttention,
    args: {
      query: f32(ROWS * 2 * KEY), out: f32(ROWS * 2 * LATENT), positions, segments, pages, arena, partials: f32(8 * 34),
      ...latent, count: 0, rows: ROWS, segmentCount: 0, heads: 2, width: 2 * KEY, outWidth: 2 * LATENT, ldq: 2 * KEY, ldo: 2 * LATENT, scale: 0.2, nPartials: 8, ldPartials: 34,
    },
    wrong: [
      ['positions', 0, 32, /positions\[0\] = 32/], ['positions', 4, -1, /positions\[4\] = -1/],
      ['segments', Segment.rowStart, 3, /segments\[0\]: rowStart = 3 with rowCount = 3 does not lie inside the 5 rows/],
      ['segments', Segment.rowCount, -1, /segments\[0\]/], ['segments', SEGMENT_WORDS + Segment.pageOffset, 3, /segments\[1\]/],
      ['segments', Segment.firstBlock, 1, /positions\[0\]/], ['pages', 0, N_PAGES, /pages\[0\] = 6/], ['pages', 1, -2, /pages\[1\] = -2/],
    ],
  },
  {
    op: OPS.latentLora,
    args: {
      x: f32(4 * 70 + 66), y: f32(4 * 200 + 196), groups, groupRows, tables, arena, groupCount: 0, groupRowCount: 0, rows: ROWS, heads: 2, latent: 96, headOuts: D_OUT / 2,
      firstOut: 12, outs: 30, transposed: 1, xStride: 36, yStride: 100, xWidth: 66, yWidth: 196, ldx: 70, ldy: 200, partStride: PART_STRIDE,
      maxGroups: 2, maxGroupRows: 3, nSlots: 2, slotWords: SLOT_TABLE_WORDS, nPages: N_PAGES, pageBytes: PAGE_BYTES, layer: 0, nSites: N_SITES, site: 0,
    },
    wrong: [
      ...wrongGroups, ...wrongRun(Half.b, 2), ...wrongRun(Half.a, 0).filter(([, word]) => word !== runWord(Half.a, Run.rank)),
      ['tables', runWord(Half.a, Run.rank), 2, /A and B differ in rank/], ['tables', runWord(Half.b, Run.tail), 512, /tail = 512/],
    ],
  },
  {
    op: OPS.embedShrink,
    args: { tokens, u: f32(3 * PART_STRIDE), groups, groupRows, tables: embeddingTables, arena, ...places, ldu: PART_STRIDE, partStride: PART_STRIDE },
    wrong: [
      ...wrongGroups, ...wrongUnits(0), ['tables', runWord(Half.a, Run.rank), PART_STRIDE + 1, /rank/], ['tables', runWord(Half.a, Run.rank), 0, /rank/],
      ['tokens', 4, -1, /tokens\[4\] = -1 is negative/],
    ],
  },
  {
    op: OPS.embedReplace,
    args: { tokens, x: f32(ROWS * D_IN), groups, groupRows, tables, arena, ...places, dim: D_IN, ldx: D_IN },
    wrong: [...wrongGroups, ...wrongUnits(0), ...wrongTail, ['tokens', 4, -1, /tokens\[4\] = -1 is negative/]],
  },
  {
    op: OPS.headReplace,
    args: { x: f32(ROWS * D_IN), y: f32(ROWS * D_OUT), groups, groupRows, tables, arena, ...places, dIn: D_IN, dOut: D_OUT, ldx: D_IN, ldy: D_OUT, xType: 0 },
    wrong: [...wrongGroups, ...wrongUnits(0), ...wrongTail],
  },
];

/** Arrays of its own: outputs and changed words of one run are not seen by the next. */
export function copyArgs(args: Case['args']): Case['args'] {
  return Object.fromEntries(Object.entries(args).map(([name, value]) => [name, ArrayBuffer.isView(value) ? value.slice() : value]));
}

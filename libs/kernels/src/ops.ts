/**
 * The op table: every op that a device understands, described once.
 *
 * The recorder (`CommandList`), the bounds checks in the addon, the C++ argument structs (`native/core/ops.gen.h`),
 * `weft-replay` and the cost model of the tracer are all made from this table. Op codes never change meaning.
 *
 * Conventions
 * - Activations are f32, row-major, one row per token; `ld…` is the distance between rows in values. What feeds a linear
 *   map may be bf16 instead (`…Type`, a DType): then the op that writes it rounds to nearest even; NaN stays NaN.
 * - `rows` is the capacity of an op (its bucket). How many rows really run stands in the step's frame: `count` is recorded
 *   as the index of a header word of the frame (see frame.ts), 0 means "all rows"; a kernel gets the number.
 * - An operand that may be absent is recorded with the null reference.
 * - Whatever is an index inside a buffer (token, position, page, slot, row) is checked against the bound that the op
 *   declares before it is used; a list that breaks a bound fails as a whole with the op's number and the bound's name.
 * - What an op writes overlaps none of its other operands.
 * - A row's result never depends on which other rows run, how many threads run, or how a prompt was cut into chunks.
 */
import { arena, counts, f32, inout, mat, op, optional, out, packed, scratch, table, typed, u32, vec } from './op.js';
import { SPAN_WORDS } from './expert-table.js';
import { GROUP_WORDS, RESULT_WORDS, SAMPLE_WORDS, SEGMENT_WORDS, SLOT_WORDS } from './frame.js';

/**
 * Stored formats of weights. Values are part of the recorded format.
 *
 * int8: w = scale · q with one bf16 scale for each output and group of INT8_GROUP consecutive k. A panel is a sequence
 * [ceil(k/64)]{ int8 q [pairs of k][32][2], bf16 scales [32] }; the last group has only as many pairs as it needs, the tail of
 * an odd k is zero. 1.03 bytes a weight.
 *
 * bf12: bf16 in 12 bits, without loss (native/core/bf12.h).
 */
export const DType = { f32: 0, bf16: 1, f16: 2, int8: 3, bf12: 4 } as const;
export type DType = (typeof DType)[keyof typeof DType];

/** Values of k that share a scale, in weights and in quantized activations. */
export const INT8_GROUP = 64;

/** 32-bit words of a row of k quantized activations (see `quantizeRows`). */
export const quantizedWords = (k: number): number => Math.ceil(k / INT8_GROUP) * (INT8_GROUP / 2 + 1);

/** Activations of gated MLPs. */
export const Activation = { silu: 0, geluTanh: 1, gelu: 2 } as const;

/**
 * Which token and which position each row stands for, from what the host knows and what the device remembers.
 *
 * tokenIds[t] >= 0: that token, at positions[t] >= 0; it is noted in history[slot][position] and the slot's length
 * becomes position + 1 (rows of one slot stand in ascending order).
 * tokenIds[t] = -1: the last token of the slot, at position length - 1, as sampling left it: the host need not know it yet.
 */
export const resolve = op(1, 'resolve', {
  tokenIds: vec('i32', 'rows'), positions: vec('i32', 'rows'), rowSlots: vec('i32', 'rows'),
  slots: inout(mat('i32', 'nSlots', SLOT_WORDS)), history: inout(mat('i32', 'nSlots', 'maxLen')),
  outTokens: out(vec('i32', 'rows')), outPositions: out(vec('i32', 'rows')),
}, { count: counts('rows'), rows: u32, nSlots: u32, maxLen: u32, vocab: u32 });

/**
 * x[t] = scale · table[tokens[t]]; 0 for tokens from vocab on, below `limit`: an adapter's.  `layout` 0: GEMM-packed (tied head, see `linear`), 1: plain rows
 * [vocab][dim] (not int8).
 */
export const embed = op(2, 'embed', {
  table: packed('vocab', 'dim', 'dtype', 'layout'), tokens: vec('i32', 'rows'), x: out(mat('f32', 'rows', 'dim', 'ldx')),
}, { count: counts('rows'), rows: u32, vocab: u32, limit: u32, dim: u32, dtype: u32, layout: u32, ldx: u32, scale: f32 });

/**
 * r[t] += add[t];  y[t] = w · r[t] / sqrt(mean(r[t]²) + eps).
 * With `index`, row i reads r[index[i]] (+ add[index[i]]) and r is left as it is: the final norm, for logit rows only.
 * srcRows is the capacity of r and add, rows that of y. plusOne: the weight is stored as w - 1 (Gemma).
 */
export const rmsNorm = op(3, 'rmsNorm', {
  r: inout(mat('f32', 'srcRows', 'dim', 'ldr')), add: optional(mat('f32', 'srcRows', 'dim', 'ldAdd')), w: vec('f32', 'dim'),
  y: out(typed('rows', 'dim', 'ldy', 'yType')), index: optional(vec('i32', 'rows')),
}, { count: counts('rows'), rows: u32, srcRows: u32, dim: u32, ldr: u32, ldAdd: u32, ldy: u32, eps: f32, plusOne: u32, yType: u32 });

/** x[t][h] = w · x[t][h] / sqrt(mean(x[t][h]²) + eps) for each head h, in place (QK-norm; Qwen3). */
export const headNorm = op(4, 'headNorm', {
  x: inout(mat('f32', 'rows', 'width', 'ldx')), w: vec('f32', 'dim'),
}, { count: counts('rows'), rows: u32, heads: u32, dim: u32, width: u32, ldx: u32, eps: f32, plusOne: u32 });

/**
 * y[t] = W x[t] + b, or y[t] += W x[t] + b with `accumulate`.
 *
 * W [n, k] is packed as [ceil(n/32)][k][32] of its dtype, bf16 as [ceil(n/32)][ceil(k/2)][32][2]; what is beyond n and k is
 * zero. `layout` 1: plain rows [n][k], for devices that want them so (Device.linearLayout); not int8, not bf12.
 * Outputs stand in lanes and K runs sequentially in f32, so a row's bits don't depend on how many rows there are. bf16 rows with bf16 weights are multiplied as the instruction set does best, in an order that K alone fixes. int8 is
 * `linearInt8`'s.
 * Bytes: n·k·size once per step.  Flops: 2·rows·n·k.
 */
export const linear = op(5, 'linear', {
  x: typed('rows', 'k', 'ldx', 'xType'), w: packed('n', 'k', 'dtype', 'layout'), b: optional(vec('f32', 'n')),
  y: inout(mat('f32', 'rows', 'n', 'ldy')),
}, {
  count: counts('rows', 'countFrom'), countFrom: u32, rows: u32, n: u32, k: u32, ldx: u32, ldy: u32, dtype: u32, accumulate: u32, xType: u32,
  layout: u32,
});

/** Bytes of W [n, k], packed. */
export function panelBytes(n: number, k: number, dtype: keyof typeof DType): number {
  const padded = Math.ceil(n / 32) * 32;
  if (dtype === 'int8') return padded * 2 * (Math.ceil(k / 2) + Math.ceil(k / INT8_GROUP));
  if (dtype === 'bf12') {
    const lines = (bytes: number): number => Math.ceil(bytes / 64) * 64;
    return (padded / 32) * lines(lines(32 + 4 * Math.ceil(k / 8)) + Math.ceil(k / 2) * 96);
  }
  return dtype === 'bf16' ? padded * Math.ceil(k / 2) * 4 : padded * k * (dtype === 'f32' ? 4 : 2);
}

/**
 * Rotates `heads` heads of `dim` values in place by their position. cosSin [maxPos][rotary]: rotary/2 cosines, then
 * rotary/2 sines. interleaved 0: value i pairs with i + rotary/2 (Hugging Face); 1: 2i pairs with 2i+1.
 */
export const rope = op(6, 'rope', {
  x: inout(mat('f32', 'rows', 'width', 'ldx')), positions: vec('i32', 'rows'), cosSin: mat('f32', 'maxPos', 'rotary'),
}, { count: counts('rows'), rows: u32, heads: u32, dim: u32, width: u32, ldx: u32, rotary: u32, interleaved: u32, maxPos: u32 });

/**
 * Writes K and V of each row into its page as f16 (round to nearest even), or as bf16 or int8 where kvType says so.
 *
 * A page holds 16 tokens. In the page of a token, K of a layer and head lies at layerOffset + head·headStride as
 * [dim][16 tokens] (tokens in lanes), V at layerOffset + planeStride + head·headStride as [16 tokens][dim]; all in bytes.
 * int8: symmetric, scale = largest |value| of the head / 127 as f16; a plane's heads are followed by its scales, [kvHeads][16
 * tokens] of f16. bf16: by pairs, K as [dim/2][16 tokens][2], V as [8][dim][2 tokens]; dim is even; for CPUs. What a token
 * becomes depends on itself alone.
 * pages: the frame's page tables; a segment names its part of it (see SEGMENT in frame.ts).
 */
export const kvWrite = op(7, 'kvWrite', {
  k: mat('f32', 'rows', 'width', 'ldk'), v: mat('f32', 'rows', 'width', 'ldv'), positions: vec('i32', 'rows'),
  rowSegments: vec('i32', 'rows'), segments: mat('i32', 'nSegments', SEGMENT_WORDS), pages: vec('i32', 'tableSize'),
  arena: inout(arena('nPages', 'pageBytes')),
}, {
  count: counts('rows'), rows: u32, kvHeads: u32, dim: u32, width: u32, ldk: u32, ldv: u32, nSegments: u32, tableSize: u32,
  nPages: u32, pageBytes: u32, layerOffset: u32, planeStride: u32, headStride: u32, kvGroup: u32, kvType: u32,
});

/**
 * out[t][h] = softmax(scale · q[t][h]·K) V over the tokens of the row's own sequence at positions ≤ its own, and
 * > its own - window where window > 0. GQA: head h reads kv head h·kvHeads/heads. KV as `kvWrite` leaves it.
 * Chunk rows and decode rows in one call. softcap > 0: scores become softcap·tanh(score/softcap) (Gemma 2).
 *
 * Each span of ATTENTION_SPAN positions is a softmax of its own, and spans are merged in ascending order (flash decoding
 * with splits of fixed length): the order of additions is fixed by position alone. partials: room for nPartials states
 * of a row's head and span, [dim padded to 16 | highest score, sum of weights], ldPartials values apart; with it the spans
 * of few rows with a long past are computed side by side. Without it, or where it is full, bits are the same.
 * Where outType is bf16, a device may take queries and softmax weights in f16. Where kvType is bf16, scaled queries and
 * softmax weights are rounded to bf16, products of a pair added one after the other, and weights may be off by 1.1e-4 before.
 * Source: FlashAttention-2 §3.1; Flash-Decoding.
 */
export const attention = op(8, 'attention', {
  q: mat('f32', 'rows', 'width', 'ldq'), out: out(typed('rows', 'width', 'ldo', 'outType')), positions: vec('i32', 'rows'),
  segments: mat('i32', 'nSegments', SEGMENT_WORDS), pages: vec('i32', 'tableSize'), arena: arena('nPages', 'pageBytes'),
  partials: optional(scratch(mat('f32', 'nPartials', 'ldPartials'))),
}, {
  count: counts('rows'), rows: u32, segmentCount: counts('nSegments'), heads: u32, kvHeads: u32, dim: u32, width: u32, ldq: u32, ldo: u32,
  nSegments: u32, tableSize: u32, nPages: u32, pageBytes: u32, layerOffset: u32, planeStride: u32, headStride: u32,
  kvGroup: u32, kvType: u32, window: u32, scale: f32, softcap: f32, outType: u32, nPartials: u32, ldPartials: u32,
});

/** y[t][i] = act(x[t][i]) · x[t][i + dim]: gate in the first `dim` columns, up in the next. */
export const gatedAct = op(9, 'gatedAct', {
  x: mat('f32', 'rows', 'dim2', 'ldx'), y: out(typed('rows', 'dim', 'ldy', 'yType')),
}, { count: counts('rows'), rows: u32, dim: u32, dim2: u32, ldx: u32, ldy: u32, act: u32, yType: u32 });

/**
 * u[i][p·partStride + j] = A_p[j] · x[groupRows[i]] for every part p of a fused site, every group g, every i of g's
 * rows and every rank row j < rank: the first half of y[t] += scale·w·B(A x[t]), for all adapters in one op.
 *
 * Groups are rows of the frame (GROUP in frame.ts): adapter slot, its part of groupRows, weight. A row may stand in
 * several groups. The adapter's runs are found in `tables` (adapter-table.ts) under (slot, layer, site + p, A); an
 * adapter without that run costs nothing. Units are read from pool pages in place: A unit = one rank row, dIn
 * values padded to 64, bf16 or f16.
 * Bytes: Σ over groups of rank·dIn·2.  Flops: 2·Σ over rows of rank·dIn.   Source: S-LoRA §5, Punica §4.
 */
export const loraShrink = op(10, 'loraShrink', {
  x: typed('rows', 'dIn', 'ldx', 'xType'), u: out(mat('f32', 'maxGroupRows', 'ldu')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, dIn: u32, ldx: u32, ldu: u32, partStride: u32, maxGroups: u32,
  maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32, parts: u32,
  xType: u32,
});

/**
 * y[groupRows[i]][outOffset_p + o] += scale·weight · Σ_j B_p[o][j] · u[i][p·partStride + j]: the second half.
 * B unit = 64 outputs × all ranks as [rank][64]. Groups are applied to a row in their order. Up to three parts
 * (q, k, v · gate, up · one). scale is the run's own, weight the group's.
 *
 * A run with a tail has h[64] and c[64], f32, behind the ranks of each unit, for what acts on outputs (DoRA, biases):
 * y += weight·(h·y + (1 + h)·scale·Σ_j B[o][j]·u[j] + c).
 */
export const loraExpand = op(11, 'loraExpand', {
  u: mat('f32', 'maxGroupRows', 'ldu'), y: inout(mat('f32', 'rows', 'dOut', 'ldy')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, dOut: u32, ldy: u32, ldu: u32, partStride: u32, maxGroups: u32,
  maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32, parts: u32,
  outOffset0: u32, dOut0: u32, outOffset1: u32, dOut1: u32, outOffset2: u32, dOut2: u32,
});

/**
 * From a tile of logits to results: for logit row firstRow + i (i < tileRows, below the header's logit count):
 *
 * 1. log-softmax of the raw logits: the chosen token's log-probability and the nTop best (ties: lower id first).
 * 2. target >= 0: the token is given (scoring a prompt); nothing is drawn, the slot is left as it is.
 *    target = -1: repetition penalty (history, prompt too), presence and frequency penalties (history from promptLen
 *    on), logit bias, mask row, then temperature (0: argmax, ties to the lower id), min-p, top-k, top-p, and one
 *    draw by inverse CDF in id order with Philox4x32-10(key = seed, counter = (choice, position, 0, 0)).
 *    The token is appended to the slot's history and its length and draw counter grow by one.
 * 3. A row with a NaN or +inf among its raw logits, or none finite, gets status 1 and draws nothing (token 0 is appended).
 *
 * records: SAMPLE in frame.ts; results: RESULT. bias: pairs (token, value). masks: bit rows of ceil(vocab/32) words,
 * bit set = allowed, -1 in the record = no mask. A mask that allows nothing gives status 2. A row with a vocabulary of its own
 * (Sample.vocab) has no other tokens: what stands in columns behind it is not read.
 */
export const sample = op(12, 'sample', {
  logits: mat('f32', 'tileRows', 'vocab', 'ldl'), records: mat('i32', 'maxLogits', SAMPLE_WORDS), bias: vec('i32', 'biasWords'),
  masks: optional(mat('i32', 'maskRows', 'maskWords')), slots: inout(mat('i32', 'nSlots', SLOT_WORDS)),
  history: inout(mat('i32', 'nSlots', 'maxLen')), results: out(mat('i32', 'maxLogits', RESULT_WORDS)),
}, {
  count: counts('tileRows', 'firstRow'), firstRow: u32, tileRows: u32, vocab: u32, ldl: u32, maxLogits: u32, biasWords: u32, maskRows: u32,
  maskWords: u32, nSlots: u32, maxLen: u32,
});

/** to[t] = from[t], row by row: hidden rows into the result frame (embeddings), or rounded for a linear map. */
export const copyRows = op(13, 'copyRows', {
  from: mat('f32', 'rows', 'dim', 'ldFrom'), to: out(typed('rows', 'dim', 'ldTo', 'toType')),
}, { count: counts('rows', 'countFrom'), countFrom: u32, rows: u32, dim: u32, ldFrom: u32, ldTo: u32, toType: u32 });

/** Copies whole pages inside the arena, in order: pairs (from, to), for forking and for emptying a slab. */
export const copyPages = op(14, 'copyPages', {
  pairs: mat('i32', 'maxPairs', 2), arena: inout(arena('nPages', 'pageBytes')),
}, { count: counts('maxPairs'), maxPairs: u32, nPages: u32, pageBytes: u32 });

/**
 * headNorm (where there are weights), rope and kvWrite in one pass over a row: x is [q | k | v], of heads·dim, kvHeads·dim
 * and kvHeads·dim values. q and k are normed and turned in place; k and v go into the row's page. The same bits as the
 * three ops one after another.
 */
export const ropeKv = op(18, 'ropeKv', {
  x: inout(mat('f32', 'rows', 'width', 'ldx')), qNorm: optional(vec('f32', 'dim')), kNorm: optional(vec('f32', 'dim')),
  positions: vec('i32', 'rows'), cosSin: mat('f32', 'maxPos', 'rotary'),
  rowSegments: vec('i32', 'rows'), segments: mat('i32', 'nSegments', SEGMENT_WORDS), pages: vec('i32', 'tableSize'),
  arena: inout(arena('nPages', 'pageBytes')),
}, {
  count: counts('rows'), rows: u32, heads: u32, kvHeads: u32, dim: u32, width: u32, ldx: u32, eps: f32, plusOne: u32,
  rotary: u32, interleaved: u32, maxPos: u32, nSegments: u32, tableSize: u32, nPages: u32, pageBytes: u32,
  layerOffset: u32, planeStride: u32, headStride: u32, kvGroup: u32, kvType: u32,
});

/** x = Σ over ranks of x. With size 1 (the only one a CPU device accepts) it is the identity. */
export const allReduce = op(15, 'allReduce', {
  x: inout(mat('f32', 'rows', 'dim', 'ldx')),
}, { count: counts('rows'), rows: u32, dim: u32, ldx: u32, rank: u32, size: u32 });

/**
 * Activations for `linearInt8`: x[t][i] = scale · q, 16 bits a value, practically without loss.
 *
 * A row of q is [ceil(k/64) groups][64] int16, zero behind k, then one f32 scale for each group: the group's largest
 * magnitude / 32767; quantizedWords(k) 32-bit words in all. A group without a value gets scale 0, one with a NaN or
 * infinity scale NaN.
 */
export const quantizeRows = op(16, 'quantizeRows', {
  x: typed('rows', 'k', 'ldx', 'xType'), q: out(mat('f32', 'rows', 'words', 'ldq')),
}, { count: counts('rows', 'countFrom'), countFrom: u32, rows: u32, k: u32, words: u32, ldx: u32, ldq: u32, xType: u32 });

/**
 * y[t] = W x[t] + b, or y[t] += W x[t] + b with `accumulate`, for W of int8 and x as `quantizeRows` leaves it.
 *
 * A group's products are summed exactly in int32; groups are added in f32, ascending, one fused multiply-add by the product
 * of both scales each: a row's bits don't depend on how many rows there are.
 * Bytes: n·k·(1 + 2/64) once per step.  Flops: 2·rows·n·k, two products an instruction lane.
 */
export const linearInt8 = op(17, 'linearInt8', {
  x: mat('f32', 'rows', 'words', 'ldx'), w: packed('n', 'k', 'dtype'), b: optional(vec('f32', 'n')),
  y: inout(mat('f32', 'rows', 'n', 'ldy')),
}, {
  count: counts('rows', 'countFrom'), countFrom: u32, rows: u32, n: u32, k: u32, words: u32, ldx: u32, ldy: u32, dtype: u32, accumulate: u32,
});

/**
 * x[t][i] = cap · tanh(x[t][i] / cap), in place: final logits (Gemma 2). What is not finite becomes NaN, so that `sample` sees it.
 */
export const softcap = op(19, 'softcap', {
  x: inout(mat('f32', 'rows', 'dim', 'ldx')),
}, { count: counts('rows', 'countFrom'), countFrom: u32, rows: u32, dim: u32, ldx: u32, cap: f32 });

/**
 * Which experts each row goes to, and with what weights: p = softmax(logits[t]) in f32, the topK largest in descending order (ties:
 * lower id first).
 *
 * nGroups > 1: only experts of the topGroups groups with the largest p are looked at (DeepSeek's group-limited routing); a
 * group's p is that of its best expert. normalize: the weights of a row are divided by their sum; then all are multiplied by `scale`.
 * A row with a NaN or infinity gets weights of NaN.
 *
 * keys[t][c]: expert e, or experts + s where the map of the row's adapter sends e to expert slot s (expert-table.ts). map: the
 * part of this layer; without it, and for rows whose adapter is -1, all is the base's.
 */
export const routeExperts = op(20, 'routeExperts', {
  logits: mat('f32', 'rows', 'experts', 'ldl'), rowAdapters: optional(vec('i32', 'rows')), map: optional(mat('i32', 'adapterSlots', 'experts')),
  keys: out(mat('i32', 'rows', 'topK')), weights: out(mat('f32', 'rows', 'topK')),
}, {
  count: counts('rows'), rows: u32, experts: u32, topK: u32, ldl: u32, nGroups: u32, topGroups: u32, normalize: u32, scale: f32,
  adapterSlots: u32, expertSlots: u32,
});

/**
 * Sorts pairs (row, choice) by key, and inside a key by pair: order[i] is the pair at place i, inverse[p] the place of pair p.
 * spans: SPAN (expert-table.ts) of each key that there is, ascending; behind the last, spans of no rows. Keys are below nKeys.
 */
export const groupExperts = op(21, 'groupExperts', {
  keys: vec('i32', 'pairs'), order: out(vec('i32', 'pairs')), inverse: out(vec('i32', 'pairs')), spans: out(mat('i32', 'maxSpans', SPAN_WORDS)),
}, { count: counts('pairs'), pairs: u32, nKeys: u32, maxSpans: u32 });

/**
 * y[i] = W_key x[order[i] / topK], or W_key x[i] without `order`, for the rows i of every span and its key.
 *
 * base: the experts' matrices [n, k] in panels (op `linear`), one after another, each padded to whole panels: outs = experts ·
 * 32·ceil(n/32). Expert slots: W units from `firstUnit` of the expert on, in arena pages (expert-table.ts). K runs as in `linear`: a
 * row's bits depend on its x and its weights alone, not on who shares the expert.
 * Bytes: n·k·size for each distinct key.  Flops: 2·pairs·n·k.   Source: ExpertWeave (arXiv 2508.17624), MegaBlocks.
 */
export const expertLinear = op(22, 'expertLinear', {
  x: typed('xRows', 'k', 'ldx', 'xType'), base: packed('outs', 'k', 'dtype'), spans: mat('i32', 'maxSpans', SPAN_WORDS), order: optional(vec('i32', 'pairs')),
  types: optional(vec('i32', 'expertSlots')), pages: optional(mat('i32', 'expertSlots', 'slotPages')), arena: optional(arena('nPages', 'pageBytes')),
  y: out(mat('f32', 'pairs', 'n', 'ldy')),
}, {
  count: counts('pairs'), pairs: u32, xRows: u32, topK: u32, experts: u32, n: u32, k: u32, outs: u32, ldx: u32, ldy: u32, dtype: u32, xType: u32,
  maxSpans: u32, expertSlots: u32, slotPages: u32, firstUnit: u32, nPages: u32, pageBytes: u32,
});

/**
 * out[t] = Σ over choices c in order of weights[t][c] · y[inverse[t·topK + c]], on top of what `out` holds with `accumulate`; of
 * that, sigmoid(gate[t]) times where there is a gate (Qwen2-MoE's shared expert).
 */
export const combineExperts = op(23, 'combineExperts', {
  y: mat('f32', 'pairs', 'dim', 'ldy'), inverse: vec('i32', 'pairs'), weights: mat('f32', 'rows', 'topK'), gate: optional(mat('f32', 'rows', 1, 'ldg')),
  out: inout(mat('f32', 'rows', 'dim', 'ldo')),
}, { count: counts('rows'), rows: u32, topK: u32, pairs: u32, dim: u32, ldy: u32, ldg: u32, ldo: u32, accumulate: u32 });

/**
 * u[i][j] = A[j][tokens[groupRows[i]]] for every group with a run at (layer, site, A) and every rank row j: what `loraShrink` is
 * to linear maps, for an embedding; `loraExpand` follows. Groups and tables as there. A unit is 64 tokens × all ranks,
 * [token][rank]: a token's values stand side by side. A token behind the last unit has zeros.
 * Bytes: Σ over rows of rank·2.
 */
export const embedShrink = op(30, 'embedShrink', {
  tokens: vec('i32', 'rows'), u: out(mat('f32', 'maxGroupRows', 'ldu')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, ldu: u32, partStride: u32, maxGroups: u32,
  maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32,
});

/**
 * x[t] += weight·(scale·row(tokens[t]) - x[t]) for the rows t of each group whose adapter has a row of its own for the token
 * (adapter-table.ts, `End`); with weight 1, x[t] = scale·row. A row t stands in one such group at most.
 */
export const embedReplace = op(31, 'embedReplace', {
  tokens: vec('i32', 'rows'), x: inout(mat('f32', 'rows', 'dim', 'ldx')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, dim: u32, ldx: u32, maxGroups: u32,
  maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32,
});

/**
 * y[t][o] += weight·(row(o)·x[t] - y[t][o]) for the rows t of each group and every output o (token) that its adapter has a row of
 * its own for; with weight 1, y[t][o] = row(o)·x[t]. A row t stands in one such group at most. Rows are read as `loraShrink` reads
 * rank rows, and summed in the same order.
 * Bytes: Σ over groups of rows·dIn·2.  Flops: 2·Σ over rows t of rows·dIn.
 */
export const headReplace = op(32, 'headReplace', {
  x: typed('rows', 'dIn', 'ldx', 'xType'), y: inout(mat('f32', 'rows', 'dOut', 'ldy')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, dIn: u32, dOut: u32, ldx: u32, ldy: u32, maxGroups: u32,
  maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32, xType: u32,
});

/**
 * u[i·topK + c][p·partStride + j] = A_p,e[j] · x for every part p of a fused site of experts, every entry i of a group's rows, every
 * choice c of its row, with e = keys[row][c]: the first half of LoRA on experts, for the topK that a row goes to alone. x is that of the
 * row, or of place inverse[row·topK + c] where `inverse` is given.
 *
 * Runs are those of `loraShrink`, of all experts one after another: A has rank units for each expert; B, below, ceil(dOut/64).
 * Bytes: Σ over distinct (adapter, expert) of rank·dIn·2.   Source: PEFT, ParamWrapper; S-LoRA §5.
 */
export const expertShrink = op(24, 'expertShrink', {
  x: typed('xRows', 'dIn', 'ldx', 'xType'), u: out(mat('f32', 'uRows', 'ldu')), groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  keys: mat('i32', 'rows', 'topK'), inverse: optional(vec('i32', 'pairs')), tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, xRows: u32, uRows: u32, pairs: u32, topK: u32, experts: u32, dIn: u32, ldx: u32, ldu: u32,
  partStride: u32, maxGroups: u32, maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32, parts: u32, xType: u32,
});

/** y[inverse[row·topK + c]][outOffset_p + o] += scale·weight · Σ_j B_p,e[o][j] · u[i·topK + c][p·partStride + j]: the second half. Groups are applied in their order. */
export const expertExpand = op(25, 'expertExpand', {
  u: mat('f32', 'uRows', 'ldu'), y: inout(mat('f32', 'pairs', 'dOut', 'ldy')), groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  keys: mat('i32', 'rows', 'topK'), inverse: vec('i32', 'pairs'), tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, uRows: u32, pairs: u32, topK: u32, experts: u32, dOut: u32, ldy: u32, ldu: u32, partStride: u32,
  maxGroups: u32, maxGroupRows: u32, nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32, parts: u32,
  outOffset0: u32, dOut0: u32, outOffset1: u32, dOut1: u32, outOffset2: u32, dOut2: u32,
});

/**
 * Multi-head latent attention (DeepSeek-V2) keeps of a token one vector for all heads: [latent values | rope values], its own
 * key, and with its first `latent` values its own value too. A head's maps K = W_K c and V = W_V c act on queries and outputs
 * instead: q·(W_K c) = (W_Kᵀ q)·c, Σ p (W_V c) = W_V Σ p c. Ops in their order: `headLinear` (W_Kᵀ), `latentKv`,
 * `latentAttention`, `headLinear` (W_V); what adapters add to W_K and W_V is `latentLora`'s.   Source: DeepSeek-V2 §2.1, App. C.
 *
 * latentKv: kv[t] = [latent | rope] is normed (its latent part, by w) and turned (the rest), and goes into the row's page as f16,
 * at layerOffset as [latent + rope][16 tokens]. Each head of q[t], [nope | rope] in qDim values, is turned too: its rope part goes
 * to query[t][head], [latent | rope], whose latent part is headLinear's.
 */
export const latentKv = op(26, 'latentKv', {
  kv: mat('f32', 'rows', 'dim', 'ldkv'), w: vec('f32', 'latent'), q: mat('f32', 'rows', 'qWidth', 'ldq'), query: inout(mat('f32', 'rows', 'width', 'ldQuery')),
  positions: vec('i32', 'rows'), cosSin: mat('f32', 'maxPos', 'rope'),
  rowSegments: vec('i32', 'rows'), segments: mat('i32', 'nSegments', SEGMENT_WORDS), pages: vec('i32', 'tableSize'),
  arena: inout(arena('nPages', 'pageBytes')),
}, {
  count: counts('rows'), rows: u32, heads: u32, qDim: u32, latent: u32, rope: u32, dim: u32, qWidth: u32, width: u32, ldkv: u32, ldq: u32, ldQuery: u32,
  eps: f32, interleaved: u32, maxPos: u32, nSegments: u32, tableSize: u32, nPages: u32, pageBytes: u32, layerOffset: u32, kvGroup: u32,
});

/**
 * y[t][h·yStride + i] = (W_h x[t][h·xStride …])[i]: a linear map for each head. w: the heads' maps [n, k] in panels (op `linear`), one
 * after another, each padded to whole panels: outs = heads · 32·ceil(n/32).
 * Bytes: heads·n·k·size once per step.  Flops: 2·rows·heads·n·k.
 */
export const headLinear = op(27, 'headLinear', {
  x: mat('f32', 'rows', 'xWidth', 'ldx'), w: packed('outs', 'k', 'dtype'), y: inout(mat('f32', 'rows', 'yWidth', 'ldy')),
}, {
  count: counts('rows'), rows: u32, heads: u32, outs: u32, n: u32, k: u32, xStride: u32, yStride: u32, xWidth: u32, yWidth: u32, ldx: u32, ldy: u32,
  dtype: u32,
});

/**
 * out[t][h] = softmax(scale · query[t][h]·C) C[first `latent` values], over the tokens of the row's own sequence at positions ≤
 * its own, C as `latentKv` leaves it: a key is [latent | rope], all heads share it. Spans and partials as of op `attention`,
 * states [latent, padded to a multiple of 16 | highest score, sum of weights].
 * Bytes: positions·(latent + rope)·2 once for all heads.  Flops: 2·(2·latent + rope) a head and position: bound by flops.
 */
export const latentAttention = op(28, 'latentAttention', {
  query: mat('f32', 'rows', 'width', 'ldq'), out: out(mat('f32', 'rows', 'outWidth', 'ldo')), positions: vec('i32', 'rows'),
  segments: mat('i32', 'nSegments', SEGMENT_WORDS), pages: vec('i32', 'tableSize'), arena: arena('nPages', 'pageBytes'),
  partials: optional(scratch(mat('f32', 'nPartials', 'ldPartials'))),
}, {
  count: counts('rows'), rows: u32, segmentCount: counts('nSegments'), heads: u32, latent: u32, rope: u32, width: u32, outWidth: u32, ldq: u32, ldo: u32,
  nSegments: u32, tableSize: u32, nPages: u32, pageBytes: u32, layerOffset: u32, kvGroup: u32, scale: f32, nPartials: u32, ldPartials: u32,
});

/**
 * What adapters add to the heads' maps of latent attention. A site of latent → heads·headOuts values has for each head, from its
 * output firstOut on, `outs` that belong to the map at hand; A and B_h (those rows of B) are read from pages as for `loraShrink` and
 * `loraExpand`; a run with a tail is refused.
 *
 * transposed 1 (W_Kᵀ): y[t][h] += scale·weight · Aᵀ(B_hᵀ x[t][h]), from `outs` values to `latent`.
 * transposed 0 (W_V):  y[t][h] += scale·weight · B_h(A x[t][h]), from `latent` values to `outs`.
 */
export const latentLora = op(29, 'latentLora', {
  x: mat('f32', 'rows', 'xWidth', 'ldx'), y: inout(mat('f32', 'rows', 'yWidth', 'ldy')),
  groups: mat('i32', 'maxGroups', GROUP_WORDS), groupRows: vec('i32', 'maxGroupRows'),
  tables: table('nSlots', 'slotWords'), arena: arena('nPages', 'pageBytes'),
}, {
  groupCount: counts('maxGroups'), groupRowCount: counts('maxGroupRows'), rows: u32, heads: u32, latent: u32, headOuts: u32, firstOut: u32, outs: u32,
  transposed: u32, xStride: u32, yStride: u32, xWidth: u32, yWidth: u32, ldx: u32, ldy: u32, partStride: u32, maxGroups: u32, maxGroupRows: u32,
  nSlots: u32, slotWords: u32, nPages: u32, pageBytes: u32, layer: u32, nSites: u32, site: u32,
});

/** Adding an op: write it above, add it here, give it a reference, a kernel, a cost. */
export const OPS = {
  resolve, embed, rmsNorm, headNorm, linear, rope, kvWrite, attention, gatedAct, loraShrink, loraExpand, sample,
  copyRows, copyPages, allReduce, quantizeRows, linearInt8, ropeKv, softcap,
  routeExperts, groupExperts, expertLinear, combineExperts, expertShrink, expertExpand,
  latentKv, headLinear, latentAttention, latentLora,
  embedShrink, embedReplace, headReplace,
} as const;

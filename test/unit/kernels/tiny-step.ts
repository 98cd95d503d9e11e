/** A step of a very small model with every op in it: two sequences, two adapters, a known and an unknown token. */
import {
  BLOCK_TOKENS, CommandList, GROUP_WORDS, Group, Half, Header, OPS, RESULT_WORDS, Run, SAMPLE_WORDS, SEGMENT_WORDS, SEG_WORDS, SLOT_WORDS, Sample, Seg,
  Segment, Slot, at, bound, frameLayout, quantizedWords, runAt, segsAt, type Device, type DeviceBuffer, type Ref,
} from '@weft/kernels';
import { packInt8 } from './reference/int8.js';

const LAYERS = 2, VOCAB = 96, DIM = 32, HEADS = 4, KV_HEADS = 2, HEAD = 8, INTER = 48;
const ROWS = 8, SEGMENTS = 4, LOGITS = 4, SLOTS = 4, MAX_LEN = 64, PAGES = 24, PAGE_BYTES = 4096;
const ADAPTERS = 2, MAX_RANK = 4;
/** Sites q, k, v, o, gate, up, down: inputs and outputs. */
const SITES = [[DIM, DIM], [DIM, 16], [DIM, 16], [DIM, DIM], [DIM, INTER], [DIM, INTER], [INTER, DIM]] as const;
const QKV = HEADS * HEAD + 2 * KV_HEADS * HEAD;
const SLOT_TABLE_WORDS = segsAt(LAYERS, SITES.length) + LAYERS * SITES.length * 2 * SEG_WORDS;
const HEAD_STRIDE = HEAD * BLOCK_TOKENS * 2, PLANE = KV_HEADS * HEAD_STRIDE, LAYER = 2 * PLANE;

/** Small, reproducible, of both signs. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

export interface TinyStep {
  list: CommandList;
  bindings: { frame: DeviceBuffer; results: DeviceBuffer; hidden: DeviceBuffer };
  buffers: DeviceBuffer[];
  free(): void;
}

export function tinyStep(device: Device, seed = 1): TinyStep {
  const next = random(seed);
  const buffers: DeviceBuffer[] = [];
  const alloc = (words: number, label: string): DeviceBuffer => {
    const buffer = device.alloc(words * 4, label);
    buffers.push(buffer);
    return buffer;
  };
  const floats = (words: number, label: string, scale = 1): Ref => {
    const buffer = alloc(words, label);
    new Float32Array(device.host(buffer)).forEach((_, i, all) => { all[i] = (next() - 0.5) * scale; });
    return at(buffer);
  };
  /** Bf16 panels. */
  const weight = (n: number, k: number, label: string): Ref => {
    const values = Float32Array.from({ length: Math.ceil(n / 32) * 32 * k }, () => (next() - 0.5) * 0.5);
    const buffer = alloc(values.length / 2, label);
    new Uint16Array(device.host(buffer)).set(new Uint32Array(values.buffer).map(bits => bits >>> 16));
    return at(buffer);
  };
  const int8Weight = (n: number, k: number, label: string): Ref => {
    const { bytes } = packInt8(Float32Array.from({ length: n * k }, () => (next() - 0.5) * 0.5), n, k);
    const buffer = alloc(bytes.length / 4, label);
    new Uint8Array(device.host(buffer)).set(bytes);
    return at(buffer);
  };
  const zeros = (words: number, label: string): Ref => at(alloc(words, label));

  const frame = frameLayout({ tokens: ROWS, segments: SEGMENTS, logits: LOGITS, groups: 4, groupRows: ROWS, pageTable: 16, pagePairs: 2, biasPairs: 4 });
  const bindings = { frame: alloc(frame.words, 'frame'), results: alloc(LOGITS * RESULT_WORDS, 'results'), hidden: alloc(LOGITS * DIM, 'hidden') };
  const section = (name: keyof typeof frame.at): Ref => bound('frame', frame.at[name] * 4);

  const tables = alloc(ADAPTERS * SLOT_TABLE_WORDS, 'tables');
  const arena = alloc(PAGES * PAGE_BYTES / 4, 'arena');
  const slots = alloc(SLOTS * SLOT_WORDS, 'slots'), history = alloc(SLOTS * MAX_LEN, 'history');
  fillFrame(new Int32Array(device.host(bindings.frame)), frame.at);
  fillSlots(new Int32Array(device.host(slots)), new Int32Array(device.host(history)));
  fillAdapters(new Int32Array(device.host(tables)), new Uint16Array(device.host(arena)), next);

  const list = new CommandList();
  const kv = { nSegments: SEGMENTS, tableSize: 16, nPages: PAGES, pageBytes: PAGE_BYTES, planeStride: PLANE, headStride: HEAD_STRIDE, kvGroup: 0, kvType: 2 };
  const rows = { count: Header.tokens, rows: ROWS };
  const positions = zeros(ROWS, 'positions'), tokens = zeros(ROWS, 'tokens');
  const residual = zeros(ROWS * DIM, 'residual'), normed = zeros(ROWS * DIM, 'normed'), qkv = zeros(ROWS * QKV, 'qkv'), mixed = zeros(ROWS * DIM, 'mixed');
  const delta = zeros(ROWS * DIM, 'delta'), partials = zeros(8 * 24, 'partials'), gateUp = zeros(ROWS * 2 * INTER, 'gateUp'), acted = zeros(ROWS * INTER, 'acted'), u = zeros(ROWS * 3 * MAX_RANK, 'u');
  const quantized = zeros(ROWS * quantizedWords(DIM), 'quantized'), last = zeros(LOGITS * DIM, 'last'), logits = zeros(LOGITS * VOCAB, 'logits');
  const column = (ref: Ref, words: number): Ref => ({ buffer: ref.buffer, words: ref.words + words });
  const head = weight(VOCAB, DIM, 'head'), cosSin = floats(MAX_LEN * HEAD, 'cosSin', 2), norm = floats(DIM, 'norm', 4), headNorm = floats(HEAD, 'headNorm', 4);

  const lora = (layer: number, x: Ref, dIn: number, y: Ref, dOut: number, site: number, outs: readonly number[]): void => {
    const common = {
      u, groups: section('groups'), groupRows: section('groupRows'), tables: at(tables), arena: at(arena), groupCount: Header.groups, groupRowCount: Header.groupRows,
      rows: ROWS, ldu: 3 * MAX_RANK, partStride: MAX_RANK, maxGroups: 4, maxGroupRows: ROWS, nSlots: ADAPTERS, slotWords: SLOT_TABLE_WORDS,
      nPages: PAGES, pageBytes: PAGE_BYTES, layer, nSites: SITES.length, site, parts: outs.length,
    };
    list.add(OPS.loraShrink, { ...common, x, dIn, ldx: dIn, xType: 0 });
    const [d0, d1 = 0, d2 = 0] = outs as [number, number?, number?];
    list.add(OPS.loraExpand, { ...common, y, dOut, ldy: dOut, outOffset0: 0, dOut0: d0, outOffset1: d0, dOut1: d1, outOffset2: d0 + d1, dOut2: d2 });
  };
  const linear = (x: Ref, k: number, w: Ref, y: Ref, n: number): void => {
    list.add(OPS.linear, { x, w, y, ...rows, countFrom: 0, n, k, ldx: k, ldy: n, dtype: 1, accumulate: 0, xType: 0, layout: 0 });
  };

  const linearInt8 = (x: Ref, k: number, w: Ref, y: Ref, n: number): void => {
    const words = quantizedWords(k), counts = { ...rows, countFrom: 0, k, words };
    list.add(OPS.quantizeRows, { x, q: quantized, ...counts, ldx: k, ldq: words, xType: 0 });
    list.add(OPS.linearInt8, { x: quantized, w, y, ...counts, n, ldx: words, ldy: n, dtype: 3, accumulate: 0 });
  };

  list.add(OPS.copyPages, { pairs: section('pagePairs'), arena: at(arena), count: Header.pagePairs, maxPairs: 2, nPages: PAGES, pageBytes: PAGE_BYTES });
  list.add(OPS.resolve, {
    tokenIds: section('tokenIds'), positions: section('positions'), rowSlots: section('rowSlots'), slots: at(slots), history: at(history),
    outTokens: tokens, outPositions: positions, ...rows, nSlots: SLOTS, maxLen: MAX_LEN, vocab: VOCAB,
  });
  list.add(OPS.embed, { table: head, tokens, x: residual, ...rows, vocab: VOCAB, limit: VOCAB, dim: DIM, dtype: 1, layout: 0, ldx: DIM, scale: 1 });
  for (let layer = 0; layer < LAYERS; layer++) {
    const norms = { r: residual, w: norm, y: normed, ...rows, srcRows: ROWS, dim: DIM, ldr: DIM, ldAdd: DIM, ldy: DIM, eps: 1e-5, plusOne: 0, yType: 0 };
    list.add(OPS.rmsNorm, { ...norms, add: layer ? delta : null });
    linear(normed, DIM, weight(QKV, DIM, `qkv ${layer}`), qkv, QKV);
    lora(layer, normed, DIM, qkv, QKV, 0, [DIM, 16, 16]);
    const paged = { positions, segments: section('segments'), pages: section('pages'), arena: at(arena), ...rows, ...kv, layerOffset: layer * LAYER, kvHeads: KV_HEADS, dim: HEAD };
    if (layer === 0) {
      list.add(OPS.headNorm, { x: qkv, w: headNorm, ...rows, heads: HEADS, dim: HEAD, width: HEADS * HEAD, ldx: QKV, eps: 1e-5, plusOne: 0 });
      list.add(OPS.rope, { x: qkv, positions, cosSin, ...rows, heads: HEADS + KV_HEADS, dim: HEAD, width: (HEADS + KV_HEADS) * HEAD, ldx: QKV, rotary: HEAD, interleaved: 0, maxPos: MAX_LEN });
      list.add(OPS.kvWrite, { ...paged, k: column(qkv, DIM), v: column(qkv, DIM + 16), rowSegments: section('rowSegments'), width: 16, ldk: QKV, ldv: QKV });
    } else {
      list.add(OPS.ropeKv, {
        ...paged, x: qkv, qNorm: headNorm, kNorm: null, cosSin, rowSegments: section('rowSegments'), heads: HEADS, width: QKV, ldx: QKV, eps: 1e-5, plusOne: 0,
        rotary: HEAD, interleaved: 0, maxPos: MAX_LEN,
      });
    }
    list.add(OPS.attention, { ...paged, q: qkv, out: mixed, partials, segmentCount: Header.segments, heads: HEADS, width: DIM, ldq: QKV, ldo: DIM, window: 0, scale: 0.35, softcap: 0, outType: 0, nPartials: 8, ldPartials: 24 });
    linearInt8(mixed, DIM, int8Weight(DIM, DIM, `o ${layer}`), delta, DIM);
    lora(layer, mixed, DIM, delta, DIM, 3, [DIM]);
    list.add(OPS.allReduce, { x: delta, ...rows, dim: DIM, ldx: DIM, rank: 0, size: 1 });
    list.add(OPS.rmsNorm, { ...norms, add: delta });
    linear(normed, DIM, weight(2 * INTER, DIM, `gateUp ${layer}`), gateUp, 2 * INTER);
    lora(layer, normed, DIM, gateUp, 2 * INTER, 4, [INTER, INTER]);
    list.add(OPS.gatedAct, { x: gateUp, y: acted, ...rows, dim: INTER, dim2: 2 * INTER, ldx: 2 * INTER, ldy: INTER, act: 0, yType: 0 });
    linear(acted, INTER, weight(DIM, INTER, `down ${layer}`), delta, DIM);
    lora(layer, acted, INTER, delta, DIM, 6, [DIM]);
  }
  list.add(OPS.rmsNorm, {
    r: residual, add: delta, w: norm, y: last, index: section('logitRows'), count: Header.logits, rows: LOGITS, srcRows: ROWS, dim: DIM,
    ldr: DIM, ldAdd: DIM, ldy: DIM, eps: 1e-5, plusOne: 0, yType: 0,
  });
  list.add(OPS.copyRows, { from: last, to: bound('hidden'), count: Header.logits, countFrom: 0, rows: LOGITS, dim: DIM, ldFrom: DIM, ldTo: DIM, toType: 0 });
  list.add(OPS.linear, { x: last, w: head, y: logits, count: Header.logits, countFrom: 0, rows: LOGITS, n: VOCAB, k: DIM, ldx: DIM, ldy: VOCAB, dtype: 1, accumulate: 0, xType: 0, layout: 0 });
  list.add(OPS.sample, {
    logits, records: section('samples'), bias: section('bias'), slots: at(slots), history: at(history), results: bound('results'), count: Header.logits,
    firstRow: 0, tileRows: LOGITS, vocab: VOCAB, ldl: VOCAB, maxLogits: LOGITS, biasWords: 8, maskRows: 0, maskWords: 3, nSlots: SLOTS, maxLen: MAX_LEN,
  });
  return { list, bindings, buffers, free: () => buffers.forEach(buffer => device.free(buffer)) };
}

/** Sequence 0 (slot 2): four prompt tokens from position 15 on. Sequence 1 (slot 1): one token that only the device knows. */
function fillFrame(words: Int32Array, at: ReturnType<typeof frameLayout>['at']): void {
  const floats = new Float32Array(words.buffer);
  [[Header.tokens, 5], [Header.segments, 2], [Header.logits, 3], [Header.groups, 3], [Header.groupRows, 6], [Header.pagePairs, 1]].forEach(([word, value]) => { words[word!] = value!; });
  words.set([11, 12, 13, 95, -1], at.tokenIds);
  words.set([15, 16, 17, 18, -1], at.positions);
  words.set([2, 2, 2, 2, 1], at.rowSlots);
  words.set([0, 0, 0, 0, 1], at.rowSegments);
  const segment = (s: number, rowStart: number, rowCount: number, pageOffset: number, pageCount: number): void => {
    const record = at.segments + s * SEGMENT_WORDS;
    words[record + Segment.rowStart] = rowStart;
    words[record + Segment.rowCount] = rowCount;
    words[record + Segment.pageOffset] = pageOffset;
    words[record + Segment.pageCount] = pageCount;
  };
  segment(0, 0, 4, 0, 2);
  segment(1, 4, 1, 2, 1);
  words.set([3, 0, 5], at.pages);
  words.set([3, 4, 2], at.logitRows);
  [[2, -1, 0.8], [1, -1, 0], [2, 14, 0]].forEach(([slot, target, temperature], i) => {
    const record = at.samples + i * SAMPLE_WORDS;
    words[record + Sample.slot] = slot!;
    words[record + Sample.target] = target!;
    floats[record + Sample.temperature] = temperature!;
    floats[record + Sample.topP] = 0.95;
    floats[record + Sample.repetition] = 1.1;
    words[record + Sample.seedLo] = 77;
    words[record + Sample.biasCount] = i;
    words[record + Sample.promptLen] = 3;
    words[record + Sample.maskRow] = -1;
    words[record + Sample.nTop] = 5;
  });
  words.set([1, 0, 9], at.bias);
  [[0, 0, 3], [1, 3, 2], [0, 5, 1]].forEach(([adapter, rowStart, rowCount], g) => {
    const group = at.groups + g * GROUP_WORDS;
    words[group + Group.adapterSlot] = adapter!;
    words[group + Group.rowStart] = rowStart!;
    words[group + Group.rowCount] = rowCount!;
    floats[group + Group.weight] = 0.5;
  });
  words.set([0, 1, 4, 2, 3, 0], at.groupRows);
  words.set([6, 7], at.pagePairs);
}

function fillSlots(slots: Int32Array, history: Int32Array): void {
  for (let slot = 0; slot < SLOTS; slot++) {
    slots[slot * SLOT_WORDS + Slot.length] = 7;
    slots[slot * SLOT_WORDS + Slot.lastToken] = 20 + slot;
    for (let i = 0; i < MAX_LEN; i++) history[slot * MAX_LEN + i] = (slot + i * 7) % VOCAB;
  }
}

/** Adapter 0 of rank 3 at every site, adapter 1 of rank 4 at some; units from page 8 on. */
function fillAdapters(tables: Int32Array, arena: Uint16Array, next: () => number): void {
  const floats = new Float32Array(tables.buffer);
  let page = 8, used = 0;
  for (let slot = 0; slot < ADAPTERS; slot++) {
    const base = slot * SLOT_TABLE_WORDS, rank = 3 + slot;
    let seg = segsAt(LAYERS, SITES.length);
    for (let layer = 0; layer < LAYERS; layer++) {
      SITES.forEach(([dIn, dOut], site) => {
        if (slot === 1 && (site === 1 || layer === 1)) return;
        for (const half of [Half.a, Half.b]) {
          const units = half === Half.a ? rank : Math.ceil(dOut / 64), unitBytes = half === Half.a ? Math.ceil(dIn / 64) * 128 : rank * 128;
          if (used + units * unitBytes > PAGE_BYTES) { page++; used = 0; }
          const run = base + runAt(layer, site, half, SITES.length), offset = page * PAGE_BYTES + used;
          tables.set([1 + slot, rank, 0, unitBytes, units, seg, 1], run);
          floats[run + Run.scale] = 1.5;
          tables[base + seg + Seg.at] = offset / 128;
          tables[base + seg + Seg.units] = units;
          // About ±0.1 in bf16 (slot 0) or f16 (slot 1).
          for (let i = 0; i < units * unitBytes / 2; i++) arena[offset / 2 + i] = (next() < 0.5 ? 0 : 0x8000) | (slot === 0 ? 0x3dc0 : 0x2e00) + Math.floor(next() * 32);
          seg += SEG_WORDS;
          used += units * unitBytes;
        }
      });
    }
  }
}

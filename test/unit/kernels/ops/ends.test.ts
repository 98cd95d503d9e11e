import { describe, expect, test } from 'vitest';
import { DType, Header, embedReplace, embedShrink, headReplace } from '@weft/kernels';
import { deviceOf, extremeTunings, isas, runOp, variants, type Variant } from '../harness.js';
import { embedReplaceReference, embedShrinkReference, embeddingA, endRows, headReplaceReference, packUnits, type PackedUnits, type UnitRun } from '../reference/ends.js';
import { PLACE, groupTables, type RowGroup } from '../reference/lora.js';
import { Random, expectClose, expectSameBits, toBf16 } from '../reference/numbers.js';

const all = (rows: number): number[] => Array.from({ length: rows }, (_, i) => i);
const someTokens = (random: Random, below: number, count: number): number[] => random.shuffled(all(below)).slice(0, count).sort((a, b) => a - b);

/** Each row in one group at most, some in none. */
function onePerRow(random: Random, rows: number, slots: number): RowGroup[] {
  const groups = Array.from({ length: slots }, (_, slot): RowGroup => ({ slot, weight: slot % 3 === 1 ? 0.6 : 1, rows: [] }));
  for (const row of random.shuffled(all(rows))) {
    const slot = random.int(-1, slots - 1);
    if (slot >= 0) groups[slot]!.rows.push(row);
  }
  return groups.filter(group => group.rows.length > 0);
}

function shared(groups: RowGroup[], packed: PackedUnits, slots: number, rows: number) {
  const tables = groupTables(groups);
  return {
    args: {
      ...tables, tables: packed.tables, arena: packed.arena, groupCount: Header.groups, groupRowCount: Header.groupRows, rows,
      maxGroups: Math.max(1, groups.length), maxGroupRows: tables.groupRows.length, nSlots: slots, slotWords: packed.slotWords,
      nPages: packed.nPages, pageBytes: packed.pageBytes, layer: PLACE.layer, nSites: PLACE.nSites, site: PLACE.site,
    },
    header: { groups: groups.length, groupRows: groups.reduce((sum, group) => sum + group.rows.length, 0) },
  };
}

const VOCAB = 150;

interface Ends { runs: (UnitRun | null)[]; packed: PackedUnits; groups: RowGroup[]; rows: number; tokens: Int32Array; x: Float32Array; dim: number }

function setUp(seed: number, dim: number, rows: number, makeRun: (random: Random, slot: number) => UnitRun | null): Ends {
  const random = new Random(seed), runs = Array.from({ length: 5 }, (_, slot) => makeRun(random, slot));
  return {
    runs, packed: packUnits(random, runs, 8192), groups: onePerRow(random, rows, 5), rows, dim,
    tokens: Int32Array.from({ length: rows }, () => random.int(0, VOCAB - 1)), x: random.normals(rows * dim),
  };
}

/** Whole ends, few and many rows of others, an adapter without any. */
const rowsOf = (dim: number) => (random: Random, slot: number): UnitRun | null => [
  endRows(random, dim, VOCAB, null), endRows(random, dim, 3, someTokens(random, VOCAB, 3)), null,
  endRows(random, dim, 70, someTokens(random, VOCAB, 70)), endRows(random, dim, VOCAB - 9, null),
][slot]!;

async function replaceEmbeddings(variant: Variant, s: Ends, groups = s.groups): Promise<Float32Array> {
  const { args, header } = shared(groups, s.packed, s.runs.length, s.rows);
  return (await runOp(deviceOf(variant), embedReplace, { ...args, tokens: s.tokens, x: s.x, dim: s.dim, ldx: s.dim }, header)).x;
}

async function replaceLogits(variant: Variant, s: Ends, y: Float32Array, groups = s.groups, xType: 'f32' | 'bf16' = 'f32'): Promise<Float32Array> {
  const { args, header } = shared(groups, s.packed, s.runs.length, s.rows), x = xType === 'f32' ? s.x : Uint16Array.from(s.x, toBf16);
  return (await runOp(deviceOf(variant), headReplace, { ...args, x, y, dIn: s.dim, dOut: VOCAB, ldx: s.dim, ldy: VOCAB, xType: DType[xType] }, header)).y;
}

async function shrink(variant: Variant, s: Ends, groups = s.groups): Promise<Float32Array> {
  const { args, header } = shared(groups, s.packed, s.runs.length, s.rows);
  const u = new Float32Array(args.maxGroupRows * 20).fill(NaN);
  return (await runOp(deviceOf(variant), embedShrink, { ...args, tokens: s.tokens, u, ldu: 20, partStride: 17 }, header)).u;
}

describe.each(variants)('ends: $isa, $threads threads', variant => {
  test.each([1, 7, 40])('a token finds its ranks: %i rows', async rows => {
    const s = setUp(50 + rows, 1, rows, (random, slot) => (slot === 2 ? null : embeddingA(random, slot === 4 ? 100 : VOCAB, [1, 4, 0, 17, 8][slot]!)));
    expectClose(await shrink(variant, s), embedShrinkReference(s.runs, s.groups.length ? s.groups : [{ slot: 2, weight: 1, rows: [0] }], s.tokens, 20), 0, 'u');
  });

  test.each([[1, 64], [9, 150], [40, 3], [33, 70]])('embeddings of an adapter stand for those of the base: %i rows of %i', async (rows, dim) => {
    const s = setUp(60 + rows, dim, rows, rowsOf(dim));
    expectClose(await replaceEmbeddings(variant, s), embedReplaceReference(s.runs, s.groups, s.tokens, s.x, dim), 1e-6, 'x');
  });

  test.each([[1, 64], [9, 150], [40, 3], [64, 70]])('logits of an adapter stand for those of the base: %i rows of %i', async (rows, dim) => {
    const s = setUp(70 + rows, dim, rows, rowsOf(dim)), y = new Random(1).normals(rows * VOCAB);
    expectClose(await replaceLogits(variant, s, y), headReplaceReference(s.runs, s.groups, s.x, y, dim, VOCAB), 2e-5, 'y');
  });

  test('rows of x may be bf16', async () => {
    const s = setUp(80, 70, 20, rowsOf(70)), y = new Random(1).normals(20 * VOCAB);
    s.x = Float32Array.from(s.x, value => Math.fround(Math.round(value * 16) / 16));      // exact in bf16
    expectClose(await replaceLogits(variant, s, y, s.groups, 'bf16'), headReplaceReference(s.runs, s.groups, s.x, y, 70, VOCAB), 2e-5, 'y');
  });

  test('a row has the same bits alone and in any group', async () => {
    const s = setUp(81, 96, 30, rowsOf(96)), y = new Random(2).normals(30 * VOCAB);
    const x = await replaceEmbeddings(variant, s), logits = await replaceLogits(variant, s, y), u = await shrink(variant, s).catch(() => null);
    expect(u).toBeNull();       // these runs are no A of an embedding: refused
    for (const { slot, weight, rows } of s.groups) {
      const [row] = rows, alone = [{ slot, weight, rows: [row!] }];
      expectSameBits((await replaceEmbeddings(variant, s, alone)).slice(row! * 96, row! * 96 + 96), x.slice(row! * 96, row! * 96 + 96), `row ${row}`);
      expectSameBits((await replaceLogits(variant, s, y, alone)).slice(row! * VOCAB, (row! + 1) * VOCAB), logits.slice(row! * VOCAB, (row! + 1) * VOCAB), `logits ${row}`);
    }
  });

  test('what is not finite stays in its row', async () => {
    const s = setUp(82, 64, 12, rowsOf(64)), y = new Random(3).normals(12 * VOCAB), groups: RowGroup[] = [{ slot: 0, weight: 1, rows: all(12) }];
    const clean = await replaceLogits(variant, s, y, groups);
    s.x.set([NaN], 5 * 64 + 3);
    s.x.set([Infinity], 7 * 64);
    const dirty = await replaceLogits(variant, s, y, groups);
    for (const row of [4, 6, 8]) expectSameBits(dirty.slice(row * VOCAB, (row + 1) * VOCAB), clean.slice(row * VOCAB, (row + 1) * VOCAB), `row ${row}`);
    expect(dirty.slice(5 * VOCAB, 6 * VOCAB).every(Number.isNaN)).toBe(true);
    expect(dirty.slice(7 * VOCAB, 8 * VOCAB).some(Number.isFinite)).toBe(false);
  });

  test('a row of a token that there is not is refused', async () => {
    const s = setUp(83, 64, 4, (random, slot) => (slot === 0 ? endRows(random, 64, 2, [3, VOCAB]) : null));
    await expect(replaceLogits(variant, s, new Float32Array(4 * VOCAB), [{ slot: 0, weight: 1, rows: [1] }])).rejects.toMatchObject({ code: 'list_invalid' });
  });
});

test.each(isas)('ends: one thread, two and any tuning give the same bits (%s)', async isa => {
  const s = setUp(84, 200, 64, rowsOf(200)), y = new Random(4).normals(64 * VOCAB);
  const x = await replaceEmbeddings({ isa, threads: 1 }, s), logits = await replaceLogits({ isa, threads: 1 }, s, y);
  for (const tuning of [undefined, ...extremeTunings]) {
    expectSameBits(await replaceEmbeddings({ isa, threads: 2, ...(tuning && { tuning }) }, s), x, 'x');
    expectSameBits(await replaceLogits({ isa, threads: 2, ...(tuning && { tuning }) }, s, y), logits, 'y');
  }
});

import { describe, test } from 'vitest';
import { Header, OUTS_BYTES, loraExpand, loraShrink } from '@weft/kernels';
import { deviceOf, extremeTunings, isas, runOp, variants, type Variant } from '../harness.js';
import { PLACE, groupTables, loraReference, makeAdapter, packAdapters, type Adapter, type Packed, type RowGroup, type Site } from '../reference/lora.js';
import { Random, expectClose, expectSameBits } from '../reference/numbers.js';

interface Setup { site: Site; adapters: Adapter[]; packed: Packed; maxRank: number; x: Float32Array; y: Float32Array; rows: number }

function setUp(seed: number, site: Site, ranks: number[], rows: number, missing = 0, tailed = 0): Setup {
  const random = new Random(seed), maxRank = Math.max(...ranks);
  const adapters = ranks.map(rank => makeAdapter(random, site, rank, missing, tailed));
  const packed = packAdapters(random, site, adapters, Math.max(8192, Math.ceil((maxRank * 128 + OUTS_BYTES) * 1.5 / 4096) * 4096));
  return { site, adapters, packed, maxRank, rows, x: random.normals(rows * site.dIn), y: random.normals(rows * site.outs.reduce((a, b) => a + b, 0)) };
}

async function apply(variant: Variant, s: Setup, groups: RowGroup[]): Promise<Float32Array> {
  const { site, packed, rows, maxRank } = s, device = deviceOf(variant), parts = site.outs.length;
  const tables = groupTables(groups), dOut = site.outs.reduce((a, b) => a + b, 0), maxGroupRows = tables.groupRows.length;
  const shared = {
    ...tables, tables: packed.tables, arena: packed.arena, groupCount: Header.groups, groupRowCount: Header.groupRows, rows, ldu: parts * maxRank + 3, partStride: maxRank,
    maxGroups: Math.max(1, groups.length), maxGroupRows, nSlots: s.adapters.length, slotWords: packed.slotWords, nPages: packed.nPages, pageBytes: packed.pageBytes,
    layer: PLACE.layer, nSites: PLACE.nSites, site: PLACE.site, parts,
  };
  const header = { groups: groups.length, groupRows: groups.reduce((sum, group) => sum + group.rows.length, 0) };
  const { u } = await runOp(device, loraShrink, { ...shared, x: s.x, u: new Float32Array(maxGroupRows * shared.ldu).fill(NaN), dIn: site.dIn, ldx: site.dIn, xType: 0 }, header);
  const [o0 = 0, o1 = 0, o2 = 0] = site.outs;
  const { y } = await runOp(device, loraExpand, {
    ...shared, u, y: s.y, dOut, ldy: dOut, outOffset0: 0, dOut0: o0, outOffset1: o0, dOut1: o1, outOffset2: o0 + o1, dOut2: o2,
  }, header);
  return y;
}

const all = (rows: number): number[] => Array.from({ length: rows }, (_, i) => i);

/** Which rows use which adapters. */
const mixes: Record<string, (random: Random, rows: number, slots: number) => RowGroup[]> = {
  none: () => [],
  same: (_, rows) => [{ slot: 1, weight: 1, rows: all(rows) }],
  uniform: (random, rows, slots) => byAdapter(rows, () => random.int(0, slots - 1)),
  skewed: (random, rows, slots) => byAdapter(rows, () => Math.min(slots - 1, Math.floor(-2 * Math.log(1 - random.unit())))),
  'all distinct': (_, rows, slots) => all(rows).map(row => ({ slot: row % slots, weight: 1, rows: [row] })),
  'some rows without': (random, rows, slots) => byAdapter(rows, () => random.int(-2, slots - 1)),
  'rows in several groups': (random, rows, slots) =>
    all(6).map(() => ({ slot: random.int(0, slots - 1), weight: random.normal(), rows: random.shuffled(all(rows)).slice(0, random.int(1, rows)) })),
};

function byAdapter(rows: number, choose: () => number): RowGroup[] {
  const groups = new Map<number, number[]>();
  for (let row = 0; row < rows; row++) {
    const slot = choose();
    if (slot >= 0) groups.set(slot, [...groups.get(slot) ?? [], row]);
  }
  return [...groups].map(([slot, mine]) => ({ slot, weight: 1, rows: mine }));
}

const qkv: Site = { dIn: 150, outs: [150, 70, 64] };

describe.each(variants)('lora: $isa, $threads threads', variant => {
  test.each(Object.keys(mixes))('adds B(A x) in the mix: %s', async mix => {
    const random = new Random(21);
    for (const rows of [1, 9, 33]) {
      const s = setUp(22 + rows, qkv, [8, 1, 16, 5, 64, 3], rows, 0.2), groups = mixes[mix]!(random, rows, 6);
      expectClose(await apply(variant, s, groups), loraReference(s.site, s.adapters, groups, s.x, s.y), 5e-4, `${rows} rows`);
    }
  });

  test.each(Object.keys(mixes))('changes outputs by h and c in the mix: %s', async mix => {
    const random = new Random(41);
    for (const rows of [1, 9, 33]) {
      const s = setUp(42 + rows, qkv, [8, 1, 16, 5, 64, 3], rows, 0.2, 0.6), groups = mixes[mix]!(random, rows, 6);
      expectClose(await apply(variant, s, groups), loraReference(s.site, s.adapters, groups, s.x, s.y), mix === 'rows in several groups' ? 5e-2 : 2e-3, `${rows} rows`);
    }
  });

  test.each([
    ['rank 1', { dIn: 64, outs: [64] }, [1]], ['rank 256', { dIn: 100, outs: [130, 40] }, [256]], ['a d_in below a vector', { dIn: 3, outs: [5] }, [4, 2]],
    ['outputs that end inside a unit', { dIn: 65, outs: [63, 65, 1] }, [7, 12]], ['units in many pages', { dIn: 1000, outs: [500] }, [40, 33]],
  ] as [string, Site, number[]][])('%s', async (_, site, ranks) => {
    const s = setUp(23, site, ranks, 11), groups = byAdapter(11, () => 0).concat(ranks.length > 1 ? [{ slot: 1, weight: -0.7, rows: [2, 10] }] : []);
    expectClose(await apply(variant, s, groups), loraReference(site, s.adapters, groups, s.x, s.y), 1e-3, 'y');
  });

  test('many rows on one adapter, in no order', async () => {
    const s = setUp(24, qkv, [16], 300), groups = [{ slot: 0, weight: 1, rows: new Random(1).shuffled(all(300)).slice(0, 290) }];
    expectClose(await apply(variant, s, groups), loraReference(s.site, s.adapters, groups, s.x, s.y), 5e-4, 'y');
  });

  test('a row has the same bits alone and in a group of any size', async () => {
    for (const rows of [2, 3, 4, 5, 6, 8, 13, 200]) {
      const s = setUp(25, qkv, [24, 9], rows, 0.2, 0.5);
      const together = await apply(variant, s, [{ slot: 0, weight: 1, rows: all(rows) }, { slot: 1, weight: 0.3, rows: all(rows) }]);
      for (const row of [0, rows - 1]) {
        const alone = await apply(variant, s, [{ slot: 0, weight: 1, rows: [row] }, { slot: 1, weight: 0.3, rows: [row] }]), width = together.length / rows;
        expectSameBits(together.slice(row * width, (row + 1) * width), alone.slice(row * width, (row + 1) * width), `row ${row} of ${rows}`);
      }
    }
  });

  test('rows that no group names are left as they are, bit for bit', async () => {
    const s = setUp(26, qkv, [8, 8], 12), y = await apply(variant, s, [{ slot: 0, weight: 1, rows: [3] }]), width = y.length / 12;
    expectSameBits(y.slice(4 * width), s.y.slice(4 * width), 'rows behind');
    expectSameBits(y.slice(0, 3 * width), s.y.slice(0, 3 * width), 'rows before');
  });

  test('a NaN stays in its row', async () => {
    const s = setUp(27, qkv, [16], 9), groups = [{ slot: 0, weight: 1, rows: all(9) }], clean = await apply(variant, s, groups), width = clean.length / 9;
    s.x[4 * qkv.dIn + 17] = NaN;
    const dirty = await apply(variant, s, groups);
    for (const row of [0, 3, 5, 8]) expectSameBits(dirty.slice(row * width, (row + 1) * width), clean.slice(row * width, (row + 1) * width), `row ${row}`);
    if (!dirty.slice(4 * width, 5 * width).every(Number.isNaN)) throw new Error('row 4 should be NaN');
  });
});

test.each(isas)('lora: one thread, two and any tuning give the same bits (%s)', async isa => {
  const random = new Random(28), s = setUp(29, qkv, [8, 1, 16, 5, 64, 3], 150, 0, 0.5);
  for (const mix of Object.values(mixes)) {
    const groups = mix(random, 150, 6);
    const one = await apply({ isa, threads: 1 }, s, groups);
    expectSameBits(await apply({ isa, threads: 2 }, s, groups), one, 'y');
    for (const tuning of extremeTunings) expectSameBits(await apply({ isa, threads: 2, tuning }, s, groups), one, 'y');
  }
});

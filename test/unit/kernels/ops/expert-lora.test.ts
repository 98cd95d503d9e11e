import { describe, test } from 'vitest';
import { Header, expertExpand, expertShrink } from '@weft/kernels';
import { deviceOf, isas, runOp, variants, type Variant } from '../harness.js';
import { PLACE, groupTables, makeAdapter, packExpertAdapters, type ExpertAdapter, type Packed, type Part, type RowGroup, type Site } from '../reference/lora.js';
import { Random, expectClose, expectSameBits } from '../reference/numbers.js';

const EXPERTS = 5, TOP_K = 2;

interface Setup { site: Site; adapters: ExpertAdapter[]; packed: Packed; maxRank: number; rows: number; keys: Int32Array; inverse: Int32Array; x: Float32Array; y: Float32Array; gathers: boolean }

function setUp(seed: number, site: Site, ranks: number[], rows: number, gathers: boolean, missing = 0): Setup {
  const random = new Random(seed), pairs = rows * TOP_K;
  const adapters = ranks.map((rank): ExpertAdapter => site.outs.map((_, p) => {
    if (random.chance(missing)) return null;
    const first = makeAdapter(random, site, rank, 0)[p]!;
    return Array.from({ length: EXPERTS }, () => ({ ...first, a: first.a.map((_, i) => first.a[(i * 7 + random.int(0, 5)) % first.a.length]!), b: first.b.map((_, i) => first.b[(i * 3 + random.int(0, 5)) % first.b.length]!) }));
  }));
  const maxRank = Math.max(...ranks), dOut = site.outs.reduce((a, b) => a + b, 0);
  return {
    site, adapters, maxRank, rows, gathers, packed: packExpertAdapters(random, site, EXPERTS, adapters, 8192),
    keys: Int32Array.from(Array.from({ length: rows }, () => random.shuffled([0, 1, 2, 3, 4]).slice(0, TOP_K)).flat()),
    inverse: Int32Array.from(random.shuffled(Array.from({ length: pairs }, (_, i) => i))),
    x: random.normals((gathers ? rows : pairs) * site.dIn), y: random.normals(pairs * dOut),
  };
}

async function apply(variant: Variant, s: Setup, groups: RowGroup[]): Promise<Float32Array> {
  const { site, packed, rows, maxRank } = s, device = deviceOf(variant), parts = site.outs.length, pairs = rows * TOP_K;
  const tables = groupTables(groups), dOut = site.outs.reduce((a, b) => a + b, 0), maxGroupRows = tables.groupRows.length, uRows = maxGroupRows * TOP_K;
  const shared = {
    ...tables, keys: s.keys, tables: packed.tables, arena: packed.arena, groupCount: Header.groups, groupRowCount: Header.groupRows, rows, uRows, pairs, topK: TOP_K, experts: EXPERTS,
    ldu: parts * maxRank + 3, partStride: maxRank, maxGroups: Math.max(1, groups.length), maxGroupRows, nSlots: s.adapters.length, slotWords: packed.slotWords,
    nPages: packed.nPages, pageBytes: packed.pageBytes, layer: PLACE.layer, nSites: PLACE.nSites, site: PLACE.site, parts,
  };
  const header = { groups: groups.length, groupRows: groups.reduce((sum, group) => sum + group.rows.length, 0) };
  const { u } = await runOp(device, expertShrink, {
    ...shared, inverse: s.gathers ? null : s.inverse, x: s.x, xRows: s.gathers ? rows : pairs, u: new Float32Array(uRows * shared.ldu).fill(NaN), dIn: site.dIn, ldx: site.dIn, xType: 0,
  }, header);
  const [o0 = 0, o1 = 0, o2 = 0] = site.outs;
  const { y } = await runOp(device, expertExpand, {
    ...shared, inverse: s.inverse, u, y: s.y, dOut, ldy: dOut, outOffset0: 0, dOut0: o0, outOffset1: o0, dOut1: o1, outOffset2: o0 + o1, dOut2: o2,
  }, header);
  return y;
}

/** y[place] += weight·scale·B_e(A_e x), for each choice of each row of each group. */
function reference(s: Setup, groups: RowGroup[]): Float64Array {
  const { site: { dIn, outs }, keys, inverse } = s, out = Float64Array.from(s.y), dOut = outs.reduce((a, b) => a + b, 0);
  for (const { slot, weight, rows } of groups) {
    for (const t of rows) {
      for (let c = 0; c < TOP_K; c++) {
        const pair = t * TOP_K + c, from = (s.gathers ? t : inverse[pair]!) * dIn;
        let offset = 0;
        s.adapters[slot]!.forEach((each, p) => {
          if (each) add(each[keys[pair]!]!, from, inverse[pair]! * dOut + offset, outs[p]!, weight);
          offset += outs[p]!;
        });
      }
    }
  }
  return out;

  function add({ rank, a, b, scale }: Part, from: number, to: number, width: number, weight: number): void {
    const u = Array.from({ length: rank }, (_, j) => { let sum = 0; for (let i = 0; i < dIn; i++) sum += a[j * dIn + i]! * s.x[from + i]!; return sum; });
    for (let o = 0; o < width; o++) out[to + o]! += weight * scale * u.reduce((sum, value, j) => sum + b[o * rank + j]! * value, 0);
  }
}

const gateUp: Site = { dIn: 150, outs: [70, 70, 140] }, down: Site = { dIn: 70, outs: [150] };
const groupsOf = (random: Random, rows: number, slots: number): RowGroup[] => Array.from({ length: 4 }, () =>
  ({ slot: random.int(0, slots - 1), weight: random.normal(), rows: random.shuffled(Array.from({ length: rows }, (_, i) => i)).slice(0, random.int(1, rows)) }));

describe.each(variants)('LoRA on experts: $isa, $threads threads', variant => {
  test.each([['gate|up', gateUp, true], ['down', down, false]] as const)('adds B(A x) of the experts that rows go to: %s', async (_, site, gathers) => {
    for (const rows of [1, 2, 9, 40]) {
      const s = setUp(rows, site, [1, 8, 3], rows, gathers, 0.3), groups = groupsOf(new Random(rows), rows, 3);
      expectClose(await apply(variant, s, groups), reference(s, groups), 3e-4, `${rows} rows`);
    }
    const none = setUp(5, site, [4], 3, gathers);
    expectSameBits(await apply(variant, none, []), none.y, 'no groups');
  });

  test('a row has the same bits alone and among others', async () => {
    const s = setUp(6, gateUp, [8, 5], 12, true), dOut = 280;
    const groups: RowGroup[] = [{ slot: 0, weight: 0.5, rows: [3, 7, 1, 9] }, { slot: 1, weight: 1, rows: [7, 0, 5] }];
    const all = await apply(variant, s, groups);
    for (const row of [7, 9, 5]) {
      const alone = await apply(variant, s, groups.filter(group => group.rows.includes(row)).map(group => ({ ...group, rows: [row] })));
      for (let c = 0; c < TOP_K; c++) {
        const at = s.inverse[row * TOP_K + c]! * dOut;
        expectSameBits(all.slice(at, at + dOut), alone.slice(at, at + dOut), `row ${row}`);
      }
    }
  });
});

test.each(isas)('LoRA on experts: one thread and two give the same bits (%s)', async isa => {
  const s = setUp(8, gateUp, [8, 16], 60, true), groups = groupsOf(new Random(8), 60, 2);
  expectSameBits(await apply({ isa, threads: 2 }, s, groups), await apply({ isa, threads: 1 }, s, groups), '60 rows');
});

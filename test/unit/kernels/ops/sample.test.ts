import { describe, expect, test } from 'vitest';
import { Header, RESULT_WORDS, Result, RowStatus, SAMPLE_WORDS, SLOT_WORDS, Sample, Slot, sample } from '@weft/kernels';
import { deviceOf, isas, runOp, variants, type Variant } from '../harness.js';
import { Random, bitsOf, expectSameBits, floatOf } from '../reference/numbers.js';
import { drawReference, logSoftmax, philox, ranked, uniform, type Drawing } from '../reference/sample.js';

interface Row extends Drawing { slot: number; target: number; nTop: number; maskRow: number }

const plain: Row = {
  slot: 0, target: -1, nTop: 0, maskRow: -1, temperature: 0, topK: 0, topP: 1, minP: 0, repetition: 1, presence: 0, frequency: 0,
  seedLo: 0, seedHi: 0, choice: 0, promptLen: 0, history: [], bias: [], allowed: null,
};
const MAX_LEN = 64;

interface Answer { token: number; status: number; logprob: number; rank: number; top: { id: number; logprob: number }[] }
interface Answers { rows: Answer[]; results: Int32Array; slots: Int32Array; history: Int32Array }

/** more: columns behind each row's vocabulary, which nobody may read. */
async function draw(variant: Variant, given: Float32Array, rows: Row[], masks: Int32Array | null = null, more = 0): Promise<Answers> {
  const own = given.length / rows.length, vocab = own + more, logits = Float32Array.from({ length: rows.length * vocab }, (_, i) => (i % vocab < own ? given[Math.floor(i / vocab) * own + i % vocab]! : NaN));
  const nSlots = Math.max(...rows.map(row => row.slot)) + 1;
  const records = new Int32Array(rows.length * SAMPLE_WORDS), slots = new Int32Array(nSlots * SLOT_WORDS), history = new Int32Array(nSlots * MAX_LEN), bias: number[] = [];
  rows.forEach((row, i) => {
    const put = (word: number, value: number): void => { records[i * SAMPLE_WORDS + word] = value; };
    for (const name of ['slot', 'target', 'topK', 'seedLo', 'seedHi', 'choice', 'promptLen', 'maskRow', 'nTop'] as const) put(Sample[name], row[name]);
    for (const name of ['temperature', 'topP', 'minP', 'repetition', 'presence', 'frequency'] as const) put(Sample[name], bitsOf(row[name]));
    put(Sample.biasStart, bias.length / 2);
    put(Sample.vocab, more === 0 ? 0 : own);
    put(Sample.biasCount, row.bias.length);
    for (const [token, value] of row.bias) bias.push(token, bitsOf(value));
    slots[row.slot * SLOT_WORDS + Slot.length] = row.history.length;
    history.set(row.history, row.slot * MAX_LEN);
  });
  const words = Math.ceil(vocab / 32);
  const out = await runOp(deviceOf(variant), sample, {
    logits, records, bias: Int32Array.from(bias.length ? bias : [0, 0]), masks, slots, history, results: new Int32Array(rows.length * RESULT_WORDS).fill(-5),
    count: 0, firstRow: 0, tileRows: rows.length, vocab, ldl: vocab, maxLogits: rows.length, biasWords: Math.max(2, bias.length), maskRows: masks ? masks.length / words : 0,
    maskWords: words, nSlots, maxLen: MAX_LEN,
  });
  return { ...out, rows: rows.map((_, i) => answer(out.results, i)) };
}

function answer(results: Int32Array, row: number): Answer {
  const word = (at: number): number => results[row * RESULT_WORDS + at]!;
  return {
    token: word(Result.token), status: word(Result.status), logprob: floatOf(word(Result.logprob)), rank: word(Result.rank),
    top: Array.from({ length: word(Result.nTop) }, (_, i) => ({ id: word(Result.topIds + i), logprob: floatOf(word(Result.topLogprobs + i)) })),
  };
}

function randomRow(random: Random, vocab: number, slot: number): Row {
  return {
    slot, target: random.chance(0.2) ? random.int(0, vocab - 1) : -1, nTop: random.int(0, 20), maskRow: -1, temperature: random.chance(0.3) ? 0 : 0.2 + 2 * random.unit(),
    topK: random.pick([0, 0, 1, 5, 40, 100000]), topP: random.pick([1, 1, 0.1, 0.5, 0.9, 0.99]), minP: random.pick([0, 0, 0.05, 0.5]),
    repetition: random.pick([1, 1, 1.3, 0.8]), presence: random.pick([0, 0.5, -0.4]), frequency: random.pick([0, 0.2]),
    seedLo: random.u32() | 0, seedHi: random.u32() | 0, choice: random.int(0, 4), promptLen: random.int(0, 20),
    history: Array.from({ length: random.int(1, MAX_LEN - 1) }, () => random.int(0, vocab - 1)),
    bias: Array.from({ length: random.pick([0, 0, 3]) }, () => [random.int(0, vocab - 1), random.pick([2, -3, -Infinity])] as [number, number]), allowed: null,
  };
}

test('philox4x32-10 gives its published vectors', () => {
  const hex = (words: number[]): string[] => words.map(word => word.toString(16).padStart(8, '0'));
  expect(hex(philox([0, 0], [0, 0, 0, 0]))).toEqual(['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']);
  expect(hex(philox([0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff]))).toEqual(['408f276d', '41c83b0e', 'a20bc7c6', '6d5451fd']);
  expect(hex(philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]))).toEqual(['d16cfe09', '94fdcceb', '5001e420', '24126ea1']);
});

describe.each(variants)('sample: $isa, $threads threads', variant => {
  test.each([1, 2, 31, 500, 4099])('draws what the reference draws, of %i tokens', async vocab => {
    const random = new Random(61 + vocab);
    let decided = 0;
    for (let i = 0; i < 12; i++) {
      const rows = Array.from({ length: 5 }, (_, slot) => randomRow(random, vocab, slot));
      const logits = random.normals(5 * vocab, random.pick([0.02, 1, 6]));
      if (random.chance(0.5)) logits.forEach((value, at) => { logits[at] = Math.round(value); });   // many ties
      const words = Math.ceil(vocab / 32), masks = Int32Array.from({ length: 5 * words }, () => random.u32() | 1);
      rows.forEach((row, r) => {
        if (!random.chance(0.3)) return;
        row.maskRow = r;
        row.allowed = token => ((masks[r * words + (token >>> 5)]! >>> (token & 31)) & 1) === 1;
      });
      const got = await draw(variant, logits, rows, masks);
      rows.forEach((row, r) => {
        const raw = logits.subarray(r * vocab, (r + 1) * vocab), logprobs = logSoftmax(raw), order = ranked(raw), { token, status, logprob, rank, top } = got.rows[r]!;
        const slot = [...got.slots.subarray(r * SLOT_WORDS, r * SLOT_WORDS + 3)];
        if (row.target >= 0) {
          expect([token, status]).toEqual([row.target, RowStatus.ok]);
          expect(slot).toEqual([row.history.length, 0, 0]);
        } else {
          const expected = drawReference(raw, row);
          if (expected.decided) expect([token, status], JSON.stringify({ ...row, i })).toEqual([expected.token, expected.status]);
          if (expected.decided) decided++;
          expect(slot).toEqual([row.history.length + 1, token, 1]);
          expect(got.history[r * MAX_LEN + row.history.length]).toBe(token);
        }
        expect(Math.abs(logprob - logprobs[token]!)).toBeLessThan(3e-6 * (1 + Math.abs(logprob)));
        expect(rank).toBe(raw.filter(value => value > raw[token]!).length);
        expect(top.map(({ id }) => id)).toEqual(order.slice(0, row.nTop));
        for (const t of top) expect(Math.abs(t.logprob - logprobs[t.id]!)).toBeLessThan(3e-6 * (1 + Math.abs(t.logprob)));
      });
    }
    expect(decided).toBeGreaterThan(30);
  });

  test('a row of fewer tokens than there are columns is what it is without the others', async () => {
    const random = new Random(77);
    for (const vocab of [1, 17, 300, 1000]) {
      const rows = Array.from({ length: 6 }, (_, slot) => randomRow(random, vocab, slot)), logits = random.normals(6 * vocab);
      const alone = await draw(variant, logits, rows), among = await draw(variant, logits, rows, null, 40);
      expect(among.rows, `${vocab} tokens`).toEqual(alone.rows);
      expect(among.history).toEqual(alone.history);
    }
  });

  test('equal logits: a draw is u times the vocabulary, whatever the position and choice', async () => {
    const rows = Array.from({ length: 40 }, (_, i): Row => ({ ...plain, slot: i, temperature: 1, seedLo: 7 * i, seedHi: i, choice: i % 3, history: new Array<number>(i).fill(0) }));
    const got = await draw(variant, new Float32Array(40 * 1000).fill(0.5), rows);
    rows.forEach((row, i) => expect(got.rows[i]!.token).toBe(Math.floor(uniform(row.seedLo, row.seedHi, row.choice, i) * 1000)));
  });

  test('draws follow the distribution', async () => {
    const logits = Float32Array.of(0, 1, 2, -1, 0.5), counts = new Array<number>(5).fill(0), n = 3000, probabilities = logSoftmax(logits).map(Math.exp);
    const rows = Array.from({ length: n }, (_, i): Row => ({ ...plain, slot: i, temperature: 1, seedLo: i, seedHi: 99 }));
    const got = await draw(variant, Float32Array.from({ length: 5 * n }, (_, i) => logits[i % 5]!), rows);
    for (const { token } of got.rows) counts[token]!++;
    counts.forEach((count, id) => expect(Math.abs(count / n - probabilities[id]!)).toBeLessThan(4 * Math.sqrt(probabilities[id]! / n)));
  });

  test('ties go to the lower id: argmax, top-n, top-k, top-p', async () => {
    const logits = Float32Array.of(1, 3, 0, 3, 3, 1, 3, 0), row = { ...plain, temperature: 1, seedLo: 3 };
    const tokens = async (over: Partial<Row>): Promise<Set<number>> => {
      const rows = Array.from({ length: 60 }, (_, i): Row => ({ ...row, slot: i, seedLo: i, ...over }));
      const got = await draw(variant, Float32Array.from({ length: 8 * 60 }, (_, i) => logits[i % 8]!), rows);
      return new Set(got.rows.map(({ token }) => token));
    };
    expect(await tokens({ temperature: 0 })).toEqual(new Set([1]));
    expect(await tokens({ topK: 2 })).toEqual(new Set([1, 3]));
    expect(await tokens({ topP: 0.5 })).toEqual(new Set([1, 3, 4]));
    expect(await tokens({ topP: 0 })).toEqual(new Set([1]));
    expect(await tokens({ minP: 0.99 })).toEqual(new Set([1, 3, 4, 6]));
    expect((await draw(variant, logits, [{ ...plain, nTop: 6 }])).rows[0]!.top.map(({ id }) => id)).toEqual([1, 3, 4, 6, 0, 5]);
  });

  test('a row that is not finite gets status 1 alone: its neighbours keep their bits', async () => {
    const random = new Random(62), vocab = 300, rows = [0, 1, 2, 3, 4].map(slot => ({ ...randomRow(random, vocab, slot), target: -1, nTop: 4 }));
    const logits = random.normals(5 * vocab), clean = await draw(variant, logits, rows);
    logits[vocab + 7] = NaN;
    logits[3 * vocab + 299] = Infinity;
    logits.fill(-Infinity, 4 * vocab);
    const dirty = await draw(variant, logits, rows);
    expect(dirty.rows.map(({ status }) => status)).toEqual([0, 1, 0, 1, 1]);
    for (const r of [1, 3, 4]) {
      expect(dirty.rows[r]).toMatchObject({ token: 0, top: [] });
      expect(dirty.slots[r * SLOT_WORDS + Slot.length]).toBe(rows[r]!.history.length + 1);
    }
    for (const r of [0, 2]) expect(dirty.results.slice(r * RESULT_WORDS, (r + 1) * RESULT_WORDS)).toEqual(clean.results.slice(r * RESULT_WORDS, (r + 1) * RESULT_WORDS));
  });

  test('a score of a row that is not finite says so and leaves the slot', async () => {
    const got = await draw(variant, Float32Array.of(1, NaN, 2), [{ ...plain, target: 2, history: [1] }]);
    expect(got.rows[0]).toMatchObject({ token: 2, status: RowStatus.notFinite, logprob: NaN });
    expect(got.slots[Slot.length]).toBe(1);
  });

  test('-inf logits are never drawn; a mask or bias that leaves nothing gives status 2', async () => {
    const logits = Float32Array.of(-Infinity, 2, -Infinity, 1);
    for (let seed = 0; seed < 20; seed++) expect([1, 3]).toContain((await draw(variant, logits, [{ ...plain, temperature: 5, seedLo: seed }])).rows[0]!.token);
    expect((await draw(variant, logits, [{ ...plain, maskRow: 0 }], Int32Array.of(0b0101))).rows[0]).toMatchObject({ token: 0, status: RowStatus.nothingAllowed });
    expect((await draw(variant, logits, [{ ...plain, temperature: 1, bias: [[1, -Infinity], [3, -Infinity]] }])).rows[0]!.status).toBe(RowStatus.nothingAllowed);
    expect((await draw(variant, logits, [{ ...plain, temperature: 1, bias: [[3, 1e38], [3, 3e38]] }])).rows[0]).toMatchObject({ token: 3, status: RowStatus.ok });
  });

  test('temperatures and penalties that overflow leave the likeliest token', async () => {
    const logits = Float32Array.of(1, 5, 4.9, -2), history = [1];
    for (const over of [{ temperature: 1e-45 }, { temperature: 1e-38 }, { temperature: 1e-3 }]) {
      expect((await draw(variant, logits, [{ ...plain, ...over, minP: 1 }])).rows[0]!.token).toBe(1);
    }
    expect((await draw(variant, logits, [{ ...plain, temperature: 1, history, repetition: 1e-38, seedLo: 3 }])).rows[0]!.token).toBe(1);
    expect((await draw(variant, logits, [{ ...plain, temperature: 1e-3, history, presence: 3e38, frequency: 3e38 }])).rows[0]!.token).toBe(2);
    expect((await draw(variant, logits, [{ ...plain, temperature: 1, history, presence: -3e38, frequency: -3e38, topP: 0.9 }])).rows[0]!.token).toBe(1);
  });

  test('several draws from one slot follow each other', async () => {
    const random = new Random(63), vocab = 50, logits = random.normals(3 * vocab), row: Row = { ...plain, temperature: 1, seedLo: 5, frequency: 1, history: [4, 4] };
    const together = await draw(variant, logits, [row, row, row]);
    const one = await draw(variant, logits.slice(0, vocab), [row]), history = [...row.history, one.rows[0]!.token];
    const two = await draw(variant, logits.slice(vocab, 2 * vocab), [{ ...row, history }]);
    expect(together.rows.slice(0, 2).map(({ token }) => token)).toEqual([one.rows[0]!.token, two.rows[0]!.token]);
    expect([...together.slots.slice(0, 3)]).toEqual([5, together.rows[2]!.token, 3]);
  });

  test('a tile starts at firstRow and ends with the logit rows of the frame', async () => {
    const vocab = 9, logits = new Random(64).normals(3 * vocab), records = new Int32Array(6 * SAMPLE_WORDS);
    for (let r = 0; r < 6; r++) records.set([0, r], r * SAMPLE_WORDS);
    const { results } = await runOp(deviceOf(variant), sample, {
      logits, records, bias: new Int32Array(2), slots: new Int32Array(SLOT_WORDS), history: new Int32Array(4), results: new Int32Array(6 * RESULT_WORDS).fill(-5),
      count: Header.logits, firstRow: 2, tileRows: 3, vocab, ldl: vocab, maxLogits: 6, biasWords: 2, maskRows: 0, maskWords: 1, nSlots: 1, maxLen: 4,
    }, { logits: 4 });
    expect([0, 1, 2, 3, 4, 5].map(r => results[r * RESULT_WORDS + Result.token])).toEqual([-5, -5, 2, 3, -5, -5]);
  });

  test('a vocabulary of 128k: top-p over a flat and over a steep distribution', async () => {
    const random = new Random(65), vocab = 131072;
    for (const [scale, topP] of [[0.01, 0.9], [3, 0.95]] as const) {
      const logits = random.normals(vocab, scale), row: Row = { ...plain, temperature: 1, topP, seedLo: 17, nTop: 3 };
      const { token } = (await draw(variant, logits, [row])).rows[0]!, order = ranked(logits), probabilities = logSoftmax(logits).map(Math.exp);
      let mass = 0;
      const kept = new Set<number>();
      for (const id of order) { kept.add(id); mass += probabilities[id]!; if (mass >= topP) break; }
      expect(kept.has(token)).toBe(true);
      const expected = drawReference(logits, row);
      if (expected.decided) expect(token).toBe(expected.token);
    }
  });
});

test.each(isas)('sample: one thread and two give the same bits (%s)', async isa => {
  const random = new Random(66), rows = Array.from({ length: 30 }, (_, slot) => randomRow(random, 700, slot)), logits = random.normals(30 * 700, 2);
  const [one, two] = [await draw({ isa, threads: 1 }, logits, rows), await draw({ isa, threads: 2 }, logits, rows)];
  expectSameBits(new Float32Array(two.results.buffer), new Float32Array(one.results.buffer), 'results');
});

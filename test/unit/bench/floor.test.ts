import { expect, test } from 'vitest';
import { decodeWork, floorOf, opsOf, prefillWork, weightCount, type Shape } from '../../bench/floor.js';

const SMOLLM2: Shape = { layers: 30, hidden: 576, heads: 9, kvHeads: 3, headDim: 64, intermediate: 1536, vocab: 49152, weightBytes: 2, tokenBytes: 30 * 2 * 3 * 64 * 2, adapterBytes: 2 };
/** Bytes and flops a second of a machine with AVX2 on which the floors were computed by hand. */
const MACHINE = { read: 21e9, fma: 194e9 };
const NO_ADAPTERS = { distinct: 0, rows: 0 };
const tokens = (shape: Shape, work: ReturnType<typeof decodeWork>): number => work.rows / floorOf(opsOf(shape, work), MACHINE).seconds;

test('a step reads SmolLM2-135M once: 269 MB', () => {
  expect(weightCount(SMOLLM2) * 2).toBe(268_959_744);
  const floor = floorOf(opsOf(SMOLLM2, decodeWork(1, 0, 0, NO_ADAPTERS)), MACHINE);
  expect(floor.bytes).toBe(268_959_744);
  expect(floor.bytesShare).toBe(1);
  expect(1 / floor.seconds).toBeCloseTo(21e9 / 268_959_744, 6);
});

test('32 rows on 32 adapters are bound by the flops of the base and the bytes of adapters', () => {
  const work = decodeWork(32, 0, 0, { distinct: 960, rows: 960 });
  const ops = opsOf(SMOLLM2, work), lora = ops.filter(o => o.op === 'lora');
  // u = Σ (dIn + dOut) over modules and layers, ranks 8 + 16 + 32 + 64 eight times, two bytes a value.
  expect(lora.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(30 * 10176 * 960 * 2);
  expect(floorOf(lora, MACHINE).bytesShare).toBe(1);
  expect(tokens(SMOLLM2, work)).toBeGreaterThan(440);
  expect(tokens(SMOLLM2, work)).toBeLessThan(448);
  expect(tokens(SMOLLM2, decodeWork(32, 0, 0, { distinct: 512, rows: 512 }))).toBeCloseTo(541, -1);
});

test('a prompt is bound by flops, and needs the head for its last row only', () => {
  expect(512 / floorOf(opsOf(SMOLLM2, prefillWork(512)), MACHINE).seconds).toBeCloseTo(843, -1);
  expect(4096 / floorOf(opsOf(SMOLLM2, prefillWork(4096)), MACHINE).seconds).toBeCloseTo(548, -1);
});

test('a long context adds its keys and values', () => {
  const without = floorOf(opsOf(SMOLLM2, decodeWork(1, 0, 0, NO_ADAPTERS)), MACHINE), at8k = floorOf(opsOf(SMOLLM2, decodeWork(1, 8192, 0, NO_ADAPTERS)), MACHINE);
  expect(at8k.bytes - without.bytes).toBe(8192 * 23040);
});

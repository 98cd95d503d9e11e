import { describe, expect, test } from 'vitest';
import { BLOCK_TOKENS, DType, Header, headNorm, kvWrite, rope, ropeKv } from '@weft/kernels';
import { CUDA, deviceOf, runOp, variants } from '../harness.js';
import { kvStrides, quantized, segmentsOf, type KvSequence } from '../reference/attention.js';
import { Random, expectSameBits, toBf16, toF16 } from '../reference/numbers.js';

const sequence = (firstBlock: number, pages: number[]): KvSequence => ({ length: 0, k: new Float32Array(), v: new Float32Array(), pages, firstBlock });

describe.each(variants)('kvWrite: $isa, $threads threads', variant => {
  test.each([[8, 0], [13, 1], [64, 2], [96, 0]])('K tokens in lanes, V in rows, both f16 to nearest even: heads of %i, KV group %i', async (dim, kvGroup) => {
    const random = new Random(51), kvHeads = 2, width = kvHeads * dim, ldk = width + 3, ldv = width + 1;
    const headStride = dim * 32 + 64, planeStride = kvHeads * headStride + 128, layerOffset = 384, pageBytes = 16384, nPages = 5;
    const sequences = [sequence(1, [4, 0]), sequence(0, [2])];
    const frame = segmentsOf(sequences, [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 2 }], kvGroup), rows = 7;
    const k = random.normals(rows * ldk), v = random.normals(rows * ldv, 1e-4);
    // Ties, subnormals, the largest finite, overflow, infinity, zeros.
    k.set([1.00048828125, 1.00146484375, 2 ** -24, 2 ** -25, 1.5 * 2 ** -25, 65504, 65519, 65520].slice(0, dim), 0);
    v.set([Infinity, -Infinity, 0, -0, -(2 ** -14), 6.1e-5, -1e-8, 3.4e38].slice(0, dim), 0);
    const { arena } = await runOp(deviceOf(variant), kvWrite, {
      k, v, ...frame, arena: new Uint8Array(nPages * pageBytes).fill(0xee), count: Header.tokens, rows, kvHeads, dim, width, ldk, ldv,
      nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, planeStride, headStride, kvGroup, kvType: DType.f16,
    }, { tokens: 6 });
    const expected = new Uint8Array(nPages * pageBytes).fill(0xee), halves = new Uint16Array(expected.buffer);
    for (let t = 0; t < 6; t++) {
      const position = frame.positions[t]!, { pages, firstBlock } = sequences[frame.rowSegments[t]!]!;
      const page = pages[Math.floor(position / BLOCK_TOKENS) - firstBlock]! * pageBytes + layerOffset;
      for (let h = 0; h < kvHeads; h++) for (let d = 0; d < dim; d++) {
        halves[(page + h * headStride) / 2 + d * BLOCK_TOKENS + position % BLOCK_TOKENS] = toF16(k[t * ldk + h * dim + d]!);
        halves[(page + planeStride + h * headStride) / 2 + (position % BLOCK_TOKENS) * dim + d] = toF16(v[t * ldv + h * dim + d]!);
      }
    }
    const wrong = new Uint16Array(arena.buffer).findIndex((half, i) => half !== halves[i]);
    expect(wrong, 'first half that differs').toBe(-1);
  });

  test.each([[8, 0], [13, 1], [64, 2], [96, 0]])('int8 with a scale for each head and token: heads of %i, KV group %i', async (dim, kvGroup) => {
    const random = new Random(52), kvHeads = 2, width = kvHeads * dim, layerOffset = 384, pageBytes = 8192, nPages = 5, rows = 7;
    const { headStride, planeStride } = kvStrides({ kvHeads, dim }, DType.int8);
    const sequences = [sequence(1, [4, 0]), sequence(0, [2])];
    const frame = segmentsOf(sequences, [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 2 }], kvGroup);
    const k = random.normals(rows * width), v = random.normals(rows * width, 1e-6);
    k.fill(0, 0, dim);                                   // a row of zeros, one that is not finite, one beyond f16
    k[dim + 3] = NaN;
    v[dim + 1] = -Infinity;
    v[2 * dim] = 3e38;
    const { arena } = await runOp(deviceOf(variant), kvWrite, {
      k, v, ...frame, arena: new Uint8Array(nPages * pageBytes).fill(0xee), count: 0, rows, kvHeads, dim, width, ldk: width, ldv: width,
      nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, planeStride, headStride, kvGroup, kvType: DType.int8,
    });
    const expected = new Uint8Array(nPages * pageBytes).fill(0xee), halves = new Uint16Array(expected.buffer), found = new Uint16Array(arena.buffer);
    for (let t = 0; t < rows; t++) {
      const position = frame.positions[t]!, token = position % BLOCK_TOKENS, { pages, firstBlock } = sequences[frame.rowSegments[t]!]!;
      const layer = pages[Math.floor(position / BLOCK_TOKENS) - firstBlock]! * pageBytes + layerOffset;
      for (const [plane, from, at] of [[layer, k, (d: number) => d * BLOCK_TOKENS + token], [layer + planeStride, v, (d: number) => token * dim + d]] as const) {
        for (let h = 0; h < kvHeads; h++) {
          const { bytes, scale } = quantized(from.slice(t * width + h * dim, t * width + (h + 1) * dim));
          bytes.forEach((byte, d) => { expected[plane + h * headStride + at(d)] = byte; });
          const place = (plane + kvHeads * headStride) / 2 + h * BLOCK_TOKENS + token;
          halves[place] = scale;
          if ((found[place]! & 0x7fff) > 0x7c00) found[place] = 0x7e00;                     // any NaN
        }
      }
    }
    expect(arena.findIndex((byte, i) => byte !== expected[i]), 'first byte that differs').toBe(-1);
  });

  const pairs = variant.isa === CUDA ? [] : [[8, 0], [14, 1], [64, 2], [96, 0]] as const;
  test.each(pairs)('bf16 to nearest even, K by pairs of values with tokens in lanes, V by pairs of tokens: heads of %i, KV group %i', async (dim, kvGroup) => {
    const random = new Random(54), kvHeads = 2, width = kvHeads * dim, headStride = dim * 32 + 64, planeStride = kvHeads * headStride + 128, layerOffset = 384, pageBytes = 16384, nPages = 5, rows = 7;
    const sequences = [sequence(1, [4, 0]), sequence(0, [2])];
    const frame = segmentsOf(sequences, [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 2 }], kvGroup);
    const k = random.normals(rows * width), v = random.normals(rows * width, 1e-4);
    k.set([1.00390625, 1.01171875, 1e-40, 65520, 3.4e38, 0, -0, NaN].slice(0, dim), 0);      // ties, a subnormal, overflow
    v.set([Infinity, -Infinity, 0, -0, -1e-8].slice(0, dim), 0);
    const { arena } = await runOp(deviceOf(variant), kvWrite, {
      k, v, ...frame, arena: new Uint8Array(nPages * pageBytes).fill(0xee), count: Header.tokens, rows, kvHeads, dim, width, ldk: width, ldv: width,
      nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, planeStride, headStride, kvGroup, kvType: DType.bf16,
    }, { tokens: 6 });
    const expected = new Uint8Array(nPages * pageBytes).fill(0xee), halves = new Uint16Array(expected.buffer);
    for (let t = 0; t < 6; t++) {
      const position = frame.positions[t]!, token = position % BLOCK_TOKENS, { pages, firstBlock } = sequences[frame.rowSegments[t]!]!;
      const page = pages[Math.floor(position / BLOCK_TOKENS) - firstBlock]! * pageBytes + layerOffset;
      for (let h = 0; h < kvHeads; h++) for (let d = 0; d < dim; d++) {
        halves[(page + h * headStride) / 2 + (Math.floor(d / 2) * BLOCK_TOKENS + token) * 2 + d % 2] = toBf16(k[t * width + h * dim + d]!);
        halves[(page + planeStride + h * headStride) / 2 + (Math.floor(token / 2) * dim + d) * 2 + token % 2] = toBf16(v[t * width + h * dim + d]!);
      }
    }
    const wrong = new Uint16Array(arena.buffer).findIndex((half, i) => half !== halves[i]);
    expect(wrong, 'first half that differs').toBe(-1);
  });

  test('bf16 of heads with an odd number of values is refused', async () => {
    const { headStride, planeStride } = kvStrides({ kvHeads: 1, dim: 13 }, DType.bf16), frame = segmentsOf([sequence(0, [0])], [{ of: 0, start: 0, count: 1 }], 0);
    await expect(runOp(deviceOf(variant), kvWrite, {
      k: new Float32Array(13), v: new Float32Array(13), ...frame, arena: new Uint8Array(4096), count: 0, rows: 1, kvHeads: 1, dim: 13, width: 13, ldk: 13, ldv: 13,
      nSegments: 1, tableSize: 1, nPages: 1, pageBytes: 4096, layerOffset: 0, planeStride, headStride, kvGroup: 0, kvType: DType.bf16,
    })).rejects.toThrow('dim is odd');
  });

  const shapes = [[64, 64, 0, DType.f16, true], [64, 64, 0, DType.bf16, true], [16, 8, 1, DType.int8, true], [13, 6, 0, DType.f16, false], [80, 80, 0, DType.int8, false]] as const;
  test.each(shapes.filter(([, , , kvType]) => kvType !== DType.bf16 || variant.isa !== CUDA))(
    'ropeKv: the bits of headNorm, rope and kvWrite: heads of %i, %i turned, interleaved %i, format %i, norms %s', async (dim, rotary, interleaved, kvType, norms) => {
      const random = new Random(53), device = deviceOf(variant), heads = 3, kvHeads = 2, width = (heads + 2 * kvHeads) * dim, ldx = width + 2, layerOffset = 128, nPages = 5, maxPos = 50;
      const { headStride, planeStride } = kvStrides({ kvHeads, dim }, kvType), pageBytes = 16384;
      const frame = segmentsOf([sequence(1, [4, 0]), sequence(0, [2])], [{ of: 0, start: 30, count: 5 }, { of: 1, start: 0, count: 2 }], 0), rows = 7;
      const x = random.normals(rows * ldx), cosSin = random.normals(maxPos * rotary), qNorm = random.normals(dim), kNorm = random.normals(dim), arena = new Uint8Array(nPages * pageBytes);
      const shape = { count: 0, rows, dim, eps: 1e-5, plusOne: 0 }, turn = { cosSin, positions: frame.positions, rotary, interleaved, maxPos };
      const paged = { ...frame, arena, nSegments: 2, tableSize: frame.pages.length, nPages, pageBytes, layerOffset, planeStride, headStride, kvGroup: 0, kvType };
      const fused = await runOp(device, ropeKv, { ...shape, ...turn, ...paged, x, qNorm: norms ? qNorm : null, kNorm: norms ? kNorm : null, heads, kvHeads, width, ldx });

      const columns = (from: number, count: number): Float32Array => Float32Array.from({ length: rows * count * dim }, (_, i) => x[Math.floor(i / (count * dim)) * ldx + from * dim + i % (count * dim)]!);
      const turned = async (values: Float32Array, count: number, w: Float32Array): Promise<Float32Array> => {
        const own = { ...shape, heads: count, width: count * dim, ldx: count * dim };
        const normed = norms ? (await runOp(device, headNorm, { ...own, x: values, w })).x : values;
        return (await runOp(device, rope, { ...own, ...turn, x: normed })).x;
      };
      const q = await turned(columns(0, heads), heads, qNorm), k = await turned(columns(heads, kvHeads), kvHeads, kNorm), v = columns(heads + kvHeads, kvHeads);
      const apart = await runOp(device, kvWrite, { ...shape, ...paged, k, v, kvHeads, width: kvHeads * dim, ldk: kvHeads * dim, ldv: kvHeads * dim });
      for (let t = 0; t < rows; t++) expectSameBits(fused.x.slice(t * ldx, t * ldx + heads * dim), q.slice(t * heads * dim, (t + 1) * heads * dim), `q of row ${t}`);
      expect(fused.arena.findIndex((byte, i) => byte !== apart.arena[i]), 'first byte of the pages that differs').toBe(-1);
    });
});

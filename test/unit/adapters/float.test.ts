import { expect, test } from 'vitest';
import { bf16Bits, decode, encode, f16Bits, F16_VALUES } from '../../../libs/adapters/src/float.js';
import { crc32c } from '../../../libs/adapters/src/crc32c.js';
import { random } from './support.js';

const bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0]!;
const bf16Value = (half: number): number => new Float32Array(Uint32Array.of(half << 16).buffer)[0]!;

test('every f16 is rounded to itself', () => {
  const wrong = [...F16_VALUES.keys()].filter(half => !Number.isNaN(F16_VALUES[half]) && f16Bits(bits(F16_VALUES[half]!)) !== half);
  expect(wrong).toEqual([]);
  expect([0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x8001].map(half => F16_VALUES[half])).toEqual([1, -2, 65504, 2 ** -14, 2 ** -24, -(2 ** -24)]);
});

test('halfway between two f16 goes to the even one, next to it to the nearer one', () => {
  const wrong = Array.from({ length: 0x7bff }, (_, half) => half).filter(half => {
    const middle = bits((F16_VALUES[half]! + F16_VALUES[half + 1]!) / 2);        // exact in f32
    return f16Bits(middle) !== half + (half & 1) || f16Bits(middle - 1) !== half || f16Bits(middle + 1) !== half + 1;
  });
  expect(wrong).toEqual([]);
  expect(f16Bits(bits(65_519.996))).toBe(0x7bff);
  expect(f16Bits(bits(65_520))).toBe(0x7c00);
  expect(f16Bits(bits(-1e38))).toBe(0xfc00);
  expect(f16Bits(bits(NaN)) & 0x7fff).toBe(0x7e00);
});

test('bf16 is the nearest, ties to even', () => {
  const next = random(3);
  const wrong = Array.from({ length: 20_000 }, () => Math.fround((next() - 0.5) * 10 ** (next() * 60 - 30))).filter(value => {
    const half = bf16Bits(bits(value));
    const error = Math.abs(bf16Value(half) - value);
    return [half - 1, half + 1].some(neighbour => {
      const other = Math.abs(bf16Value(neighbour & 0xffff) - value);
      return error > other || (error === other && (half & 1) === 1);
    });
  });
  expect(wrong).toEqual([]);
});

test('16-bit dtypes pass through encode as they are', () => {
  const bytes = Uint8Array.from({ length: 64 }, (_, i) => i * 5);
  for (const [dtype, stored] of [['F16', 'f16'], ['BF16', 'bf16']] as const) {
    expect([...encode(bytes, dtype, stored, new Uint16Array(0))]).toEqual([...new Uint16Array(bytes.buffer)]);
  }
  const out = new Float32Array(2);
  expect(decode(new Uint8Array(Uint16Array.of(0x3f80, 0xc040).buffer), 'BF16', out)).toBe(2);
  expect([...out]).toEqual([1, -3]);
});

test('CRC-32C of known texts and of any length', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(new Uint8Array(0))).toBe(0);
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => (i * 37) & 0xff);
  for (let length = 0; length < bytes.length; length++) {
    let crc = 0xffffffff;
    for (const byte of bytes.subarray(0, length)) {
      crc ^= byte;
      for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    }
    expect(crc32c(bytes.subarray(0, length))).toBe(~crc >>> 0);
  }
});

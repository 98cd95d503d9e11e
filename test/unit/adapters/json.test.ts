import { expect, test } from 'vitest';
import { JsonError, parseJson, type Json } from '@weft/adapters';
import { random } from './support.js';

const parse = (text: string): Json => parseJson(Buffer.from(text));
const plain = (value: Json): unknown =>
  value instanceof Map ? Object.fromEntries([...value].map(([key, item]) => [key, plain(item)])) : Array.isArray(value) ? value.map(plain) : value;

/** A random JSON value, nested at most `depth` deep. */
function anyJson(next: () => number, depth: number): unknown {
  const pick = Math.floor(next() * (depth > 0 ? 7 : 5));
  const size = Math.floor(next() * 4);
  switch (pick) {
    case 0: return null;
    case 1: return next() < 0.5;
    case 2: return Math.round((next() - 0.5) * 1e6);
    case 3: return (next() - 0.5) * 10 ** Math.floor(next() * 40 - 20);
    case 4: return Array.from({ length: size }, () => ['a', '"', '\\', 'é', '\n', '😀', '\u0000', '/'][Math.floor(next() * 8)]).join('');
    case 5: return Array.from({ length: size }, () => anyJson(next, depth - 1));
    default: return Object.fromEntries(Array.from({ length: size }, (_, i) => [`k${i}${next() < 0.2 ? '"' : ''}`, anyJson(next, depth - 1)]));
  }
}

test('reads whatever JSON.stringify writes', () => {
  const next = random(1);
  for (let i = 0; i < 2_000; i++) {
    const value = anyJson(next, 4);
    expect(plain(parse(JSON.stringify(value, null, i % 3)))).toEqual(value);
  }
});

test('takes and refuses what JSON.parse does, apart from repeated keys, depth and infinite numbers', () => {
  const next = random(2);
  for (let i = 0; i < 5_000; i++) {
    const text = JSON.stringify({ a: anyJson(next, 3), b: anyJson(next, 3) });
    const at = Math.floor(next() * text.length);
    const mutated = text.slice(0, at) + ['"', '{', '}', ',', ':', '0', '-', 'e', '\\', ' ', '', '[', ']', 't', '\t', '\u0001'][Math.floor(next() * 16)] + text.slice(at + Math.floor(next() * 2));
    if (/[\ud800-\udfff]/.test(mutated.replace(/[\ud800-\udbff][\udc00-\udfff]/g, ''))) continue;     // half a pair can't be UTF-8
    let expected: unknown;
    try { expected = JSON.parse(mutated); } catch { expected = JsonError; }
    let got: unknown;
    try { got = plain(parse(mutated)); } catch (error) {
      expect(error).toBeInstanceOf(JsonError);
      got = /twice|too large/.test((error as Error).message) ? expected : JsonError;
    }
    expect(got).toEqual(expected);
  }
});

test('a key that appears twice is an error that names it', () => {
  expect(() => parse('{"a": 1, "b": 2, "\\u0061": 3}')).toThrow(expect.objectContaining({ key: 'a' }));
});

test('keys keep their order, also those that look like numbers', () => {
  expect([...(parse('{"b": 0, "10": 0, "2": 0, "a": 0}') as Map<string, Json>).keys()]).toEqual(['b', '10', '2', 'a']);
});

test.each([['NaN'], ['Infinity'], ['1e999'], ['[1,]'], ['{"a":1,}'], ['01'], ['"\t"'], ['"'], [''], ['{} {}'], ['['.repeat(40)], ['[' .repeat(100_000)]])('refuses %.20s', text => {
  expect(() => parse(text)).toThrow(JsonError);
});

test('refuses bytes that are not UTF-8', () => {
  expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(JsonError);
});

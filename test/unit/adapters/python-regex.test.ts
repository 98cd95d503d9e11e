import { describe, expect, test } from 'vitest';
import { MatchBudget, PatternError, PythonPattern } from '../../../libs/adapters/src/python-regex.js';

const PATH = 'model.layers.12.self_attn.q_proj';

describe('fullmatch, as Python answers', () => {
  test.each<[string, string, boolean]>([
    ['.*q_proj', PATH, true], ['q_proj', PATH, false], ['.*layers\\.[12]\\..*', PATH, false], ['.*layers\\.(?:[0-9]|1[0-2])\\..*_proj', PATH, true],
    ['(?P<head>.*)\\.(?P<leaf>(q|v)_proj)', PATH, true], ['^(?!.*mlp).*_proj$', PATH, true], ['^(?!.*self_attn).*_proj$', PATH, false],
    ['.*(?<=self_attn)\\.q_proj', PATH, true], ['.*(?<!self_attn)\\.q_proj', PATH, false], ['\\bmodel\\.layers\\.[\\d]{1,}\\.\\w+\\.[qkv]_proj', PATH, true],
    ['a{2,3}', 'aaa', true], ['a{2,3}', 'a', false], ['a{,2}', 'aa', true], ['a{2', 'a{2', true], ['a{}', 'a{}', true], ['x*?', 'xxx', true],
    ['[]a]+', ']a', true], ['[^]a]', 'b', true], ['[a-]', '-', true], ['[\\w.]+', 'a.b_1', true], ['\\x61\\u0062\\143', 'abc', true], ['[\\b]', '\b', true],
    ['(a|ab)(c|bcd)(d*)', 'abcd', true], ['(?:a|b)*c', 'ababc', true], ['(?:)*', '', true], ['()', '', true], ['a|b|', '', true],
    ['.', '\n', false], ['a$', 'a', true], ['\\Aa\\Z', 'a', true], ['\\Bb', 'b', false], ['\\.', '.', true], ['(?:(?=a)|b)*a?', 'bba', true],
  ])('%s on %s: %s', (pattern, text, expected) => {
    expect(new PythonPattern(pattern).fullMatch(text)).toBe(expected);
  });
});

test('match needs the beginning and nothing else', () => {
  expect(new PythonPattern('model').match(PATH)).toBe(true);
  expect(new PythonPattern('layers').match(PATH)).toBe(false);
  expect(new PythonPattern('(.*\\.)?(q_proj)$').match(PATH)).toBe(true);
});

test.each(['(', 'a)', '*a', 'a**', 'a{2}{3}', '^*', 'x{3,2}', '[a', '[b-a]', '[a-\\d]', '\\e', '\\', '(?P<1>a)', '(?P<a>x)(?P<a>y)', '(?y)', '(?<n>a)'])('%s is refused as Python refuses it', pattern => {
  expect(() => new PythonPattern(pattern)).toThrow(expect.objectContaining({ unsupported: false }));
});

test.each(['(?i)a', '(a)\\1', '(?P<a>x)(?P=a)', '(?>a)', 'a*+', '(a)(?(1)b|c)', '(?#note)', '('.repeat(200) + ')'.repeat(200), 'a'.repeat(20_000), 'a{9999999}'])('%.30s is refused as unsupported', pattern => {
  expect(() => new PythonPattern(pattern)).toThrow(expect.objectContaining({ unsupported: true }));
});

test.each(['(a+)+$', '(a|aa)+$', '(.*)*x', '((a*)*)*b', '(.*a){20}', '(a{0,999}){999}b', '(?:(?:(?:a{1,9}){1,9}){1,9}){1,9}b', '(?=(a+)+b)'])('%s is decided in bounded time', pattern => {
  const started = performance.now();
  expect(new PythonPattern(pattern).fullMatch('a'.repeat(64) + '!')).toBe(false);
  expect(performance.now() - started).toBeLessThan(500);
});

test('patterns share a budget, and the end of it is an error that says so', () => {
  const budget = new MatchBudget(1_000);
  const pattern = new PythonPattern('(.*)*x', budget);
  expect(() => { for (let i = 0; i < 100; i++) pattern.fullMatch('a'.repeat(50)); }).toThrow(PatternError);
});

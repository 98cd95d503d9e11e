import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { installStamp } from '../../../scripts/lib/install.mjs';
import { thirdPartyNotices } from '../../../scripts/lib/notices.mjs';
import { summary } from '../../../scripts/lib/test-suites.mjs';
import { contentHash } from '../../../scripts/lib/typescript.mjs';
import { judge, parseAllowedSkips } from '../../../scripts/lib/verdict.mjs';

const unit = { suite: 'unit', passed: 10, failed: 0, skips: [], minutes: 0.5 };
const skip = { test: 'test/e2e/a.test.ts > a > b', reason: 'no python3' };
const e2e = { suite: 'e2e', passed: 2, failed: 1, skips: [skip, { ...skip, reason: '' }], minutes: 1 };

test('the last line sums all suites, and each skip says why', () => {
  const { lines, failed } = summary([unit, e2e]);
  expect(lines.at(-1)).toBe('12 passed, 1 failed, 2 skipped');
  expect(lines[0]).toBe('skipped: test/e2e/a.test.ts > a > b: no python3');
  expect(lines[1]).toMatch(/no reason given$/);
  expect(failed).toBe(1);
});

test('a skip fails the build unless the table names the whole test', () => {
  const judged = (table: string): string | undefined => judge([unit, { ...e2e, failed: 0 }], parseAllowedSkips(table), 0).lines.at(-1);
  expect(judged('# nothing\n')).toBe('12 passed, 2 failed');
  expect(judged('test/e2e/a\tno python3 there\n')).toBe('12 passed, 2 failed');
  expect(judged('test/e2e/a\\.test\\.ts > .*\tno python3 there\n')).toBe('12 passed, 0 failed');
  expect(() => parseAllowedSkips('test/e2e/.*\n')).toThrow('states no reason');
});

test('a run that failed without a failed test fails, and so does one without results', () => {
  expect(judge([unit], [], 0).failed).toBe(0);
  expect(judge([unit], [], 1).failed).toBe(1);
  expect(judge([], [], 0).lines).toEqual(['0 passed, 1 failed']);
});

test('another lockfile, Node ABI or platform makes an install stale', () => {
  const host = { modules: '115', platform: 'linux', arch: 'x64' };
  const stamps = [
    installStamp('a', host),
    installStamp('b', host),
    installStamp('a', { ...host, modules: '127' }),
    installStamp('a', { ...host, platform: 'darwin' }),
    installStamp('a', { ...host, arch: 'arm64' }),
  ];
  expect(new Set(stamps).size).toBe(stamps.length);
  expect(installStamp(Buffer.from('a'), host)).toBe(stamps[0]);
});

test('moving bytes between files, or renaming one, changes their hash', () => {
  const hash = (files: Record<string, string>, salt = ''): string =>
    contentHash(new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)])), salt);
  const hashes = [hash({ a: 'xy', b: '' }), hash({ a: 'x', b: 'y' }), hash({ a: 'xy', c: '' }), hash({ a: 'xy', b: '' }, 'salt')];
  expect(new Set(hashes).size).toBe(hashes.length);
});

test('the third-party notices are those of the lockfile', () => {
  const file = (name: string): string => readFileSync(new URL(`../../../${name}`, import.meta.url), 'utf8');
  expect(file('THIRD_PARTY_NOTICES.md')).toBe(thirdPartyNotices(JSON.parse(file('package-lock.json'))));
});

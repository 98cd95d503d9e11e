import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { withCaches } from '../../../scripts/lib/environment.mjs';
import { NODE_RANGE, findCompiler, parseCompilerVersion, supportsNode } from '../../../scripts/lib/requirements.mjs';

test.each([
  ['18.20.8', false],
  ['20.18.3', false],
  ['20.19.0', true],
  ['20.20.2', true],
  ['21.7.3', false],
  ['22.12.0', false],
  ['22.13.0', true],
  ['23.11.1', false],
  ['24.10.0', false],
  ['24.11.0', true],
  ['25.0.0', true],
])('Node %s is supported: %s', (version, supported) => {
  expect(supportsNode(version)).toBe(supported);
});

test('the range that is checked is the one that package.json states', () => {
  const { engines } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
  expect(NODE_RANGE).toBe(engines.node);
});

test.each([
  ['g++ (Debian 12.2.0-14+deb12u1) 12.2.0\nCopyright (C) 2022', { family: 'gcc', major: 12 }],
  ['g++-13 (Ubuntu 13.1.0-8ubuntu1~22.04) 13.1.0', { family: 'gcc', major: 13 }],
  ['g++ (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)', { family: 'gcc', major: 11 }],
  ['x86_64-linux-gnu-g++ (Debian 10.2.1-6) 10.2.1 20210110', { family: 'gcc', major: 10 }],
  ['Debian clang version 14.0.6\nTarget: x86_64-pc-linux-gnu', { family: 'clang', major: 14 }],
  ['Apple clang version 16.0.0 (clang-1600.0.26.6)', { family: 'clang', major: 16 }],
  ['Microsoft (R) C/C++ Optimizing Compiler Version 19.40', undefined],
])('%j is read as %j', (text, version) => {
  expect(parseCompilerVersion(text)).toEqual(version);
});

test('without a compiler one message names the package for each system', () => {
  const find = (): unknown => findCompiler({ ...process.env, CXX: '/nonexistent/c++' });
  expect(find).toThrow(/CXX=\/nonexistent\/c\+\+ does not run/);
  expect(find).toThrow(/apt-get install g\+\+/);
  expect(find).toThrow(/dnf install gcc-c\+\+/);
  expect(find).toThrow(/xcode-select --install/);
});

test('caches leave a home that cannot be written to', () => {
  expect(withCaches({ HOME: tmpdir() })).toEqual({ HOME: tmpdir() });
  for (const env of [{}, { HOME: '' }, { HOME: '/nonexistent' }]) {
    expect(withCaches(env)).toMatchObject({ ...env, npm_config_cache: expect.stringContaining('build/cache'), XDG_CACHE_HOME: expect.stringMatching(/build\/cache$/) });
  }
});

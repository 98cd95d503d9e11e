import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { inRoot } from '../../../scripts/lib/checkout.mjs';
import { sourceStamp } from '../../../scripts/lib/native.mjs';
import { findPrebuilt, platformName, prebuiltFiles, problemOf, publishPrebuilt } from '../../../scripts/lib/prebuilt.mjs';

/** What `npm test` compiled from these sources. */
const ADDON = inRoot('libs', 'kernels', 'build', 'weft_kernels.node');

let folder: string;
beforeAll(() => { folder = mkdtempSync(join(tmpdir(), 'weft-prebuilt-')); });
afterAll(() => rmSync(folder, { recursive: true }));

/** What is said while `run` runs. */
function heard<T>(run: () => T): { result: T; said: string } {
  const lines: string[] = [];
  const spy = vi.spyOn(process.stderr, 'write').mockImplementation(text => { lines.push(String(text)); return true; });
  try {
    return { result: run(), said: lines.join('') };
  } finally {
    spy.mockRestore();
  }
}

test('the addon carries the stamp of its sources', () => {
  const { stamp } = createRequire(import.meta.url)(ADDON) as { stamp: string };
  expect(stamp).toMatch(/^[0-9a-f]{16}$/);
  expect(stamp).toBe(sourceStamp());
});

test('one that was built from these sources is used', () => {
  const { result, said } = heard(() => findPrebuilt({ WEFT_KERNELS_PREBUILT: ADDON }));
  expect([result, said]).toEqual([ADDON, '']);
});

test('one of other sources, none at all, and what is no addon are refused, and it is said why', () => {
  expect(problemOf(ADDON, '0123456789abcdef')).toBe(`they were built from other sources (${sourceStamp()}; these are 0123456789abcdef)`);
  const file = join(folder, 'text.node');
  writeFileSync(file, 'no addon');
  for (const name of [file, join(folder, 'none.node')]) {
    const { result, said } = heard(() => findPrebuilt({ WEFT_KERNELS_PREBUILT: name }));
    expect(result).not.toBe(name);
    expect(said).toMatch(new RegExp(`^weft: prebuilt kernels ${name} are not used: they can't be loaded \\(.+\\)`));
  }
});

test('an addon without a stamp is refused', () => {
  const file = join(folder, 'old.js');
  writeFileSync(file, 'module.exports = {};');
  expect(problemOf(file, sourceStamp())).toMatch(/^they were built from other sources \(undefined; /);
});

test('it is looked for by platform, below a folder as it was published', () => {
  expect(platformName()).toMatch(new RegExp(`^${process.platform}-${process.arch}(-musl)?$`));
  const source = join(folder, 'built.node');
  copyFileSync(ADDON, source);
  const target = publishPrebuilt(source, folder);
  expect(target).toBe(join(folder, platformName(), 'weft_kernels.node'));
  expect(readFileSync(target).equals(readFileSync(ADDON))).toBe(true);
  expect(prebuiltFiles({ WEFT_KERNELS_PREBUILT: 'named' })[0]).toBe('named');
  expect(prebuiltFiles({}).every(existsSync)).toBe(true);
});

test('as a package of its own', ctx => {
  const installed = inRoot('node_modules', '@weft', `kernels-${platformName()}`);
  ctx.skip(existsSync(installed), `${installed} is installed`);
  mkdirSync(installed);
  try {
    writeFileSync(join(installed, 'package.json'), JSON.stringify({ name: `@weft/kernels-${platformName()}`, version: '0.0.0' }));
    copyFileSync(ADDON, join(installed, 'weft_kernels.node'));
    expect(prebuiltFiles({}).map(file => file.split('/').slice(-3).join('/'))).toContain(`@weft/kernels-${platformName()}/weft_kernels.node`);
  } finally {
    rmSync(installed, { recursive: true });
  }
});

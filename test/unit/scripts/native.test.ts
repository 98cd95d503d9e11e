import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { includedFiles, sanitizedBuild, variantFlags } from '../../../scripts/lib/native.mjs';

let folder: string | undefined;
afterEach(() => {
  if (folder) rmSync(folder, { recursive: true });
  folder = undefined;
});

test('a file is compiled for the instruction set that its name ends in', () => {
  expect(variantFlags('gemm.cpp', 'x64')).toEqual([]);
  expect(variantFlags('kernels_avx2.cpp', 'x64')).toEqual(['-mavx2', '-mfma', '-mf16c']);
  expect(variantFlags('kernels_avx512.cpp', 'x64')).toContain('-mavx512dq');
  expect(variantFlags('kernels_avx512.cpp', 'x64')).not.toContain('-mavx512bf16');
  expect(variantFlags('kernels_avx512bf16.cpp', 'x64')).toEqual(expect.arrayContaining(['-mavx512bf16', '-mavx512vnni', '-mavx512f']));
  expect(variantFlags('kernels_neon.cpp', 'arm64')).toEqual([]);
});

test('a file for another architecture is not compiled', () => {
  expect(variantFlags('kernels_neon.cpp', 'x64')).toBeUndefined();
  for (const ending of ['avx2', 'avx512', 'avx512bf16']) expect(variantFlags(`kernels_${ending}.cpp`, 'arm64')).toBeUndefined();
});

test('an object depends on all quoted headers, however deep, once each', () => {
  folder = mkdtempSync(join(tmpdir(), 'weft-native-'));
  mkdirSync(join(folder, 'core'));
  const write = (name: string, text: string): string => {
    const path = join(folder!, name);
    writeFileSync(path, text);
    return path;
  };
  const a = write('core/a.h', '#include "b.h"\n#include <vector>\n');
  const b = write('core/b.h', '#pragma once\n  #  include "a.h"\n#include "missing.h"\n');
  const main = write('main.cpp', '#include "core/a.h"\n#include "b.h"\n// #include "c.h"\n');
  write('core/c.h', '');
  expect(includedFiles(main, [folder, join(folder, 'core')])).toEqual([a, b]);
});

test('each sanitizer has a folder of its own, and unknown ones are refused', () => {
  expect(sanitizedBuild('address,undefined').folder).toMatch(/build-asan$/);
  expect(sanitizedBuild('thread').folder).toMatch(/build-tsan$/);
  expect(sanitizedBuild('address,undefined').link).toEqual(['-fsanitize=address,undefined']);
  expect(() => sanitizedBuild('memory')).toThrow(/combine address, thread, undefined/);
  expect(() => sanitizedBuild('address,toString')).toThrow(/combine/);
});

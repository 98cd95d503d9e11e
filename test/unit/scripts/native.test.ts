import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { emulatedFlags, includedFiles, sanitizedBuild, variantFlags, runsHere } from '../../../scripts/lib/native.mjs';

let folder: string | undefined;
afterEach(() => {
  if (folder) rmSync(folder, { recursive: true });
  folder = undefined;
});

test('a file is compiled for the instruction set that its name ends in', () => {
  const flags = (file: string): string[] | undefined => variantFlags(file, 'x64', 'clang');
  expect(flags('gemm.cpp')).toEqual([]);
  expect(flags('kernels_avx2.cpp')).toEqual(['-mavx2', '-mfma', '-mf16c']);
  expect(flags('kernels_avx512.cpp')).toContain('-mavx512dq');
  expect(flags('kernels_avx512.cpp')).not.toContain('-mavx512bf16');
  expect(flags('kernels_avx512bf16.cpp')).toEqual(expect.arrayContaining(['-mavx512bf16', '-mavx512vnni', '-mavx512f']));
  expect(flags('kernels_amx.cpp')).toEqual(expect.arrayContaining(['-mamx-bf16', '-mamx-tile', '-mavx512f']));
  expect(variantFlags('kernels_neon.cpp', 'arm64', 'clang')).toEqual([]);
});

test('a file for another architecture is not compiled', () => {
  expect(variantFlags('kernels_neon.cpp', 'x64', 'gcc')).toBeUndefined();
  expect(variantFlags('kernels_neonbf16.cpp', 'arm64', 'gcc')).toEqual(['-march=armv8.2-a+dotprod+bf16']);
  for (const ending of ['avx2', 'avx512', 'avx512bf16', 'amx']) expect(variantFlags(`kernels_${ending}.cpp`, 'arm64', 'gcc')).toBeUndefined();
});

test('warnings from the AVX-512 headers of GCC are silenced there and nowhere else', () => {
  expect(variantFlags('kernels_avx512.cpp', 'x64', 'gcc')).toContain('-Wno-maybe-uninitialized');
  expect(variantFlags('kernels_avx512.cpp', 'x64', 'clang')).not.toContain('-Wno-maybe-uninitialized');
  expect(variantFlags('kernels_avx2.cpp', 'x64', 'gcc')).not.toContain('-Wno-maybe-uninitialized');
});

test('what the processor lacks is compiled only where it is asked for', () => {
  const has = (flags: string, env = {}) => ['portable', 'avx2', 'avx512', 'avx512bf16', 'amx', 'neon'].filter(isa => runsHere(`kernels_${isa}.cpp`, env, `processor\t: 0\nflags\t\t: fpu ${flags}\n`));
  expect(has('avx2')).toEqual(['portable', 'avx2', 'neon']);
  expect(['neon', 'neondot', 'neonbf16'].filter(isa => runsHere(`kernels_${isa}.cpp`, {}, 'processor\t: 0\nFeatures\t: fp asimd asimddp\n'))).toEqual(['neon', 'neondot']);
  expect(has('avx2 avx512f avx512_bf16')).toEqual(['portable', 'avx2', 'avx512', 'avx512bf16', 'neon']);
  for (const env of [{ WEFT_ALL_ISAS: '1' }, { WEFT_WERROR: '1' }]) expect(has('avx2', env)).toHaveLength(6);
  expect(has('avx2 avx512f', { WEFT_ISAS: 'avx2' })).toEqual(['portable', 'avx2']);
  expect(has('avx2', { WEFT_ISAS: 'avx2', WEFT_WERROR: '1' })).toHaveLength(6);
  expect(runsHere('kernels_amx.cpp', {}, '')).toBe(true);
});

test('an emulated build needs AVX2 alone, and puts the emulation in front of what needs more', () => {
  const flags = (file: string): string[] => emulatedFlags(variantFlags(file, 'x64', 'gcc')!);
  for (const ending of ['avx512', 'avx512bf16', 'amx']) {
    expect(flags(`kernels_${ending}.cpp`)).toEqual(expect.arrayContaining(['-mavx2', '-include', expect.stringMatching(/emulation.avx512\.h$/)]));
    expect(flags(`kernels_${ending}.cpp`).filter(flag => /avx512|amx/.test(flag) && flag.startsWith('-m'))).toEqual([]);
  }
  expect(flags('kernels_avx512.cpp')).not.toContain('-DWEFT_EMULATE_VNNI');
  expect(flags('kernels_avx512bf16.cpp')).toContain('-DWEFT_EMULATE_VNNI');
  for (const file of ['kernels_avx2.cpp', 'gemm.cpp']) expect(flags(file)).toEqual(variantFlags(file, 'x64', 'gcc'));
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

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { opsHeader } from '../../../libs/kernels/src/ops-header.js';
import { OPS } from '@weft/kernels';

const committed = fileURLToPath(new URL('../../../libs/kernels/native/core/ops.gen.h', import.meta.url));

test('the committed C++ header is what the op table generates', () => {
  expect(readFileSync(committed, 'utf8'), 'run `npm run generate`').toBe(opsHeader());
});

test('every op is listed under its own name with a code of its own', () => {
  for (const [name, op] of Object.entries(OPS)) expect(op.name).toBe(name);
  const codes = Object.values(OPS).map(op => op.code);
  expect(new Set(codes).size).toBe(codes.length);
});

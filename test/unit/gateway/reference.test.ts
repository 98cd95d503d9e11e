/** docs/api.md and docs/errors.md are what `npm run generate` makes of the routes and the error table. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ERROR_GROUPS, ERRORS } from '@weft/contracts';
import { expect, test } from 'vitest';
import { apiReference, errorReference } from '../../../apps/gateway/src/docs/reference.js';

const page = (name: string): string => readFileSync(join(import.meta.dirname, '../../../docs', name), 'utf8');

test('the references are those of this source', () => {
  expect(page('api.md')).toBe(apiReference());
  expect(page('errors.md')).toBe(errorReference());
});

test('every error is explained, once', () => {
  expect(ERROR_GROUPS.flatMap(({ codes }) => Object.keys(codes)).sort()).toEqual(Object.keys(ERRORS).sort());
});

test('links within the reference lead somewhere', () => {
  const text = page('api.md');
  const heads = new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, head]) => head!.toLowerCase()));
  for (const [, target] of text.matchAll(/\]\(#([^)]+)\)/g)) expect(heads).toContain(target);
});

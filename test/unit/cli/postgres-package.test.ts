import { expect, test } from 'vitest';
import { findPackage } from '../../../apps/cli/src/postgres/binaries.js';

test('a platform without a package of PostgreSQL: the error names the way out', () => {
  expect(() => findPackage('plan9-mips')).toThrow(expect.objectContaining({ code: 'option_invalid', message: expect.stringContaining('WEFT_DATABASE_URL') }));
});

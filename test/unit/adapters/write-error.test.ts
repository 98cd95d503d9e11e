import { writeFile } from 'node:fs/promises';
import { writeError } from '@weft/adapters';
import { expect, test } from 'vitest';

test('a full disk is insufficient storage, anything else an input/output error; both name the file', async ctx => {
  expect(writeError('/x', Object.assign(new Error('EDQUOT'), { code: 'EDQUOT' }))).toMatchObject({ code: 'insufficient_storage', details: { file: '/x' } });
  expect(writeError('/x', Object.assign(new Error('EIO'), { code: 'EIO' }))).toMatchObject({ code: 'io_error', details: { file: '/x' } });
  ctx.skip(process.platform !== 'linux', 'needs /dev/full');
  const full: unknown = await writeFile('/dev/full', 'x').catch((error: unknown) => error);
  expect(writeError('/dev/full', full)).toMatchObject({ code: 'insufficient_storage' });
});

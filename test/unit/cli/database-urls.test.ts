import { expect, test } from 'vitest';
import { databaseUrls } from '../../../apps/cli/src/database-urls.js';

test.each([
  ['postgres://me:mine@db.example:5433/weft', 'postgres://weft_service_weft:secret@db.example:5433/weft'],
  ['postgresql://me@db/other?sslmode=require', 'postgresql://weft_service_other:secret@db/other?sslmode=require'],
  ['postgres://me@%2Frun%2Fpostgresql/weft', 'postgres://weft_service_weft:secret@%2Frun%2Fpostgresql/weft'],
  [`postgres://me@db/${'x'.repeat(60)}`, `postgres://weft_service_${'x'.repeat(50)}:secret@db/${'x'.repeat(60)}`],
])('beside %s the service is %s', (ownerUrl, serviceUrl) => {
  expect(databaseUrls(ownerUrl, 'secret')).toEqual({ ownerUrl, serviceUrl });
});

test.each([['no URL', 'localhost:5432'], ['another scheme', 'mysql://me@db/weft'], ['no database', 'postgres://me@db'], ['no host', 'postgres:///weft']])('%s is refused without showing it', (_, url) => {
  expect(() => databaseUrls(url, 'secret')).toThrow(expect.objectContaining({ code: 'option_invalid', message: expect.not.stringContaining(url) }));
});

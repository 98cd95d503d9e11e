import { tmpdir } from 'node:os';
import { describe, expect, test } from 'vitest';
import { readConfig, readMigrateConfig } from '../../../apps/registry/src/config.js';
import { checkAlias, checkName } from '../../../apps/registry/src/names.js';

const ENV = { WEFT_LINK_TOKEN: 't', WEFT_DATABASE_URL: 'postgres://weft:secret@127.0.0.1:5432/weft', WEFT_ARTIFACTS_DIR: '/data', WEFT_KEY_PEPPER: 'pepper' };

test('what is not set has its default', () => {
  expect(readConfig(ENV)).toEqual({
    listenHost: '127.0.0.1', listenPort: 0, linkToken: 't', databaseUrl: ENV.WEFT_DATABASE_URL, redisUrl: undefined,
    artifactsDir: '/data', s3: undefined, keyPepper: 'pepper', apiKey: undefined, adminKey: undefined, drainTimeoutMs: 30_000,
  });
});

test.each([
  ['WEFT_LINK_TOKEN', { WEFT_LINK_TOKEN: '' }], ['WEFT_KEY_PEPPER', { WEFT_KEY_PEPPER: '' }], ['WEFT_REGISTRY_LISTEN', { WEFT_REGISTRY_LISTEN: '1234' }],
  ['WEFT_DATABASE_URL', { WEFT_DATABASE_URL: 'mysql://a@b/c' }], ['WEFT_DATABASE_URL', { WEFT_DATABASE_URL: 'postgres://127.0.0.1/weft' }],
  ['WEFT_ADMIN_KEY', { WEFT_API_KEY: 'sk-1', WEFT_ADMIN_KEY: 'sk-1' }],
])('a wrong %s is named', (field, change) => {
  expect(() => readConfig({ ...ENV, ...change })).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field } }));
});

const S3 = { WEFT_S3_BUCKET: 'weft', WEFT_S3_ACCESS_KEY_ID: 'id', WEFT_S3_SECRET_ACCESS_KEY: 'secret' };

test('a bucket takes the place of the folder', () => {
  const { s3, artifactsDir } = readConfig({ ...ENV, ...S3, WEFT_ARTIFACTS_DIR: '', WEFT_S3_PREFIX: 'a/b' });
  expect(s3).toEqual({ bucket: 'weft', prefix: 'a/b/', endpoint: undefined, region: 'us-east-1', accessKeyId: 'id', secretAccessKey: 'secret', pathStyle: false });
  expect(artifactsDir).toBe(tmpdir());
  expect(readConfig({ ...ENV, ...S3, WEFT_S3_ENDPOINT: 'http://s3:9000' }).s3).toMatchObject({ endpoint: 'http://s3:9000', pathStyle: true, prefix: '' });
  expect(readConfig({ ...ENV, ...S3, WEFT_S3_ENDPOINT: 'http://s3:9000', WEFT_S3_PATH_STYLE: 'off' }).s3!.pathStyle).toBe(false);
});

test.each([
  ['WEFT_S3_BUCKET', { WEFT_S3_BUCKET: 'a/b' }], ['WEFT_S3_BUCKET', { WEFT_S3_BUCKET: '' }], ['WEFT_S3_ENDPOINT', { WEFT_S3_ENDPOINT: 's3:9000' }], ['WEFT_S3_ENDPOINT', { WEFT_S3_ENDPOINT: 'http://user:secret@s3' }],
  ['WEFT_S3_PREFIX', { WEFT_S3_PREFIX: '../x y' }], ['WEFT_S3_PATH_STYLE', { WEFT_S3_PATH_STYLE: 'maybe' }], ['WEFT_S3_ACCESS_KEY_ID', { WEFT_S3_ACCESS_KEY_ID: '' }], ['WEFT_S3_SECRET_ACCESS_KEY', { WEFT_S3_SECRET_ACCESS_KEY: '' }],
])('of a bucket, a wrong %s is named', (field, change) => {
  expect(() => readConfig({ ...ENV, ...S3, ...change })).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field }, message: expect.not.stringContaining('secret@') }));
});

test('no message shows a password', () => {
  expect(() => readConfig({ ...ENV, WEFT_DATABASE_URL: 'postgre://weft:secret@h/d' })).toThrow(expect.objectContaining({ message: expect.not.stringContaining('secret') }));
});

test('migrating makes the queue\'s tables where no Redis is', () => {
  const owner = { WEFT_DATABASE_OWNER_URL: 'postgres://owner@127.0.0.1/weft' };
  expect(readMigrateConfig({ ...ENV, ...owner }).withQueue).toBe(true);
  expect(readMigrateConfig({ ...ENV, ...owner, WEFT_REDIS_URL: 'redis://127.0.0.1' }).withQueue).toBe(false);
  expect(() => readMigrateConfig(ENV)).toThrow(expect.objectContaining({ details: { field: 'WEFT_DATABASE_OWNER_URL' } }));
});

describe('names', () => {
  test.each(['a', '7b', 'Ticket-Router_v1.2', 'x'.repeat(63)])('%j is one', name => expect(() => checkName(name, 'name')).not.toThrow());
  test.each(['', '.a', 'a b', 'a/b', 'a:b', 'a@b', 'a+b', 'a*', 'ä', 'a\n', 'x'.repeat(64)])('%j is none', name => expect(() => checkName(name, 'name')).toThrow(expect.objectContaining({ code: 'invalid_value', details: { param: 'name' } })));
  test.each(['prod', 'v1.2-rc_3', 'default'])('%j is an alias', alias => expect(() => checkAlias(alias)).not.toThrow());
  test.each(['latest', 'Prod', '1', '', 'a@b', 'a\n'])('%j is no alias', alias => expect(() => checkAlias(alias)).toThrow(expect.objectContaining({ code: 'invalid_value', details: { param: 'alias' } })));
});

import { expect, test } from 'vitest';
import { readConfig as readExecutor } from '../../../apps/executor/src/config.js';
import { readConfig as readGateway } from '../../../apps/gateway/src/config.js';

const gateway = { WEFT_MODEL: '/m', WEFT_MODEL_NAME: 'm', WEFT_REGISTRY_ADDRESS: '127.0.0.1:1', WEFT_LINK_TOKEN: 't' };
const executor = { WEFT_MODEL: '/m', WEFT_DATA_DIR: '/d', WEFT_REGISTRY_ADDRESS: '127.0.0.1:1', WEFT_LINK_TOKEN: 't' };

test('defaults', () => {
  expect(readGateway(gateway)).toMatchObject({ host: '127.0.0.1', port: 8080, tls: undefined, corsOrigins: [], drainTimeoutMs: 30_000 });
  expect(readExecutor(executor)).toMatchObject({ listenHost: '127.0.0.1', listenPort: 0, threads: undefined, weights: undefined, drainTimeoutMs: 30_000 });
});

test('values', () => {
  expect(readGateway({ ...gateway, WEFT_PORT: '0', WEFT_CORS_ORIGINS: 'https://a, https://b', WEFT_TLS_CERT: 'c', WEFT_TLS_KEY: 'k', WEFT_DRAIN_TIMEOUT: '0' }))
    .toMatchObject({ port: 0, corsOrigins: ['https://a', 'https://b'], tls: { certFile: 'c', keyFile: 'k' }, drainTimeoutMs: 0 });
  expect(readExecutor({ ...executor, WEFT_EXECUTOR_LISTEN: '[::1]:99', WEFT_THREADS: '1', WEFT_WEIGHTS: 'f32', WEFT_POOL_BYTES: '1024' }))
    .toMatchObject({ listenHost: '[::1]', listenPort: 99, threads: 1, weights: 'f32', poolBytes: 1024 });
});

test.each<[() => unknown, string]>([
  [() => readGateway({ ...gateway, WEFT_REGISTRY_ADDRESS: '' }), 'WEFT_REGISTRY_ADDRESS'], [() => readGateway({ ...gateway, WEFT_PORT: '65536' }), 'WEFT_PORT'],
  [() => readGateway({ ...gateway, WEFT_PORT: '8e3' }), 'WEFT_PORT'], [() => readGateway({ ...gateway, WEFT_TLS_CERT: 'c' }), 'WEFT_TLS_KEY'],
  [() => readExecutor({ ...executor, WEFT_THREADS: '0' }), 'WEFT_THREADS'], [() => readExecutor({ ...executor, WEFT_WEIGHTS: 'int3' }), 'WEFT_WEIGHTS'],
  [() => readExecutor({ ...executor, WEFT_EXECUTOR_LISTEN: 'localhost' }), 'WEFT_EXECUTOR_LISTEN'], [() => readExecutor({ ...executor, WEFT_LINK_TOKEN: undefined }), 'WEFT_LINK_TOKEN'],
])('a wrong value names its variable (%#)', (read, field) => {
  expect(read).toThrow(expect.objectContaining({ code: 'option_invalid', details: expect.objectContaining({ field }) }));
});

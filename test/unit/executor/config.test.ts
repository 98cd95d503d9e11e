import { availableParallelism } from 'node:os';
import { usableThreads } from '@weft/kernels';
import { expect, test } from 'vitest';
import { readConfig } from '../../../apps/executor/src/config.js';

const needed = { WEFT_LINK_TOKEN: 't', WEFT_MODEL: '/m', WEFT_DATA_DIR: '/d', WEFT_REGISTRY_ADDRESS: 'registry:7000' };

test('where it listens is where it is reached, unless that is said', () => {
  expect(readConfig(needed)).toMatchObject({ listenHost: '127.0.0.1', listenPort: 0, advertise: undefined, registryAddress: 'registry:7000' });
  expect(readConfig({ ...needed, WEFT_EXECUTOR_LISTEN: '0.0.0.0:7001', WEFT_EXECUTOR_ADVERTISE: 'executor-0:7001' })).toMatchObject({ listenHost: '0.0.0.0', advertise: 'executor-0:7001' });
});

test('weights and activations are types that there are', () => {
  expect(readConfig({ ...needed, WEFT_WEIGHTS: 'f16', WEFT_ACTIVATIONS: 'bf16', WEFT_KV: 'int8' })).toMatchObject({ weights: 'f16', activations: 'bf16', kv: 'int8' });
  expect(readConfig({ ...needed, WEFT_WEIGHTS: 'int8' }).weights).toBe('int8');
  expect(readConfig(needed)).toMatchObject({ weights: undefined, activations: undefined, kv: undefined });
});

test('a tuning is a file', () => {
  expect(readConfig({ ...needed, WEFT_TUNING: '/t.json' })).toMatchObject({ tuningFile: '/t.json' });
  expect(readConfig(needed)).toMatchObject({ tuningFile: undefined });
});

test.each<[string, Record<string, string>, string]>([
  ['no registry', { WEFT_REGISTRY_ADDRESS: '' }, 'WEFT_REGISTRY_ADDRESS'],
  ['a registry without a port', { WEFT_REGISTRY_ADDRESS: 'registry' }, 'WEFT_REGISTRY_ADDRESS'],
  ['an address that nobody can call', { WEFT_EXECUTOR_LISTEN: '0.0.0.0:7001' }, 'WEFT_EXECUTOR_ADVERTISE'],
  ['keys and values of no type', { WEFT_KV: 'int4' }, 'WEFT_KV'],
  ['activations of no type', { WEFT_ACTIVATIONS: 'f16' }, 'WEFT_ACTIVATIONS'],
  ['no thread', { WEFT_THREADS: '0' }, 'WEFT_THREADS'],
  ['half a thread', { WEFT_THREADS: '1.5' }, 'WEFT_THREADS'],
  ['a negative pool', { WEFT_POOL_BYTES: '-1' }, 'WEFT_POOL_BYTES'],
  ['a context that is no number', { WEFT_MAX_MODEL_LEN: 'NaN' }, 'WEFT_MAX_MODEL_LEN'],
  ['a cache that is neither on nor off', { WEFT_PACKED_CACHE: 'yes' }, 'WEFT_PACKED_CACHE'],
  ['a port beyond the last', { WEFT_EXECUTOR_ADVERTISE: 'executor:70000' }, 'WEFT_EXECUTOR_ADVERTISE'],
])('%s is refused by its variable', (_, change, field) => {
  expect(() => readConfig({ ...needed, ...change })).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field } }));
});

test('threads beyond what this process may use are refused with that limit', () => {
  const limit = usableThreads();
  expect(limit).toBeLessThanOrEqual(availableParallelism());
  expect(readConfig({ ...needed, WEFT_THREADS: String(limit) }).threads).toBe(limit);
  expect(() => readConfig({ ...needed, WEFT_THREADS: '1000000' })).toThrow(expect.objectContaining({
    code: 'option_invalid', details: { field: 'threads', limit }, message: expect.stringContaining(`1000000 threads were asked for; this process may use ${limit} `),
  }));
});

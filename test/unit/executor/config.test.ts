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

test.each<[string, Record<string, string>, string]>([
  ['no registry', { WEFT_REGISTRY_ADDRESS: '' }, 'WEFT_REGISTRY_ADDRESS'],
  ['a registry without a port', { WEFT_REGISTRY_ADDRESS: 'registry' }, 'WEFT_REGISTRY_ADDRESS'],
  ['an address that nobody can call', { WEFT_EXECUTOR_LISTEN: '0.0.0.0:7001' }, 'WEFT_EXECUTOR_ADVERTISE'],
  ['keys and values of no type', { WEFT_KV: 'int4' }, 'WEFT_KV'],
  ['activations of no type', { WEFT_ACTIVATIONS: 'f16' }, 'WEFT_ACTIVATIONS'],
  ['a port beyond the last', { WEFT_EXECUTOR_ADVERTISE: 'executor:70000' }, 'WEFT_EXECUTOR_ADVERTISE'],
])('%s is refused by its variable', (_, change, field) => {
  expect(() => readConfig({ ...needed, ...change })).toThrow(expect.objectContaining({ code: 'option_invalid', details: { field } }));
});

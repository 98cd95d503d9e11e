import { registryV1 } from '@weft/contracts';
import { expect, test } from 'vitest';
import { CatalogView } from '../../../apps/gateway/src/catalog.js';

const BASE = 'base-digest';

const adapter = (name: string, tenantName: string, versions: [number, string?][], aliases: Record<string, number> = {}): registryV1.Adapter => registryV1.Adapter.fromPartial({
  name, tenantName, createdAt: 1_700_000_000_500n,
  versions: versions.map(([version, baseDigest = BASE]) => ({ version, digest: `${name}-${version}`, baseDigest })),
  aliases: Object.entries(aliases).map(([alias, version]) => ({ alias, version })),
});

const view = new CatalogView({
  tenantId: 't', tenantName: 'Acme', adapters: [
    adapter('Pirate', 'Acme', [[1], [2], [4]], { default: 2, stable: 1, gone: 3 }),
    adapter('shout', 'Acme', [[1], [3]], { canary: 1 }),
    adapter('lost', 'Acme', [[1]], { default: 9 }),
    adapter('elsewhere', 'Acme', [[1, 'other-base']]),
    adapter('moved', 'Acme', [[1, 'other-base'], [2]]),
    adapter('pirate', 'Globex', [[7]], { prod: 7 }),
  ],
}, BASE);

test.each([
  ['Pirate', 'Pirate-2'], ['PIRATE', 'Pirate-2'], ['pirate@default', 'Pirate-2'], ['Pirate@latest', 'Pirate-4'], ['Pirate@4', 'Pirate-4'], ['Pirate@stable', 'Pirate-1'],
  ['acme/pirate', 'Pirate-2'], ['Acme/Pirate@1', 'Pirate-1'],
  ['shout', 'shout-3'], ['shout@canary', 'shout-1'], ['shout@latest', 'shout-3'],
  ['lost@1', 'lost-1'], ['moved', 'moved-2'],
  ['Globex/pirate', 'pirate-7'], ['globex/PIRATE@prod', 'pirate-7'], ['globex/pirate@7', 'pirate-7'],
])('%s is %s', (reference, digest) => { expect(view.find(reference)?.digest).toBe(digest); });

test.each([
  '', '@', '@1', 'nobody', 'Pirate@', 'Pirate@3', 'Pirate@gone', 'Pirate@01', 'Pirate@1.0', 'Pirate@1@1', 'Pirate@Stable', 'Pirate@__proto__', '__proto__', 'lost', 'lost@default', 'elsewhere',
  'elsewhere@1', 'moved@1', 'globex/shout', 'acme/globex/pirate', '/pirate', 'Globex/pirate@default', 'initech/pirate',
])('%j is nothing', reference => { expect(view.find(reference)).toBeUndefined(); });

test('a response names own adapters plainly and those of others with their tenant', () => {
  expect(view.find('acme/PIRATE@1')).toEqual({ name: 'Pirate', version: 1, digest: 'Pirate-1', text: [] });
  expect(view.find('globex/pirate')).toEqual({ name: 'Globex/pirate', version: 7, digest: 'pirate-7', text: [] });
});

test('own adapters by name, then those of others', () => {
  expect(view.adapters.map(({ id, owner, created }) => [id, owner, created])).toEqual([
    ['Pirate', 'Acme', 1_700_000_000], ['lost', 'Acme', 1_700_000_000], ['moved', 'Acme', 1_700_000_000], ['shout', 'Acme', 1_700_000_000], ['Globex/pirate', 'Globex', 1_700_000_000],
  ]);
});

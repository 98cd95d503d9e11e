import { expect, test } from 'vitest';
import { hashOf, place } from '../../../apps/gateway/src/placement.js';

const fleet = (depths: readonly number[]) => depths.map((depth, i) => ({ address: `10.0.0.${i}:7000`, addressHash: hashOf(`10.0.0.${i}:7000`), depth }));
const digests = Array.from({ length: 1000 }, (_, i) => hashOf(String(i)).toString(16).padStart(64, '0'));

test('base requests go to the least busy, and in turn among equals', () => {
  expect(place(fleet([5, 2, 9]), null, 7).depth).toBe(2);
  expect([0, 1, 2, 3].map(turn => place(fleet([1, 1, 1]), null, turn).address)).toEqual(['10.0.0.0:7000', '10.0.0.1:7000', '10.0.0.2:7000', '10.0.0.0:7000']);
});

test('an adapter stays where it is, whoever asks and in whichever order', () => {
  const here = fleet([0, 3, 1, 2]);
  for (const digest of digests) expect(place([...here].reverse(), digest, 1)!.address).toBe(place(here, digest, 0).address);
});

test('adapters spread evenly', () => {
  const counts = new Map<string, number>();
  for (const digest of digests) counts.set(place(fleet([0, 0, 0, 0]), digest, 0).address, (counts.get(place(fleet([0, 0, 0, 0]), digest, 0).address) ?? 0) + 1);
  expect(counts.size).toBe(4);
  for (const count of counts.values()) expect(Math.abs(count - 250)).toBeLessThan(60);
});

test('one executor more moves only what it gets', () => {
  const [before, after] = [fleet([0, 0, 0]), fleet([0, 0, 0, 0])];
  const moved = digests.filter(digest => place(before, digest, 0).address !== place(after, digest, 0).address);
  expect(moved.every(digest => place(after, digest, 0).address === '10.0.0.3:7000')).toBe(true);
  expect(moved.length).toBeGreaterThan(150);
  expect(moved.length).toBeLessThan(350);
});

test('the next one gets what would make the first much busier than the others', () => {
  const first = place(fleet([0, 0]), digests[0]!, 0).address;
  const busy = fleet([0, 0]).map(executor => ({ ...executor, depth: executor.address === first ? 40 : 2 }));
  expect(place(busy, digests[0]!, 0).address).not.toBe(first);
  const warm = busy.map(executor => ({ ...executor, depth: executor.address === first ? 6 : 2 }));
  expect(place(warm, digests[0]!, 0).address).toBe(first);
});

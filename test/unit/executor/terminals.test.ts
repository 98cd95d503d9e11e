import { executorV1 } from '@weft/contracts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ORPHANED_MS, Terminals } from '../../../apps/executor/src/terminals.js';

beforeEach(() => { vi.useFakeTimers({ toFake: ['Date', 'performance'] }); });
afterEach(() => { vi.useRealTimers(); });

const terminal = (requestId: string, change: Partial<executorV1.Terminal> = {}): executorV1.Terminal =>
  executorV1.Terminal.fromPartial({ requestId, reason: 'done', promptTokens: 3, generatedTokens: 2, ...change });
const ORIGIN = { tenant: 't', digest: 'd', submittedMs: 5 };
const ids = (terminals: Terminals, countMax = 100): string[] => terminals.orphans(countMax).closes.map(({ id }) => id);

test('terminals are kept for their gateway until it acknowledges them, the oldest go first', () => {
  const terminals = new Terminals(3);
  for (const id of ['1', '2', '3', '4']) terminals.keep(id === '3' ? 'other' : 'mine', terminal(id), ORIGIN);
  expect(terminals.of('mine').map(({ requestId }) => requestId)).toEqual(['2', '4']);
  terminals.acknowledge('other', '2');
  terminals.acknowledge('mine', '4');
  expect(terminals.of('mine').map(({ requestId }) => requestId)).toEqual(['2']);
  expect(terminals.of('other').map(({ requestId }) => requestId)).toEqual(['3']);
  expect(terminals.totals).toEqual({ submits: 4n, promptTokens: 12n, generatedTokens: 8n });
});

test('a gateway that does not come back in time leaves orphans; they are nobody else\'s, unbilled, and go once taken', () => {
  const terminals = new Terminals();
  vi.setSystemTime(1_000_000);
  for (const gateway of ['stays', 'goes']) terminals.attached(gateway);
  terminals.keep('stays', terminal('s'), ORIGIN);
  terminals.keep('goes', terminal('g1', { queueMs: 4, coldStartMs: 2, cachedTokens: 1 }), ORIGIN);
  terminals.left('goes');
  terminals.keep('goes', terminal('g2', { reason: 'cancelled' }), ORIGIN);
  vi.advanceTimersByTime(ORPHANED_MS);
  expect(ids(terminals)).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(terminals.orphans(100).opens.map(({ id, tenantId, digest, gatewayId, openedAt, keyId }) => [id, tenantId, digest, gatewayId, openedAt, keyId])).toEqual([['g1', 't', 'd', 'goes', 5n, ''], ['g2', 't', 'd', 'goes', 5n, '']]);
  expect(terminals.orphans(100).closes).toEqual([
    { id: 'g1', status: 'orphaned', promptTokens: 3, cachedTokens: 1, generatedTokens: 2, billedTokens: 0, queueMs: 4, coldStartMs: 2, closedAt: 1_000_000n },
    { id: 'g2', status: 'orphaned', promptTokens: 3, cachedTokens: 0, generatedTokens: 2, billedTokens: 0, queueMs: 0, coldStartMs: 0, closedAt: 1_000_000n },
  ]);
  expect(ids(terminals, 1)).toEqual(['g1']);
  terminals.taken(['g1', 'unknown']);
  expect(ids(terminals)).toEqual(['g2']);
  expect(terminals.of('goes').map(({ requestId }) => requestId)).toEqual(['g2']);
  terminals.taken(['g2']);
  expect(ids(terminals)).toEqual([]);
});

test('a gateway that comes back has its ends to itself again, as often as it goes', () => {
  const terminals = new Terminals();
  terminals.keep('g', terminal('r'), ORIGIN);
  terminals.left('g');
  vi.advanceTimersByTime(ORPHANED_MS - 1);
  terminals.attached('g');
  vi.advanceTimersByTime(ORPHANED_MS * 2);
  expect(ids(terminals)).toEqual([]);
  terminals.left('g');
  vi.advanceTimersByTime(ORPHANED_MS + 1);
  expect(ids(terminals)).toEqual(['r']);
  terminals.acknowledge('g', 'r');
  expect(ids(terminals)).toEqual([]);
});

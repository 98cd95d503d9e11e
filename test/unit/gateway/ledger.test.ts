import { executorV1, registryV1, WeftError } from '@weft/contracts';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Ledger } from '../../../apps/gateway/src/ledger.js';
import type { RegistryClient } from '../../../apps/gateway/src/registry-client.js';
import type { RegistryWatch } from '../../../apps/gateway/src/registry-watch.js';

beforeEach(() => { vi.useFakeTimers(); vi.spyOn(console, 'error').mockImplementation(() => undefined); });
afterEach(() => { vi.useRealTimers(); vi.restoreAllMocks(); });

type Request = registryV1.WriteUsageRequest;

/** A ledger over a registry that takes rows when told to. */
function subject() {
  const writes: Request[] = [];
  const pending: { resolve(): void; reject(): void }[] = [];
  const watch = { fresh: true };
  const registry = {
    call: (_: string, request: Request) => new Promise((resolve, reject) => {
      writes.push(request);
      pending.push({ resolve: () => resolve({}), reject: () => reject(new WeftError('registry_lost', 'away')) });
    }),
  };
  const ledger = new Ledger(registry as unknown as RegistryClient, watch as RegistryWatch);
  const turn = () => vi.advanceTimersByTimeAsync(0);
  return {
    ledger, writes, watch,
    open: (id: string) => ledger.open(registryV1.UsageOpen.fromPartial({ id })),
    async take() { await turn(); pending.shift()!.resolve(); await turn(); },
    async fail() { await turn(); pending.shift()!.reject(); await turn(); },
    turn,
  };
}

const terminal = (requestId: string, change: Partial<executorV1.Terminal> = {}): executorV1.Terminal => executorV1.Terminal.fromPartial({ requestId, reason: 'done', promptTokens: 5, generatedTokens: 3, ...change });
const ok = { status: 'ok', promptTokens: 5, shownTokens: 3 };
const ids = (rows: readonly { id: string }[]): string[] => rows.map(({ id }) => id);

async function isDone(promise: Promise<unknown>): Promise<boolean> {
  let done = false;
  void promise.then(() => { done = true; });
  await vi.advanceTimersByTimeAsync(0);
  return done;
}

test('rows of one turn go together, at once; what comes meanwhile goes together after that', async () => {
  const it = subject();
  it.open('a');
  it.open('b');
  await it.turn();
  it.open('c');
  it.open('d');
  await it.take();
  expect(it.writes.map(({ opens }) => ids(opens))).toEqual([['a', 'b'], ['c', 'd']]);
});

test('an end is acknowledged when its close is on disk, and not before', async () => {
  const it = subject();
  const acknowledge = vi.fn();
  const row = it.open('a');
  await it.take();
  expect(await isDone(row.opened)).toBe(true);
  row.end(terminal('a', { cachedTokens: 2, queueMs: 1.5, coldStartMs: 0.5 }), acknowledge);
  expect(it.writes).toHaveLength(1);
  const settled = row.settle(ok);
  expect(await isDone(settled)).toBe(false);
  expect(acknowledge).not.toHaveBeenCalled();
  await it.take();
  expect(it.writes[1]!.closes).toMatchObject([{ id: 'a', status: 'ok', promptTokens: 5, cachedTokens: 2, generatedTokens: 3, billedTokens: 8, queueMs: 1.5, coldStartMs: 0.5 }]);
  expect(acknowledge).toHaveBeenCalledOnce();
  expect(await isDone(settled)).toBe(true);
  expect(it.ledger.counts).toEqual({ open: 0, waiting: 0, closed: 1 });
});

test.each([
  ['ok', 3, 8], ['ok', 0, 5], ['cancelled', 2, 7], ['cancelled', 0, 0], ['overloaded', 0, 0], ['executor_lost', 1, 6],
])('%s with %d tokens shown is billed %d', async (status, shownTokens, billedTokens) => {
  const it = subject();
  const row = it.open('a');
  void row.settle({ status, promptTokens: 5, shownTokens });
  row.end(terminal('a'), () => undefined);
  await it.take();
  expect(it.writes.flatMap(({ closes }) => closes)).toMatchObject([{ status, generatedTokens: 3, billedTokens }]);
});

test('a hang-up is closed with what the executor had made, once', async () => {
  const it = subject();
  const row = it.open('a');
  await it.take();
  expect(await isDone(row.settle({ status: 'cancelled', promptTokens: 5, shownTokens: 1 }))).toBe(true);
  expect(it.writes).toHaveLength(1);
  row.end(terminal('a', { reason: 'cancelled', generatedTokens: 2 }), () => undefined);
  void row.settle(ok);
  await it.take();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(it.writes.flatMap(({ closes }) => closes)).toMatchObject([{ status: 'cancelled', generatedTokens: 2, billedTokens: 6 }]);
});

test('an executor that does not come back: closed with what was seen; its end, should it come all the same, is acknowledged', async () => {
  const it = subject();
  const row = it.open('a');
  await it.take();
  void row.settle({ status: 'executor_lost', promptTokens: 5, shownTokens: 1 });
  await vi.advanceTimersByTimeAsync(2900);
  expect(it.writes).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200);
  await it.take();
  expect(it.writes[1]!.closes).toMatchObject([{ status: 'executor_lost', promptTokens: 5, generatedTokens: 1, billedTokens: 6 }]);
  const acknowledge = vi.fn();
  row.end(terminal('a'), acknowledge);
  it.ledger.end(terminal('a'), acknowledge);
  expect(acknowledge).toHaveBeenCalledTimes(2);
  expect(it.writes).toHaveLength(2);
});

test('an end that is told again after a reconnect reaches its row', async () => {
  const it = subject();
  const acknowledge = vi.fn();
  const row = it.open('a');
  void row.settle({ status: 'executor_lost', promptTokens: 5, shownTokens: 1 });
  it.ledger.end(terminal('a', { generatedTokens: 4 }), acknowledge);
  await it.take();
  expect(acknowledge).toHaveBeenCalledOnce();
  expect(it.writes[0]).toMatchObject({ opens: [{ id: 'a' }], closes: [{ id: 'a', generatedTokens: 4 }] });
});

test('while the registry is away nobody waits; rows arrive once, in order', async () => {
  const it = subject();
  const acknowledge = vi.fn();
  const first = it.open('a');
  expect(await isDone(first.opened)).toBe(false);
  await it.fail();
  expect(await isDone(first.opened)).toBe(true);
  const second = it.open('b');
  expect(await isDone(second.opened)).toBe(true);
  second.end(terminal('b'), acknowledge);
  expect(await isDone(second.settle(ok))).toBe(true);
  await vi.advanceTimersByTimeAsync(100);
  await it.fail();
  await vi.advanceTimersByTimeAsync(200);
  await it.take();
  expect(acknowledge).not.toHaveBeenCalled();
  await it.take();
  expect(acknowledge).toHaveBeenCalledOnce();
  expect(it.writes.map(({ opens, closes }) => [ids(opens), ids(closes)])).toEqual([[['a'], []], [['a'], []], [['a'], []], [['b'], ['b']]]);
});

test('a registry that hangs is waited for 300 ms by the first, and by nobody after that', async () => {
  const it = subject();
  const row = it.open('a');
  await vi.advanceTimersByTimeAsync(299);
  expect(await isDone(row.opened)).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(await isDone(row.opened)).toBe(true);
  expect(await isDone(it.open('b').opened)).toBe(true);
  await it.take();
  await it.take();
  expect(await isDone(it.open('c').opened)).toBe(false);
});

test('nor is it waited for while its changes are not heard', async () => {
  const it = subject();
  it.watch.fresh = false;
  expect(await isDone(it.open('a').opened)).toBe(true);
});

test('when too many rows wait, requests are refused', async () => {
  const it = subject();
  for (let i = 0; i < 100_000; i++) { it.ledger.admit(); it.open(String(i)); }
  expect(() => it.ledger.admit()).toThrow(expect.objectContaining({ code: 'overloaded' }));
});

test('a stop waits for rows, within a bound', async () => {
  const it = subject();
  const row = it.open('a');
  row.end(terminal('a'), () => undefined);
  void row.settle(ok);
  const stopped = it.ledger.stop();
  expect(await isDone(stopped)).toBe(false);
  await it.take();
  expect(await isDone(stopped)).toBe(true);
  const other = subject();
  other.open('b');
  await other.fail();
  const given = other.ledger.stop();
  await vi.advanceTimersByTimeAsync(1000);
  expect(await isDone(given)).toBe(true);
});

import type { AdapterImage } from '@weft/engine';
import { expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';
import { Harness, alone, request } from './harness.js';

const use = (digest: string): { adapters: { digest: string; weight: number }[] } => ({ adapters: [{ digest, weight: 1 }] });
const adapterPages = (h: Harness): number => h.engine.load().pages.adapters;

/** What became of a promise, looked at after the fact. */
function watch(promise: Promise<boolean>): { value: boolean | undefined } {
  const seen: { value: boolean | undefined } = { value: undefined };
  void promise.then(value => { seen.value = value; });
  return seen;
}

test('an idle adapter gives its pages back at once, and is unknown then', async () => {
  const h = new Harness({ adapters: [4] });
  h.engine.submit(request('r', use('a0')));
  await h.until(1);
  expect(adapterPages(h)).toBe(4);
  const gone = watch(h.engine.forget('a0'));
  await h.clock.run(() => gone.value === true, 1e6);
  await h.clock.run(() => h.engine.load().pages.free === 64, 1e6);
  h.engine.checkInvariants();
  expect(() => h.engine.submit(request('late', use('a0')))).toThrow(expect.objectContaining({ code: 'adapter_not_ready' }));
});

test('requests that run on it, wait for it or load it finish; new ones are refused', async () => {
  const h = new Harness({ adapters: [4], maxSequences: 1 });
  const requests = ['runs', 'waits'].map(id => request(id, { ...use('a0'), maxTokens: 40 }));
  h.engine.submit(requests[0]!);
  await h.clock.run(() => h.events.length > 5, 1e6);
  h.engine.submit(requests[1]!);
  const gone = watch(h.engine.forget('a0'));
  expect(() => h.engine.submit(request('late', use('a0')))).toThrow(expect.objectContaining({ code: 'adapter_not_ready' }));
  await h.until(1);
  expect(gone.value).toBeUndefined();
  await h.until(2);
  for (const r of requests) expect(h.tokensOf(r.id)).toEqual(alone(r, 40));
  await h.clock.run(() => gone.value === true && h.engine.load().pages.free === 64, 1e6);

  const loading = new Harness({ adapters: [4], faults: { slowLoads: true } });
  loading.engine.submit(request('r', use('a0')));
  await loading.clock.run(() => adapterPages(loading) === 4, 1e6);
  const later = watch(loading.engine.forget('a0'));
  loading.engine.cancel('r');
  await loading.clock.run(() => later.value === true && loading.engine.load().pages.free === 64, 1e6);
});

test('registered again before it has gone, it stays, with its pages', async () => {
  const h = new Harness({ adapters: [4] });
  const { image } = h.engine.adapters.get('a0')!;
  h.engine.submit(request('r', { ...use('a0'), maxTokens: 40 }));
  await h.clock.run(() => h.events.length > 2, 1e6);
  const gone = watch(h.engine.forget('a0')), twice = watch(h.engine.forget('a0'));
  h.engine.register('a0', image);
  await h.clock.run(() => gone.value !== undefined && twice.value !== undefined, 1e6);
  expect([gone.value, twice.value]).toEqual([false, false]);
  h.engine.submit(request('s', use('a0')));
  await h.until(2);
  expect(h.engine.adapters.get('a0')!.loads).toBe(1);
});

test('pages that only a forgotten adapter held let waiting requests start', async () => {
  const h = new Harness({ pages: 8, maxLen: 64, adapters: [5, 5] });
  h.engine.submit(request('r', { ...use('a0'), maxTokens: 20 }));
  await h.clock.run(() => h.events.length > 2, 1e6);
  h.engine.submit(request('s', { ...use('a1'), maxTokens: 20 }));
  void h.engine.forget('a0');
  await h.until(2);
  expect(h.terminals.every(({ reason }) => reason === 'done')).toBe(true);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8])('adapters come and go under load, and every answer is its own (seed %i)', async seed => {
  const random = new Random(seed);
  const h = new Harness({ pages: 24, maxSequences: 4, maxLen: 64, adapters: Array.from({ length: 6 }, () => random.int(1, 5)), adapterSlots: 3, faults: { slowLoads: random.chance(0.5) } });
  const images = new Map<string, AdapterImage>(Array.from({ length: 6 }, (_, i) => [`a${i}`, h.engine.adapters.get(`a${i}`)!.image]));
  const requests = Array.from({ length: 80 }, (_, i) => request(`r${i}`, { ...use(`a${random.int(0, 5)}`), maxTokens: random.int(1, 30) }));
  let refused = 0;
  const forgets: { value: boolean | undefined }[] = [];
  requests.forEach((r, i) => h.clock.at(i * 4, () => {
    if (random.chance(0.3)) forgets.push(watch(h.engine.forget(`a${random.int(0, 5)}`)));
    if (random.chance(0.3)) for (const [digest, image] of images) if (random.chance(0.5)) h.engine.register(digest, image);
    try { h.engine.submit(r); } catch { refused++; }
    if (random.chance(0.1)) h.clock.at(h.clock.now() + random.int(0, 20), () => h.engine.cancel(r.id));
    h.engine.checkInvariants();
  }));
  await h.clock.run(() => h.terminals.length + refused === requests.length, 1e6);
  for (const digest of images.keys()) forgets.push(watch(h.engine.forget(digest)));
  await h.clock.run(() => forgets.every(({ value }) => value !== undefined), 1e6);
  await h.clock.run(() => h.engine.load().pages.free === 24, 1e6);
  h.engine.checkInvariants();
  expect([...h.engine.adapters.entries()]).toEqual([]);
  for (const { requestId, reason, error } of h.terminals) {
    expect(error).toBeUndefined();
    const of = requests.find(r => r.id === requestId)!, said = h.tokensOf(requestId);
    expect(said).toEqual(alone(of, reason === 'done' ? of.maxTokens : said.length));
  }
  expect(refused).toBeGreaterThan(0);
});

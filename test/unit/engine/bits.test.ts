/** The same bits alone and in any company: half of the mixes, and the smallest pool. */
import { blocksFor, type EngineRequest } from '@weft/engine';
import { expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';
import { MIXES, PER_MODEL, models, requestOf, testBits } from './bits.js';
import { Subject } from './subject.js';

testBits(0);

test('a pool of the largest request and one page finishes sixteen, to the same bits, with every page accounted for after every step', { timeout: 60_000 }, async () => {
  const alone = await new Subject().open('llama-tiny', { threads: 1, depth: 1, stepTokens: 64 });
  const { pageBytes } = alone.host.pool;
  const { digest: adapter, pageCount: adapterPages } = [...alone.host.engine.adapters.entries()].reduce((a, b) => (b.pageCount > a.pageCount ? b : a));
  const small = await new Subject().open('llama-tiny', { threads: 2, depth: 2, stepTokens: 64, poolBytes: (blocksFor(48 + 48) + adapterPages + 1) * pageBytes });
  small.checkEveryStep = true;
  const random = new Random(99);
  const requests = Array.from({ length: 16 }, (_, i): EngineRequest => ({
    ...requestOf(random, `r${i}`, [adapter], alone.host.model.config.vocab), adapters: [{ digest: adapter, weight: 1 }],
    prompt: Array.from({ length: 48 - i }, () => random.int(0, 299)), maxTokens: 48,
  }));
  const answers = await small.ask(requests);
  for (const r of requests) expect(answers.get(r.id), r.id).toEqual((await alone.ask([r])).get(r.id));
  expect(small.host.engine.preemptions).toBeGreaterThan(0);
  for (const s of [alone, small]) await s.host.close();
});

test('all mixes together are as many as promised', () => { expect(models.length * PER_MODEL).toBe(MIXES); });

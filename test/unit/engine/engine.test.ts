import { WeftError } from '@weft/contracts';
import { describe, expect, test } from 'vitest';
import { Harness, alone, request } from './harness.js';

describe('requests', () => {
  test('one gets its tokens and exactly one terminal', async () => {
    const h = new Harness();
    const r = request('r');
    h.engine.submit(r);
    await h.until(1);
    expect(h.tokensOf('r')).toEqual(alone(r, 8));
    expect(h.events.at(-1)!.finishReason).toBe('length');
    expect(h.terminals).toMatchObject([{ requestId: 'r', reason: 'done', promptTokens: 8, generatedTokens: 8 }]);
  });

  test('depth 1 and depth 2 give the same tokens', async () => {
    const tokens = [1, 2].map(async depth => {
      const h = new Harness({ depth: depth as 1 | 2, adapters: [2, 3] });
      for (let i = 0; i < 6; i++) h.engine.submit(request(`r${i}`, { maxTokens: 20, adapters: i % 3 ? [{ digest: `a${i % 2}`, weight: 1 }] : [] }));
      await h.until(6);
      return [0, 1, 2, 3, 4, 5].map(i => h.tokensOf(`r${i}`));
    });
    expect(await tokens[0]).toEqual(await tokens[1]);
  });

  test('a stop id ends a choice, also when the next step is already submitted', async () => {
    const r = request('r');
    const stop = alone(r, 3)[2]!;
    const h = new Harness({ depth: 2 });
    h.engine.submit({ ...r, stopIds: [stop] });
    await h.until(1);
    expect(h.tokensOf('r')).toEqual(alone(r, 3));
    expect(h.events.at(-1)!.finishReason).toBe('stop');
    await h.clock.run(() => h.engine.load().pages.free === 64, 1e6);
  });

  test('a cancelled one ends at once and gives everything back', async () => {
    const h = new Harness();
    h.engine.submit(request('r', { maxTokens: 200 }));
    await h.clock.run(() => h.events.length >= 5, 1e6);
    h.engine.cancel('r');
    expect(h.terminals).toMatchObject([{ reason: 'cancelled', generatedTokens: h.tokensOf('r').length }]);
    const before = h.device.steps;
    await h.clock.run(() => h.engine.load().pages.free === 64, 1e6);
    expect(h.device.steps - before).toBeLessThanOrEqual(2);
  });

  test('a request past its deadline ends with deadline_exceeded, running or waiting', async () => {
    const h = new Harness({ maxSequences: 1 });
    h.engine.submit(request('runs', { maxTokens: 200, deadlineMs: 50 }));
    h.engine.submit(request('waits', { deadlineMs: 20 }));
    await h.until(2);
    expect(h.terminals.map(t => [t.requestId, t.error?.code])).toEqual([['waits', 'deadline_exceeded'], ['runs', 'deadline_exceeded']]);
  });

  test('n choices run and end apart', async () => {
    const h = new Harness();
    h.engine.submit(request('r', { n: 3 }));
    await h.until(1);
    for (const choice of [0, 1, 2]) expect(h.tokensOf('r', choice)).toHaveLength(8);
    expect(h.terminals[0]!.generatedTokens).toBe(24);
  });

  test('emitted tokens are continued, not repeated', async () => {
    const r = request('r');
    const h = new Harness();
    h.engine.submit({ ...r, emitted: alone(r, 3) });
    await h.until(1);
    expect(h.tokensOf('r')).toEqual(alone(r, 8).slice(3));
  });

  test('a prompt is scored position by position, whatever the chunks', async () => {
    const h = new Harness({ stepTokens: 16 });
    h.engine.submit(request('r', { task: 'score', prompt: Array.from({ length: 50 }, (_, i) => i), maxTokens: 0 }));
    await h.until(1);
    const positions = h.events.flatMap(e => (e.promptLogprobs ?? []).map((_, i) => e.promptStart! + i));
    expect(positions).toEqual(Array.from({ length: 49 }, (_, i) => i + 1));
    expect(h.events.at(-1)!.finishReason).toBe('length');
  });

  test('scoring one token has nothing to say and still ends', async () => {
    const h = new Harness();
    h.engine.submit(request('r', { task: 'score', prompt: [5], maxTokens: 0 }));
    await h.until(1);
    expect(h.terminals[0]!.reason).toBe('done');
  });

  test('a row that is not finite ends its own request alone', async () => {
    const h = new Harness({ faults: { badRows: 0.02 } });
    const requests = Array.from({ length: 8 }, (_, i) => request(`r${i}`, { maxTokens: 20 }));
    for (const r of requests) h.engine.submit(r);
    await h.until(8);
    const failed = h.terminals.filter(t => t.reason === 'error');
    expect(failed.length).toBeGreaterThan(0);
    expect(failed.length).toBeLessThan(8);
    expect(failed.every(t => t.error!.code === 'numerical_error')).toBe(true);
    for (const t of h.terminals.filter(t => t.reason === 'done')) expect(h.tokensOf(t.requestId)).toEqual(alone(requests.find(r => r.id === t.requestId)!, 20));
  });
});

describe('memory', () => {
  test('a pool of the largest request and one page finishes sixteen', async () => {
    const h = new Harness({ pages: 9, maxSequences: 16, maxLen: 128, lookaheadTokens: 16 });
    const requests = Array.from({ length: 16 }, (_, i) => request(`r${i}`, { maxTokens: 120 - i }));
    for (const r of requests) h.engine.submit(r);
    await h.until(16);
    expect(h.terminals.every(t => t.reason === 'done')).toBe(true);
    for (const r of requests) expect(h.tokensOf(r.id)).toEqual(alone(r, r.maxTokens));
    expect(h.engine.preemptions).toBeGreaterThan(0);
    // Each is pushed back by those before it only: far fewer times than there are steps.
    expect(h.engine.preemptions).toBeLessThan(16 * 15);
  });

  test('adapters are evicted for others that come, and come back', async () => {
    const h = new Harness({ pages: 20, adapters: Array(10).fill(4) as number[], maxSequences: 4 });
    const requests = Array.from({ length: 30 }, (_, i) => request(`r${i}`, { adapters: [{ digest: `a${i % 10}`, weight: 1 }], maxTokens: 12 }));
    for (const r of requests) h.engine.submit(r);
    await h.until(30);
    for (const r of requests) expect(h.tokensOf(r.id)).toEqual(alone(r, 12));
    expect([...h.engine.adapters.entries()].reduce((sum, a) => sum + a.loads, 0)).toBeGreaterThan(10);
  });

  test('a request whose adapter loads does not hold up others', async () => {
    const h = new Harness({ adapters: [4] });
    h.engine.submit(request('cold', { adapters: [{ digest: 'a0', weight: 1 }] }));
    h.engine.submit(request('base'));
    await h.until(2);
    expect(h.events[0]!.requestId).toBe('base');
    expect(h.terminals.find(t => t.requestId === 'cold')!.coldStartMs).toBeGreaterThan(0);
    expect(h.terminals.find(t => t.requestId === 'base')!.coldStartMs).toBe(0);
  });

  test('an adapter that cannot be loaded ends its requests with adapter_not_ready, others go on', async () => {
    const h = new Harness({ adapters: [4], faults: { failingLoads: 1 } });
    h.engine.submit(request('cold', { adapters: [{ digest: 'a0', weight: 1 }] }));
    h.engine.submit(request('base'));
    await h.until(2);
    expect(h.terminals.find(t => t.requestId === 'cold')!.error!.code).toBe('adapter_not_ready');
    expect(h.terminals.find(t => t.requestId === 'base')!.reason).toBe('done');
  });
});

describe('shares', () => {
  test('running sequences get a token in every step while a long prompt comes in', async () => {
    const h = new Harness({ stepTokens: 64, chunkTokens: 16, maxSequences: 4, maxLen: 512, pages: 128 });
    h.engine.submit(request('runs', { maxTokens: 60 }));
    await h.clock.run(() => h.events.length > 3, 1e6);
    h.engine.submit(request('long', { prompt: Array.from({ length: 400 }, (_, i) => i), maxTokens: 2 }));
    await h.until(2);
    const steps = h.events.filter(e => e.requestId === 'runs').map(e => e.step);
    expect(steps).toEqual(Array.from({ length: 60 }, (_, i) => steps[0]! + i));
  });

  test('a prompt comes in while many run', async () => {
    const h = new Harness({ stepTokens: 32, chunkTokens: 8, maxSequences: 16, pages: 256 });
    for (let i = 0; i < 15; i++) h.engine.submit(request(`r${i}`, { maxTokens: 200 }));
    await h.clock.run(() => h.events.length > 60, 1e6);
    h.engine.submit(request('late', { prompt: Array.from({ length: 80 }, (_, i) => i), maxTokens: 1 }));
    await h.until(1);
    expect(h.terminals[0]!.requestId).toBe('late');
  });

  test('a tenant with one request is served before the hundredth of another', async () => {
    const h = new Harness({ maxSequences: 2 });
    for (let i = 0; i < 60; i++) h.engine.submit(request(`a${i}`, { tenant: 'busy' }));
    await h.until(10);
    h.engine.submit(request('b', { tenant: 'quiet' }));
    const before = h.terminals.length;
    await h.clock.run(() => h.terminals.some(t => t.requestId === 'b'), 1e6);
    expect(h.terminals.length - before).toBeLessThanOrEqual(6);
  });
});

describe('refusals', () => {
  const code = (h: Harness, overrides: Parameters<typeof request>[1]): [string, string | undefined] => {
    try { h.engine.submit(request('r', overrides)); } catch (error) { return [(error as WeftError).code, (error as WeftError).details.param]; }
    throw new Error('accepted');
  };
  const h = new Harness({ adapters: [4, 60], maxWaiting: 4 });
  test.each<[string, Parameters<typeof request>[1], string, string | undefined]>([
    ['an empty prompt', { prompt: [] }, 'invalid_value', 'prompt'],
    ['a token beyond the vocabulary', { prompt: [1, 999_999] }, 'invalid_value', 'prompt'],
    ['a negative token', { prompt: [-1] }, 'invalid_value', 'prompt'],
    ['a prompt beyond the context', { prompt: Array(300).fill(1) as number[] }, 'context_length_exceeded', 'max_tokens'],
    ['more tokens than the context', { maxTokens: 1000 }, 'context_length_exceeded', 'max_tokens'],
    ['an adapter that leaves too few pages', { adapters: [{ digest: 'a1', weight: 1 }], maxTokens: 200 }, 'context_length_exceeded', 'max_tokens'],
    ['an unknown adapter', { adapters: [{ digest: 'x', weight: 1 }] }, 'adapter_not_ready', undefined],
    ['an adapter twice', { adapters: [{ digest: 'a0', weight: 1 }, { digest: 'a0', weight: 1 }] }, 'invalid_value', 'adapters'],
    ['n of 0', { n: 0 }, 'invalid_value', 'n'],
    ['n beyond its cap', { n: 1_000_000 }, 'invalid_value', 'n'],
    ['too many log-probabilities', { logprobs: 21 }, 'invalid_value', 'logprobs'],
    ['a negative temperature', { sampling: { ...request('').sampling, temperature: -1 } }, 'invalid_value', 'temperature'],
    ['a NaN temperature', { sampling: { ...request('').sampling, temperature: NaN } }, 'invalid_value', 'temperature'],
    ['top_p of 0', { sampling: { ...request('').sampling, topP: 0 } }, 'invalid_value', 'top_p'],
    ['a bias beyond the vocabulary', { sampling: { ...request('').sampling, logitBias: [[1e6, 1]] } }, 'invalid_value', 'logit_bias'],
    ['min_tokens above max_tokens', { minTokens: 9 }, 'invalid_value', 'min_tokens'],
  ])('%s is refused by name', (_name, overrides, wanted, param) => {
    expect(code(h, overrides)).toEqual([wanted, param]);
    expect(h.engine.load().waiting).toBe(0);
  });

  test('a full queue says overloaded and when to come back', () => {
    const full = new Harness({ maxWaiting: 2 });
    full.engine.submit(request('a'));
    full.engine.submit(request('b'));
    try { full.engine.submit(request('c')); } catch (error) { expect(error).toMatchObject({ code: 'overloaded', details: { retryAfterMs: 2000 } }); return; }
    throw new Error('accepted');
  });
  test('a draining engine takes nothing more', async () => {
    const d = new Harness();
    d.engine.submit(request('a'));
    void d.engine.drain();
    expect(() => d.engine.submit(request('b'))).toThrow(/shutting down/);
    await d.until(1);
    expect(d.terminals[0]!.reason).toBe('done');
  });
});

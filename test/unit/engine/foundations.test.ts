/** What later work stands on, held on a real device and a fixture model. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, readTensor, CHECKPOINT_LIMITS } from '@weft/adapters';
import { blocksFor, type EngineRequest } from '@weft/engine';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { request } from './harness.js';
import { Subject, fixtures } from './subject.js';

const MODEL = 'llama-tiny';
const numbers = (count: number, step = 7): number[] => Array.from({ length: count }, (_, i) => (i * step + 3) % 320);
const ask = (id: string, overrides: Partial<EngineRequest> = {}): EngineRequest => request(id, { prompt: numbers(12), logprobs: 5, ...overrides });
const sampled = { ...request('').sampling, temperature: 1 };

let engine: Subject, small: Subject;
beforeAll(async () => {
  engine = await new Subject().open(MODEL, { threads: 2, depth: 2, stepTokens: 512 });
  const largest = Math.max(...[...engine.host.engine.adapters.entries()].map(a => a.pageCount));
  small = await new Subject().open(MODEL, { threads: 1, depth: 2, stepTokens: 24, poolBytes: (2 * largest + blocksFor(160) + 1) * engine.host.pool.pageBytes });
});
afterAll(async () => { await engine.host.close(); await small.host.close(); });

test('an embedding is the hidden row from which the next token would have been drawn', async () => {
  const prompt = numbers(40);
  const answers = await engine.ask([ask('embed', { task: 'embed', prompt, maxTokens: 0 }), ask('next', { prompt, maxTokens: 1, logprobs: 20 })]);
  const { hidden } = answers.get('embed')!;
  const folder = join(fixtures, MODEL, 'base');
  const table = await headRows(join(folder, 'model.safetensors'));
  const dim = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')).hidden_size as number;
  expect(hidden).toHaveLength(dim);
  const logits = Array.from({ length: table.length / dim }, (_, token) => hidden.reduce((sum, h, i) => sum + h * table[token * dim + i]!, 0));
  const top = Math.max(...logits), logSum = top + Math.log(logits.reduce((sum, l) => sum + Math.exp(l - top), 0));
  const best = logits.indexOf(top);
  expect(answers.get('next')!.tokens).toEqual([best]);
  expect(answers.get('next')!.scores[0]!).toBeCloseTo(top - logSum, 4);
});

test('hidden rows, scores and draws share a step and keep their bits', async () => {
  const requests = [
    ask('embed', { task: 'embed', prompt: numbers(30), adapters: [{ digest: engine.digests[0]!, weight: 1 }] }),
    ask('score', { task: 'score', prompt: numbers(50), adapters: [{ digest: engine.digests[1]!, weight: 1 }] }),
    ask('draw', { prompt: numbers(20), promptLogprobs: true, sampling: sampled }),
  ];
  const mixed = await engine.ask(requests);
  for (const r of requests) expect(mixed.get(r.id)).toEqual((await small.ask([r])).get(r.id));
});

test('a prompt of 300 is scored in one step as in many: logits come in tiles of 64', async () => {
  const r = ask('score', { task: 'score', prompt: numbers(300) });
  const before = engine.host.engine.load().step;
  const whole = (await engine.ask([r])).get('score')!;
  expect(engine.host.engine.load().step - before).toBe(1);
  expect(whole.bits).toHaveLength(299);
  expect((await small.ask([r])).get('score')).toEqual(whole);
});

test('all steps run the same ops, whatever their rows, logits and adapters: counts stand on the device', async () => {
  const { device, engine: e } = engine.host;
  const opsPerStep = async (...requests: EngineRequest[]): Promise<number> => {
    const before = device.stats(), step = e.load().step;
    await engine.ask(requests);
    const after = device.stats();
    expect(after.submits - before.submits).toBe(e.load().step - step);
    expect(after.allocatedBytes).toBe(before.allocatedBytes);
    return (after.opsRun - before.opsRun) / (after.submits - before.submits);
  };
  const one = await opsPerStep(ask('one', { prompt: [5], maxTokens: 1 }));
  const many = await opsPerStep(
    ask('long', { prompt: numbers(400), promptLogprobs: true, maxTokens: 5, adapters: [{ digest: engine.digests[2]!, weight: 1 }] }),
    ...numbers(10).map(i => ask(`short${i}`, { prompt: [i], maxTokens: 9, adapters: [{ digest: engine.digests[i % 3]!, weight: 0.5 }] })),
  );
  expect(many).toBe(one);
});

describe('randomness', () => {
  const r = ask('r', { n: 3, maxTokens: 24, sampling: { ...sampled, seed: 42n } });
  const choices = (answers: Map<string, { tokens: number[] }>): number[][] => [0, 1, 2].map(c => answers.get(`r/${c}`)!.tokens);

  test('is a function of seed, choice and position: alone, in company, and after preemptions', async () => {
    const alone = choices(await engine.hear([r]));
    const others = Array.from({ length: 10 }, (_, i) => ask(`o${i}`, { maxTokens: 140, prompt: numbers(8, i + 1), adapters: [{ digest: small.digests[i % 3]!, weight: 1 }] }));
    expect(choices(await engine.hear([...others, r]))).toEqual(alone);
    const { preemptions } = small.host.engine;
    expect(choices(await small.hear([...others.slice(0, 3), r, ...others.slice(3)]))).toEqual(alone);
    expect(small.host.engine.preemptions).toBeGreaterThan(preemptions);
  });
  test('differs between choices and between seeds', async () => {
    const answers = await engine.hear([r, { ...r, id: 'other', n: 1, sampling: { ...r.sampling, seed: 43n } }]);
    expect(new Set([...choices(answers), answers.get('other/0')!.tokens].map(String)).size).toBe(4);
  });
  test('goes on where another executor left off', async () => {
    const whole = (await engine.hear([{ ...r, n: 1 }])).get('r/0')!.tokens;
    const rest = (await small.hear([{ ...r, n: 1, emitted: whole.slice(0, 10) }])).get('r/0')!.tokens;
    expect(rest).toEqual(whole.slice(10));
  });
});

describe('several adapters on one row', () => {
  const scoresOf = async (adapters: [number, number][]): Promise<number[]> => {
    const uses = adapters.map(([i, weight]) => ({ digest: engine.digests[i]!, weight }));
    return (await engine.ask([ask('r', { task: 'score', prompt: numbers(64), adapters: uses })])).get('r')!.scores;
  };
  test('the order in which they are named changes no bit', async () => {
    expect(await scoresOf([[0, 1], [3, 0.5]])).toEqual(await scoresOf([[3, 0.5], [0, 1]]));
  });
  test('weight 0 is the base, and an adapter beside one of weight 0 is that adapter alone', async () => {
    expect(await scoresOf([[3, 0]])).toEqual(await scoresOf([]));
    expect(await scoresOf([[0, 1], [3, 0]])).toEqual(await scoresOf([[0, 1]]));
  });
  test('small ones add up: to first order, two together move a score by the sum of what each moves it by', async () => {
    const weight = 0.02;          // less drowns in the rounding of f16 keys and values
    const base = await scoresOf([]), a = await scoresOf([[0, weight]]), b = await scoresOf([[3, weight]]), both = await scoresOf([[0, weight], [3, weight]]);
    const moved = both.map((s, i) => s - base[i]!), sum = base.map((s, i) => a[i]! - s + (b[i]! - s));
    const size = Math.hypot(...sum);
    const off = Math.hypot(...moved.map((m, i) => m - sum[i]!));
    for (const alone of [a, b]) expect(off).toBeLessThan(0.2 * Math.hypot(...moved.map((m, i) => m - (alone[i]! - base[i]!))));
    expect(off).toBeLessThan(0.1 * size);
  });
});

describe('an adapter at whose weight nothing is finite', () => {
  const bad = (id: string, overrides: Partial<EngineRequest> = {}): EngineRequest =>
    ask(id, { prompt: numbers(100), adapters: [{ digest: engine.digestOf('r16-all'), weight: 3e38 }], ...overrides });
  const good = (id: string, i: number): EngineRequest =>
    ask(id, { prompt: numbers(5 + 9 * i, i + 1), maxTokens: 20, promptLogprobs: true, adapters: i % 2 ? [{ digest: engine.digestOf('r16-all'), weight: 1 }] : [] });

  test('ends its own request alone: the bits of those beside it are what they are without it', async () => {
    const requests = [0, 1, 2, 3].map(i => good(`g${i}`, i));
    const mixed = await engine.hear([requests[0]!, bad('bad'), ...requests.slice(1), bad('worse', { n: 2, promptLogprobs: true })]);
    for (const id of ['bad/0', 'worse/0']) expect(mixed.get(id)!.terminal).toMatchObject({ reason: 'error', error: { code: 'numerical_error' } });
    for (const r of requests) expect(mixed.get(`${r.id}/0`)!.bits).toEqual((await engine.ask([r])).get(r.id)!.bits);
  });

  test('leaves nothing behind in the pages and slots that others get next', async () => {
    for (const i of [0, 1, 2, 3]) {
      const r = good('next', i), { host } = small;
      expect((await small.hear([bad('bad')])).get('bad/0')!.terminal!.error!.code).toBe('numerical_error');
      expect(host.engine.load().pages.sequences).toBe(0);
      expect((await small.ask([r])).get('next')).toEqual((await engine.ask([r])).get('next'));
    }
  });
});

test('resident adapters cost their own pages and no copy', async () => {
  const { engine: e, device, pool } = engine.host;
  const allocated = device.stats().allocatedBytes;
  let pages = e.load().pages.adapters;
  for (const digest of engine.digests) {
    const entry = e.adapters.get(digest)!, isNew = entry.state !== 'resident';
    await engine.ask([ask('r', { adapters: [{ digest, weight: 1 }], maxTokens: 2 })]);
    expect(e.load().pages.adapters).toBe(pages += isNew ? entry.pageCount : 0);
  }
  expect(e.load().resident).toHaveLength(engine.digests.length);
  expect(device.stats()).toMatchObject({ adapterBytesCopied: 0, allocatedBytes: allocated });
  expect(e.load().pages.free + pages).toBe(pool.total);
});

/** The head's weights, [vocab][dim]; this fixture ties it to the embedding. bf16 is the upper half of f32. */
async function headRows(path: string): Promise<Float32Array> {
  const { tensors } = await openSafetensors(path, CHECKPOINT_LIMITS);
  const halves = await readTensor(tensors.get('model.embed_tokens.weight')!) as Uint16Array;
  return new Float32Array(Uint32Array.from(halves, h => h << 16).buffer);
}

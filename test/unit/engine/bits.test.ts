/**
 * A row's numbers have the same bits alone and in any company: 200 seeded mixes on the fixture models, through engines
 * that differ in threads, steps in flight, rows of a step and size of the pool (small ones preempt). Compared are, for
 * every prompt position and every generated token, the log-probability of the token and of the 20 best: bit by bit.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { blocksFor, createEngine, type EngineHost, type EngineRequest, type TokenEvent } from '@weft/engine';
import { afterAll, expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';

const MIXES = 200, PER_MODEL = 40;
const fixtures = join(import.meta.dirname, '../../fixtures/models');
const models = ['llama-tiny', 'llama3-rope', 'mistral-tiny', 'qwen2-tiny', 'qwen3-tiny'];
const cache = mkdtempSync(join(tmpdir(), 'weft-bits-'));
afterAll(() => rmSync(cache, { recursive: true, force: true }));

interface Setting { threads: number; depth: 1 | 2; stepTokens: number; poolBytes?: number }
interface Answer { tokens: number[]; bits: string[] }

/** An engine and what it said. */
class Subject {
  host!: EngineHost;
  readonly digests: string[] = [];
  readonly #answers = new Map<string, Answer>();
  #left = 0;
  #done: () => void = () => undefined;
  #error: Error | null = null;

  async open(model: string, options: Setting): Promise<this> {
    const base = join(fixtures, model, 'base');
    this.host = await createEngine({
      modelDir: base, adapterCacheDir: cache, maxSequences: 16, poolBytes: 64 * 2 ** 20, lookaheadTokens: 1, ...options,
      listener: {
        onStep: (_step, events) => { for (const event of events) this.#note(event); },
        onTerminal: ({ error }) => { if (error) this.#error = error; if (--this.#left === 0) this.#done(); },
      },
    });
    for (const name of readdirSync(join(fixtures, model, 'adapters')).sort()) {
      this.digests.push((await this.host.addAdapter(join(fixtures, model, 'adapters', name))).digest);
    }
    return this;
  }

  #note(event: TokenEvent): void {
    const answer = this.#answers.get(event.requestId)!;
    answer.tokens.push(...event.tokens);
    const add = (value: number, top: { ids: number[]; logprobs: number[] } | undefined): void => {
      answer.bits.push(bits([value, ...top!.logprobs]) + top!.ids.join(','));
    };
    event.promptLogprobs?.forEach((value, i) => add(value, event.promptTop?.[i]));
    event.logprobs?.forEach((value, i) => add(value, event.top?.[i]));
  }

  async ask(requests: EngineRequest[]): Promise<Map<string, Answer>> {
    this.#answers.clear();
    this.#left = requests.length;
    const done = new Promise<void>(resolve => { this.#done = resolve; });
    for (const r of requests) { this.#answers.set(r.id, { tokens: [], bits: [] }); this.host.engine.submit(r); }
    await done;
    if (this.#error) throw this.#error;
    this.host.engine.checkInvariants();
    return new Map(this.#answers);
  }
}

const bits = (values: number[]): string => Buffer.from(Float32Array.from(values).buffer).toString('hex');

function requestOf(random: Random, id: string, digests: string[], vocab: number): EngineRequest {
  const count = random.pick([0, 1, 1, 1, 2]);
  const uses = new Set(Array.from({ length: count }, () => random.pick(digests)));
  return {
    id, tenant: `t${random.int(0, 2)}`, adapters: [...uses].map(digest => ({ digest, weight: random.pick([1, 1, 0.5]) })), task: 'generate',
    prompt: Array.from({ length: random.pick([1, random.int(2, 20), random.int(20, 120)]) }, () => random.int(0, vocab - 1)),
    n: 1, maxTokens: random.int(1, 40), minTokens: 0,
    sampling: {
      temperature: random.pick([0, 0, 0.8]), topK: random.pick([0, 40]), topP: random.pick([1, 0.9]), minP: 0,
      repetitionPenalty: random.pick([1, 1.1]), presencePenalty: 0, frequencyPenalty: random.pick([0, 0.2]), seed: BigInt(random.int(0, 1e9)), logitBias: [],
    },
    emitted: [], stopIds: [], logprobs: 20, promptLogprobs: true, priority: 0, deadlineMs: 0,
  };
}

test.each(models)('%s: each row answers with the same bits alone and in any batch', { timeout: 120_000 }, async model => {
  const alone = await new Subject().open(model, { threads: 1, depth: 1, stepTokens: 512 });
  // The largest request, its two adapters, and one page.
  const largest = [...alone.host.engine.adapters.entries()].map(a => a.pageCount).sort((a, b) => b - a);
  const poolBytes = (largest[0]! + (largest[1] ?? 0) + blocksFor(120 + 40) + 1) * alone.host.pool.pageBytes;
  const settings: Setting[] = [
    { threads: 2, depth: 2, stepTokens: 512 }, { threads: 1, depth: 2, stepTokens: 24 }, { threads: 2, depth: 1, stepTokens: 64 },
    { threads: 2, depth: 2, stepTokens: 96, poolBytes }, { threads: 1, depth: 1, stepTokens: 17, poolBytes },
  ];
  const subjects = await Promise.all(settings.map(setting => new Subject().open(model, setting)));
  const random = new Random(models.indexOf(model) + 1);
  const vocab = alone.host.model.config.vocab;
  for (let mix = 0; mix < PER_MODEL; mix++) {
    const requests = Array.from({ length: random.int(1, 12) }, (_, i) => requestOf(random, `m${mix}-${i}`, alone.digests, vocab));
    const subject = random.pick(subjects);
    const mixed = await subject.ask(requests);
    for (const r of requests) expect(mixed.get(r.id), `${model} mix ${mix} request ${r.id}`).toEqual((await alone.ask([r])).get(r.id));
  }
  expect(subjects.reduce((sum, s) => sum + s.host.engine.preemptions, 0), 'preemptions in the small pools').toBeGreaterThan(0);
  for (const s of [alone, ...subjects]) await s.host.close();
});

test('all mixes together are as many as promised', () => { expect(models.length * PER_MODEL).toBe(MIXES); });

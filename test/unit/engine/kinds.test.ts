/**
 * Rows of the base, of LoRA, of whole experts, and of LoRA beside experts in one batch: each gets its own answer, bit for bit as alone.
 * Mixes are seeded; engines differ in threads, steps in flight, rows of a step and size of the pool (small ones evict and preempt).
 */
import { type AdapterEntry, type AdapterUse, type EngineRequest } from '@weft/engine';
import { expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';
import { isas } from '../kernels/harness.js';
import { Subject, type Setting } from './subject.js';

const MIXES = 12;
const MODELS = ['olmoe-tiny', 'qwen2-moe-tiny', 'mixtral-tiny', 'qwen3-moe-tiny'];

/** Adapters of one row: one of LoRA, one that brings experts, or both where the LoRA is not on experts. */
function usesOf(random: Random, adapters: readonly AdapterEntry[]): AdapterUse[] {
  const lora = adapters.filter(a => a.experts.length === 0), plain = lora.filter(a => a.image.index.runs.every(run => run.experts === undefined)), experts = adapters.filter(a => a.experts.length > 0);
  const kind = random.pick(['base', 'lora', 'experts', 'experts', 'both'] as const);
  return [
    ...(kind === 'lora' || kind === 'both' ? [{ digest: random.pick(kind === 'both' ? plain : lora).digest, weight: random.pick([1, 1, 0.5]) }] : []),
    ...(kind === 'experts' || kind === 'both' ? [{ digest: random.pick(experts).digest, weight: 1 }] : []),
  ];
}

function requestOf(random: Random, id: string, adapters: readonly AdapterEntry[], vocab: number): EngineRequest {
  return {
    id, tenant: 't', adapters: usesOf(random, adapters), task: 'generate',
    prompt: Array.from({ length: random.pick([1, random.int(2, 20), random.int(20, 100)]) }, () => random.int(0, vocab - 1)),
    n: 1, maxTokens: random.int(1, 24), minTokens: 0,
    sampling: { temperature: random.pick([0, 0.8]), topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0, seed: BigInt(random.int(0, 1e9)), logitBias: [] },
    emitted: [], stopIds: [], logprobs: 5, promptLogprobs: true, priority: 0, deadlineMs: 0,
  };
}

const cases = MODELS.flatMap(model => (['f32', 'bf16'] as const).map(activations => ({ model, activations, isa: isas.at(-1)! })));

test.each(cases)('$model, $isa, activations $activations', { timeout: 240_000 }, async ({ model, ...mode }) => {
  const alone = await new Subject().open(model, { ...mode, threads: 1, depth: 1, stepTokens: 64 });
  const adapters = [...alone.host.engine.adapters.entries()];
  expect(adapters.filter(a => a.experts.length > 0).length, 'adapters that bring experts').toBeGreaterThan(1);
  const largest = adapters.map(a => a.pageCount).sort((a, b) => b - a);
  const poolBytes = (largest[0]! + largest[1]! + 12) * alone.host.pool.pageBytes;
  const settings: Setting[] = [
    { threads: 2, depth: 2, stepTokens: 512 }, { threads: 2, depth: 1, stepTokens: 40 }, { threads: 2, depth: 2, stepTokens: 96, poolBytes }, { threads: 1, depth: 2, stepTokens: 17, poolBytes },
  ];
  const subjects = await Promise.all(settings.map(setting => new Subject().open(model, { ...mode, ...setting })));
  const random = new Random(MODELS.indexOf(model) + 1), vocab = alone.host.model.config.vocab;
  for (let mix = 0; mix < MIXES; mix++) {
    const requests = Array.from({ length: random.int(2, 10) }, (_, i) => requestOf(random, `m${mix}-${i}`, adapters, vocab));
    const mixed = await random.pick(subjects).ask(requests);
    for (const r of requests) expect(mixed.get(r.id), `${model} mix ${mix} request ${r.id}`).toEqual((await alone.ask([r])).get(r.id));
  }
  for (const s of [alone, ...subjects]) await s.host.close();
});

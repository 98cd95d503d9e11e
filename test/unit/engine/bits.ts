/**
 * A row's numbers have the same bits alone and in any company: 320 seeded mixes on the fixture models, through engines
 * that differ in threads, steps in flight, rows of a step and size of the pool (small ones preempt). Compared are, for
 * every prompt position and every generated token, the log-probability of the token and of the 20 best: bit by bit;
 * and, where steps run one at a time, all bytes of every row of logits.
 */
import type { ImageIndex } from '@weft/adapters';
import { KvLayout, type EngineRequest } from '@weft/engine';
import { expect, test } from 'vitest';
import { Random } from '../../sim/clock.js';
import { isas } from '../kernels/harness.js';
import { Subject, type Setting } from './subject.js';

export const MIXES = 320, PER_MODEL = 40;
export const models = ['llama-tiny', 'llama3-rope', 'mistral-tiny', 'qwen2-tiny', 'qwen3-tiny', 'phi4-tiny', 'gemma2-tiny', 'qwen2-moe-tiny'];

const combines = ({ scalesBase, replacesEnds, vocab }: ImageIndex): boolean => !scalesBase && !replacesEnds && vocab === null;

/** A request of an adapter with a vocabulary of its own: with weight 1, of tokens that it has. */
export function fitted(request: EngineRequest, imageOf: (digest: string) => ImageIndex): EngineRequest {
  const vocab = request.adapters.map(({ digest }) => imageOf(digest).vocab).find(own => own !== null);
  return vocab === undefined ? request : { ...request, adapters: request.adapters.map(use => ({ ...use, weight: 1 })), prompt: Array.from(request.prompt, token => (token + vocab - 5) % vocab) };
}

/** combines: whether an adapter may act beside another. */
export function requestOf(random: Random, id: string, digests: string[], vocab: number, combines: (digest: string) => boolean = () => true): EngineRequest {
  const count = random.pick([0, 1, 1, 1, 2]);
  const drawn = [...new Set(Array.from({ length: count }, () => random.pick(digests)))];
  const uses = drawn.every(combines) ? drawn : drawn.slice(0, 1);
  return {
    id, tenant: `t${random.int(0, 2)}`, adapters: uses.map(digest => ({ digest, weight: random.pick([1, 1, 0.5]) })), task: 'generate',
    prompt: Array.from({ length: random.pick([1, random.int(2, 20), random.int(20, 120)]) }, () => random.int(0, vocab - 1)),
    n: 1, maxTokens: random.int(1, 40), minTokens: 0,
    sampling: {
      temperature: random.pick([0, 0, 0.8]), topK: random.pick([0, 40]), topP: random.pick([1, 0.9]), minP: 0,
      repetitionPenalty: random.pick([1, 1.1]), presencePenalty: 0, frequencyPenalty: random.pick([0, 0.2]), seed: BigInt(random.int(0, 1e9)), logitBias: [],
    },
    emitted: [], stopIds: [], logprobs: 20, promptLogprobs: true, priority: 0, deadlineMs: 0,
  };
}

/** The arithmetic differs between them; in each of them it is the same for any batch. */
const modes = isas.flatMap(isa => ([
  ['stored', 'f32', 'f16'], ['stored', 'bf16', 'f16'], ['bf16', 'f32', 'f16'], ['int8', 'f32', 'f16'], ['stored', 'f32', 'int8'],
] as const).map(([weights, activations, kv]) => ({ isa, weights, activations, kv })));
/** llama3-rope has weights that bf16 can't hold. */
const cases = modes.flatMap(mode => models.filter(model => mode.weights !== 'bf16' || model !== 'llama3-rope').map(model => ({ ...mode, model })));

/** In two files, which run side by side. */
export const testBits = (share: 0 | 1): void => test.each(cases.filter((_, i) => i % 2 === share))('$model, $isa, weights $weights, activations $activations, KV $kv: each row answers with the same bits alone and in any batch', { timeout: 120_000 }, async ({ model, ...mode }) => {
  const alone = await new Subject().open(model, { ...mode, threads: 1, depth: 1, stepTokens: 64 });
  // The largest request, its two adapters or the one that takes as much, and one page.
  const entries = [...alone.host.engine.adapters.entries()].sort((a, b) => b.pageCount - a.pageCount), combined = entries.filter(a => combines(a.image.index));
  const adapterPages = Math.max(entries[0]!.pageCount, combined.slice(0, 2).reduce((sum, a) => sum + a.pageCount, 0));
  const { groups } = alone.host.model.kv;
  const poolBytes = (adapterPages + new KvLayout(groups, 96).peak(120 + 40) + 1) * alone.host.pool.pageBytes;
  const settings: Setting[] = [
    { threads: 2, depth: 2, stepTokens: 512 }, { threads: 1, depth: 2, stepTokens: 24 }, { threads: 2, depth: 1, stepTokens: 64 },
    { threads: 2, depth: 2, stepTokens: 96, poolBytes }, { threads: 1, depth: 1, stepTokens: 17, poolBytes },
  ];
  const subjects = await Promise.all(settings.map(setting => new Subject().open(model, { ...mode, ...setting })));
  const random = new Random(models.indexOf(model) + 1);
  const vocab = alone.host.model.config.vocab;
  // Experts have mixes of their own: kinds.test.ts.
  const digests = alone.digests.filter(digest => alone.host.engine.adapters.get(digest)!.experts.length === 0);
  const imageOf = (digest: string): ImageIndex => alone.host.engine.adapters.get(digest)!.image.index;
  let compared = 0;
  for (let mix = 0; mix < PER_MODEL; mix++) {
    // Where all had adapters of their own, a small pool would hold too few of them for any to give way.
    const some = digests.length > 6 ? Array.from({ length: 3 }, () => random.pick(digests)) : digests;
    const requests = Array.from({ length: random.int(1, 12) }, (_, i) => fitted(requestOf(random, `m${mix}-${i}`, some, vocab, digest => combines(imageOf(digest))), imageOf));
    const subject = random.pick(subjects);
    const mixed = await subject.ask(requests);
    for (const r of requests) expect(mixed.get(r.id), `${model} mix ${mix} request ${r.id}`).toEqual((await alone.ask([r])).get(r.id));
    const rows = subject.logitHashes.splice(0), rowsAlone = alone.logitHashes.splice(0);
    if (rows.length > 0) expect(rows.sort(), `${model} mix ${mix}: logits`).toEqual(rowsAlone.sort());
    compared += rows.length;
  }
  expect(compared, 'rows of logits').toBeGreaterThan(1000);
  // Who sees a window only needs no more than was counted when it was admitted.
  // A whole head takes more pages of int8 than a sequence does: where there is room for one, nobody gives way.
  const roomy = mode.kv === 'int8' && entries.some(a => a.image.index.replacesEnds);
  if (!roomy && groups.some(({ window }) => window === 0)) expect(subjects.reduce((sum, s) => sum + s.host.engine.preemptions, 0), 'preemptions in the small pools').toBeGreaterThan(0);
  for (const s of [alone, ...subjects]) await s.host.close();
});

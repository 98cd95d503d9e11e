import { afterAll, beforeAll, expect, test } from 'vitest';
import { CommandList, at, copyRows } from '@weft/kernels';
import type { EngineRequest } from '@weft/engine';
import { request } from './harness.js';
import { Subject } from './subject.js';

let subject: Subject;
beforeAll(async () => { subject = await new Subject().open('llama-tiny', { threads: 2, depth: 2, stepTokens: 64 }); });
afterAll(() => subject.host.close());

const allocations = (): number => subject.host.device.stats().allocations;

/** Base and adapters, one and several at once, greedy and sampled, penalties, log-probabilities, several choices; chunks of long prompts. */
const mix = (round: number): EngineRequest[] => Array.from({ length: 24 }, (_, i) => request(`${round}-${i}`, {
  prompt: Array.from({ length: 4 + (i * 29) % 150 }, (_, t) => (t * 31 + i * 7) % 300), maxTokens: 6 + i % 20, stopIds: [],
  adapters: i % 3 === 0 ? [] : (i % 5 === 0 ? ['r16-all', 'rs-r32'].map(name => subject.digestOf(name)) : [subject.digests[i % subject.digests.length]!]).map(digest => ({ digest, weight: 1 })),
  sampling: {
    temperature: i % 2, topK: i % 4 === 1 ? 10 : 0, topP: i % 4 === 3 ? 0.9 : 1, minP: 0, repetitionPenalty: i % 6 === 0 ? 1.2 : 1, presencePenalty: 0, frequencyPenalty: 0,
    seed: BigInt(i), logitBias: [],
  },
  logprobs: i % 4 === 0 ? 5 : -1, n: i % 7 === 0 ? 2 : 1,
}));

test('the counter counts', async () => {
  const { device } = subject.host;
  const before = allocations(), buffer = device.alloc(4096, 'b');
  expect(allocations()).toBeGreaterThan(before);
  const list = new CommandList().add(copyRows, { from: at(buffer), to: at(buffer, 64), count: 0, countFrom: 0, rows: 1, dim: 16, ldFrom: 16, ldTo: 16, toType: 0 });
  await device.submit(list, { bindings: {} });
  const compiled = allocations();
  expect(compiled).toBeGreaterThan(before + 1);
  for (let i = 0; i < 50; i++) await device.submit(list, { bindings: {} });
  expect(allocations()).toBe(compiled);
  // Timing is asked for by whoever looks for something.
  await device.submit(list, { bindings: {}, timed: true });
  expect(allocations()).toBeGreaterThan(compiled);
});

test('after a warm-up, steps of a mix take nothing from the heap', async () => {
  const added: number[] = [];
  // A thread's scratch grows when it first meets an op's largest tile, which on a busy machine may take a few rounds.
  for (let round = 0; round < 20 && added.at(-1) !== 0; round++) {
    const before = allocations(), { submits } = subject.host.device.stats();
    await subject.ask(mix(round));
    added.push(allocations() - before);
    expect(subject.host.device.stats().submits - submits).toBeGreaterThan(50);
  }
  expect(added.at(-1), `allocations by round: ${added.join(', ')}`).toBe(0);
});

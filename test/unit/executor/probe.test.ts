import { afterAll, beforeAll, expect, test } from 'vitest';
import { probe, probePrompt } from '../../../apps/executor/src/probe.js';
import { filesOf, Serving, withB } from './serving.js';

let serving: Serving;
beforeAll(async () => { serving = await new Serving().open(); });
afterAll(() => serving.close());

async function effectOf(files: Record<string, Uint8Array>): Promise<number> {
  const digest = serving.store.putFiles(files);
  await serving.artifacts.add(digest, new AbortController().signal);
  return probe(serving.engine, digest);
}

test('what an adapter does is measured, the same every time', async () => {
  const effect = await effectOf(filesOf('r8-qv'));
  expect(effect).toBeGreaterThan(1e-4);
  expect(await effectOf(filesOf('r8-qv'))).toBe(effect);
  expect(await effectOf(withB('r8-qv', 10))).toBeGreaterThan(effect);
});

test('an adapter whose updates change no bit is refused, though its B·A is not zero', async () => {
  await expect(effectOf(withB('r8-qv', 1e-25))).rejects.toMatchObject({ code: 'adapter_without_effect' });
});

test('an adapter whose logits are not finite is refused', async () => {
  await expect(effectOf(withB('r8-qv', 1e38))).rejects.toMatchObject({ code: 'numerical_error' });
});

test('prompts are valid, without ends of text, different, and as long as the context allows', () => {
  const base = { vocabSize: 10, eosIds: [2, 7], maxModelLen: 64 };
  const [one, two] = [probePrompt(base, 1), probePrompt(base, 2)];
  expect(one).toHaveLength(32);
  expect(one).toEqual(probePrompt(base, 1));
  expect(two).not.toEqual(one);
  for (const id of [...one, ...two]) expect([0, 1, 3, 4, 5, 6, 8, 9]).toContain(id);
  expect(probePrompt({ ...base, maxModelLen: 8 }, 1)).toHaveLength(8);
});

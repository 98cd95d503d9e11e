import fc from 'fast-check';
import type { Tokenizer } from '@weft/tokenizer';
import { describe, expect, test } from 'vitest';
import type { Delta, ScoredToken } from '../../../apps/gateway/src/choice.js';
import { Chunks } from '../../../apps/gateway/src/chunks.js';
import type { Generation } from '../../../apps/gateway/src/generation.js';
import { chatShape, completionShape, type ResponseShape } from '../../../apps/gateway/src/response.js';

const ENVELOPE = { id: 'cmpl-req_1', created: 1, model: 'org/base:Pirate@1', system_fingerprint: 'weft-0-b-cpu' };
const TEXT = { tokenOf: (id: number) => (id < 0 ? undefined : `t${id}`), tokenText: (id: number) => `t${id}`, tokenBytes: () => new Uint8Array([116]) } as unknown as Tokenizer;

const SCORED: ScoredToken[] = [{ id: 3, logprob: -1, top: [{ id: 4, logprob: -0.5 }], offset: 0 }];
const deltas: fc.Arbitrary<Delta[]> = fc.array(fc.record({
  index: fc.integer({ min: 0, max: 3 }),
  text: fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('', '\0', '[-1]', '"', '\ud800', '\u2028', 'é', '🧵')),
  tokenIds: fc.array(fc.nat(200_000), { maxLength: 3 }),
  logprobs: fc.constantFrom<ScoredToken[]>([], [], SCORED),
  finishReason: fc.constantFrom(undefined, undefined, undefined, 'stop' as const),
}, { requiredKeys: ['index', 'text', 'tokenIds', 'logprobs'] }), { maxLength: 30 });

describe.each([['completions', completionShape], ['chat', chatShape]] as const)('chunks of %s', (_, shapeOf) => {
  test('are the bytes that one JSON.stringify of the whole makes', () => {
    fc.assert(fc.property(deltas, fc.boolean(), fc.boolean(), fc.constantFrom(-1, 2), (sequence, returnTokenIds, includeUsage, logprobs) => {
      const job = { params: { n: 2, returnTokenIds, logprobs }, prompts: [{ ids: [1, 2] }, { ids: [3] }] };
      const shape = (): ResponseShape => shapeOf(TEXT, { job } as unknown as Generation);
      const chunks = new Chunks(ENVELOPE, shape(), includeUsage), whole = shape();
      for (const delta of sequence) {
        const beside = delta.finishReason === undefined ? {} : { weft: { adapter: null } };
        const expected = { ...ENVELOPE, object: whole.object.chunk, choices: [whole.chunk(delta)], ...(includeUsage && { usage: null }), ...beside };
        expect(chunks.delta(delta, beside)).toBe(JSON.stringify(expected));
      }
    }), { numRuns: 300 });
  });
});

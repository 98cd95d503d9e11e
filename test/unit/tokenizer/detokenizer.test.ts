import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadTokenizer } from '@weft/tokenizer';
import { casesOf, folder, names } from './fixtures.js';

/** Pieces of random lengths, in order. */
const split = <T>(items: T[], cuts: number[]): T[][] => {
  const bounds = [0, ...cuts.map(cut => cut % (items.length + 1)).sort((a, b) => a - b), items.length];
  return bounds.slice(1).map((end, i) => items.slice(bounds[i], end));
};

describe.each(names)('%s', async name => {
  const tokenizer = await loadTokenizer(folder(name));
  const bytesOnly = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter(id => /^<0x|^[^ -~]$/.test(tokenizer.tokenOf(id) ?? ''));
  const anyId = fc.integer({ min: 0, max: tokenizer.vocabSize + 3 });
  const idLists = fc.array(bytesOnly.length > 0 ? fc.oneof(anyId, fc.constantFrom(...bytesOnly)) : anyId, { maxLength: 40 });

  test('pushes of any size add up to decode', () => {
    fc.assert(fc.property(idLists, fc.array(fc.nat(), { maxLength: 6 }), fc.boolean(), (ids, cuts, skipSpecialTokens) => {
      const detokenizer = tokenizer.detokenizer({ skipSpecialTokens });
      const text = split(ids, cuts).map(piece => detokenizer.push(piece)).join('') + detokenizer.flush();
      expect(text).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
    }), { numRuns: 300 });
  });

  test('token by token, no character comes in halves', () => {
    for (const { text } of casesOf(name).texts) {
      const detokenizer = tokenizer.detokenizer();
      const deltas = [...tokenizer.encode(text).map(id => detokenizer.push(id)), detokenizer.flush()];
      for (const delta of deltas) expect(delta).not.toMatch(/\p{Surrogate}/u);
      expect(deltas.join('')).toBe(tokenizer.decode(tokenizer.encode(text)));
    }
  });

  test("bytes of tokens are the text's bytes, but for a leading space", () => {
    for (const { text, plain } of casesOf(name).texts) {
      const bytes = Buffer.concat(plain.map(id => tokenizer.tokenBytes(id)));
      const decoded = tokenizer.decode(plain, { skipSpecialTokens: false });
      expect([decoded, ` ${decoded}`], text).toContain(bytes.toString('utf8'));
    }
  });
});

test('bytes of an alphabet are text as they come, whatever halves of characters lie between', async () => {
  const tokenizer = await loadTokenizer(folder('chatml-digits'));
  const ids = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  const halves = ids.filter(id => tokenizer.tokenBytes(id).some(byte => byte > 0x7f));
  fc.assert(fc.property(fc.array(fc.oneof(fc.constantFrom(...ids), fc.constantFrom(...halves)), { maxLength: 40 }), sequence => {
    const bytes = Buffer.concat(sequence.map(id => tokenizer.tokenBytes(id)));
    const detokenizer = tokenizer.detokenizer({ skipSpecialTokens: false });
    expect(sequence.map(id => detokenizer.push(id)).join('') + detokenizer.flush()).toBe(bytes.toString('utf8'));
  }), { numRuns: 500 });
});

test('a flushed detokenizer starts anew, leading space and all', async () => {
  const tokenizer = await loadTokenizer(folder('metaspace-first'));
  const detokenizer = tokenizer.detokenizer();
  const ids = tokenizer.encode('weft', { addSpecialTokens: false });
  expect(detokenizer.push(ids) + detokenizer.flush()).toBe('weft');
  expect(detokenizer.push(ids) + detokenizer.flush()).toBe('weft');
  expect(detokenizer.flush()).toBe('');
});

test('logprobs show text, or the bytes of what is not text alone', async () => {
  const tokenizer = await loadTokenizer(folder('chatml-digits'));
  const thread = tokenizer.encode('🧵');
  expect(thread.length).toBeGreaterThan(1);
  expect(thread.map(id => tokenizer.tokenText(id)).join('').replaceAll('bytes:', '')).toBe(String.raw`\xf0\x9f\xa7\xb5`);
  expect(tokenizer.encode(' the').map(id => tokenizer.tokenText(id))).toEqual([' the']);
  expect(tokenizer.tokenText(tokenizer.bosId!)).toBe('<|im_start|>');

  const spm = await loadTokenizer(folder('metaspace-legacy'));
  const feed = spm.encode('\f', { addSpecialTokens: false }).at(-1)!;
  expect(spm.tokenOf(feed)).toBe('<0x0C>');
  expect([...spm.tokenBytes(feed)]).toEqual([12]);
  expect(spm.tokenText(feed)).toBe('\f');
  expect(spm.tokenText(spm.encode('🧵', { addSpecialTokens: false }).at(-1)!)).toBe(String.raw`bytes:\xb5`);
});

test('ids that are no tokens have neither text nor bytes', async () => {
  const tokenizer = await loadTokenizer(folder('headers'));
  expect(tokenizer.decode([])).toBe('');
  expect(tokenizer.decode([tokenizer.vocabSize, 10 ** 9, -1])).toBe('');
  expect(tokenizer.tokenBytes(tokenizer.vocabSize)).toEqual(new Uint8Array());
  expect(tokenizer.tokenText(tokenizer.vocabSize)).toBe('');
});

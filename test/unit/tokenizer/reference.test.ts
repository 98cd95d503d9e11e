import { describe, expect, test } from 'vitest';
import { loadTokenizer } from '@weft/tokenizer';
import { WeftError } from '@weft/contracts';
import { casesOf, folder, names } from './fixtures.js';

/** The moment at which the reference's clock stood still. */
const now = () => new Date(2026, 2, 7, 9, 5, 3);

describe.each(names)('%s equals transformers', async name => {
  const tokenizer = await loadTokenizer(folder(name), { now });
  const { texts, decodes, chats } = casesOf(name);

  test.each(texts)('encodes $text', ({ text, ids, plain }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(plain);
  });

  test.each(decodes)('decodes $ids', ({ ids, text, bare }) => {
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(text);
    expect(tokenizer.decode(ids)).toBe(bare);
  });

  test.for(chats)('renders $messages with $options', async ({ messages, options, text, ids, error }) => {
    if (error !== undefined) {
      await expect(tokenizer.renderChat(messages, options)).rejects.toThrow(WeftError);
      return;
    }
    expect(await tokenizer.renderChat(messages, options)).toBe(text);
    expect(await tokenizer.encodeChat(messages, options)).toEqual(ids);
  });
});

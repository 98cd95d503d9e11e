import fc from 'fast-check';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { loadTokenizer } from '@weft/tokenizer';
import { EncodeThread } from '../../../libs/tokenizer/src/encode-thread.js';
import { folder, names } from './fixtures.js';

describe.each(names)('%s', async name => {
  const tokenizer = await loadTokenizer(folder(name));
  afterAll(() => tokenizer.close());

  test('any text gives ids of the vocabulary, half a surrogate pair those of U+FFFD', () => {
    const half = fc.integer({ min: 0xd800, max: 0xdfff }).map(code => String.fromCharCode(code));
    const texts = fc.array(fc.oneof(fc.string({ unit: 'binary' }), half, fc.constantFrom(' ', '\n', '▁', 'Ġ', '<s>', '<|im_end|>'))).map(parts => parts.join(''));
    fc.assert(fc.property(texts, text => {
      const ids = tokenizer.encode(text);
      expect(ids.every(id => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabSize)).toBe(true);
      expect(ids).toEqual(tokenizer.encode(text.replace(/\p{Surrogate}/gu, '\ufffd')));
    }), { numRuns: 300 });
  });

  test('a long text is encoded on the thread, to the same ids', async () => {
    const text = 'The weft, 織物 🧵 and\n\twarp <|im_end|> '.repeat(1800);
    expect(text.length).toBeGreaterThan(64 * 1024);
    const here = vi.spyOn(tokenizer, 'encode');
    const ids = await tokenizer.encodeAsync(text);
    expect(here).not.toHaveBeenCalled();
    here.mockRestore();
    expect(ids).toEqual(tokenizer.encode(text));
  });
});

test.each(['metaspace-first', 'unigram-bytes'])('%s encodes a long text that is one word to it', async name => {
  const tokenizer = await loadTokenizer(folder(name));
  const text = 'weft織'.repeat(60_000);
  expect(tokenizer.decode(await tokenizer.encodeAsync(text))).toBe(text);
  await tokenizer.close();
});

test('a short text is encoded at once, without a thread', async () => {
  const tokenizer = await loadTokenizer(folder('headers'));
  const thread = vi.spyOn(EncodeThread.prototype, 'encode');
  expect(await tokenizer.encodeAsync('weft')).toEqual(tokenizer.encode('weft'));
  expect(thread).not.toHaveBeenCalled();
  thread.mockRestore();
});

test('a closed tokenizer refuses long texts by code', async () => {
  const tokenizer = await loadTokenizer(folder('headers'));
  const pending = tokenizer.encodeAsync('weft '.repeat(2000));
  await Promise.all([expect(pending).rejects.toMatchObject({ code: 'cancelled' }), tokenizer.close()]);
  await expect(tokenizer.encodeAsync('weft '.repeat(2000))).rejects.toMatchObject({ code: 'cancelled' });
});

describe('the thread', () => {
  /** A worker in the place of ours: answers a text's length, but dies, hangs or fails where told to. */
  const script = new URL(`data:text/javascript,${encodeURIComponent(`
    import { parentPort } from 'node:worker_threads';
    parentPort.on('message', ({ id, input: text }) => {
      if (text === 'die') process.exit(3);
      if (text === 'hang') for (;;);
      if (text === 'fail') parentPort.postMessage({ id, error: 'no' });
      else parentPort.postMessage({ id, output: Uint32Array.of(text.length) });
    });`)}`);
  const thread = new EncodeThread({ bytes: new SharedArrayBuffer(0), pipeline: { normalizer: null, pre_tokenizer: null, added_tokens: [], unigramByteFallback: false } }, script, 1000);
  afterAll(() => thread.close());

  test('that dies fails the text it died of; the texts behind it are encoded by the next one', async () => {
    const results = await Promise.allSettled(['ab', 'die', 'abc', 'die', 'abcd'].map(text => thread.encode(text)));
    expect(results).toMatchObject([
      { value: [2] }, { reason: { code: 'internal_error', message: expect.stringContaining('died') as string } }, { value: [3] },
      { reason: { code: 'internal_error' } }, { value: [4] },
    ]);
    expect(await thread.encode('a')).toEqual([1]);
  });

  test('that takes too long over a text is replaced', async () => {
    const results = await Promise.allSettled(['hang', 'ab'].map(text => thread.encode(text)));
    expect(results).toMatchObject([{ reason: { code: 'deadline_exceeded' } }, { value: [2] }]);
  });

  test('that fails at one text goes on with the next', async () => {
    const results = await Promise.allSettled(['fail', 'ab'].map(text => thread.encode(text)));
    expect(results).toMatchObject([{ reason: { code: 'internal_error', message: 'The text could not be encoded: no' } }, { value: [2] }]);
  });
});

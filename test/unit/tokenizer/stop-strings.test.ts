import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StopStrings } from '@weft/tokenizer';

/** By definition: the shortest prefix of the text that ends in a stop string, and the longest such stop string. */
function reference(text: string, stops: string[], includeStop: boolean): { text: string; stopped?: string } {
  for (let end = 1; end <= text.length; end++) {
    const found = stops.filter(stop => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (found !== undefined) return { text: text.slice(0, end - (includeStop ? 0 : found.length)), stopped: found };
  }
  return { text };
}

/** What may come out by then: all but the longest end that begins a stop string. */
function safe(text: string, stops: string[]): string {
  for (let at = 0; at < text.length; at++) {
    if (stops.some(stop => stop.startsWith(text.slice(at)))) return text.slice(0, at);
  }
  return text;
}

const word = (max: number) => fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: max });

test('any text in any pieces stops where the definition says, and holds back no more than it must', () => {
  fc.assert(fc.property(fc.array(word(5), { maxLength: 8 }), fc.array(word(4), { minLength: 1, maxLength: 4 }), fc.boolean(), (pieces, stops, includeStop) => {
    const matcher = new StopStrings(stops, { includeStop });
    const expected = reference(pieces.join(''), stops, includeStop);
    let seen = '', out = '', stopped: string | undefined;
    for (const piece of pieces) {
      const result = matcher.push(piece);
      seen += piece;
      out += result.text;
      stopped ??= result.stopped;
      if (stopped === undefined) expect(out).toBe(safe(seen, stops));
    }
    expect(out + matcher.flush()).toBe(expected.text);
    expect(stopped).toBe(expected.stopped);
  }), { numRuns: 3000 });
});

test('a stop string is found across pieces and nothing follows it', () => {
  const matcher = new StopStrings(['\n\nHuman:']);
  expect(matcher.push('Yes.\n')).toEqual({ text: 'Yes.' });
  expect(matcher.push('\nHu')).toEqual({ text: '' });
  expect(matcher.push('man: what?')).toEqual({ text: '', stopped: '\n\nHuman:' });
  expect(matcher.push('more')).toEqual({ text: '' });
  expect(matcher.flush()).toBe('');
});

test('what was held back for nothing comes out, whole characters only', () => {
  const matcher = new StopStrings(['😀!']);
  expect(matcher.push('a😁')).toEqual({ text: 'a😁' });
  expect(matcher.push('b😀')).toEqual({ text: 'b' });
  expect(matcher.push('?')).toEqual({ text: '😀?' });
  expect(matcher.push('😀').text + matcher.flush()).toBe('😀');
});

test('without stop strings text passes', () => {
  const matcher = new StopStrings([]);
  expect(matcher.push('any')).toEqual({ text: 'any' });
  expect(matcher.flush()).toBe('');
});

test('an empty stop string is refused', () => {
  expect(() => new StopStrings(['a', ''])).toThrow(expect.objectContaining({ code: 'invalid_value', details: { param: 'stop' } }));
});

/**
 * A strict JSON reader for files of strangers. `JSON.parse` keeps the last of two equal keys and moves keys that look like
 * numbers to the front: a second meaning could hide in both, so objects become Maps in file order and a repeated key is an error.
 */
export type Json = null | boolean | number | string | Json[] | JsonObject;
export type JsonObject = Map<string, Json>;

/** Deeper nesting than any config has; bounds the recursion below. */
const DEPTH_MAX = 32;

/** Where and why a text is not JSON. `offset` counts UTF-16 units; `key` is the repeated one where that is the reason. */
export class JsonError extends Error {
  constructor(message: string, readonly offset: number, readonly key?: string) {
    super(`${message} at character ${offset}`);
    this.name = 'JsonError';
  }
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const PLAIN = /[^"\\\u0000-\u001f]*/y;
const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d]);
const ESCAPES: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };

class Reader {
  #at = 0;
  constructor(readonly text: string) {}

  document(): Json {
    const value = this.#value(0);
    this.#space();
    if (this.#at < this.text.length) throw this.#error('there is text after the value');
    return value;
  }

  #value(depth: number): Json {
    if (depth > DEPTH_MAX) throw this.#error(`values are nested deeper than ${DEPTH_MAX}`);
    this.#space();
    switch (this.text[this.#at]) {
      case '{': return this.#object(depth);
      case '[': return this.#array(depth);
      case '"': return this.#string();
      case 't': return this.#word('true', true);
      case 'f': return this.#word('false', false);
      case 'n': return this.#word('null', null);
      default: return this.#number();
    }
  }

  #object(depth: number): JsonObject {
    const object: JsonObject = new Map();
    this.#at++;
    if (this.#takes('}')) return object;
    do {
      this.#space();
      const start = this.#at;
      if (this.text[start] !== '"') throw this.#error('a key is expected');
      const key = this.#string();
      if (object.has(key)) throw new JsonError(`key ${JSON.stringify(key)} appears twice`, start, key);
      if (!this.#takes(':')) throw this.#error('":" is expected');
      object.set(key, this.#value(depth + 1));
    } while (this.#takes(','));
    if (!this.#takes('}')) throw this.#error('"," or "}" is expected');
    return object;
  }

  #array(depth: number): Json[] {
    const array: Json[] = [];
    this.#at++;
    if (this.#takes(']')) return array;
    do array.push(this.#value(depth + 1)); while (this.#takes(','));
    if (!this.#takes(']')) throw this.#error('"," or "]" is expected');
    return array;
  }

  #string(): string {
    let value = '';
    this.#at++;
    for (;;) {
      value += this.#match(PLAIN)!;
      const char = this.text[this.#at];
      if (char === '"') { this.#at++; return value; }
      if (char !== '\\') throw this.#error(char === undefined ? 'a string has no end' : 'a string holds a control character');
      value += this.#escape();
    }
  }

  #escape(): string {
    const name = this.text[this.#at + 1] ?? '';
    if (name === 'u') {
      const hex = this.text.slice(this.#at + 2, this.#at + 6);
      if (!/^[0-9a-fA-F]{4}$/.test(hex)) throw this.#error('\\u wants four hexadecimal digits');
      this.#at += 6;
      return String.fromCharCode(parseInt(hex, 16));
    }
    const char = ESCAPES[name];
    if (char === undefined) throw this.#error('a string holds an unknown escape');
    this.#at += 2;
    return char;
  }

  #number(): number {
    const digits = this.#match(NUMBER);
    if (digits === null) throw this.#error(this.#at >= this.text.length ? 'the text ends early' : 'a value is expected');
    const value = Number(digits);
    if (!Number.isFinite(value)) throw this.#error(`${digits} is too large for a number`);
    return value;
  }

  #word<T>(word: string, value: T): T {
    if (!this.text.startsWith(word, this.#at)) throw this.#error('a value is expected');
    this.#at += word.length;
    return value;
  }

  #takes(char: string): boolean {
    this.#space();
    if (this.text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    while (SPACES.has(this.text.charCodeAt(this.#at))) this.#at++;
  }

  /** `test`, not `exec`: a tokenizer has a million pieces, and each would leave an array behind. */
  #match(pattern: RegExp): string | null {
    const start = this.#at;
    pattern.lastIndex = start;
    if (!pattern.test(this.text)) return null;
    this.#at = pattern.lastIndex;
    return this.text.slice(start, this.#at);
  }

  #error(message: string): JsonError { return new JsonError(message, this.#at); }
}

/** Parses bytes of UTF-8. Throws JsonError. */
export function parseJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonError('the text is not UTF-8', 0);
  }
  return new Reader(text).document();
}

/** What a value is, for messages. */
export function jsonType(value: Json | undefined): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  if (value instanceof Map) return 'an object';
  if (Array.isArray(value)) return 'a list';
  return `a ${typeof value}`;
}

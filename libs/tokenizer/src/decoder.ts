/**
 * Token strings to text, streaming and exact: the decoder of tokenizer.json as a chain of stages, each of which holds
 * back what later tokens may still change. Pushing tokens one by one and flushing gives the text of the whole.
 */
import { tokenizerInvalid } from './errors.js';
import { isObject, TOKENIZER_FILE, type Json, type JsonObject } from './files.js';

export type Emit = (text: string) => void;

/** The state of one text. */
interface Stage {
  push(token: string, emit: Emit): void;
  flush?(emit: Emit): void;
}

interface Step {
  open(): Stage;
  /** What a token stands for inside a text: text for the next step, or its final bytes. */
  inner(token: string): string | Uint8Array;
}

const utf8 = new TextEncoder();

export class Decoder {
  readonly #steps: Step[];

  /** Throws `tokenizer_invalid` for a decoder that is not supported. */
  constructor(node: Json | undefined) {
    this.#steps = node === null || node === undefined ? [spaced] : compile(node, 'decoder', { fused: false });
  }

  /** A new text: `push` takes its tokens in order, `flush` ends it. Both give the text that is certain by then. */
  open(): { push: (token: string) => string; flush: () => string } {
    const stages = this.#steps.map(step => step.open());
    let out = '';
    const emits: Emit[] = [text => { out += text; }];
    for (const stage of [...stages.slice(1)].reverse()) {
      const next = emits[0]!;
      emits.unshift(text => stage.push(text, next));
    }
    const taken = (): string => { const text = out; out = ''; return text; };
    return {
      push: token => { stages[0]!.push(token, emits[0]!); return taken(); },
      flush: () => { stages.forEach((stage, i) => stage.flush?.(emits[i]!)); return taken(); },
    };
  }

  /** The bytes that a token adds inside a text. Only the first token of a text may add fewer (a leading space). */
  bytes(token: string): Uint8Array {
    let text = token;
    for (const step of this.#steps) {
      const next = step.inner(text);
      if (typeof next !== 'string') return next;
      text = next;
    }
    return utf8.encode(text);
  }
}

/** Whether the steps so far have joined all tokens into one, which is what Strip and Metaspace then see as «the first token». */
interface Joined { fused: boolean }

function compile(node: Json, field: string, joined: Joined): Step[] {
  const type = isObject(node) ? node.type : undefined;
  if (!isObject(node) || typeof type !== 'string') throw tokenizerInvalid(TOKENIZER_FILE, field, 'must be an object with a "type".');
  switch (type) {
    case 'Sequence': {
      if (!Array.isArray(node.decoders)) throw tokenizerInvalid(TOKENIZER_FILE, `${field}.decoders`, 'must be a list.');
      const steps = node.decoders.flatMap((child, i) => compile(child, `${field}.decoders[${i}]`, joined));
      return steps.length > 0 ? steps : [stateless(token => token)];
    }
    case 'ByteLevel': joined.fused = true; return [byteLevel];
    case 'ByteFallback': return [byteFallback];
    case 'Fuse': joined.fused = true; return [];
    case 'Metaspace': return [metaspace(node, joined.fused)];
    case 'Replace': return [replace(node, field, joined.fused)];
    case 'Strip': return [strip(node, field, joined.fused)];
    default: throw tokenizerInvalid(TOKENIZER_FILE, `${field}.type`,
      `is "${type}"; supported are ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, Sequence.`);
  }
}

const stateless = (map: (token: string) => string): Step => ({
  inner: map,
  open: () => ({ push: (token, emit) => emit(map(token)) }),
});

/** Without a decoder the reference joins tokens by spaces. */
const spaced: Step = {
  inner: token => ` ${token}`,
  open: () => {
    let first = true;
    return { push: (token, emit) => { emit(first ? token : ` ${token}`); first = false; } };
  },
};

/** GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and up. Character to byte, -1 elsewhere. */
const BYTE_OF_CHAR = (() => {
  const table = new Int16Array(0x144).fill(-1);
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    table[printable ? byte : next++] = byte;
  }
  return table;
})();

/** A token with any character outside the alphabet (an added token with a space, say) is its own UTF-8. */
function alphabetBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHAR[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/** The text of a token that is ASCII, as most are. */
function asciiText(token: string): string | undefined {
  let text = '';
  for (let i = 0; i < token.length; i++) {
    const byte = BYTE_OF_CHAR[token.charCodeAt(i)] ?? -1;
    if (byte < 0 || byte > 0x7f) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}

const byteLevel: Step = {
  inner: alphabetBytes,
  open: () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    /** The decoder holds nothing back. */
    let clear = true;
    return {
      push: (token, emit) => {
        const text = asciiText(token);
        if (text !== undefined && clear) return emit(text);
        emit(decoder.decode(alphabetBytes(token), { stream: true }));
        // A byte of ASCII ends whatever came before it.
        clear = text !== undefined && text !== '';
      },
      flush: emit => { emit(decoder.decode()); clear = true; },
    };
  },
};

const BYTE_TOKEN = /^<0x([0-9a-fA-F]{2})>$/;

/**
 * A run of byte tokens is text if all of it is UTF-8, else one U+FFFD a byte, as in the reference. So a run is held back
 * until another token ends it: its last byte may still undo its first character.
 */
const byteFallback: Step = {
  inner: token => {
    const hex = BYTE_TOKEN.exec(token)?.[1];
    return hex === undefined ? token : Uint8Array.of(parseInt(hex, 16));
  },
  open: () => {
    let run: number[] = [];
    const flush = (emit: Emit): void => {
      if (run.length > 0) emit(utf8Text(Uint8Array.from(run)) ?? '\ufffd'.repeat(run.length));
      run = [];
    };
    return {
      push: (token, emit) => {
        const hex = BYTE_TOKEN.exec(token)?.[1];
        if (hex !== undefined) { run.push(parseInt(hex, 16)); return; }
        flush(emit);
        emit(token);
      },
      flush,
    };
  },
};

/** The first token loses its marks, all others turn them into spaces. */
function metaspace(node: JsonObject, fused: boolean): Step {
  const mark = typeof node.replacement === 'string' ? node.replacement : '\u2581';
  const prepends = (node.prepend_scheme ?? (node.add_prefix_space === false ? 'never' : 'always')) !== 'never';
  const inner = (token: string): string => token.replaceAll(mark, fused && prepends ? '' : ' ');
  if (!prepends || fused) return stateless(inner);
  return {
    inner,
    open: () => {
      let first = true;
      return { push: (token, emit) => { emit(first ? token.replaceAll(mark, '') : inner(token)); first = false; } };
    },
  };
}

function replace(node: JsonObject, field: string, fused: boolean): Step {
  const from = isObject(node.pattern) ? node.pattern.String : undefined;
  const to = node.content;
  if (typeof from !== 'string' || from === '' || typeof to !== 'string') {
    throw tokenizerInvalid(TOKENIZER_FILE, `${field}.pattern`, 'must be a "String", and "content" too.');
  }
  if (fused && [...from].length > 1) {
    throw tokenizerInvalid(TOKENIZER_FILE, `${field}.pattern`, 'is longer than one character behind Fuse: it could span tokens.');
  }
  return stateless(token => token.replaceAll(from, () => to));
}

/** Up to `start` leading characters equal to `content` go: of the text once tokens are fused, else of every token. */
function strip(node: JsonObject, field: string, fused: boolean): Step {
  const { content, start, stop } = node;
  if (typeof content !== 'string' || [...content].length !== 1 || typeof start !== 'number') {
    throw tokenizerInvalid(TOKENIZER_FILE, field, 'needs one character of "content" and a number of them to "start" with.');
  }
  if (stop !== 0) throw tokenizerInvalid(TOKENIZER_FILE, `${field}.stop`, `is ${String(stop)}; only leading characters can be stripped.`);
  const cut = (token: string, most: number): number => {
    let cuts = 0;
    while (cuts < most && token.startsWith(content, cuts * content.length)) cuts++;
    return cuts;
  };
  if (!fused) return stateless(token => token.slice(cut(token, start) * content.length));
  return {
    inner: token => token,
    open: () => {
      let left = start;
      return {
        push: (text, emit) => {
          const cuts = cut(text, left);
          const rest = text.slice(cuts * content.length);
          left = rest === '' ? left - cuts : 0;
          emit(rest);
        },
      };
    },
  };
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text of the bytes, or undefined when they aren't UTF-8 by themselves. */
export function utf8Text(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;  // the only failure of a strict decoder: not UTF-8
  }
}

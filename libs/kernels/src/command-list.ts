/**
 * A list of ops, recorded once for a batch shape and submitted step after step.
 *
 * Recorded form, in 32-bit words: for each op its code, its length in words, (buffer id, offset in words) for each operand,
 * one word for each param. The same words are what `weft-replay` reads from a file.
 */
import { WeftError } from '@weft/contracts';
import { Binding, type BindingName, type DeviceBuffer } from './device.js';
import { NULL_REF, type Op, type OpArgs, type Ref } from './op.js';

/** A place in a device buffer. byteOffset: a multiple of 4. */
export function at(buffer: DeviceBuffer, byteOffset = 0): Ref {
  return { buffer: buffer.id, words: wordOffset(byteOffset, buffer.label) };
}

/** A place in a buffer that is only named when the list is submitted. */
export function bound(name: BindingName, byteOffset = 0): Ref {
  return { buffer: Binding[name], words: wordOffset(byteOffset, name) };
}

function wordOffset(byteOffset: number, label: string): number {
  const words = byteOffset / 4;
  if (Number.isInteger(words) && words >= 0 && words <= 0xffff_ffff) return words;
  throw new WeftError('list_invalid', `offset ${byteOffset} in ${label}: an operand starts at a multiple of 4 bytes below 16 GiB.`);
}

export class CommandList {
  #words = new Uint32Array(1024);
  #floats = new Float32Array(this.#words.buffer);
  #length = 0;
  #ops = 0;

  /** A list that runs others one after another: one crossing for all of them. */
  static concat(...lists: CommandList[]): CommandList {
    const all = new CommandList();
    for (const list of lists) {
      const { words } = list;
      all.#reserve(words.length);
      all.#words.set(words, all.#length);
      all.#length += words.length;
      all.#ops += list.ops;
    }
    return all;
  }

  /** Ops recorded so far. */
  get ops(): number { return this.#ops; }

  /** The recorded words. A view: it is stale after the next `add`. */
  get words(): Uint32Array { return this.#words.subarray(0, this.#length); }

  /** Records an op. Every param must be given; numbers are checked against their 32 bits, shapes when the list is submitted. */
  add<T extends Op>(op: T, args: OpArgs<T>): this {
    const values = args as Record<string, number | Ref | null | undefined>;
    const operands = Object.entries(op.operands), params = Object.entries(op.params);
    const length = 2 + 2 * operands.length + params.length;
    let word = this.#reserve(length);
    this.#words[word++] = op.code;
    this.#words[word++] = length;
    for (const [name, { optional }] of operands) {
      const ref = (values[name] ?? NULL_REF) as Ref;
      if (ref.buffer === 0 && !optional) throw invalid(op, name, 'is missing');
      this.#words[word++] = ref.buffer;
      this.#words[word++] = ref.words;
    }
    for (const [name, { kind }] of params) {
      const value = values[name] as number;
      if (kind === 'f32') {
        if (!Number.isFinite(value)) throw invalid(op, name, `is ${value}`);
        this.#floats[word++] = value;
      } else {
        if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw invalid(op, name, `is ${value}`);
        this.#words[word++] = value;
      }
    }
    this.#length += length;
    this.#ops++;
    return this;
  }

  #reserve(length: number): number {
    if (this.#length + length > this.#words.length) {
      const grown = new Uint32Array(Math.max(this.#words.length * 2, this.#length + length));
      grown.set(this.#words);
      this.#words = grown;
      this.#floats = new Float32Array(grown.buffer);
    }
    return this.#length;
  }
}

const invalid = (op: Op, name: string, what: string): WeftError =>
  new WeftError('list_invalid', `${op.name}: ${name} ${what}.`, { field: name });

/** The chunks of one stream as JSON. What they have in common is written once; most add only a text and its ids. */
import type { Delta } from './choice.js';
import type { Envelope, ResponseShape } from './response.js';

/** What stands around the text and the ids of a choice's chunk; without `middle` there are no ids in it. */
interface Frame { head: string; middle: string | null; tail: string }

/** Stand for a text and for a list of ids: nothing else in a chunk's choice is written like them. */
const TEXT = '\0', TEXT_JSON = JSON.stringify(TEXT);
const ID = -1, IDS_JSON = `[${ID}]`;

export class Chunks {
  readonly #shape: ResponseShape;
  readonly #head: string;
  readonly #tail: string;
  /** By choice, behind its first chunk: that one may say more. */
  readonly #frames = new Map<number, Frame>();

  /** With `includeUsage` every chunk has the field, and all but the last have null in it. */
  constructor(envelope: Envelope, shape: ResponseShape, includeUsage: boolean) {
    this.#shape = shape;
    this.#head = `${JSON.stringify({ ...envelope, object: shape.object.chunk }).slice(0, -1)},"choices":[`;
    this.#tail = includeUsage ? '],"usage":null' : ']';
  }

  /** A delta, and what stands beside its choice. */
  delta(delta: Delta, beside: object = {}): string {
    const frame = this.#frames.get(delta.index);
    if (frame !== undefined && delta.finishReason === undefined && delta.logprobs.length === 0) {
      const ids = frame.middle === null ? '' : `${frame.middle}[${delta.tokenIds.join(',')}]`;
      return `${frame.head}${JSON.stringify(delta.text)}${ids}${frame.tail}`;
    }
    const json = this.choice(this.#shape.chunk(delta), beside);
    if (frame === undefined) this.#frames.set(delta.index, this.#frameOf(delta.index));
    return json;
  }

  /** A choice as it is, and what stands beside it. */
  choice(choice: object, beside: object = {}): string {
    const rest = JSON.stringify(beside).slice(1);
    return `${this.#head}${JSON.stringify(choice)}${this.#tail}${rest === '}' ? rest : `,${rest}`}`;
  }

  #frameOf(index: number): Frame {
    const json = this.choice(this.#shape.chunk({ index, text: TEXT, tokenIds: [ID], logprobs: [] }));
    const text = json.indexOf(TEXT_JSON, this.#head.length), ids = json.indexOf(IDS_JSON, text);
    const head = json.slice(0, text), behind = text + TEXT_JSON.length;
    if (ids < 0) return { head, middle: null, tail: json.slice(behind) };
    return { head, middle: json.slice(behind, ids), tail: json.slice(ids + IDS_JSON.length) };
  }
}

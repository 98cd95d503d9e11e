/** Which rows of embedding and head an adapter brings: those that differ from the base's, with what they are read from. */
import { decode, encode } from './float.js';
import { tensorChunks } from './safetensors.js';
import { DTYPE_BYTES, type BaseGeometry, type BaseTensors, type EndName, type EndRows, type FloatDtype, type LoraManifest, type StoredDtype, type TensorRef } from './types.js';

/** Where more than this share of rows differs, all are kept: then a row's place is its token. */
const WHOLE_SHARE = 0.25;

export interface ReplacedRows {
  end: EndName;
  stored: StoredDtype;
  /** Of each row, ascending; null: row i is token i's. */
  tokens: Int32Array | null;
  count: number;
  sources: readonly EndRows[];
  /** By token: index in `sources` and row there; -1: the base's. */
  sourceOf: Int8Array;
  rowOf: Int32Array;
}

/** The base's matrix of an end; tied, either name may stand for both. */
export function endWeight({ ends }: Pick<BaseGeometry, 'ends'>, end: EndName, tensors: BaseTensors | undefined): TensorRef<FloatDtype> | undefined {
  const of = (path: string): TensorRef | undefined => tensors?.get(`${path}.weight`);
  return (of(ends[end]) ?? (ends.tied ? of(ends.embed) ?? of(ends.head) : undefined)) as TensorRef<FloatDtype> | undefined;
}

/** Ends whose rows are not all the base's. Without the base's tensors no row is known to be the base's. */
export async function replacedRows({ ends: all, vocab: own }: Pick<LoraManifest, 'ends' | 'vocab'>, base: BaseGeometry, tensors: BaseTensors | undefined): Promise<ReplacedRows[]> {
  const found: ReplacedRows[] = [];
  for (const end of ['embed', 'head'] as const) {
    const sources = all.filter(rows => rows.end === end);
    if (sources.length === 0) continue;
    const vocab = own ?? base.ends.vocab, sourceOf = new Int8Array(vocab).fill(-1), rowOf = new Int32Array(vocab);
    for (const [i, { tensor, tokens }] of sources.entries()) {
      const put = (token: number, row: number): void => { sourceOf[token] = i; rowOf[token] = row; };
      if (tokens) tokens.forEach(put);
      else await eachDifferent(tensor, endWeight(base, end, tensors), row => put(row, row));
    }
    const differ = sourceOf.reduce((count, source) => count + Number(source >= 0), 0);
    if (differ === 0) continue;
    const matrix = sources.findIndex(({ tokens }) => tokens === null), whole = differ === vocab || (matrix >= 0 && differ > WHOLE_SHARE * vocab);
    if (whole) for (let token = 0; token < vocab; token++) if (sourceOf[token] === -1) { sourceOf[token] = matrix; rowOf[token] = token; }
    const tokens = whole ? null : Int32Array.from({ length: vocab }, (_, token) => token).filter(token => sourceOf[token]! >= 0);
    found.push({ end, stored: sources[0]!.stored, tokens, count: tokens?.length ?? vocab, sources, sourceOf, rowOf });
  }
  return found;
}

/** Embedding and head have the same rows of the same tensors: they are kept once. */
export function sameRows(a: ReplacedRows, b: ReplacedRows): boolean {
  const spell = ({ sources, stored }: ReplacedRows): string => JSON.stringify([stored, sources.map(({ tensor, tokens }) => [tensor.name, tokens])]);
  return spell(a) === spell(b) && String(a.tokens) === String(b.tokens);
}

async function eachDifferent(tensor: TensorRef<FloatDtype>, base: TensorRef<FloatDtype> | undefined, use: (row: number) => void): Promise<void> {
  const others = base && rows(base);
  let row = 0;
  for await (const values of rows(tensor)) {
    const other = await others?.next();
    if (!other || other.done || values.some((value, i) => value !== other.value[i])) use(row);
    row++;
  }
  await others?.return();
}

/** Rows as values; each only valid until the next one. */
async function* rows(tensor: TensorRef<FloatDtype>): AsyncGenerator<Float32Array, void, void> {
  const columns = tensor.shape[1]!, rowBytes = columns * DTYPE_BYTES[tensor.dtype], values = new Float32Array(columns);
  for await (const chunk of tensorChunks(tensor, rowBytes)) {
    for (let at = 0; at < chunk.byteLength; at += rowBytes) {
      decode(chunk.subarray(at, at + rowBytes), tensor.dtype, values);
      yield values;
    }
  }
}

/** The rows in their order, as stored; each only valid until the next one. */
export async function* storedRows({ stored, sources, sourceOf, rowOf, tokens, count }: ReplacedRows, hidden: number): AsyncGenerator<{ token: number; values: Uint16Array }, void, void> {
  const rounded = new Uint16Array(hidden);
  const asStored = (values: Float32Array): Uint16Array => encode(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 'F32', stored, rounded);
  // Trained tokens are few.
  const inMemory = await Promise.all(sources.map(async ({ tensor, tokens: own }) => (own ? collect(tensor) : null)));
  const matrix = sources.findIndex(({ tokens: own }) => own === null), stream = matrix < 0 ? null : rows(sources[matrix]!.tensor);
  let at = -1, current = new Float32Array(0);
  for (let i = 0; i < count; i++) {
    const token = tokens?.[i] ?? i, source = sourceOf[token]!, row = rowOf[token]!;
    if (source === matrix) {
      for (; at < row; at++) current = (await stream!.next()).value as Float32Array<ArrayBuffer>;
      yield { token, values: asStored(current) };
    } else {
      yield { token, values: asStored(inMemory[source]!.subarray(row * hidden, (row + 1) * hidden)) };
    }
  }
  await stream?.return();
}

async function collect(tensor: TensorRef<FloatDtype>): Promise<Float32Array> {
  const columns = tensor.shape[1]!, all = new Float32Array(tensor.shape[0]! * columns);
  let row = 0;
  for await (const values of rows(tensor)) all.set(values, columns * row++);
  return all;
}

/**
 * A strict reader of safetensors files: u64 header length, JSON header, data.
 *
 * It accepts only files in which every byte of the data section belongs to exactly one tensor, and it reads no data until
 * asked. Upload and executor parse with this one reader, so that nothing can mean two things.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { WeftError } from '@weft/contracts';
import { JsonError, jsonType, parseJson, type Json, type JsonObject } from './json.js';
import { DTYPE_BYTES, type Dtype, type TensorRef } from './types.js';

export interface SafetensorsLimits { headerBytes: number; tensors: number }

/** A LoRA with 1,000 tensors has a header of 150 kB; a header is read into memory before anything is known of it. */
export const ADAPTER_LIMITS: SafetensorsLimits = { headerBytes: 1 << 20, tensors: 20_000 };
/** MoE checkpoints name every expert: 60,000 tensors in one file occur. The format's own bound is 100 MB. */
export const CHECKPOINT_LIMITS: SafetensorsLimits = { headerBytes: 100_000_000, tensors: 200_000 };

const LENGTH_BYTES = 8;
const RANK_MAX = 8;
/** What is worked on at once: some 3 ms, after which others get their turn on the event loop. */
const CHUNK_BYTES = 1 << 18;

export interface Safetensors {
  file: string;
  /** In the order of the file's data. */
  tensors: Map<string, TensorRef>;
  metadata: Map<string, string>;
  fileBytes: number;
  /** Where the data section begins. */
  dataOffset: number;
}

/** Reads and checks the header. Throws WeftError `safetensors_invalid` with the tensor and file, or `io_error`. */
export async function openSafetensors(path: string, limits: SafetensorsLimits = ADAPTER_LIMITS): Promise<Safetensors> {
  const handle = await openFile(path);
  try {
    const { size } = await handle.stat();
    return parseHeader(path, size, await readHeader(handle, path, size, limits), limits);
  } finally {
    await handle.close();
  }
}

async function readHeader(handle: FileHandle, path: string, fileBytes: number, limits: SafetensorsLimits): Promise<Uint8Array> {
  if (fileBytes < LENGTH_BYTES) throw invalid(path, `is ${fileBytes} bytes long; its first 8 bytes are the header's length`);
  const length = Buffer.from(await readSpan(handle, path, 0, LENGTH_BYTES)).readBigUInt64LE();
  // Compared as u64: a length near 2^64 must not wrap or lose bits before it is known to be small.
  if (length > BigInt(limits.headerBytes)) throw invalid(path, `declares a header of ${length} bytes; the limit is ${limits.headerBytes}`);
  if (length > BigInt(fileBytes - LENGTH_BYTES)) throw invalid(path, `declares a header of ${length} bytes, but only ${fileBytes - LENGTH_BYTES} follow`);
  const header = await readSpan(handle, path, LENGTH_BYTES, Number(length));
  if (header[0] !== 0x7b) throw invalid(path, 'has a header that does not begin with "{"');
  return header;
}

/** Checks a header of a file of `fileBytes` bytes, and that its tensors cover the rest of the file. */
export function parseHeader(path: string, fileBytes: number, bytes: Uint8Array, limits: SafetensorsLimits): Safetensors {
  let header: JsonObject;
  try {
    header = parseJson(bytes) as JsonObject;    // begins with "{"
  } catch (error) {
    if (error instanceof JsonError) throw invalid(path, `has a header that can't be read: ${error.message}`, error.key, error);
    throw error;
  }
  const metadata = parseMetadata(path, header.get('__metadata__'));
  header.delete('__metadata__');
  if (header.size > limits.tensors) throw invalid(path, `has ${header.size} tensors; the limit is ${limits.tensors}`);
  const dataOffset = LENGTH_BYTES + bytes.length;
  const spans = [...header].map(([name, entry]) => parseTensor(path, name, entry));
  return { file: path, tensors: cover(path, spans, dataOffset, fileBytes - dataOffset), metadata, fileBytes, dataOffset };
}

function parseMetadata(path: string, value: Json | undefined): Map<string, string> {
  if (value === undefined) return new Map();
  if (!(value instanceof Map)) throw invalid(path, `has a __metadata__ that is ${jsonType(value)}, not an object`);
  for (const [key, text] of value) {
    if (typeof text !== 'string') throw invalid(path, `has __metadata__ ${JSON.stringify(key)} that is ${jsonType(text)}, not a string`);
  }
  return value as Map<string, string>;
}

interface Span { name: string; dtype: Dtype; shape: number[]; begin: number; end: number }

function parseTensor(path: string, name: string, entry: Json): Span {
  const fail = (what: string): WeftError => invalid(path, `has tensor ${JSON.stringify(name)} ${what}`, name);
  if (!(entry instanceof Map)) throw fail(`that is ${jsonType(entry)}, not an object`);
  for (const key of entry.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') throw fail(`with an unknown property ${JSON.stringify(key)}`);
  }
  const dtype = entry.get('dtype');
  if (typeof dtype !== 'string' || !Object.hasOwn(DTYPE_BYTES, dtype)) throw fail(`of unknown dtype ${JSON.stringify(dtype) ?? 'missing'}`);
  const shape = integers(entry.get('shape'));
  if (shape === null || shape.length > RANK_MAX) throw fail(`whose shape is not a list of at most ${RANK_MAX} non-negative integers`);
  const offsets = integers(entry.get('data_offsets'));
  if (offsets === null || offsets.length !== 2) throw fail('whose data_offsets are not two non-negative integers');
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, size) => product * BigInt(size), BigInt(DTYPE_BYTES[dtype as Dtype]));
  if (bytes === 0n) throw fail(`of shape [${shape.join(', ')}]: tensors without values are not allowed`);
  // BigInt: a product such as 4194305 · 4194305 · 211106198978564 wraps to 4 in 64 bits.
  if (bytes !== BigInt(end) - BigInt(begin)) {
    throw fail(`of shape [${shape.join(', ')}] and ${dtype}, which is ${bytes} bytes; its data_offsets hold ${end - begin}`);
  }
  return { name, dtype: dtype as Dtype, shape, begin, end };
}

/** Tensors in file order; each must begin where the one before ended, the last must end with the file. */
function cover(path: string, spans: Span[], dataOffset: number, dataBytes: number): Map<string, TensorRef> {
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  const tensors = new Map<string, TensorRef>();
  let at = 0;
  for (const { name, dtype, shape, begin, end } of spans) {
    if (begin < at) throw invalid(path, `has tensor ${JSON.stringify(name)} at bytes ${begin}–${end}, which overlaps the one before, ending at ${at}`, name);
    if (begin > at) throw invalid(path, `has ${begin - at} bytes before tensor ${JSON.stringify(name)} that belong to none`, name);
    if (end > dataBytes) throw invalid(path, `ends after ${dataBytes} bytes of data, but tensor ${JSON.stringify(name)} needs ${end}: it is truncated`, name);
    tensors.set(name, { name, file: path, dtype, shape, offset: dataOffset + begin, bytes: end - begin });
    at = end;
  }
  if (at < dataBytes) throw invalid(path, `has ${dataBytes - at} bytes after its last tensor that belong to none`);
  return tensors;
}

function integers(value: Json | undefined): number[] | null {
  if (!Array.isArray(value)) return null;
  return value.every(item => typeof item === 'number' && Number.isSafeInteger(item) && item >= 0) ? (value as number[]) : null;
}

/** Memory for one array after another: an adapter has hundreds of tensors, and a buffer for each would lie about until the collector runs. */
export class Room {
  #buffer = new ArrayBuffer(0);

  /** What was in it is overwritten, by whoever asked before. */
  bytes(count: number): Uint8Array {
    if (this.#buffer.byteLength < count) this.#buffer = new ArrayBuffer(count);
    return new Uint8Array(this.#buffer, 0, count);
  }
}

/**
 * A tensor's bytes in chunks, first to last. Each chunk is a multiple of `unitBytes` (a row, a tile of rows), about 256 KiB or
 * one unit where that is larger, and only valid until the next one is asked for, in `room` if it is given.
 */
export async function* tensorChunks(ref: TensorRef, unitBytes: number = DTYPE_BYTES[ref.dtype], room = new Room()): AsyncGenerator<Uint8Array, void, void> {
  const chunkBytes = Math.max(1, Math.floor(CHUNK_BYTES / unitBytes)) * unitBytes;
  const buffer = room.bytes(Math.min(chunkBytes, ref.bytes));
  const handle = await openFile(ref.file);
  try {
    for (let done = 0; done < ref.bytes; done += chunkBytes) {
      const chunk = buffer.subarray(0, Math.min(chunkBytes, ref.bytes - done));
      await readInto(handle, ref.file, ref.offset + done, chunk);
      yield chunk;
    }
  } finally {
    await handle.close();
  }
}

/** A whole tensor as it stands in the file: F16 and BF16 as their bits, other dtypes without a typed array as bytes. */
export async function readTensor(ref: TensorRef): Promise<Float32Array | Uint16Array | Float64Array | Int32Array | Uint8Array> {
  const bytes = new Uint8Array(ref.bytes);
  const handle = await openFile(ref.file);
  try {
    await readInto(handle, ref.file, ref.offset, bytes);
  } finally {
    await handle.close();
  }
  switch (ref.dtype) {
    case 'F32': return new Float32Array(bytes.buffer);
    case 'F64': return new Float64Array(bytes.buffer);
    case 'I32': return new Int32Array(bytes.buffer);
    case 'F16': case 'BF16': case 'U16': return new Uint16Array(bytes.buffer);
    default: return bytes;
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (cause) {
    throw new WeftError('io_error', `${path} can't be opened: ${(cause as Error).message}`, { file: path, cause });
  }
}

async function readSpan(handle: FileHandle, path: string, offset: number, bytes: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(bytes);
  await readInto(handle, path, offset, buffer);
  return buffer;
}

async function readInto(handle: FileHandle, path: string, offset: number, into: Uint8Array): Promise<void> {
  for (let done = 0; done < into.length;) {
    const { bytesRead } = await handle.read(into, done, into.length - done, offset + done);
    if (bytesRead === 0) throw invalid(path, `ended at byte ${offset + done} while it was read`);
    done += bytesRead;
  }
}

function invalid(file: string, what: string, tensor?: string, cause?: unknown): WeftError {
  return new WeftError('safetensors_invalid', `${file.slice(file.lastIndexOf('/') + 1)} ${what}`, { file, tensor, cause });
}
